use super::{
    Caller, Policy,
    htpasswd::Htpasswd,
    token::{Claims, Resource, TOKEN_BYTES_MAX, TokenError, own::Issuer},
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{fmt::Write, net::IpAddr, sync::Arc};

/// Longest Basic credentials in bytes, encoded.
const CREDENTIALS_MAX: usize = 4 << 10;

/// Where the cluster's own token service answers.
pub const TOKEN_PATH: &str = "/auth/token";

/// How callers show who they are, and what they may do then. Several ways may be open at once.
pub struct Access {
    policy: Policy,
    passwords: Option<Passwords>,
    tokens: Option<Tokens>,
    issuer: Option<Arc<Issuer>>,
}

/// Users with passwords.
pub struct Passwords {
    /// Shown to the user by some clients.
    pub realm: String,
    /// Users and passwords.
    pub users: Htpasswd,
}

/// Bearer tokens.
pub struct Tokens {
    /// Tells what a token is worth.
    pub verifier: Arc<dyn Verify>,
    /// Where clients get tokens.
    pub realm: Realm,
    /// What tokens must be made for.
    pub service: String,
    /// Who signs them.
    pub signer: Signer,
}

/// Where clients get tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Realm {
    /// At this URL.
    Url(String),
    /// At this path below the registry's own URL.
    Here(String),
    /// At this path of the host that the client asked.
    Host(String),
}

/// Who signs tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Another server, which decides what its bearers may do.
    External,
    /// This cluster: the policy decides at each use once more.
    Cluster,
}

/// Verifies tokens of one issuer.
#[async_trait]
pub trait Verify: Send + Sync {
    /// What the token says, if it may be believed.
    async fn verify(&self, token: &str) -> Result<Claims, TokenError>;
}

/// Why it is not known who a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The credentials are no user's.
    #[error("the credentials are wrong")]
    Wrong,
    /// The token is worth nothing.
    #[error("the token is not valid")]
    Token(#[source] TokenError),
    /// Too many others wait for an answer.
    #[error("too many passwords are verified at once")]
    Busy,
    /// The token may be good: its key may be known to a part of the cluster that cannot be reached.
    #[error("the token cannot be verified now")]
    Unavailable,
}

/// What is wrong with the token of a request (RFC 6750, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFlaw {
    /// It is worth nothing.
    Invalid,
    /// It does not say enough.
    InsufficientScope,
}

impl Access {
    /// What `policy` says, to callers known by what is given.
    pub fn new(policy: Policy, passwords: Option<Passwords>, tokens: Option<Tokens>) -> Self {
        Self { policy, passwords, tokens, issuer: None }
    }

    /// With tokens of the cluster's own service, which answers at `/auth/token`.
    pub fn with_issuer(self, issuer: Arc<Issuer>) -> Self {
        let (verifier, realm) = (issuer.clone(), Realm::Here(TOKEN_PATH.to_owned()));
        let tokens = Tokens { verifier, realm, service: issuer.service().to_owned(), signer: Signer::Cluster };
        Self { tokens: Some(tokens), issuer: Some(issuer), ..self }
    }

    /// The cluster's own token service, if it is switched on.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.issuer.as_deref()
    }

    /// Anyone may do anything; credentials are not looked at.
    pub fn open() -> Self {
        Self::new(Policy::open(), None, None)
    }

    /// Every user may do anything, nobody else may do something.
    pub fn users(passwords: Passwords) -> Self {
        Self::new(Policy::authenticated(), Some(passwords), None)
    }

    /// What callers may do.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Who sends a request with this header `Authorization` from this address (which is not that of a proxy). Without any way
    /// to show who one is, nobody looks at credentials.
    pub async fn caller(&self, authorization: Option<&str>, client: Option<IpAddr>) -> Result<Caller, NotVerified> {
        let Some(authorization) = authorization.filter(|_| self.passwords.is_some() || self.tokens.is_some()) else {
            return Ok(Caller::Anonymous);
        };
        match authorization.trim().split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.bearer(token.trim()).await,
            _ => self.user(authorization, client).await,
        }
    }

    /// The user of Basic credentials.
    pub async fn user(&self, authorization: &str, client: Option<IpAddr>) -> Result<Caller, NotVerified> {
        let (Some(passwords), Some((user, password))) = (&self.passwords, basic(authorization)) else {
            return Err(NotVerified::Wrong);
        };
        passwords.users.verify(&user, &password, client).await?;
        Ok(Caller::User(user.into()))
    }

    /// The user that Basic credentials name, whatever the password, if there is such a user: another name may be a password
    /// that was typed into the wrong field, and must not be shown.
    pub async fn known_name(&self, authorization: &str) -> Option<String> {
        let (user, _) = basic(authorization)?;
        self.passwords.as_ref()?.users.knows(&user).await.then_some(user)
    }

    async fn bearer(&self, token: &str) -> Result<Caller, NotVerified> {
        let Some(tokens) = &self.tokens else { return Err(NotVerified::Wrong) };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(NotVerified::Token(TokenError::Malformed));
        }
        let claims = tokens.verifier.verify(token).await.map_err(|error| match error {
            TokenError::Unavailable => NotVerified::Unavailable,
            error => NotVerified::Token(error),
        })?;
        let claims = Arc::new(claims);
        match (tokens.signer, &claims.subject, &self.passwords) {
            (Signer::External, ..) => Ok(Caller::Guest(claims)),
            (Signer::Cluster, None, _) => Ok(Caller::Bearer(claims)),
            // Who was removed from the users since.
            (Signer::Cluster, Some(user), Some(passwords)) if passwords.users.knows(user).await => {
                Ok(Caller::Bearer(claims))
            }
            (Signer::Cluster, Some(_), _) => Err(NotVerified::Wrong),
        }
    }

    /// Whether clients are sent for tokens.
    pub fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// What a client that lacks a permission is told to do; nothing if credentials would not help. `host` is the registry's
    /// scheme and authority as the client sees them, `prefix` what comes before its paths, without a slash at its end.
    pub fn challenge(&self, host: &str, prefix: &str, wanted: &[Resource], flaw: Option<TokenFlaw>) -> Option<String> {
        match (&self.tokens, &self.passwords) {
            (Some(tokens), _) => Some(tokens.challenge(host, prefix, wanted, flaw)),
            (None, Some(passwords)) => Some(passwords.challenge()),
            (None, None) => None,
        }
    }

    /// How to send a password.
    pub fn password_challenge(&self) -> Option<String> {
        self.passwords.as_ref().map(Passwords::challenge)
    }
}

