//! The front over real connections: a registry on the in-process metadata store and a blob store.

mod access;
mod access_log;
mod audit;
mod auth;
mod hardening;
mod manifests;
mod ops;
mod outside;
mod promises;
mod properties;
mod pulls;
mod ranges;
mod referrers;
mod sharing;
mod spec_discovery;
mod spec_errors;
mod spec_management;
mod spec_pull;
mod spec_push;
mod tags;
mod tls;
mod tls_files;
mod tls_reload;
mod token;
mod uploads;

use super::audit::Audit;
use super::{AccessLog, Front, Limits, Listener as Listening, Metrics, Setup, body::Body, server};
use crate::auth::Access;
use crate::blobstore::{BlobStore, Hasher, memory::Memory};
use crate::lifecycle::{Lifecycle, Readiness};
use crate::metadata::{Command, MetadataStore, local::LocalStore};
use crate::registry::{Registry, Settings};
use bytes::Bytes;
use flotilla_proto::oci::{Algorithm, Digest};
use flotilla_proto::wire::metadata as wire;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Some nodes over one metadata store and one blob store.
struct Cluster {
    nodes: Vec<SocketAddr>,
    metadata: Arc<LocalStore>,
    blobs: Memory,
    readiness: watch::Sender<Readiness>,
    lifecycle: Lifecycle,
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    fields: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn location(&self) -> String {
        self.field("location").to_owned()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.field("content-type"), "application/json");
        body["errors"][0]["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:?} {}", self.fields, String::from_utf8_lossy(&self.body));
        self
    }
}

impl Cluster {
    async fn of(nodes: usize) -> Self {
        Self::with(nodes, Settings { delete: true, ..Settings::default() }).await
    }

    async fn with(nodes: usize, settings: Settings) -> Self {
        let blobs = Memory::new();
        Self::over(nodes, settings, blobs.clone(), Arc::new(blobs)).await
    }

    async fn accessed(nodes: usize, access: Access) -> Self {
        let (blobs, settings) = (Memory::new(), Settings { delete: true, ..Settings::default() });
        Self::guarded(nodes, settings, blobs.clone(), Arc::new(blobs), access, &[]).await
    }

    /// A node for each log.
    async fn audited(access: Access, audits: &[Audit]) -> Self {
        let (blobs, settings) = (Memory::new(), Settings { delete: true, ..Settings::default() });
        Self::guarded(audits.len(), settings, blobs.clone(), Arc::new(blobs), access, audits).await
    }

    async fn over(nodes: usize, settings: Settings, blobs: Memory, store: Arc<dyn BlobStore>) -> Self {
        Self::guarded(nodes, settings, blobs, store, Access::open(), &[]).await
    }

    async fn guarded(
        nodes: usize,
        settings: Settings,
        blobs: Memory,
        store: Arc<dyn BlobStore>,
        access: Access,
        audits: &[Audit],
    ) -> Self {
        let access = Arc::new(access);
        let metadata = Arc::new(LocalStore::new());
        let created = wire::CreateStore { cluster_id: "c".into(), incarnation: "i".into(), token: "t".into() };
        metadata.apply(Command::CreateStore(created)).unwrap();
        let lifecycle = Lifecycle::new();
        let (readiness, ready) = watch::channel(Readiness::Ready);
        let mut addresses = Vec::new();
        for node in 0..nodes {
            let shared: Arc<dyn MetadataStore> = metadata.clone();
            let registry = Registry::new(shared, store.clone(), lifecycle.clone(), settings.clone());
            let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
            let setup = Setup::new(registry, ready.clone(), metrics.clone());
            let audit = audits.get(node).cloned();
            let front = Front::new(Setup { access: access.clone(), access_log: AccessLog::Structured, audit, ..setup });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let handler = move |request| front.clone().handle(request);
            lifecycle.spawn(server::serve(listener, lifecycle.clone(), Some(metrics), handler));
        }
        Self { nodes: addresses, metadata, blobs, readiness, lifecycle }
    }

    /// Sends a request to the first node.
    async fn send(&self, method: Method, path: &str, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send_to(0, method, path, fields, body).await
    }

