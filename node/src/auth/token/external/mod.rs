//! Tokens of a token server elsewhere, signed by keys that the operator names (section `auth.token`).
//!
//! `header` is what a token says of its key and `keys` the trusted ones; `chain` leads from certificates in a token to a
//! trusted one, `files` keeps up with the operator's files, `claims` reads what was signed. Nothing is fetched, and a key that
//! a token brings along counts only if it is trusted without it.

mod chain;
mod claims;
mod der;
mod files;
mod header;
mod jwk;
mod key;
mod keys;
#[cfg(test)]
mod tests;

pub use files::KeysError;

use super::{Claims, TOKEN_BYTES_MAX, TokenError};
use crate::{auth::Verify, clock, config::TokenAuth};
use async_trait::async_trait;
use claims::Expected;
use files::Files;
use header::Header;
use keys::Keys;

/// The one server whose tokens count here.
///
/// Verified tokens are not remembered: a signature check takes tens of microseconds.
pub struct External {
    config: TokenAuth,
    files: Files,
    /// Unix milliseconds.
    now: fn() -> u64,
}

impl External {
    /// Reads the keys; without any there is no start.
    pub fn open(config: &TokenAuth) -> Result<Self, KeysError> {
        let files = Files::open(config.root_certificates.clone(), config.jwks.clone())?;
        Ok(Self { config: config.clone(), files, now: clock::wall_ms })
    }

    fn check(&self, token: &str, keys: &Keys) -> Result<Claims, TokenError> {
        let (header, payload, signature) = parts(token).ok_or(TokenError::Malformed)?;
        let signed = &token[..header.len() + 1 + payload.len()];
        let now_ms = (self.now)();
        let header = Header::parse(header)?;
        let algorithm = header.algorithm(&self.config.algorithms)?;
        let key = header.key(algorithm, keys, now_ms)?;
        key.verify(algorithm, signed.as_bytes(), signature)?;
        let expected = Expected { issuer: &self.config.issuer, audience: &self.config.service, now_ms };
        claims::read(payload, &expected)
    }
}

#[async_trait]
impl Verify for External {
    /// What a token says, if it is from this server, for this registry and of this time.
    async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let keys = self.files.keys().await;
        self.check(token, &keys)
    }
}

/// The three parts of a token that is not too long. Looks no further than the fourth.
fn parts(token: &str) -> Option<(&str, &str, &str)> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split('.');
    let three = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(three)
}

/// The JSON object in a part of a token. Known names that come twice, and JSON that is nested too deeply, are errors.
fn object<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let json = base64url(part).ok_or(TokenError::Malformed)?;
    // A struct could also be read from an array.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

/// Strict: there is one way only to write given bytes.
fn base64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}
