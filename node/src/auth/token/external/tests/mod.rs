//! A token server and everything one could try against its tokens.

mod bad;
mod files;
mod good;
mod mutated;

use super::*;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData};
use serde_json::{Value, json};
use std::path::Path;

const NOW: u64 = 1_800_000_000;
const RSA_PEM: &str = include_str!("rsa.pem");
const RSA_JWK: &str = include_str!("rsa.jwk");

/// A key that signs tokens.
struct Signer {
    pair: KeyPair,
    signing: EncodingKey,
    jwk: Value,
}

impl Signer {
    /// The one RSA key of these tests: others take long to make.
    fn rsa() -> Self {
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(RSA_PEM, &rcgen::PKCS_RSA_SHA256).unwrap();
        let signing = EncodingKey::from_rsa_pem(RSA_PEM.as_bytes()).unwrap();
        Self { pair, signing, jwk: serde_json::from_str(RSA_JWK).unwrap() }
    }

    fn p256() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let [x, y] = coordinates(&pair);
        let signing = EncodingKey::from_ec_der(pair.serialized_der());
        Self { pair, signing, jwk: json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}) }
    }

    fn p384() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let [x, y] = coordinates(&pair);
        let signing = EncodingKey::from_ec_der(pair.serialized_der());
        Self { pair, signing, jwk: json!({"kty": "EC", "crv": "P-384", "x": x, "y": y}) }
    }

    fn ed25519() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let signing = EncodingKey::from_ed_der(pair.serialized_der());
        let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
        Self { pair, signing, jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": x}) }
    }

    /// Signs these parts, whatever they are.
    fn sign_raw(&self, header: &str, payload: &str, algorithm: Algorithm) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.signing, algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// Signs with the algorithm that the header names.
    fn sign(&self, header: &Value, payload: &Value) -> String {
        let name = header["alg"].as_str().unwrap();
        let algorithm = serde_json::from_value(json!(name)).unwrap();
        self.sign_raw(&header.to_string(), &payload.to_string(), algorithm)
    }

    fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// As libtrust computes it: 240 bits of the hash, five a letter, four letters a group.
    fn libtrust(&self) -> String {
        use sha2::Digest;
        let bits: Vec<u8> = sha2::Sha256::digest(self.spki())[..30]
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1))
            .collect();
        let number = |five: &[u8]| five.iter().fold(0u8, |number, bit| number * 2 + bit);
        let letters =
            bits.chunks(5).map(number).map(|n| if n < 26 { (b'A' + n) as char } else { (b'2' + n - 26) as char });
        let letters: Vec<char> = letters.collect();
        letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(":")
    }

    /// RFC 7638: the required members in the order of their names.
    fn thumbprint(&self) -> String {
        use sha2::Digest;
        URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(self.jwk.to_string()))
    }

    fn named_jwk(&self, kid: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = json!(kid);
        jwk
    }

    /// A certificate of this key, made by `issuer`, else by itself.
    fn certificate(&self, name: &str, is_ca: bool, issuer: Option<&Issuer<'_, KeyPair>>) -> Certificate {
        let params = params(name, is_ca);
        match issuer {
            Some(issuer) => params.signed_by(&self.pair, issuer).unwrap(),
            None => params.self_signed(&self.pair).unwrap(),
        }
    }

    fn issuer(&self, name: &str) -> Issuer<'static, KeyPair> {
        Issuer::new(params(name, true), KeyPair::from_pem(&self.pair.serialize_pem()).unwrap())
    }
}

fn coordinates(pair: &KeyPair) -> [String; 2] {
    let point = &pair.public_key_raw()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    [x, y].map(|number| URL_SAFE_NO_PAD.encode(number))
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params
}

fn x5c(chain: &[&Certificate]) -> Value {
    chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect()
}

/// What a good token says.
fn payload() -> Value {
    json!({
        "iss": "tokens", "aud": "registry", "sub": "ann", "jti": "x", "exp": NOW + 300, "nbf": NOW, "iat": NOW,
        "access": [{"type": "repository", "class": "", "name": "a/b", "actions": ["pull", "push"]}],
    })
}

fn claims() -> Claims {
    let actions = vec!["pull".to_owned(), "push".to_owned()];
    let resource = super::super::Resource { kind: "repository".to_owned(), name: "a/b".to_owned(), actions };
    Claims { subject: Some("ann".into()), access: vec![resource] }
}

/// `change` made to a good payload.
fn with(change: Value) -> Value {
    let mut payload = payload();
    for (name, value) in change.as_object().unwrap() {
        payload[name] = value.clone();
    }
    payload
}

fn config(bundle: Option<&Path>, jwks: Option<&Path>) -> TokenAuth {
    TokenAuth {
        realm: "https://tokens.example/token".to_owned(),
        service: "registry".to_owned(),
        issuer: "tokens".to_owned(),
        root_certificates: bundle.map(Path::to_owned),
        jwks: jwks.map(Path::to_owned),
        algorithms: crate::config::SigningAlgorithm::ALL.to_vec(),
        redirect_path: None,
    }
}

fn at_noon(mut external: External) -> External {
    external.now = || NOW * 1000;
    external
}

/// Trusts what is in these files.
fn trusting(bundle: Option<String>, jwks: Option<Value>) -> External {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let bundle = bundle.map(|pem| write("bundle", pem));
    let jwks = jwks.map(|keys| write("jwks", json!({ "keys": keys }).to_string()));
    at_noon(External::open(&config(bundle.as_deref(), jwks.as_deref())).unwrap())
}

impl External {
    /// Verifies with the keys that were read first.
    fn verify_now(&self, token: &str) -> Result<Claims, TokenError> {
        self.check(token, &self.files.last_keys())
    }
}
