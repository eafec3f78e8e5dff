//! Bearer tokens (RFC 6750) in the shape of the distribution project's token authentication: a signed list of what the
//! bearer may do, by which the bearer need not be known here. `resource` holds the words of that list, `own` the tokens that
//! the cluster makes itself (the one place of this room that asks the metadata), `external` verifies those of another server.

mod external;
pub mod own;
mod resource;

pub use external::{External, KeysError};
pub use resource::{Resource, granted};

use super::Right;
use flotilla_proto::oci::RepositoryName;
use std::sync::Arc;

/// Longest token in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who it was made for; absent: anyone.
    pub subject: Option<Arc<str>>,
    /// What the bearer may do.
    pub access: Vec<Resource>,
}

impl Claims {
    /// Whether the token is good for `right` on `repository`.
    pub fn allow(&self, right: Right, repository: &RepositoryName) -> bool {
        self.access.iter().any(|resource| resource.is_repository(repository) && resource.permits(right.as_str()))
    }

    /// Whether the token is good for the list of repositories (`registry:catalog:*`).
    pub fn allow_catalog(&self) -> bool {
        self.access.iter().any(|resource| resource.is_catalog() && resource.permits("*"))
    }
}

/// Why a token is worth nothing. Clients are only told that it is so; the reason is for the operator's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No JSON Web Token of the expected form, or too long.
    #[error("the token is not well-formed")]
    Malformed,
    /// An algorithm that is not allowed, `none` among them.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// Signed by a key that is not trusted here.
    #[error("the token's key is not trusted")]
    UnknownKey,
    /// The signature is not that key's over these bytes.
    #[error("the token's signature is wrong")]
    Signature,
    /// Of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// For another service.
    #[error("the token is for another service")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// Whether it is good cannot be told now: its key may be known to a part of the cluster that cannot be reached.
    #[error("the token cannot be verified now")]
    Unavailable,
}
