//! A small client (HTTP/1, or HTTP/2 where asked) that sends exactly what a test says: one connection per request, no retries, no redirects.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest, Sha256};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context as TaskContext, Poll},
    time::Duration,
};
use tokio::net::TcpStream;

/// The media type of the manifests pushed by [`Client::push_image`].
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A body of known or unknown length.
pub type AnyBody = BoxBody<Bytes, Infallible>;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Response {
    /// Status line.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Response {
    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Itself when the status is `expected`.
    pub fn expect(self, expected: u16) -> Result<Self> {
        ensure!(
            self.status == expected,
            "expected {expected}, got {}: {}",
            self.status,
            String::from_utf8_lossy(&self.body[..self.body.len().min(2000)])
        );
        Ok(self)
    }
}

/// Speaks to one or more base addresses (`host:port`), each request to the next one.
pub struct Client {
    bases: Vec<String>,
    next: AtomicUsize,
    /// How long one request may take.
    pub limit: Duration,
}

impl Client {
    /// Sprays requests over `bases`.
    pub fn new<S: Into<String>>(bases: impl IntoIterator<Item = S>) -> Self {
        let bases = bases.into_iter().map(Into::into).collect();
        Self { bases, next: AtomicUsize::new(0), limit: Duration::from_secs(60) }
    }

    /// Sends a request without a body.
    pub async fn send(&self, method: Method, path: &str) -> Result<Response> {
        self.send_body(method, path, &[], empty()).await
    }

    /// Sends a request with headers and a body.
    pub async fn send_body(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: AnyBody,
    ) -> Result<Response> {
        let base = &self.bases[self.next.fetch_add(1, Ordering::Relaxed) % self.bases.len()];
        let mut request = Request::builder().method(&method).uri(path).header(header::HOST, base);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let exchange = exchange(base, request.body(body)?);
        let result = tokio::time::timeout(self.limit, exchange).await;
        let result = result.with_context(|| format!("took longer than {:?}", self.limit)).and_then(|inner| inner);
        result.with_context(|| format!("{method} {base}{path}"))
    }

    /// `GET`, which must answer 200.
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send(Method::GET, path).await?.expect(200)
    }

    /// Opens an upload and gives its location, relative to the server.
    pub async fn open_upload(&self, repository: &str) -> Result<String> {
        let answer = self.send(Method::POST, &format!("/v2/{repository}/blobs/uploads/")).await?.expect(202)?;
        Ok(path_of(answer.header("location")))
    }

    /// Pushes a blob as docker does: POST, one chunked PATCH, PUT.
    pub async fn push_blob(&self, repository: &str, digest: &str, body: AnyBody) -> Result<()> {
        let location = self.open_upload(repository).await?;
        let octets = [("content-type", "application/octet-stream")];
        let answer = self.send_body(Method::PATCH, &location, &octets, body).await?.expect(202)?;
        let location = with_digest(&path_of(answer.header("location")), digest);
        let answer = self.send_body(Method::PUT, &location, &[], empty()).await?.expect(201)?;
        ensure!(answer.header("docker-content-digest") == digest, "the answer names another digest");
        Ok(())
    }

    /// Puts a manifest and gives its digest.
    pub async fn put_manifest(&self, repository: &str, reference: &str, bytes: &[u8]) -> Result<String> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let body = full(Bytes::copy_from_slice(bytes));
        self.send_body(Method::PUT, &path, &[("content-type", OCI_MANIFEST)], body).await?.expect(201)?;
        Ok(digest_of(bytes))
    }

    /// Pushes an image of one tiny config and no layers; `label` makes its digest its own. Gives the manifest's digest.
    pub async fn push_image(&self, repository: &str, tag: &str, label: &str) -> Result<String> {
        let config = format!(r#"{{"label":"{label}"}}"#);
        let digest = digest_of(config.as_bytes());
        self.push_blob(repository, &digest, full(Bytes::from(config.clone()))).await?;
        self.put_manifest(repository, tag, manifest(&digest, config.len() as u64, &[]).as_bytes()).await
    }
}

/// One request on a connection of its own.
pub async fn exchange(base: &str, request: Request<AnyBody>) -> Result<Response> {
    let stream = TcpStream::connect(base).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection);
    let answer = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response { status: head.status, headers: head.headers, body })
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        result = &mut answer => Ok(result?),
        result = &mut connection => {
            result?;
            // The connection closed in an orderly way; the answer lies ready if there is one.
            match tokio::time::timeout(Duration::from_secs(1), answer).await {
                Ok(result) => Ok(result?),
                Err(_) => bail!("the connection closed before an answer"),
            }
        }
    }
}

/// One request on an HTTP/2 connection of its own, without TLS and by prior knowledge; its address must be absolute.
pub async fn exchange_http2(base: &str, request: Request<AnyBody>) -> Result<Response> {
    let stream = TcpStream::connect(base).await?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response { status: head.status, headers: head.headers, body })
    };
    tokio::select! {
        result = answer => result,
        result = connection => {
            result?;
            bail!("the connection closed before an answer")
        }
    }
}

/// No body.
pub fn empty() -> AnyBody {
    full(Bytes::new())
}

/// A body of known length.
pub fn full(bytes: Bytes) -> AnyBody {
    Full::new(bytes).boxed()
}

/// `sha256:…` of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The path and query of a `Location`, which may be absolute.
pub fn path_of(location: &str) -> String {
    match location.split_once("://") {
        Some((_, rest)) => rest[rest.find('/').unwrap_or(rest.len())..].to_owned(),
        None => location.to_owned(),
    }
}

/// An upload's location with `digest` added to its query.
pub fn with_digest(location: &str, digest: &str) -> String {
    format!("{location}{}digest={digest}", if location.contains('?') { '&' } else { '?' })
}

/// An OCI image manifest.
pub fn manifest(config: &str, config_size: u64, layers: &[(String, u64)]) -> String {
    let descriptor = |kind: &str, digest: &str, size: u64| serde_json::json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size});
    let layers: Vec<_> = layers.iter().map(|(digest, size)| descriptor("layer.v1.tar", digest, *size)).collect();
    let config = descriptor("config.v1+json", config, config_size);
    serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}).to_string()
}

/// Bytes that depend on a seed and do not compress well, made as they are sent: nothing large is held.
#[derive(Clone)]
pub struct Noise {
    block: Vec<u8>,
    number: u64,
    left: u64,
}

impl Noise {
    /// `length` bytes.
    pub fn new(seed: u64, length: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut block = Vec::with_capacity(256 * 1024);
        while block.len() < 256 * 1024 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        Self { block, number: 0, left: length }
    }

    /// The digest of all bytes that are left.
    pub fn digest(&self) -> String {
        let mut copy = self.clone();
        let mut hash = Sha256::new();
        while let Some(bytes) = copy.take() {
            hash.update(&bytes);
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }

    /// As a body without a declared length, as docker sends layers.
    pub fn body(self) -> AnyBody {
        BodyExt::boxed(self)
    }

    /// The next block.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        self.block[..8].copy_from_slice(&self.number.to_le_bytes());
        self.number += 1;
        let length = self.left.min(self.block.len() as u64);
        self.left -= length;
        Some(Bytes::copy_from_slice(&self.block[..usize::try_from(length).expect("at most a block")]))
    }
}

impl Body for Noise {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
