use anyhow::Result;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A key of no other use: to make one takes long.
const RSA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../node/src/auth/token/external/tests/rsa.pem"));

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// RSA.
    Rs256,
    /// Elliptic curve.
    Es256,
}

/// How tokens name the key that they are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// `kid` of libtrust: the key's certificate is trusted.
    Libtrust,
    /// `x5c`: the certificate of its issuer is trusted.
    Chain,
}

/// What signs tokens.
pub(super) struct Key {
    signed: Signed,
    signing: EncodingKey,
    name: Value,
    trusted: Certificate,
}

impl Key {
    pub(super) fn new(signed: Signed, named: Named) -> Result<Self> {
        let (pair, signing) = match signed {
            Signed::Rs256 => (
                KeyPair::from_pkcs8_pem_and_sign_algo(RSA, &rcgen::PKCS_RSA_SHA256)?,
                EncodingKey::from_rsa_pem(RSA.as_bytes())?,
            ),
            Signed::Es256 => {
                let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
                let signing = EncodingKey::from_ec_der(pair.serialized_der());
                (pair, signing)
            }
        };
        let (name, trusted) = match named {
            Named::Libtrust => {
                let certificate = params("token server", true).self_signed(&pair)?;
                (json!({ "kid": libtrust(&pair.subject_public_key_info()) }), certificate)
            }
            Named::Chain => {
                let root_key = KeyPair::generate()?;
                let root = params("root", true).self_signed(&root_key)?;
                let leaf =
                    params("token server", false).signed_by(&pair, &Issuer::new(params("root", true), root_key))?;
                (json!({"x5c": [STANDARD.encode(leaf.der())]}), root)
            }
        };
        Ok(Self { signed, signing, name, trusted })
    }

    /// What a registry must trust.
    pub(super) fn bundle(&self) -> String {
        self.trusted.pem()
    }

    pub(super) fn header(&self) -> Value {
        let mut header = self.name.clone();
        header["typ"] = json!("JWT");
        header["alg"] = json!(match self.signed {
            Signed::Rs256 => "RS256",
            Signed::Es256 => "ES256",
        });
        header
    }

    pub(super) fn sign(&self, header: &Value, payload: &Value) -> Result<String> {
        let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{payload}");
        let algorithm = match self.signed {
            Signed::Rs256 => Algorithm::RS256,
            Signed::Es256 => Algorithm::ES256,
        };
        let signature = crypto::sign(message.as_bytes(), &self.signing, algorithm)?;
        Ok(format!("{message}.{signature}"))
    }
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params
}

/// libtrust's name of a key: 240 bits of the hash in base32, in groups of four.
fn libtrust(spki: &[u8]) -> String {
    let bits: Vec<u8> =
        Sha256::digest(spki)[..30].iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1)).collect();
    let letter = |five: &[u8]| {
        let number = five.iter().fold(0usize, |number, bit| number * 2 + usize::from(*bit));
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[number])
    };
    let letters: Vec<char> = bits.chunks(5).map(letter).collect();
    letters.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join(":")
}
