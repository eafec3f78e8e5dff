//! What the files of `http.tls` may hold, which clients are let in by them, and what is said about mistakes.

use super::tls::{GET, Secure, config, serving};
use super::*;
use crate::config::{ClientCertificates, HttpTls, TlsVersion};
use crate::http::tls::{Metrics, Reloader};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A key that was made for these tests: RSA, in PKCS#8.
const RSA: &str = include_str!("rsa.pem");

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// What is wrong with a pair of files, in words; empty if nothing is.
    fn mistake(&self, certificate: &str, key: &str) -> String {
        let (certificate, key) = (self.write("certificate", certificate), self.write("key", key));
        let opened = Reloader::open(config(certificate, key, TlsVersion::Tls12), Metrics::default());
        opened.map_or_else(|error| format!("{error:#}"), |_| String::new())
    }
}

fn self_signed(key: &KeyPair) -> String {
    CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(key).unwrap().pem()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The content of the octet string at the end of a PKCS#8 key: the key in its older form.
fn older_form(pkcs8: &[u8]) -> &[u8] {
    let at = (0..pkcs8.len()).find(|at| {
        let length = match pkcs8[*at..] {
            [0x04, 0x82, high, low, 0x30, ..] => Some((4, usize::from(high) << 8 | usize::from(low))),
            [0x04, length @ ..=0x7f, 0x30, ..] => Some((2, usize::from(length))),
            _ => None,
        };
        length.is_some_and(|(head, length)| at + head + length <= pkcs8.len() && length > 60)
    });
    let at = at.unwrap();
    &pkcs8[at + if pkcs8[at + 1] == 0x82 { 4 } else { 2 }..]
}

#[test]
fn keys_are_read_in_all_their_forms() {
    let files = Files::new();
    let elliptic = KeyPair::generate().unwrap();
    let sec1 = elliptic.serialize_der();
    let length = usize::from(older_form(&sec1)[1]) + 2;
    let sec1 = pem("EC PRIVATE KEY", &older_form(&sec1)[..length]);
    let rsa = KeyPair::from_pem(RSA).unwrap();
    let pkcs1 = pem("RSA PRIVATE KEY", older_form(&rsa.serialize_der()));
    for (certificate, key) in [
        (self_signed(&elliptic), elliptic.serialize_pem()),
        (self_signed(&elliptic), sec1.clone()),
        (
            self_signed(&elliptic),
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{sec1}"),
        ),
        (self_signed(&rsa), RSA.to_owned()),
        (self_signed(&rsa), pkcs1),
        (self_signed(&rsa), RSA.replace('\n', "\r\n")),
    ] {
        assert_eq!(files.mistake(&certificate, &key), "", "{key}");
    }
    // One file for both, and words around.
    let both = format!("the server\n{}{}", elliptic.serialize_pem(), self_signed(&elliptic));
    assert_eq!(files.mistake(&both, &both), "");
}

#[test]
fn what_is_wrong_with_the_files_is_said_in_words_and_shows_nothing_of_a_key() {
    let files = Files::new();
    let [one, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let (certificate, key) = (self_signed(&one), one.serialize_pem());
    let chain = format!("{}{certificate}", self_signed(&other));
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let encrypted = RSA.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let old_encrypted = format!(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{}",
        key.lines().skip(1).collect::<Vec<_>>().join("\n")
    );
    for (certificate, key, expected) in [
        (certificate.as_str(), other.serialize_pem(), "do not fit"),
        (&chain, key.clone(), "put the server's own first"),
        (&key, certificate.clone(), "exchanged"),
        (&key, key.clone(), "exchanged"),
        (&certificate, certificate.clone(), "exchanged"),
        ("", key.clone(), "no certificate"),
        (&certificate, String::new(), "no key"),
        (&half(&certificate), key.clone(), "its end is missing"),
        (&certificate, half(&key), "its end is missing"),
        (&certificate, encrypted, "passphrase"),
        (&certificate, old_encrypted, "passphrase"),
        (&certificate, key.replace("\nM", "\n!M"), "no valid PEM"),
        (&certificate, pem("PRIVATE KEY", b"nonsense"), "cannot be used"),
    ] {
        let said = files.mistake(certificate, &key);
        assert!(said.contains(expected), "{expected}: {said}");
        for line in key.lines().chain(RSA.lines()).filter(|line| !line.starts_with('-') && line.len() > 10) {
            assert!(!said.contains(line) && !said.contains(&format!("{:?}", line.as_bytes())), "{said}");
        }
    }
    let missing = config("/nowhere/c.pem".into(), "/nowhere/k.pem".into(), TlsVersion::Tls12);
    let said = format!("{:#}", Reloader::open(missing, Metrics::default()).err().unwrap());
    assert!(said.starts_with("/nowhere/c.pem: "), "{said}");
}

/// An authority of clients, and of the server.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// TLS that admits clients of `of`.
    fn server(&self, files: &Files, of: &[&Authority], required: bool) -> HttpTls {
        let (certificate, key) = self.sign("localhost");
        let certificate = files.write("c.pem", &certificate.pem());
        let key = files.write("k.pem", &key.serialize_pem());
        let authorities =
            of.iter().enumerate().map(|(n, authority)| files.write(&format!("ca{n}.pem"), &authority.0.pem()));
        let clients = ClientCertificates { authorities: authorities.collect(), required };
        HttpTls { clients: Some(clients), ..config(certificate, key, TlsVersion::Tls12) }
    }
}

/// What a client learns that shows a certificate, or none.
async fn asked(secure: &Secure, roots: RootCertStore, shown: Option<(rcgen::Certificate, KeyPair)>) -> Option<String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let client = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
    };
    let mut stream = secure.connect_with(client, &[]).await.ok()?;
    stream.write_all(GET).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test]
