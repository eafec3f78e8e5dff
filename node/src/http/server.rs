//! Accepting connections: HTTP/1.1 and HTTP/2 on one port, with or without TLS, bounded, drained at a soft stop.
//!
//! A connection is read by hyper only while it has a request: between two, it is put away and costs little more than its
//! socket. `watch` ends the ones that only hold on.

use super::body::Body;
use super::client::{Connection, Peer};
use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX, Limits, Overloaded, Refusal, TARGET_BYTES_MAX};
use super::listener::{Listener, Socket};
use super::metrics::Metrics;
use super::tls::{self, Opened};
use super::watch::{Verdict, Watch};
use super::wire::{Exchange, Sent, Stream, Wire};
use crate::lifecycle::Lifecycle;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

/// Pause after a failed accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections beyond the limit that are told so at the same time; further ones are only closed.
const REFUSED_MAX: usize = 256;
/// Longest wait for a client to read a last answer and to close, so that no reset takes it away.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for the end of a connection without a request: a notice of TLS must find room in the socket.
const FAREWELL_LIMIT: Duration = Duration::from_millis(100);
/// At a soft stop, how long a request that was sent before it may take to be seen.
const DRAIN_GRACE: Duration = Duration::from_millis(20);
/// Longest wait for a request that is refused for want of connections.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);
/// An HTTP/2 connection is asked for a sign of life after this pause.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A listener's settings.
#[derive(Default)]
pub struct Settings {
    /// Counts connections.
    pub metrics: Option<Metrics>,
    /// Bounds.
    pub limits: Limits,
    /// Without HTTP/2; what TLS offers is decided with the certificate.
    pub http1_only: bool,
    /// Of every answer; the handler adds them to its own.
    pub headers: HeaderMap,
    /// With TLS; a Unix socket has none.
    pub tls: Option<tls::Acceptor>,
}

/// As [`serve_with`], without TLS and with the usual limits.
pub async fn serve<H, F>(listener: impl Into<Listener>, lifecycle: Lifecycle, metrics: Option<Metrics>, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    serve_with(listener, lifecycle, Settings { metrics, ..Settings::default() }, handler).await;
}

