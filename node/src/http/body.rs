//! Bodies of answers and of requests.

use crate::blobstore::ByteStream;
use crate::registry::{self, BodyError};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::timeout;

/// After an early answer, at most this much of the request body is read, so that the client sees the answer.
const DRAIN_BYTES_MAX: usize = 1 << 20;
/// And for at most this long.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// The longest pause inside a body that is collected.
const COLLECT_IDLE: Duration = Duration::from_secs(60);

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
    incoming: Mutex<Incoming>,
    received: AtomicU64,
    /// Its end was read: of a chunked body hyper itself does not tell.
    ended: AtomicBool,
}

impl RequestBody {
    /// Wraps the connection's body.
    pub fn new(incoming: Incoming) -> Self {
        let (received, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Shared { incoming: Mutex::new(incoming), received, ended }))
    }

    /// For the registry.
    pub fn stream(&self) -> registry::Body {
        self.clone().boxed()
    }

    /// The whole body if it has at most `limit` bytes.
    pub async fn collect(&self, limit: usize) -> Result<Bytes, CollectError> {
        let mut stream = self.clone();
        let Some(first) = stream.piece().await? else {
            return Ok(Bytes::new());
        };
        if first.len() > limit {
            return Err(CollectError::TooLarge);
        }
        let Some(second) = stream.piece().await? else {
            return Ok(first);
        };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(bytes) = stream.piece().await? {
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

    /// The next bytes, if they come in time.
    async fn piece(&mut self) -> Result<Option<Bytes>, CollectError> {
        let next = timeout(COLLECT_IDLE, self.next()).await;
        let next = next.map_err(|_| CollectError::Incomplete("the client stopped sending".into()))?;
        next.transpose().map_err(CollectError::Incomplete)
    }

    /// Reads the rest, within limits; whether the connection can carry another request.
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

    /// Whether nothing is left.
    pub fn is_end(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed) || self.0.incoming.lock().expect("no holder panics").is_end_stream()
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut incoming = self.0.incoming.lock().expect("no holder panics");
        loop {
            return match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.0.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        Poll::Ready(Some(Ok(bytes)))
                    }
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
                None => {
                    self.0.ended.store(true, Ordering::Relaxed);
                    Poll::Ready(None)
                }
            };
        }
    }
}

/// Why a body was not collected.
#[derive(Debug)]
pub enum CollectError {
    /// It is longer than allowed.
    TooLarge,
    /// The client went away.
    Incomplete(BodyError),
}
