//! Bodies of answers and of requests.

use super::limits::PROGRESS_BYTES;
use crate::blobstore::ByteStream;
use crate::registry::{self, BodyError};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// After an early answer, at most this much of the request body is read, so that the client sees the answer.
const DRAIN_BYTES_MAX: usize = 1 << 20;
/// And for at most this long.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// The body of an answer.
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes at hand; `None` once they are sent.
    Full(Option<Bytes>),
    /// Bytes of a blob as they come out of the store.
    Stream {
        /// Where they come from.
        stream: ByteStream,
        /// How many are still to come.
        left: u64,
    },
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream { stream, left } => match ready!(stream.poll_next_unpin(cx)) {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

/// The body of a request: a handler reads it as a stream; what it leaves can be drained afterwards.
#[derive(Clone)]
pub struct RequestBody(Arc<Shared>);

struct Shared {
    reader: Mutex<Reader>,
    received: AtomicU64,
    /// Its end was read: of a chunked body hyper itself does not tell.
    ended: AtomicBool,
    /// It came too slowly and was given up.
    late: AtomicBool,
    /// The client went away before its end.
    broken: AtomicBool,
    /// It broke off or is not well-formed: what follows on the connection cannot be told.
    failed: AtomicBool,
    progress: Duration,
}

struct Reader {
    incoming: Incoming,
    pace: Pace,
}

/// How long the client let us wait since it last sent as much as it must. Time in which nobody reads does not count.
#[derive(Default)]
struct Pace {
    waited: Duration,
    since: Option<Instant>,
    mark: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Bytes came.
    fn resume(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Nothing is there; ready when that has been so for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>, received: u64, limit: Duration) -> Poll<()> {
        let now = Instant::now();
        if received - self.mark >= PROGRESS_BYTES {
            (self.mark, self.waited, self.since) = (received, Duration::ZERO, None);
        }
        let waited = self.waited + (now - *self.since.get_or_insert(now));
        if waited >= limit {
            return Poll::Ready(());
        }
        let deadline = now + (limit - waited);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // A timer that is early is set again when it fires, not at every piece.
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl RequestBody {
    /// Wraps the connection's body. Its client must send 1 KiB in each time of `progress`.
    pub fn new(incoming: Incoming, progress: Duration) -> Self {
        let reader = Mutex::new(Reader { incoming, pace: Pace::default() });
        let (received, [ended, late, broken, failed]) = (AtomicU64::new(0), [false; 4].map(AtomicBool::new));
        Self(Arc::new(Shared { reader, received, ended, late, broken, failed, progress }))
    }

    /// For the registry.
    pub fn stream(&self) -> registry::Body {
        self.clone().boxed()
    }

    /// The whole body if it has at most `limit` bytes.
    pub async fn collect(&self, limit: usize) -> Result<Bytes, CollectError> {
        let whole = timeout(self.0.progress * 2, self.clone().pieces(limit)).await;
        whole.unwrap_or_else(|_| Err(CollectError::Incomplete(self.give_up())))
    }

    async fn pieces(mut self, limit: usize) -> Result<Bytes, CollectError> {
        let Some(first) = self.piece().await? else {
            return Ok(Bytes::new());
        };
        if first.len() > limit {
            return Err(CollectError::TooLarge);
        }
        let Some(second) = self.piece().await? else {
            return Ok(first);
        };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(bytes) = self.piece().await? {
            if all.len() + bytes.len() > limit {
                return Err(CollectError::TooLarge);
            }
            all.extend_from_slice(&bytes);
        }
        if all.len() > limit {
            return Err(CollectError::TooLarge);
        }
        Ok(all.freeze())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, CollectError> {
        self.next().await.transpose().map_err(CollectError::Incomplete)
    }

    fn give_up(&self) -> BodyError {
        self.0.late.store(true, Ordering::Relaxed);
        "the body did not arrive in time".into()
    }

    /// Whether it was given up because it came too slowly.
    pub fn is_late(&self) -> bool {
        self.0.late.load(Ordering::Relaxed)
    }

    /// Whether the client went away before its end.
    pub fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Relaxed)
    }

    /// Reads the rest, however long, if it comes in time; whether the connection can carry another request.
    pub async fn skip(mut self) -> bool {
        while let Some(Ok(_)) = self.next().await {}
        self.is_end()
    }

    /// As [`RequestBody::skip`], within limits.
    pub async fn drain(mut self) -> bool {
        let rest = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = self.next().await {
                bytes += frame.len();
                if bytes > DRAIN_BYTES_MAX {
                    return false;
                }
            }
            self.is_end()
        };
        timeout(DRAIN_LIMIT, rest).await.unwrap_or(false)
    }

    /// Bytes read so far.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Whether nothing is left, and the connection is where a next request may begin.
    pub fn is_end(&self) -> bool {
        if self.0.failed.load(Ordering::Relaxed) {
            return false; // hyper says that a failed body has ended
        }
        self.0.ended.load(Ordering::Relaxed) || self.0.reader.lock().expect("no holder panics").incoming.is_end_stream()
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut reader = self.0.reader.lock().expect("no holder panics");
        let Reader { incoming, pace } = &mut *reader;
        loop {
            let Poll::Ready(next) = Pin::new(&mut *incoming).poll_frame(cx) else {
                ready!(pace.poll_late(cx, self.received(), self.0.progress));
                return Poll::Ready(Some(Err(self.give_up())));
            };
            pace.resume();
            return match next {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.0.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        Poll::Ready(Some(Ok(bytes)))
                    }
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => {
                    self.0.failed.store(true, Ordering::Relaxed);
                    self.0.broken.store(!is_malformed(&error), Ordering::Relaxed);
                    Poll::Ready(Some(Err(error.into())))
                }
                None => {
                    self.0.ended.store(true, Ordering::Relaxed);
                    Poll::Ready(None)
                }
            };
        }
    }
}

/// Whether the bytes that came are wrong; otherwise there are no more.
fn is_malformed(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|error| matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// Why a body was not collected.
#[derive(Debug)]
pub enum CollectError {
    /// It is longer than allowed.
    TooLarge,
    /// The client went away.
    Incomplete(BodyError),
}
