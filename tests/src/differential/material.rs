//! Blobs, manifests, passwords, certificates and tokens of the script.

use crate::http::{digest_of, manifest};
use anyhow::Result;
use base64::{Engine, engine::general_purpose};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SigningKey};
use sha2::{Digest, Sha256};
use std::{path::PathBuf, time::SystemTime};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Docker's image manifest.
pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI's image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Some bytes and their digest.
#[derive(Clone)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// `sha256:…`
    pub digest: String,
}

impl Content {
    fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { digest: digest_of(&bytes), bytes }
    }
}

/// All of it.
pub struct Material {
    /// A folder with `htpasswd`, `node.pem`, `node.key` and `tokens.pem`.
    pub files: PathBuf,
    /// What signed `node.pem`.
    pub authority: CertificateDer<'static>,
    /// A blob of 1000 bytes.
    pub layer: Content,
    /// The configuration of an image.
    pub config: Content,
    /// A docker manifest of `config` and `layer`.
    pub image: Content,
    /// The same as an OCI manifest.
    pub oci: Content,
    /// A list of `image`.
    pub list: Content,
    /// An index of `oci`.
    pub index: Content,
    key: KeyPair,
    certificate: String,
}

impl Material {
    /// Makes it in a folder.
    pub fn new(files: PathBuf) -> Result<Self> {
        let layer =
            Content::new((0..1000_u32).map(|n| b'a' + u8::try_from(n % 26).unwrap_or_default()).collect::<Vec<_>>());
        let config = Content::new(r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#);
        let oci = manifest(&config.digest, config.bytes.len() as u64, &[(layer.digest.clone(), 1000)]);
        let image = oci
            .replace(crate::http::OCI_MANIFEST, DOCKER)
            .replace("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
            .replace("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip");
        let (oci, image) = (Content::new(oci), Content::new(image));
        let list = Content::new(index(DOCKER_LIST, DOCKER, &image));
        let index = Content::new(index(INDEX, crate::http::OCI_MANIFEST, &oci));

        std::fs::create_dir_all(&files)?;
        std::fs::write(files.join("htpasswd"), ALICE)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let node_key = KeyPair::generate()?;
        let node = CertificateParams::new(vec!["127.0.0.1".into()])?.signed_by(&node_key, &authority)?;
        std::fs::write(files.join("node.pem"), node.pem())?;
        std::fs::write(files.join("node.key"), node_key.serialize_pem())?;

        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["tokens".into()])?.self_signed(&key)?;
        std::fs::write(files.join("tokens.pem"), certificate.pem())?;
        let certificate = base64(certificate.der());
        let authority = authority.der().clone();
        Ok(Self { files, authority, layer, config, image, oci, list, index, key, certificate })
    }

    /// A configuration with the folder in its place.
    pub fn place(&self, text: &str) -> String {
        text.replace("$files", &self.files.display().to_string())
    }

    /// A token of the issuer `issuer` for `service`, with the certificate of its key.
    pub fn token(&self, claims: &Claims<'_>) -> String {
        let header = serde_json::json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        self.signed(&header, claims)
    }

    /// The same, with the name that libtrust gives the key.
    pub fn token_by_key_id(&self, claims: &Claims<'_>) -> String {
        let header = serde_json::json!({"typ": "JWT", "alg": "ES256", "kid": self.key_id()});
        self.signed(&header, claims)
    }

    /// One without a signature.
    pub fn unsigned(&self, claims: &Claims<'_>) -> String {
        let header = serde_json::json!({"typ": "JWT", "alg": "none"});
        format!("{}.{}.", url64(header.to_string().as_bytes()), url64(claims.json().as_bytes()))
    }

    fn signed(&self, header: &serde_json::Value, claims: &Claims<'_>) -> String {
        let text = format!("{}.{}", url64(header.to_string().as_bytes()), url64(claims.json().as_bytes()));
        let signature = self.key.sign(text.as_bytes()).expect("a key in memory signs");
        format!("{text}.{}", url64(&two_numbers(&signature)))
    }

    /// SHA-256 of the public key, 30 bytes of it in base 32, in groups of four.
    fn key_id(&self) -> String {
        use rcgen::PublicKeyData;
        let hash = Sha256::digest(self.key.subject_public_key_info());
        let bits: String = hash[..30].iter().map(|byte| format!("{byte:08b}")).collect();
        let letters = bits.as_bytes().chunks(5).map(|five| {
            let number = five.iter().fold(0, |number, bit| number * 2 + usize::from(bit - b'0'));
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[number])
        });
        let letters: Vec<char> = letters.collect();
        let groups: Vec<String> = letters.chunks(4).map(|four| four.iter().collect()).collect();
        groups.join(":")
    }
}

/// `alice`, whose password is `wonderland`.
const ALICE: &str = "alice:$2y$05$wqJsy/7h.HiUhekI3dxKzOIXtPDrPyPykQ8X2Tq/BEJnMasX76pI.\n";

/// What a token says.
pub struct Claims<'a> {
    /// Who made it.
    pub issuer: &'a str,
    /// Whom it is for.
    pub audience: &'a str,
    /// When it ends, in seconds from now.
    pub ends: i64,
    /// `repository` and its name, and what may be done; several as `type:name:a,b type:name:c`.
    pub access: &'a str,
}

impl<'a> Claims<'a> {
    /// A good token for some access.
    pub fn to(access: &'a str) -> Self {
        Self { issuer: "issuer", audience: "service", ends: 600, access }
    }

    fn json(&self) -> String {
        let access: Vec<_> = self
            .access
            .split_whitespace()
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                Some(serde_json::json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
            })
            .collect();
        #[expect(clippy::disallowed_methods, reason = "a token ends at a time of the wall clock")]
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
        serde_json::json!({
            "iss": self.issuer, "sub": "alice", "aud": self.audience, "exp": now + self.ends, "nbf": now - 3600,
            "iat": now - 3600, "jti": "1", "access": access,
        })
        .to_string()
    }
}

fn index(kind: &str, child_kind: &str, child: &Content) -> String {
    serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [{
        "mediaType": child_kind, "digest": child.digest, "size": child.bytes.len(),
        "platform": {"architecture": "amd64", "os": "linux"},
    }]})
    .to_string()
}

/// An ECDSA signature as JOSE wants it, from its DER form: two numbers of 32 bytes.
fn two_numbers(der: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let significant = number.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
        numbers.resize(numbers.len() + 32 - significant.len(), 0);
        numbers.extend(significant);
        rest = &rest[2 + length..];
    }
    numbers
}

/// With padding.
pub fn base64(bytes: &[u8]) -> String {
    general_purpose::STANDARD.encode(bytes)
}

fn url64(bytes: &[u8]) -> String {
    general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
