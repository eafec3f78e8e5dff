use super::token::Claims;
use std::sync::Arc;

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody said who.
    Anonymous,
    /// A user whose password was verified.
    User(Arc<str>),
    /// The bearer of a token that an external server signed: that server has decided what it is good for.
    Guest(Arc<Claims>),
    /// The bearer of a token of our own: good for what it says, as far as its subject may still do that.
    Bearer(Arc<Claims>),
}

impl Caller {
    /// The user's name, if there is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(name) => Some(name),
            Self::Guest(claims) | Self::Bearer(claims) => claims.subject.as_deref(),
        }
    }

    /// How the caller showed who it is: `none`, `basic` or `token`.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Anonymous => "none",
            Self::User(_) => "basic",
            Self::Guest(_) | Self::Bearer(_) => "token",
        }
    }
}
