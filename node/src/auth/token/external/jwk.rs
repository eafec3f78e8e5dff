use super::{base64url, key::PublicKey};
use serde::Deserialize;

/// A JSON Web Key (RFC 7517), of which only the public part is read.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    pub(super) kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    pub(super) x5c: Option<Vec<String>>,
}

impl Jwk {
    /// Whether it is meant for something else than signatures.
    pub(super) fn is_for_encryption(&self) -> bool {
        self.purpose.as_deref().is_some_and(|purpose| purpose != "sig")
    }

    /// The key; `None` if it is of a kind not used here, as every secret is.
    pub(super) fn public_key(&self) -> Option<PublicKey> {
        let bytes = |text: &Option<String>| base64url(text.as_ref()?);
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => PublicKey::rsa(&bytes(&self.n)?, &bytes(&self.e)?),
            ("EC", Some("P-256")) => PublicKey::p256(&bytes(&self.x)?, &bytes(&self.y)?),
            ("EC", Some("P-384")) => PublicKey::p384(&bytes(&self.x)?, &bytes(&self.y)?),
            ("OKP", Some("Ed25519")) => PublicKey::ed25519(&bytes(&self.x)?),
            _ => None,
        }
    }
}
