//! HTTP/1.1 over kept-alive connections, as cheap as it gets: benchmarks run it beside the server they measure.
//! Knows nothing of registries. No time limits of its own: callers wrap calls in `tokio::time::timeout`; dropping a call or
//! a body closes its connection.

use crate::{Error, OciError};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

/// Idle connections kept per endpoint.
const IDLE_MAX: usize = 256;
/// How long a connection that has just served an answer may take to be ready for the next request.
const READY_WAIT: Duration = Duration::from_millis(50);
/// Longest wait for a TCP connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

type BoxStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A request body.
pub struct Body(Content);

enum Content {
    Whole(Option<Bytes>),
    Stream { stream: BoxStream, left: Option<u64> },
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Content::Whole(None))
    }

    /// Bytes sent as they come, with `Content-Length` if `length` is known, else in chunked encoding.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, length: Option<u64>) -> Self {
        Self(Content::Stream { stream: Box::pin(stream), left: length })
    }

    /// `bytes` in chunked encoding (no `Content-Length`), in pieces of at most `piece` bytes, as docker's PATCH sends them.
    pub fn chunked(bytes: Bytes, piece: usize) -> Self {
        let piece = piece.max(1);
        let starts = (0..bytes.len()).step_by(piece);
        let pieces = starts.map(move |start| Ok(bytes.slice(start..bytes.len().min(start + piece))));
        Self::stream(futures_util::stream::iter(pieces), None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Content::Whole((!bytes.is_empty()).then_some(bytes)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stream { stream, left } => stream.poll_next_unpin(cx).map(|item| {
                item.map(|piece| {
                    let bytes = piece?;
                    if let Some(left) = left {
                        *left = left.saturating_sub(bytes.len() as u64);
                    }
                    Ok(Frame::data(bytes))
                })
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Stream { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Content::Whole(bytes) => http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Stream { left: Some(left), .. } => http_body::SizeHint::with_exact(*left),
            Content::Stream { left: None, .. } => http_body::SizeHint::default(),
        }
    }
}

/// An answer whose body has been read.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text, if present and printable.
    pub fn text(&self, name: &header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The entries of an OCI error body; empty if the body is none.
    pub fn oci_errors(&self) -> Vec<OciError> {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<OciError>,
        }
        serde_json::from_slice::<Body>(&self.body).map(|body| body.errors).unwrap_or_default()
    }
}

/// An answer whose body is still to be read. Its connection is used again once the body has been read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    lease: Option<(http1::SendRequest<Body>, Arc<Endpoint>)>,
    address: String,
}

impl Reply {
    /// The next piece of the body; `None` at its end. A body cut short is an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_trailers) => continue,
                },
                Some(Err(source)) => {
                    self.lease = None;
                    return Err(Error::Exchange { address: self.address.clone(), source });
                }
                None => {
                    if let Some((sender, endpoint)) = self.lease.take() {
                        endpoint.keep(sender);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Reads the whole body into memory; [`Error::TooLong`] beyond `max` bytes.
    pub async fn read(mut self, max: usize) -> Result<Answer, Error> {
        let mut body = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(bytes) = self.chunk().await? {
            if body.len() + rest.len() + bytes.len() > max {
                return Err(Error::TooLong { max });
            }
            if body.is_empty() {
                body = bytes; // nearly every small answer comes in one piece: no copy
            } else {
                rest.extend_from_slice(&bytes);
            }
        }
        if !rest.is_empty() {
            let mut whole = BytesMut::with_capacity(body.len() + rest.len());
            whole.extend_from_slice(&body);
            whole.extend_from_slice(&rest);
            body = whole.freeze();
        }
        Ok(Answer { status: self.status, headers: std::mem::take(&mut self.headers), body })
    }
}

/// One server and the connections to it.
#[derive(Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    authority: header::HeaderValue,
    idle: Mutex<Vec<http1::SendRequest<Body>>>,
    /// Drives the connections; dropping the endpoint ends them.
    drivers: Mutex<JoinSet<()>>,
}

impl Endpoint {
    /// The server of an `http://` address. Opens nothing yet.
    pub fn new(uri: &Uri) -> Result<Arc<Self>, Error> {
        let bad = |reason| Error::Address { url: uri.to_string(), reason };
        if uri.scheme_str() != Some("http") {
            return Err(bad("only http:// is supported"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        let header = header::HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the host is not printable"))?;
        Ok(Arc::new(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: header,
            idle: Mutex::default(),
            drivers: Mutex::default(),
        }))
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// How many connections are open.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        let mut drivers = lock(&self.drivers);
        while drivers.try_join_next().is_some() {}
        drivers.len()
    }

    /// Sends `request` (its URI in origin form) and returns once the answer's headers are there. A request that a stale
    /// connection never sent goes out again on a fresh one; any other failure is the caller's to judge.
    pub async fn send(self: &Arc<Self>, mut request: Request<Body>) -> Result<Reply, Error> {
        request.headers_mut().insert(header::HOST, self.authority.clone());
        loop {
            let (mut sender, fresh) = match self.take().await {
                Some(sender) => (sender, false),
                None => (self.connect().await?, true),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let lease = Some((sender, self.clone()));
                    return Ok(Reply {
                        status: head.status,
                        headers: head.headers,
                        body,
                        lease,
                        address: self.address(),
                    });
                }
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(Error::Exchange { address: self.address(), source: failure.into_error() }),
                },
            }
        }
    }

    /// An idle connection that is ready for a request.
    async fn take(&self) -> Option<http1::SendRequest<Body>> {
        loop {
            let mut sender = lock(&self.idle).pop()?;
            if sender.is_ready() {
                return Some(sender);
            }
            if !sender.is_closed() && matches!(timeout(READY_WAIT, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: http1::SendRequest<Body>) {
        let mut idle = lock(&self.idle);
        if !sender.is_closed() && idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }

    async fn connect(&self) -> Result<http1::SendRequest<Body>, Error> {
        let failed = |source| Error::Connect { address: self.address(), source };
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = timeout(CONNECT_WAIT, connecting).await.map_err(|late| failed(late.into()))?.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Exchange { address: self.address(), source })?;
        let mut drivers = lock(&self.drivers);
        while drivers.try_join_next().is_some() {}
        drivers.spawn(async move {
            // A failure reaches the caller through its own request.
            let _ended = connection.await;
        });
        Ok(sender)
    }
}

/// Locks; the guarded values stay sound if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
