//! What an own token looks like: a JSON Web Token (RFC 7519) whose header is fixed but for the key's id, so that a header is
//! compared, not interpreted: no other algorithm, type or parameter can be asked for.

use super::super::{Resource, TOKEN_BYTES_MAX, TokenError};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use flotilla_proto::wire::metadata as wire;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde::{Deserialize, Serialize};

/// Says what a token is for (RFC 8725 §3.11).
const TYPE: &str = "flotilla+jwt";
const ALGORITHM: &str = "HS256";
/// Keys of others do not begin like this.
const KID_PREFIX: &str = "flt.";
/// Longest header looked at, encoded.
const HEADER_BYTES_MAX: usize = 1_024;

#[derive(Serialize, Deserialize)]
struct Header {
    typ: Option<String>,
    alg: String,
    kid: Option<String>,
}

/// The claims.
#[derive(Serialize, Deserialize)]
pub(super) struct Payload {
    /// The cluster's id.
    pub(super) iss: String,
    /// The service.
    pub(super) aud: String,
    /// Absent: anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    // For people and clients: wall seconds. Nothing here reads them.
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    /// When it ends, in milliseconds of replicated time.
    pub(super) flt_exp: u64,
    pub(super) access: Vec<Resource>,
}

/// A token, cut in pieces.
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header, dot and payload.
    signed: &'a str,
}

/// Cuts a token.
pub(super) fn split(token: &str) -> Result<Parts<'_>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    Ok(Parts { header, payload, signature, signed })
}

/// Whether some key could have made this header, letter by letter.
pub(super) fn is_well_formed(encoded: &str) -> Result<(), TokenError> {
    let header = read_header(encoded).ok_or(TokenError::Malformed)?;
    if header.alg != ALGORITHM {
        return Err(TokenError::Algorithm);
    }
    let id = header.kid.as_deref().and_then(|kid| kid.strip_prefix(KID_PREFIX)).ok_or(TokenError::UnknownKey)?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(id, &mut bytes).map_err(|_| TokenError::UnknownKey)?;
    if write_header(&bytes) != encoded {
        return Err(TokenError::Malformed);
    }
    Ok(())
}

fn read_header(encoded: &str) -> Option<Header> {
    if encoded.len() > HEADER_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn write_header(id: &[u8; 16]) -> String {
    let kid = Some(format!("{KID_PREFIX}{}", hex::encode(id)));
    let header = Header { typ: Some(TYPE.to_owned()), alg: ALGORITHM.to_owned(), kid };
    encode(&header)
}

fn encode(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("texts and numbers are JSON"))
}

/// A key, ready for use. Never printed.
pub(super) struct Key {
    /// The header of its tokens.
    header: String,
    signs: EncodingKey,
    verifies: DecodingKey,
    pub(super) made_mono: u64,
    pub(super) replaced_mono: Option<u64>,
}

impl Key {
    pub(super) fn new(id: &[u8; 16], record: &wire::TokenKey) -> Self {
        Self {
            header: write_header(id),
            signs: EncodingKey::from_secret(&record.secret),
            verifies: DecodingKey::from_secret(&record.secret),
            made_mono: record.made_mono,
            replaced_mono: record.replaced_mono,
        }
    }

    pub(super) fn sign(&self, payload: &Payload) -> String {
        let signed = format!("{}.{}", self.header, encode(payload));
        let signature = crypto::sign(signed.as_bytes(), &self.signs, Algorithm::HS256);
        format!("{signed}.{}", signature.expect("a secret of any length signs"))
    }

    /// Whether a token says that this key made it.
    pub(super) fn made(&self, parts: &Parts<'_>) -> bool {
        self.header == parts.header
    }

    /// The claims of a token that this key has made. The signature first: what strangers wrote is not parsed.
    pub(super) fn open(&self, parts: &Parts<'_>) -> Result<Payload, TokenError> {
        let genuine = crypto::verify(parts.signature, parts.signed.as_bytes(), &self.verifies, Algorithm::HS256);
        if !genuine.unwrap_or(false) {
            return Err(TokenError::Signature);
        }
        let bytes = URL_SAFE_NO_PAD.decode(parts.payload).map_err(|_| TokenError::Malformed)?;
        serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
    }
}
