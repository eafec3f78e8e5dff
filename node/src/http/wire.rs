//! The bytes of one connection, and what their flow tells: whether the client sends, takes, or only holds on.
//!
//! Nothing here reads a clock: [`super::watch`] looks at the counts from time to time.

use super::body::Body;
use crate::registry::BodyError;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

/// Counts of one connection.
#[derive(Default)]
pub(super) struct Pulse {
    /// Requests that began.
    pub(super) requests: AtomicU32,
    /// Requests whose answers hyper does not have in full yet.
    pub(super) answers: AtomicU32,
    /// Answers whose next bytes wait for the client, not for the store.
    pub(super) held: AtomicU32,
    /// Bytes in.
    pub(super) received: AtomicU64,
    /// Bytes out.
    pub(super) sent: AtomicU64,
    /// The last write did not fit into the socket.
    pub(super) blocked: AtomicBool,
    /// The client has said all that it will say.
    pub(super) ended: AtomicBool,
    /// hyper has bytes of an answer's body that it may not have sent yet.
    pub(super) framed: AtomicBool,
    /// The status with which hyper refused the head of a request.
    pub(super) refused: AtomicU16,
}

/// A connection.
pub(super) struct Wire {
    stream: Stream,
    /// Bytes that were read before hyper was there.
    pub(super) early: Bytes,
    pub(super) pulse: Arc<Pulse>,
    /// hyper must leave the closing to us.
    pub(super) lingers: bool,
    /// The first bytes that came after so many requests: how the next request begins, unless it was pipelined.
    opening: (Option<u32>, [u8; 5]),
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, early: Bytes::new(), pulse: Arc::default(), lingers: true, opening: (None, [0; 5]) }
    }

    /// Closes at once; what was not sent yet is lost.
    pub(super) fn abort(self) {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Unix(_) => return, // there the kernel offers nothing after a close
        };
        // Otherwise the kernel would go on offering it to the client.
        let _ = stream.set_zero_linger();
    }

    /// Whether TLS ends here.
    pub(super) fn is_secure(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Whether the request that hyper refused is a `HEAD`, whose answer has no body.
    pub(super) fn is_at_head(&self) -> bool {
        &self.opening.1 == b"HEAD "
    }

    fn note_opening(&mut self, bytes: &[u8]) {
        let requests = self.pulse.requests.load(Relaxed);
        if self.opening.0 != Some(requests) && !bytes.is_empty() {
            let mut opening = [0; 5];
            let length = bytes.len().min(5);
            opening[..length].copy_from_slice(&bytes[..length]);
            self.opening = (Some(requests), opening);
        }
    }

    fn stream(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(&mut **stream),
            Stream::Unix(stream) => Pin::new(stream),
        }
    }

    /// hyper's own answer to a bad head has no body. It is swallowed here, and a full one is sent in its place. An answer
    /// that shares the buffer with the one before it stays as it is.
    fn swallows(&self, bytes: &[u8]) -> bool {
        if bytes.get(9) != Some(&b'4') || !bytes.starts_with(b"HTTP/1.") {
            return false;
        }
        // What looks like it may be content.
        if !self.lingers || self.pulse.framed.load(Relaxed) || self.pulse.answers.load(Relaxed) != 0 {
            return false;
        }
        let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") else { return false };
        let bare = bytes[line + 2..].starts_with(b"connection: close\r\ncontent-length: 0\r\n");
        if bare {
            let status = std::str::from_utf8(&bytes[9..12]).ok().and_then(|text| text.parse().ok());
            self.pulse.refused.store(status.unwrap_or(400), Relaxed);
        }
        bare
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.pulse.blocked.store(result.is_pending(), Relaxed);
        if let Poll::Ready(Ok(bytes)) = &result {
            add(&self.pulse.sent, *bytes as u64);
        }
        result
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection is read and written by one task.
fn add(count: &AtomicU64, bytes: u64) {
    count.store(count.load(Relaxed).wrapping_add(bytes), Relaxed);
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let length = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..length]);
            self.early.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(self.stream().poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        add(&self.pulse.received, bytes as u64);
        self.note_opening(&buf.filled()[before..]);
        if bytes == 0 && buf.remaining() > 0 {
            self.pulse.ended.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.swallows(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = self.stream().poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = pieces
            && self.swallows(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        let result = self.stream().poll_write_vectored(cx, pieces);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream().poll_flush(cx);
        self.pulse.blocked.store(result.is_pending(), Relaxed);
        if result.is_ready() {
            self.pulse.framed.store(false, Relaxed); // hyper flushes when it has nothing left to write
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lingers {
            true => Poll::Ready(Ok(())),
            false => self.stream().poll_shutdown(cx),
        }
    }
}

/// A request from its head until hyper has all of its answer; counted on its connection and on its listener.
pub(super) struct Exchange {
    pulse: Arc<Pulse>,
    all: Arc<AtomicUsize>,
}

impl Exchange {
    /// Also says how many there are now.
    pub(super) fn begin(pulse: &Arc<Pulse>, all: &Arc<AtomicUsize>) -> (Self, usize) {
        pulse.requests.fetch_add(1, Relaxed);
        pulse.answers.fetch_add(1, Relaxed);
        let count = all.fetch_add(1, Relaxed) + 1;
        (Self { pulse: pulse.clone(), all: all.clone() }, count)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.pulse.answers.fetch_sub(1, Relaxed);
        self.all.fetch_sub(1, Relaxed);
    }
}

/// The body of an answer that says for whom it waits.
pub(super) struct Sent {
    body: Body,
    held: bool,
    exchange: Exchange,
}

impl Sent {
    pub(super) fn new(body: Body, exchange: Exchange) -> Self {
        let mut sent = Self { body, held: false, exchange };
        sent.hold(true);
        sent
    }

    fn hold(&mut self, held: bool) {
        if self.held != held {
            self.held = held;
            match held {
                true => self.exchange.pulse.held.fetch_add(1, Relaxed),
                false => self.exchange.pulse.held.fetch_sub(1, Relaxed),
            };
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.hold(false);
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.hold(frame.is_ready());
        if let Poll::Ready(Some(_)) = &frame {
            self.exchange.pulse.framed.store(true, Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
