//! The certificate of the public address is replaced under clients that pull.

use anyhow::{Result, ensure};
use bytes::Bytes;
use flotilla_tests::{
    cluster::Cluster,
    http::{AnyBody, OCI_MANIFEST, digest_of, empty, full, manifest},
    wait_for,
};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore},
};

/// What the certificates of a server chain to.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?))
    }

    /// Puts a new pair into the place of the last one, one rename after the other, and gives the certificate.
    fn renew(&self, dir: &Path) -> Result<Vec<u8>> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".into()])?.signed_by(&key, &self.0)?;
        for (name, text) in [("tls.key", key.serialize_pem()), ("tls.crt", certificate.pem())] {
            std::fs::write(dir.join("new"), text)?;
            std::fs::rename(dir.join("new"), dir.join(name))?;
        }
        Ok(certificate.der().to_vec())
    }
}

/// A client that trusts the authority.
#[derive(Clone)]
struct Client {
    address: String,
    connector: TlsConnector,
}

impl Client {
    fn new(address: &str, authority: &Authority) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone())?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address: address.to_owned(), connector: TlsConnector::from(Arc::new(config)) })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        Ok(self.connector.connect("localhost".try_into()?, stream).await?)
    }

    /// The certificate that a new connection sees.
    async fn served(&self) -> Result<Vec<u8>> {
        Ok(self.connect().await?.get_ref().1.peer_certificates().unwrap_or_default()[0].to_vec())
    }

    /// A connection for several requests.
    async fn open(&self, tasks: &mut JoinSet<()>) -> Result<SendRequest<AnyBody>> {
        let (sender, connection) = handshake(TokioIo::new(self.connect().await?)).await?;
        tasks.spawn(async move {
            // The requests tell.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

async fn send(
    sender: &mut SendRequest<AnyBody>,
    method: Method,
    path: &str,
    body: AnyBody,
    expected: u16,
) -> Result<Bytes> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = request.header(header::CONTENT_TYPE, OCI_MANIFEST).body(body)?;
    let answer = sender.send_request(request).await?;
    ensure!(answer.status() == expected, "{path}: {}", answer.status());
    Ok(answer.into_body().collect().await?.to_bytes())
}

/// Pulls until it is told to stop, each time on a new connection or always on one.
async fn pull(
    client: Client,
    fresh: bool,
    wanted: String,
    pulled: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    let mut sender = client.open(&mut tasks).await?;
    while !stop.load(Relaxed) {
        if fresh {
            sender = client.open(&mut tasks).await?;
        }
        let body = send(&mut sender, Method::GET, "/v2/team/app/manifests/v1", empty(), 200).await?;
        ensure!(digest_of(&body) == wanted, "other bytes than were pushed");
        pulled.fetch_add(1, Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_pulls_and_no_request_fails() {
    const CLIENTS: usize = 3;
    const REPLACEMENTS: usize = 5;
    let dir = TempDir::new().unwrap();
    let authority = Authority::new().unwrap();
    let first = authority.renew(dir.path()).unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let section = format!("  tls:\n    certificate: {}\n    key: {}\n", file("tls.crt"), file("tls.key"));
    let mut cluster = Cluster::builder().nodes(1).http_section(&section).start().await.unwrap();
    let client = Client::new(&cluster.nodes[0].http, &authority).unwrap();
    assert_eq!(client.served().await.unwrap(), first);

    let mut tasks = JoinSet::new();
    let mut sender = client.open(&mut tasks).await.unwrap();
    let digest = digest_of(b"{}");
    let upload = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    send(&mut sender, Method::POST, &upload, full(Bytes::from_static(b"{}")), 201).await.unwrap();
    let image = manifest(&digest, 2, &[]);
    let wanted = digest_of(image.as_bytes());
    send(&mut sender, Method::PUT, "/v2/team/app/manifests/v1", full(image.into()), 201).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let mut pulls = JoinSet::new();
    let counts: Vec<Arc<AtomicUsize>> = (0..CLIENTS * 2).map(|_| Arc::default()).collect();
    for (number, pulled) in counts.iter().enumerate() {
        let fresh = number % 2 == 0;
        pulls.spawn(pull(client.clone(), fresh, wanted.clone(), pulled.clone(), stop.clone()));
    }
    let progress = async || {
        let before: Vec<usize> = counts.iter().map(|pulled| pulled.load(Relaxed)).collect();
        wait_for("pulls by each client", Duration::from_secs(30), || async {
            counts.iter().zip(&before).all(|(now, before)| now.load(Relaxed) > before + 2).then_some(())
        })
        .await;
    };
    for _ in 0..REPLACEMENTS {
        progress().await;
        let next = authority.renew(dir.path()).unwrap();
        wait_for("the new certificate", Duration::from_secs(5), || async {
            (client.served().await.unwrap() == next).then_some(())
        })
        .await;
    }
    progress().await;
    stop.store(true, Relaxed);
    while let Some(pulled) = pulls.join_next().await {
        pulled.unwrap().unwrap();
    }
    let total: usize = counts.iter().map(|pulled| pulled.load(Relaxed)).sum();
    println!("{total} pulls by {} clients under {REPLACEMENTS} certificates", CLIENTS * 2);
    // The connection of the push lived through all of them, too.
    send(&mut sender, Method::GET, "/v2/", empty(), 200).await.unwrap();
    let log = cluster.nodes[0].process().log_text();
    assert_eq!(log.matches("serving the changed certificate").count(), REPLACEMENTS, "{log}");
    assert!(!log.contains("cannot use the changed files"), "{log}");
}