    async fn send_to(
        &self,
        node: usize,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let stream = TcpStream::connect(self.nodes[node]).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.lifecycle.spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header(header::HOST, "registry");
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        assert_eq!(head.headers["docker-distribution-api-version"], "registry/2.0");
        assert_eq!(head.headers["x-content-type-options"], "nosniff");
        assert!(head.headers.contains_key("x-request-id"));
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, fields: head.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// Pushes a blob as docker does.
    async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = digest_of(bytes);
        let opened = self.send(Method::POST, &format!("/v2/{name}/blobs/uploads/"), &[], "").await.expect(202);
        let written = self.send(Method::PATCH, &opened.location(), &[], bytes.to_vec()).await.expect(202);
        let path = format!("{}?digest={digest}", written.location());
        self.send(Method::PUT, &path, &[], "").await.expect(201);
        digest
    }

    /// Puts a manifest.
    async fn put(&self, path: &str, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let fields = [&[("content-type", MANIFEST)], fields].concat();
        self.send(Method::PUT, path, &fields, body).await
    }

    /// Pushes an image of one layer.
    async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> (Digest, String) {
        let config = self.push_blob(name, b"{}").await;
        let layer_digest = self.push_blob(name, layer).await;
        let manifest = manifest(&[(config, 2), (layer_digest, layer.len())], "");
        let path = format!("/v2/{name}/manifests/{tag}");
        self.send(Method::PUT, &path, &[("content-type", MANIFEST)], manifest.clone()).await.expect(201);
        (digest_of(manifest.as_bytes()), manifest)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

/// The first blob is the config, the others are layers.
fn manifest(blobs: &[(Digest, usize)], rest: &str) -> String {
    let entry = |(digest, size): &(Digest, usize)| {
        format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size}}}"#)
    };
    let layers: Vec<String> = blobs[1..].iter().map(entry).collect();
    let config = entry(&blobs[0]);
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{}]{rest}}}"#, layers.join(","))
}

#[tokio::test]
async fn the_root_and_the_base_answer() {
    let cluster = Cluster::of(1).await;
    let root = cluster.get("/").await.expect(200);
    assert_eq!((root.field("content-length"), root.body.len()), ("0", 0));
    assert_eq!(&cluster.get("/v2/").await.expect(200).body[..], b"{}");
    let head = cluster.send(Method::HEAD, "/v2/", &[], "").await.expect(200);
    assert_eq!((head.field("content-length"), head.body.len()), ("2", 0));
    cluster.get("/v2").await.expect(200);
    assert_eq!(cluster.send(Method::POST, "/v2/", &[], "x").await.expect(405).code(), "UNSUPPORTED");
    assert_eq!(cluster.get("/nothing").await.expect(404).code(), "UNSUPPORTED");
    assert_eq!(cluster.get("/v2/UPPER/tags/list").await.expect(400).code(), "NAME_INVALID");
}

#[tokio::test]
async fn the_extensions_are_listed() {
    let cluster = Cluster::of(1).await;
    for path in ["/v2/_oci/ext/discover", "/v2/team/app/_oci/ext/discover"] {
        let answer = cluster.get(path).await.expect(200);
        assert_eq!(answer.field("content-type"), "application/json");
        assert_eq!(answer.json()["extensions"][0]["endpoints"], serde_json::json!(["_oci/ext/discover"]));
        cluster.send(Method::PUT, path, &[], "").await.expect(405);
    }
}

#[tokio::test]
async fn probes_follow_readiness() {
    let cluster = Cluster::of(1).await;
    cluster.get("/livez").await.expect(200);
    cluster.get("/readyz").await.expect(200);
    cluster.readiness.send(Readiness::Unready("draining".into())).unwrap();
    cluster.get("/livez").await.expect(200);
    cluster.get("/readyz").await.expect(503);
}

#[tokio::test]
async fn a_soft_stop_ends_idle_connections() {
    let cluster = Cluster::of(1).await;
    cluster.get("/").await;
    cluster.lifecycle.drain();
    assert!(cluster.lifecycle.drained(std::time::Duration::from_secs(10)).await);
    assert!(TcpStream::connect(cluster.nodes[0]).await.is_err());
}

#[test]
fn a_body_knows_its_size() {
    use http_body::Body as _;
    assert_eq!(Body::Full(Some(Bytes::from_static(b"abc"))).size_hint().exact(), Some(3));
    assert!(Body::Empty.is_end_stream());
}