async fn clients_are_let_in_by_their_certificates() {
    let files = Files::new();
    let [own, friends, strangers] = ["own", "friends", "strangers"].map(Authority::new);
    for required in [true, false] {
        let tls = own.server(&files, &[&own, &friends], required);
        let reloader = Reloader::open(tls, Metrics::default()).unwrap();
        let secure = serving(reloader.acceptor(), own.roots()).await;
        for (shown, admitted) in [
            (None, !required),
            (Some(own.sign("a")), true),
            (Some(friends.sign("b")), true),
            (Some(strangers.sign("c")), false),
        ] {
            let answer = asked(&secure, own.roots(), shown).await;
            let admits = answer.as_ref().is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "));
            assert_eq!(admits, admitted, "required: {required}; {answer:?}");
            assert!(admitted || answer.is_none(), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn authorities_of_clients_are_read_again() {
    let files = Files::new();
    let [own, friends] = ["own", "friends"].map(Authority::new);
    let mut reloader = Reloader::open(own.server(&files, &[&own], true), Metrics::default()).unwrap();
    let secure = serving(reloader.acceptor(), own.roots()).await;
    assert!(asked(&secure, own.roots(), Some(friends.sign("a"))).await.is_none());
    files.write("ca0.pem", &friends.0.pem());
    reloader.look().await;
    assert!(asked(&secure, own.roots(), Some(friends.sign("a"))).await.is_some());
    assert!(asked(&secure, own.roots(), Some(own.sign("a"))).await.is_none());
}

#[tokio::test]
async fn only_the_chosen_suites_are_spoken() {
    let files = Files::new();
    let own = Authority::new("own");
    let chosen =
        |suites: &[u16]| HttpTls { suites: Some(suites.to_vec()), clients: None, ..own.server(&files, &[], false) };
    let spoken = async |tls: HttpTls, version| {
        let reloader = Reloader::open(tls, Metrics::default()).unwrap();
        let secure = serving(reloader.acceptor(), own.roots()).await;
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(own.roots())
            .with_no_client_auth();
        let stream = secure.connect_with(client, &[]).await.ok()?;
        Some(u16::from(stream.get_ref().1.negotiated_cipher_suite().unwrap().suite()))
    };
    for suite in [0xc02b, 0xc02c, 0xcca9] {
        assert_eq!(spoken(chosen(&[suite]), &rustls::version::TLS12).await, Some(suite));
    }
    // Its certificate is for ECDSA.
    assert_eq!(spoken(chosen(&[0xc02f]), &rustls::version::TLS12).await, None);
    assert_eq!(spoken(chosen(&[]), &rustls::version::TLS12).await, None);
    assert!(spoken(chosen(&[]), &rustls::version::TLS13).await.is_some_and(|suite| suite >> 8 == 0x13));
}
