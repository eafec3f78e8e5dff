use super::der::{BIT_STRING, Der, INTEGER, OBJECT_IDENTIFIER, SEQUENCE};
use crate::{auth::token::TokenError, config::SigningAlgorithm};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use sha2::{Digest, Sha256};

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// Lengths of an RSA modulus that can be verified with.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A key that can verify. Its kind decides which algorithms it may be used with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// Modulus and exponent, without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// x and y.
    P256([Vec<u8>; 2]),
    /// x and y.
    P384([Vec<u8>; 2]),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// From DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7); `None` if it is of a kind not used here.
    pub(super) fn from_spki(spki: &[u8]) -> Option<Self> {
        let mut fields = Der(Der(spki).next(SEQUENCE)?);
        let mut algorithm = Der(fields.next(SEQUENCE)?);
        let bits = fields.next(BIT_STRING)?.strip_prefix(&[0])?;
        match algorithm.next(OBJECT_IDENTIFIER)? {
            RSA => {
                let mut numbers = Der(Der(bits).next(SEQUENCE)?);
                Self::rsa(numbers.next(INTEGER)?, numbers.next(INTEGER)?)
            }
            EC => {
                let point = bits.strip_prefix(&[4])?; // not compressed
                let (x, y) = point.split_at(point.len() / 2);
                match algorithm.next(OBJECT_IDENTIFIER)? {
                    P256 => Self::p256(x, y),
                    P384 => Self::p384(x, y),
                    _ => None,
                }
            }
            ED25519 => Self::ed25519(bits),
            _ => None,
        }
    }

    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let [n, e] = [n, e].map(|number| {
            let zeros = number.iter().take_while(|&&byte| byte == 0).count();
            number[zeros..].to_vec()
        });
        (MODULUS_BYTES.contains(&n.len()) && (1..=5).contains(&e.len())).then_some(Self::Rsa { n, e })
    }

    pub(super) fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        (x.len() == 32 && y.len() == 32).then(|| Self::P256([x.to_vec(), y.to_vec()]))
    }

    pub(super) fn p384(x: &[u8], y: &[u8]) -> Option<Self> {
        (x.len() == 48 && y.len() == 48).then(|| Self::P384([x.to_vec(), y.to_vec()]))
    }

    pub(super) fn ed25519(x: &[u8]) -> Option<Self> {
        (x.len() == 32).then(|| Self::Ed25519(x.to_vec()))
    }

    /// Its name by RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        let text = |bytes: &Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
        let json = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
            Self::P256([x, y]) => format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y)),
            Self::P384([x, y]) => format!(r#"{{"crv":"P-384","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y)),
            Self::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(json))
    }

    /// Whether signatures of this algorithm are made with keys of this kind.
    pub(super) fn fits(&self, algorithm: SigningAlgorithm) -> bool {
        use SigningAlgorithm::*;
        match self {
            Self::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Self::P256(_) => algorithm == Es256,
            Self::P384(_) => algorithm == Es384,
            Self::Ed25519(_) => algorithm == EdDsa,
        }
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &[u8],
        signature: &str,
    ) -> Result<(), TokenError> {
        assert!(self.fits(algorithm), "the key was chosen for its kind");
        let key = match self {
            Self::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Self::P256([x, y]) | Self::P384([x, y]) => DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat()),
            Self::Ed25519(x) => DecodingKey::from_ed_der(x),
        };
        match crypto::verify(signature, message, &key, of_library(algorithm)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TokenError::Signature),
            Err(_) => Err(TokenError::Malformed), // no base64url
        }
    }
}

/// Its name by libtrust: the start of the SHA-256 of its DER SubjectPublicKeyInfo, in base32, as `AAAA:BBBB:...`.
pub(super) fn libtrust_id(spki: &[u8]) -> String {
    let hash = Sha256::digest(spki);
    let groups = hash[..30].chunks(5).flat_map(|five| {
        let bits = five.iter().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
        let letter =
            |place: u64| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(bits >> (35 - 5 * place) & 31) as usize]);
        [(0..4).map(letter).collect::<String>(), (4..8).map(letter).collect()]
    });
    groups.collect::<Vec<_>>().join(":")
}

fn of_library(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::Es384 => Algorithm::ES384,
        SigningAlgorithm::Ps256 => Algorithm::PS256,
        SigningAlgorithm::Ps384 => Algorithm::PS384,
        SigningAlgorithm::Ps512 => Algorithm::PS512,
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Rs384 => Algorithm::RS384,
        SigningAlgorithm::Rs512 => Algorithm::RS512,
    }
}
