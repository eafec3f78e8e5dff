use super::{Caller, Policy, htpasswd::Htpasswd, token::own::Issuer};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::sync::Arc;

/// Longest credentials in bytes, encoded.
const CREDENTIALS_MAX: usize = 4 << 10;

/// How callers show who they are, and what they may do then.
pub struct Access {
    policy: Policy,
    passwords: Option<Passwords>,
    issuer: Option<Arc<Issuer>>,
}

/// Users with passwords.
pub struct Passwords {
    /// Shown to the user by some clients.
    pub realm: String,
    /// Users and passwords.
    pub users: Htpasswd,
}

/// Why it is not known who a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The credentials are no user's.
    #[error("the credentials are wrong")]
    Wrong,
    /// Too many others wait for an answer.
    #[error("too many passwords are verified at once")]
    Busy,
}

impl Access {
    /// Anyone may do anything; credentials are not looked at.
    pub fn open() -> Self {
        Self { policy: Policy::open(), passwords: None, issuer: None }
    }

    /// Every user may do anything, nobody else may do something.
    pub fn users(passwords: Passwords) -> Self {
        Self { policy: Policy::authenticated(), passwords: Some(passwords), issuer: None }
    }

    /// With tokens of the cluster's own service.
    pub fn with_issuer(self, issuer: Arc<Issuer>) -> Self {
        Self { issuer: Some(issuer), ..self }
    }

    /// The cluster's own token service, if it is switched on.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.issuer.as_deref()
    }

    /// What callers may do.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Who sends a request with this header `Authorization`.
    pub async fn caller(&self, authorization: Option<&str>) -> Result<Caller, NotVerified> {
        let (Some(passwords), Some(authorization)) = (&self.passwords, authorization) else {
            return Ok(Caller::Anonymous);
        };
        let (user, password) = basic(authorization).ok_or(NotVerified::Wrong)?;
        passwords.users.verify(&user, &password).await?;
        Ok(Caller::User(user.into()))
    }

    /// What a client that lacks a permission is told to do; nothing if credentials would not help.
    pub fn challenge(&self) -> Option<String> {
        self.password_challenge()
    }

    /// The same where only passwords help.
    pub fn password_challenge(&self) -> Option<String> {
        let realm = &self.passwords.as_ref()?.realm;
        let realm: String = realm.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
        Some(format!("Basic realm=\"{realm}\""))
    }
}

/// User and password of a Basic header (RFC 7617). A password may have colons, and any UTF-8.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > CREDENTIALS_MAX {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_clients_write_them() {
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let some = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (header, expected) in [
            (encoded("ann:secret"), some("ann", "secret")),
            (encoded("ann:a:b:"), some("ann", "a:b:")),
            (encoded("änn:pässword"), some("änn", "pässword")),
            (encoded("ann:"), some("ann", "")),
            (encoded("ann:x").replace("Basic", "bAsIc"), some("ann", "x")),
            (encoded("ann"), None),
            ("Basic".into(), None),
            ("Basic !!!".into(), None),
            ("Bearer YW5uOng=".into(), None),
            (encoded(&format!("ann:{}", "x".repeat(CREDENTIALS_MAX))), None),
        ] {
            assert_eq!(basic(&header), expected, "{header}");
        }
    }
}