/// Serves `listener` until the soft stop, when it ends at once; open connections finish as tracked tasks.
pub async fn serve_with<H, F>(listener: impl Into<Listener>, lifecycle: Lifecycle, settings: Settings, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = listener.into();
    let connections = Arc::new(Semaphore::new(settings.limits.connections));
    let refused = Arc::new(Semaphore::new(REFUSED_MAX));
    let draining = lifecycle.draining().clone();
    let server = Arc::new(Server::new(settings, lifecycle.clone(), handler));
    let accept = async {
        loop {
            let (socket, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let server = server.clone();
            if let Ok(permit) = connections.clone().try_acquire_owned() {
                lifecycle.spawn(server.connection(socket, peer, permit));
            } else if let Ok(permit) = refused.clone().try_acquire_owned() {
                lifecycle.spawn(async move {
                    let _ = timeout(REFUSAL_LIMIT, server.refuse(socket)).await;
                    drop(permit);
                });
            }
        }
    };
    draining.run_until_cancelled(accept).await;
}

struct Server<H> {
    settings: Settings,
    lifecycle: Lifecycle,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    handler: H,
    /// Requests whose answers are not sent yet.
    requests: Arc<AtomicUsize>,
}

enum Version {
    Http1,
    Http2,
}

impl<H, F> Server<H>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    fn new(settings: Settings, lifecycle: Lifecycle, handler: H) -> Self {
        let mut http1 = http1::Builder::new();
        // No `pipeline_flush`: it makes hyper copy body pieces into one buffer. No time limit of hyper's: it would set a
        // timer for every request, where `Watch` has one for the connection.
        http1.timer(TokioTimer::new()).header_read_timeout(None);
        // A client may close its side once it has said all, and wait for the answer.
        http1.half_close(true);
        http1.max_headers(HEADERS_MAX).max_header_size(HEAD_BYTES_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .keep_alive_interval(PING_INTERVAL);
        Self { settings, lifecycle, http1, http2, handler, requests: Arc::default() }
    }

    async fn connection(self: Arc<Self>, socket: Socket, peer: Option<SocketAddr>, _permit: OwnedSemaphorePermit) {
        let _open = self.settings.metrics.as_ref().map(Open::new);
        if let Socket::Tcp(stream) = &socket
            && let Err(error) = stream.set_nodelay(true)
        {
            debug!(%error, "the connection is gone already");
            return;
        }
        let local = matches!(socket, Socket::Unix(_));
        let draining = self.lifecycle.draining();
        let opening = Box::pin(self.open(socket));
        let opened = tokio::select! {
            biased;
            opened = opening => opened,
            () = draining.cancelled() => Opened::Nothing,
        };
        let mut wire = match opened {
            Opened::Wire(wire) => wire,
            Opened::PlainHttp(wire) => return last_words(wire, tls::PLAIN_HTTP).await,
            Opened::Nothing => return,
        };
        let end = Connection { peer, local, secure: wire.is_secure() };
        let mut patience = self.settings.limits.head;
        let parked = loop {
            let drained = async {
                draining.cancelled().await;
                // What the client has sent already is read.
                sleep(DRAIN_GRACE).await;
            };
            let first = tokio::select! {
                biased;
                first = timeout(patience, first_bytes(&mut wire)) => first.ok().flatten(),
                () = drained => None,
            };
            let Some(version) = first else { break wire };
            // In boxes, so that they cost nothing between requests.
            wire = match version {
                Version::Http1 => match Box::pin(self.http1(wire, end)).await {
                    Some(parked) => parked,
                    None => return,
                },
                Version::Http2 if self.settings.http1_only => {
                    return last_words(wire, &Refusal::Http2.bytes(false, &self.settings.headers)).await;
                }
                Version::Http2 => return Box::pin(self.http2(wire, end)).await,
            };
            patience = self.settings.limits.idle;
        };
        farewell(parked).await;
    }

    /// Serves requests; gives the connection back when there was none for a while.
    async fn http1(&self, wire: Wire, end: Connection) -> Option<Wire> {
        let pulse = wire.pulse.clone();
        let mut watch = Watch::new(pulse.clone(), self.settings.limits, true);
        let mut connection = self.http1.serve_connection(TokioIo::new(wire), self.service(&pulse, end));
        let mut draining = pin!(self.lifecycle.draining().cancelled());
        // Looked at only once there is a soft stop: this is polled for every piece.
        let mut stopping = pin!(self.lifecycle.stopping().cancelled());
        let mut drains = false;
        let verdict = loop {
            tokio::select! {
                biased; // what was read already is a request: it comes before the end
                result = &mut connection => {
                    if let Err(error) = result {
                        debug!(%error, "connection ended early");
                    }
                    break None;
                }
                verdict = watch.verdict() => break Some(verdict),
                () = &mut draining, if !drains => {
                    drains = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                () = &mut stopping, if drains => return None,
            }
        };
        let parts = connection.into_parts();
        let (mut wire, unread) = (parts.io.into_inner(), parts.read_buf);
        match verdict {
            Some(Verdict::Park) => {
                // An empty one would keep hyper's buffer.
                wire.early = if unread.is_empty() { Bytes::new() } else { unread };
                return Some(wire);
            }
            Some(Verdict::Idle) => debug!("the connection was idle for too long"),
            Some(Verdict::Stalled) => {
                debug!("the client does not take its answer");
                wire.abort();
            }
            Some(Verdict::HeadLate) => {
                let is_head = wire.is_at_head();
                last_words(wire, &Refusal::HeadLate.bytes(is_head, &self.settings.headers)).await;
            }
            None => match refusal(pulse.refused.load(Ordering::Relaxed), &unread) {
                Some(refusal) => {
                    let is_head = wire.is_at_head();
                    last_words(wire, &refusal.bytes(is_head, &self.settings.headers)).await;
                }
                None => linger(wire).await,
            },
        }
        None
    }

    async fn http2(&self, mut wire: Wire, end: Connection) {
        wire.lingers = false;
        let pulse = wire.pulse.clone();
        let mut watch = Watch::new(pulse.clone(), self.settings.limits, false);
        let connection = self.http2.serve_connection(TokioIo::new(wire), self.service(&pulse, end));
        let mut connection = pin!(connection);
        let mut draining = pin!(self.lifecycle.draining().cancelled());
        // Looked at only once there is a soft stop: this is polled for every piece.
        let mut stopping = pin!(self.lifecycle.stopping().cancelled());
        let mut drains = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        debug!(%error, "connection ended early");
                    }
                    return;
                }
                verdict = watch.verdict() => match verdict {
                    Verdict::Park => {}
                    Verdict::Idle | Verdict::HeadLate if !drains => {
                        drains = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    verdict => return debug!(?verdict, "gave up an HTTP/2 connection"),
                },
                () = &mut draining, if !drains => {
                    drains = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut stopping, if drains => return,
            }
        }
    }

    fn service(
        &self,
        pulse: &Arc<super::wire::Pulse>,
        end: Connection,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Sent>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<Sent>, Infallible>> + Send + use<H, F>,
    > + Unpin
    + use<H, F> {
        let (pulse, requests, handler) = (pulse.clone(), self.requests.clone(), self.handler.clone());
        let limit = self.settings.limits.requests;
        service_fn(move |mut request: Request<Incoming>| {
            let (exchange, count) = Exchange::begin(&pulse, &requests);
            request.extensions_mut().insert(end);
            if let Some(address) = end.peer {
                request.extensions_mut().insert(Peer(address));
            }
            if count > limit {
                request.extensions_mut().insert(Overloaded);
            }
            let answer = handler(request);
            async move { Ok(answer.await.map(|body| Sent::new(body, exchange))) }
        })
    }

    /// Says that there are too many connections: after the request, since an answer that comes first confuses clients.
    async fn refuse(&self, socket: Socket) {
        let Opened::Wire(mut wire) = self.open(socket).await else { return };
        let mut head = [0; 1024];
        let mut seen = 0;
        let ends = |head: &[u8]| head.windows(4).any(|four| four == b"\r\n\r\n");
        while seen < head.len() && !ends(&head[..seen]) {
            match wire.read(&mut head[seen..]).await {
                Ok(0) | Err(_) => return,
                Ok(more) => seen += more,
            }
        }
        let bytes = Refusal::Overloaded.bytes(head.starts_with(b"HEAD "), &self.settings.headers);
        last_words(wire, &bytes).await;
    }

    async fn open(&self, socket: Socket) -> Opened {
        match socket {
            Socket::Tcp(stream) => tls::open(stream, self.settings.tls.as_ref()).await,
            Socket::Unix(stream) => Opened::Wire(Wire::new(Stream::Unix(stream))),
        }
    }
}

/// Waits for the first bytes of a request and tells the version; nothing if the client leaves.
async fn first_bytes(wire: &mut Wire) -> Option<Version> {
    let mut bytes = [0; PREFACE.len()];
    let mut seen = 0;
    while seen < bytes.len() {
        match wire.read(&mut bytes[seen..]).await {
            Ok(0) | Err(_) if seen == 0 => return None,
            // hyper meets the end of the connection, too.
            Ok(0) | Err(_) => break,
            Ok(more) => seen += more,
        }
        if !PREFACE.starts_with(&bytes[..seen]) {
            break;
        }
    }
    let version = if bytes == PREFACE { Version::Http2 } else { Version::Http1 };
    let rest = std::mem::take(&mut wire.early);
    wire.early = match rest.is_empty() {
        true => Bytes::copy_from_slice(&bytes[..seen]),
        false => [&bytes[..seen], &rest].concat().into(),
    };
    Some(version)
}

/// Why hyper refused a head that begins with `bytes`.
fn refusal(status: u16, bytes: &[u8]) -> Option<Refusal> {
    match status {
        0 => None,
        414 => Some(Refusal::TargetTooLong),
        431 if bytes.len() > TARGET_BYTES_MAX && !bytes[..TARGET_BYTES_MAX].contains(&b'\n') => {
            Some(Refusal::TargetTooLong)
        }
        431 => Some(Refusal::HeadTooLarge),
        _ => Some(Refusal::Malformed),
    }
}

/// Sends an answer and closes.
async fn last_words(mut wire: Wire, words: &[u8]) {
    match timeout(LINGER_LIMIT, wire.write_all(words)).await {
        Ok(Ok(())) => linger(wire).await,
        _ => wire.abort(),
    }
}

/// Closes such that the client can read what was sent: bytes that nobody reads would make the kernel answer with a reset,
/// which takes unread answers away from the client.
async fn linger(mut wire: Wire) {
    wire.lingers = false;
    let mut rest = Vec::new();
    let read = async {
        if wire.shutdown().await.is_err() || wire.pulse.ended.load(Ordering::Relaxed) {
            return;
        }
        rest.resize(8 << 10, 0);
        while matches!(wire.read(&mut rest).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER_LIMIT, read).await;
}

/// Closes a connection that has no request, with the notice that TLS has for it.
async fn farewell(mut wire: Wire) {
    wire.lingers = false;
    let _ = timeout(FAREWELL_LIMIT, wire.shutdown()).await;
}

/// Counts an open connection.
struct Open(Metrics);

impl Open {
    fn new(metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
