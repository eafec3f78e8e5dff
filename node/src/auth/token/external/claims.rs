use super::object;
use crate::auth::token::{Claims, Resource, TokenError};
use serde::Deserialize;

/// How far the clocks of the token server and of this node may differ, as in distribution.
const LEEWAY_S: f64 = 60.0;

/// What a token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) now_ms: u64,
}

/// The claims (RFC 7519 §4) that count here. How many there are is bounded by the length of a token.
#[derive(Deserialize)]
struct Payload {
    iss: Option<String>,
    aud: Option<Audience>,
    sub: Option<String>,
    /// Unix seconds; some servers write fractions.
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    access: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// A [`Resource`] as servers write it: an empty list of Go is `null`.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Option<Vec<String>>,
}

/// Reads a payload whose signature was verified.
pub(super) fn read(part: &str, expected: &Expected<'_>) -> Result<Claims, TokenError> {
    let payload: Payload = object(part)?;
    if payload.iss.as_deref() != Some(expected.issuer) {
        return Err(TokenError::Issuer);
    }
    let meant = match &payload.aud {
        None => false,
        Some(Audience::One(audience)) => audience == expected.audience,
        Some(Audience::Many(audiences)) => audiences.iter().any(|audience| audience == expected.audience),
    };
    if !meant {
        return Err(TokenError::Audience);
    }
    let now = expected.now_ms as f64 / 1e3;
    if now > payload.exp + LEEWAY_S {
        return Err(TokenError::Expired);
    }
    if [payload.nbf, payload.iat].into_iter().flatten().any(|since| since > now + LEEWAY_S) {
        return Err(TokenError::NotYet);
    }
    let access = payload.access.unwrap_or_default().into_iter();
    let resource = |Entry { kind, name, actions }| Resource { kind, name, actions: actions.unwrap_or_default() };
    Ok(Claims {
        // Servers write an empty one for those who did not log in.
        subject: payload.sub.filter(|subject| !subject.is_empty()).map(Into::into),
        access: access.map(resource).collect(),
    })
}
