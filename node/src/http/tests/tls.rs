//! TLS on the public address, and clients that speak the wrong language to it.

use super::*;
use crate::config::{HttpTls, TlsVersion};
use crate::http::{
    server::Settings as Listener,
    tls::{self, Acceptor, Reloader},
};
use std::{path::PathBuf, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

pub(super) struct Secure {
    pub(super) cluster: Cluster,
    roots: Arc<rustls::RootCertStore>,
}

/// A certificate and its key, in files.
pub(super) fn config(certificate: PathBuf, key: PathBuf, minimum: TlsVersion) -> HttpTls {
    HttpTls { certificate, key, minimum, http2: true, suites: None, clients: None }
}

async fn secure(minimum: TlsVersion) -> Secure {
    secured(|config| HttpTls { minimum, ..config }).await
}

async fn secured(settings: impl FnOnce(HttpTls) -> HttpTls) -> Secure {
    let dir = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(signed.cert.der().clone()).unwrap();
    let reloader =
        Reloader::open(settings(config(certificate, key, TlsVersion::Tls12)), tls::Metrics::default()).unwrap();
    serving(reloader.acceptor(), roots).await
}

/// A registry behind TLS, for clients that trust `roots`. Addresses in its answers are absolute.
pub(super) async fn serving(acceptor: Acceptor, roots: rustls::RootCertStore) -> Secure {
    let mut cluster = Cluster::of(0).await;
    let shared: Arc<dyn MetadataStore> = cluster.metadata.clone();
    let blobs = Arc::new(cluster.blobs.clone());
    let registry = Registry::new(shared, blobs, cluster.lifecycle.clone(), Settings::default());
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let http = crate::config::from_yaml("{storage: filesystem, http: {relativeurls: false}}", []).unwrap().config.http;
    let setup = Setup::new(registry, cluster.readiness.subscribe(), metrics);
    let front = Front::new(Setup { origins: crate::http::Origins::from(&http), ..setup });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster.nodes.push(listener.local_addr().unwrap());
    let settings = Listener { tls: Some(acceptor), ..Listener::default() };
    let handler = move |request| front.clone().handle(request);
    cluster.lifecycle.spawn(server::serve_with(listener, cluster.lifecycle.clone(), settings, handler));
    Secure { cluster, roots: Arc::new(roots) }
}

impl Secure {
    /// A client that shows no certificate.
    pub(super) async fn connect(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        self.connect_with(config, protocols).await
    }

    pub(super) async fn connect_with(
        &self,
        mut config: rustls::ClientConfig,
        protocols: &[&str],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.cluster.nodes[0]).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
    }
}

pub(super) const GET: &[u8] = b"GET /v2/ HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn both_versions_of_http_are_served_over_tls() {
    let secure = secure(TlsVersion::Tls12).await;
    for versions in [[&rustls::version::TLS12], [&rustls::version::TLS13]] {
        for protocols in [&["http/1.1"][..], &[]] {
            let mut stream = secure.connect(&versions, protocols).await.unwrap();
            stream.write_all(GET).await.unwrap();
            let mut answer = String::new();
            // A close without a notice would be an error.
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{}"), "{answer}");
        }
        let stream = secure.connect(&versions, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
        secure.cluster.lifecycle.spawn(connection);
        let request = Request::get("https://localhost/v2/").body(Full::new(Bytes::new())).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn bytes_go_both_ways_over_tls() {
    let secure = secure(TlsVersion::Tls12).await;
    let bytes = vec![3; 5 << 20];
    let digest = digest_of(&bytes);
    let mut stream = secure.connect(&[&rustls::version::TLS13], &[]).await.unwrap();
    let put = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: r\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(put.as_bytes()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    assert!(answers.starts_with(b"HTTP/1.1 201 ") && answers.ends_with(&bytes), "{} bytes", answers.len());
}

#[tokio::test]
async fn http2_is_not_offered_where_it_is_switched_off() {
    let secure = secured(|config| HttpTls { http2: false, ..config }).await;
    let stream = secure.connect(&[&rustls::version::TLS13], &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn whole_addresses_have_the_scheme_of_the_connection() {
    let secure = secure(TlsVersion::Tls12).await;
    let mut stream = secure.connect(&[&rustls::version::TLS13], &[]).await.unwrap();
    let post = b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: r:5000\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(post).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nlocation: https://r:5000/v2/a/blobs/uploads/"), "{answer}");

    // HTTP/2 has no Host, but says the same.
    let stream = secure.connect(&[&rustls::version::TLS13], &["h2"]).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    secure.cluster.lifecycle.spawn(connection);
    let request = Request::post("https://r:5000/v2/a/blobs/uploads/").body(Full::new(Bytes::new())).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("https://r:5000/v2/a/blobs/uploads/"), "{location}");
}

#[tokio::test]
async fn older_versions_of_tls_than_the_least_are_refused() {
    let secure = secure(TlsVersion::Tls13).await;
    assert!(secure.connect(&[&rustls::version::TLS12], &[]).await.is_err());
    assert!(secure.connect(&[&rustls::version::TLS13], &[]).await.is_ok());
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_told_so() {
    let secure = secure(TlsVersion::Tls12).await;
    for bytes in [GET, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\n"] {
        let mut stream = TcpStream::connect(secure.cluster.nodes[0]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nclient sent an HTTP request to an HTTPS server.\n"), "{answer}");
    }
}
