use super::{chain, jwk::Jwk, key::PublicKey, keys::Keys, object};
use crate::{auth::token::TokenError, config::SigningAlgorithm};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny},
};
use std::borrow::Cow;

/// What a token says of its signature (RFC 7515 §4). `jku` and `x5u` would have to be fetched: they are not read.
#[derive(Deserialize)]
pub(super) struct Header {
    alg: String,
    kid: Option<String>,
    x5c: Option<Vec<String>>,
    jwk: Option<Jwk>,
    /// Names what must be understood; nothing of that kind is.
    #[expect(dead_code, reason = "its presence alone is an error")]
    #[serde(default, deserialize_with = "refused")]
    crit: (),
}

impl Header {
    pub(super) fn parse(part: &str) -> Result<Self, TokenError> {
        object(part)
    }

    /// The algorithm, if the operator allows it. `none` and those with secrets cannot be allowed.
    pub(super) fn algorithm(&self, allowed: &[SigningAlgorithm]) -> Result<SigningAlgorithm, TokenError> {
        let algorithm = SigningAlgorithm::named(&self.alg).filter(|algorithm| allowed.contains(algorithm));
        algorithm.ok_or(TokenError::Algorithm)
    }

    /// The trusted key that this token says it is signed with. A token that names none is not tried with any.
    pub(super) fn key<'k>(
        &'k self,
        algorithm: SigningAlgorithm,
        keys: &'k Keys,
        now_ms: u64,
    ) -> Result<Cow<'k, PublicKey>, TokenError> {
        let mut named = self.kid.iter().flat_map(|kid| keys.named(kid)).peekable();
        if named.peek().is_some() {
            return named.find(|key| key.fits(algorithm)).map(Cow::Borrowed).ok_or(TokenError::Algorithm);
        }
        let key = match (&self.x5c, &self.jwk) {
            (Some(chain), _) => chain::leaf(chain, keys, now_ms)?,
            (None, Some(jwk)) => trusted(jwk, keys, now_ms)?,
            (None, None) => return Err(TokenError::UnknownKey),
        };
        if key.fits(algorithm) { Ok(key) } else { Err(TokenError::Algorithm) }
    }
}

/// The key in a header, if it is trusted anyway, or is that of its own certificates and these are.
fn trusted<'k>(jwk: &Jwk, keys: &'k Keys, now_ms: u64) -> Result<Cow<'k, PublicKey>, TokenError> {
    let brought = jwk.public_key().ok_or(TokenError::UnknownKey)?;
    if let Some(key) = keys.find(&brought) {
        return Ok(Cow::Borrowed(key));
    }
    let chain = jwk.x5c.as_ref().ok_or(TokenError::UnknownKey)?;
    let certified = chain::leaf(chain, keys, now_ms)?;
    if *certified == brought { Ok(certified) } else { Err(TokenError::UnknownKey) }
}

fn refused<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    IgnoredAny::deserialize(deserializer)?;
    Err(D::Error::custom("not understood"))
}
