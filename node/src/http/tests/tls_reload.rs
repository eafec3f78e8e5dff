//! The files of `http.tls` change while clients come and go.

use super::tls::{GET, Secure, config, serving};
use super::*;
use crate::config::TlsVersion;
use crate::http::tls::{Look, Metrics, Reloader};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{os::unix::fs::symlink, path::Path};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server whose certificates chain to one root.
struct Renewed {
    dir: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    reloader: Reloader,
    figures: prometheus_client::registry::Registry,
    secure: Secure,
}

/// A certificate and its key in PEM, and the certificate as clients see it.
struct Pair {
    certificate: String,
    key: String,
    der: Vec<u8>,
}

fn pair(authority: &CertifiedIssuer<'static, KeyPair>) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2049, 1, 1);
    let certificate = parameters.signed_by(&key, authority).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
}

impl Renewed {
    /// Serves the files that `place` puts into a folder.
    async fn with(place: impl Fn(&Path, &Pair)) -> (Self, Pair) {
        let dir = tempfile::tempdir().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let first = pair(&authority);
        place(dir.path(), &first);
        let mut figures = prometheus_client::registry::Registry::default();
        let tls = config(dir.path().join("tls.crt"), dir.path().join("tls.key"), TlsVersion::Tls12);
        let reloader = Reloader::open(tls, Metrics::new(&mut figures)).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let secure = serving(reloader.acceptor(), roots).await;
        (Self { dir, authority, reloader, figures, secure }, first)
    }

    fn next(&self) -> Pair {
        pair(&self.authority)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        self.secure.connect(&[&rustls::version::TLS13], &[]).await.unwrap()
    }

    async fn served(&self) -> Vec<u8> {
        self.connect().await.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    fn figure(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.figures).unwrap();
        text.lines().any(|found| found == line)
    }
}

fn write(dir: &Path, pair: &Pair) {
    std::fs::write(dir.join("tls.crt"), &pair.certificate).unwrap();
    std::fs::write(dir.join("tls.key"), &pair.key).unwrap();
}

#[tokio::test]
async fn a_renamed_pair_is_served_and_open_connections_go_on() {
    let (mut server, first) = Renewed::with(write).await;
    assert!(server.figure("flotilla_http_tls_certificate_expiry_timestamp_seconds 2493072000"));
    assert!(matches!(server.reloader.look().await, Look::Same));
    let mut open = server.connect().await;
    let second = server.next();
    std::fs::write(server.path("new.key"), &second.key).unwrap();
    std::fs::write(server.path("new.crt"), &second.certificate).unwrap();
    // Between the two renames, the files do not fit.
    std::fs::rename(server.path("new.key"), server.path("tls.key")).unwrap();
    assert!(matches!(server.reloader.look().await, Look::Unsettled));
    assert_eq!(server.served().await, first.der);
    std::fs::rename(server.path("new.crt"), server.path("tls.crt")).unwrap();
    assert!(matches!(server.reloader.look().await, Look::Replaced));
    assert_eq!(server.served().await, second.der);
    assert!(matches!(server.reloader.look().await, Look::Same));
    open.write_all(GET).await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(server.figure("flotilla_http_tls_reloads_total{result=\"replaced\"} 1"));
}

/// As the kubelet replaces a mounted secret: files are links into a folder that is itself a link.
#[tokio::test]
async fn a_link_that_points_elsewhere_is_followed() {
    let (mut server, first) = Renewed::with(|dir, pair| {
        std::fs::create_dir(dir.join("..1")).unwrap();
        write(&dir.join("..1"), pair);
        symlink("..1", dir.join("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
        }
    })
    .await;
    assert_eq!(server.served().await, first.der);
    let second = server.next();
    std::fs::create_dir(server.path("..2")).unwrap();
    write(&server.path("..2"), &second);
    symlink("..2", server.path("..new")).unwrap();
    std::fs::rename(server.path("..new"), server.path("..data")).unwrap();
    assert!(matches!(server.reloader.look().await, Look::Replaced));
    assert_eq!(server.served().await, second.der);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_once_and_the_last_pair_goes_on() {
    let (mut server, first) = Renewed::with(write).await;
    let other = server.next();
    let half = &other.certificate[..other.certificate.len() / 2];
    let missing = server.path("tls.crt");
    for (n, spoil) in [
        &(|| std::fs::write(&missing, half).unwrap()) as &dyn Fn(),
        &|| std::fs::write(&missing, &other.certificate).unwrap(), // the key is another's
        &|| std::fs::write(&missing, "").unwrap(),
        &|| std::fs::remove_file(&missing).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        spoil();
        assert!(matches!(server.reloader.look().await, Look::Unsettled));
        assert!(matches!(server.reloader.look().await, Look::Refused(_)));
        assert!(matches!(server.reloader.look().await, Look::Same));
        assert!(server.figure(&format!("flotilla_http_tls_reloads_total{{result=\"refused\"}} {}", n + 1)));
        assert_eq!(server.served().await, first.der);
    }
    // Back to what is served: nothing changed.
    std::fs::write(&missing, &first.certificate).unwrap();
    assert!(matches!(server.reloader.look().await, Look::Same));
    write(server.dir.path(), &other);
    assert!(matches!(server.reloader.look().await, Look::Replaced));
    assert_eq!(server.served().await, other.der);
}

#[tokio::test]
async fn a_change_counts_that_shows_neither_in_time_nor_in_size() {
    let (mut server, _) = Renewed::with(write).await;
    let size = |pair: &Pair| (pair.certificate.len(), pair.key.len());
    let before = std::fs::metadata(server.path("tls.crt")).unwrap();
    let bytes = (before.len() as usize, std::fs::metadata(server.path("tls.key")).unwrap().len() as usize);
    let second = loop {
        let next = server.next();
        if size(&next) == bytes {
            break next;
        }
    };
    write(server.dir.path(), &second);
    let file = std::fs::File::options().write(true).open(server.path("tls.crt")).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    assert!(matches!(server.reloader.look().await, Look::Replaced));
    assert_eq!(server.served().await, second.der);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_served_within_five_seconds() {
    let (server, _) = Renewed::with(write).await;
    let second = server.next();
    let Renewed { dir, reloader, secure, .. } = server;
    let lifecycle = secure.cluster.lifecycle.clone();
    let watched = lifecycle.spawn(reloader.run(lifecycle.clone()));
    write(dir.path(), &second);
    let began = tokio::time::Instant::now();
    loop {
        let stream = secure.connect(&[&rustls::version::TLS12], &[]).await.unwrap();
        if stream.get_ref().1.peer_certificates().unwrap()[0].to_vec() == second.der {
            break;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    lifecycle.drain();
    watched.await.unwrap();
}