impl Passwords {
    fn challenge(&self) -> String {
        format!("Basic realm=\"{}\"", quotable(&self.realm))
    }
}

impl Tokens {
    fn challenge(&self, host: &str, prefix: &str, wanted: &[Resource], flaw: Option<TokenFlaw>) -> String {
        let realm = match &self.realm {
            Realm::Url(url) => url.clone(),
            Realm::Here(path) => format!("{host}{prefix}{path}"),
            Realm::Host(path) => format!("{host}{path}"),
        };
        let mut text = format!("Bearer realm=\"{}\",service=\"{}\"", quotable(&realm), quotable(&self.service));
        // Writing to a text cannot fail.
        if !wanted.is_empty() {
            let scopes: Vec<_> = wanted.iter().map(|wanted| quotable(&wanted.to_string())).collect();
            let _ = write!(text, ",scope=\"{}\"", scopes.join(" "));
        }
        match flaw {
            None => {}
            Some(TokenFlaw::Invalid) => text.push_str(",error=\"invalid_token\""),
            Some(TokenFlaw::InsufficientScope) => text.push_str(",error=\"insufficient_scope\""),
        }
        text
    }
}

/// What may stand in a quoted string of a header.
fn quotable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect()
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

#[async_trait]
impl Verify for Issuer {
    async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        Self::verify(self, token).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_and_for_what_to_get_a_token() {
        struct No;
        #[async_trait]
        impl Verify for No {
            async fn verify(&self, _: &str) -> Result<Claims, TokenError> {
                Err(TokenError::Malformed)
            }
        }
        let access = |realm| {
            let (verifier, service) = (Arc::new(No), "the \"registry\"".into());
            Access::new(Policy::open(), None, Some(Tokens { verifier, realm, service, signer: Signer::Cluster }))
        };
        let wanted: Vec<_> = ["repository:a/b:pull,push", "repository:c:pull"]
            .into_iter()
            .map(|scope| Resource::parse(scope).unwrap())
            .collect();
        let here = access(Realm::Here("/auth/token".into()));
        for (wanted, flaw, expected) in [
            (&wanted[..0], None, ""),
            (&wanted[..1], None, ",scope=\"repository:a/b:pull,push\""),
            (
                &wanted[..],
                Some(TokenFlaw::InsufficientScope),
                ",scope=\"repository:a/b:pull,push repository:c:pull\",error=\"insufficient_scope\"",
            ),
            (&wanted[..0], Some(TokenFlaw::Invalid), ",error=\"invalid_token\""),
        ] {
            let start = "Bearer realm=\"https://r.example/x/auth/token\",service=\"the registry\"";
            let challenge = here.challenge("https://r.example", "/x", wanted, flaw).unwrap();
            assert_eq!(challenge, format!("{start}{expected}"));
        }
        let elsewhere = access(Realm::Url("https://auth.example/t?x".into()));
        let challenge = elsewhere.challenge("https://r.example", "/x", &[], None).unwrap();
        assert!(challenge.starts_with("Bearer realm=\"https://auth.example/t?x\","), "{challenge}");
        assert_eq!(Access::open().challenge("https://r.example", "/x", &wanted, None), None);
        let redirected =
            access(Realm::Host("/auth/token/".into())).challenge("https://r.example", "/x", &[], None).unwrap();
        assert!(redirected.starts_with("Bearer realm=\"https://r.example/auth/token/\","), "{redirected}");
    }

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
