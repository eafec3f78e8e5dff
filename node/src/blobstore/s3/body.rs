use crate::blobstore::budget::{Payload, Segment};
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextMut},
    error::BoxError,
    primitives::{ByteStream, SdkBody},
};
use aws_sigv4::http_request::SignableBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::task::JoinHandle;

/// Spilled bytes read ahead of the socket.
const CHUNK: usize = 256 * 1024;
/// Bytes of memory handed to the connection at once, which may copy them into a buffer of its own.
const STEP: usize = 64 * 1024;

/// A body that can be sent again, without a copy of what is in memory.
pub(super) fn stream(payload: &Payload) -> ByteStream {
    let payload = payload.clone();
    let body =
        move || SdkBody::from_body_1_x(Body { payload: payload.clone(), next: 0, offset: 0, sent: 0, read: None });
    ByteStream::new(SdkBody::retryable(body))
}

struct Body {
    payload: Payload,
    next: usize,
    /// In segment `next`.
    offset: usize,
    sent: usize,
    read: Option<JoinHandle<io::Result<Bytes>>>,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let bytes = match this.payload.segments().get(this.next) {
            None => return Poll::Ready(None),
            Some(Segment::Memory(bytes)) => {
                let step = STEP.min(bytes.len() - this.offset);
                let piece = bytes.slice(this.offset..this.offset + step);
                this.offset += step;
                if this.offset == bytes.len() {
                    (this.next, this.offset) = (this.next + 1, 0);
                }
                piece
            }
            Some(Segment::File { file, length }) => {
                let (offset, step) = (this.offset, CHUNK.min(length - this.offset));
                let read = this.read.get_or_insert_with(|| {
                    let file = file.clone();
                    // Taken here, not on the blocking pool: an idle thread of it would keep what this one gives back.
                    let mut out = vec![0; step];
                    tokio::task::spawn_blocking(move || {
                        file.read_exact_at(&mut out, offset as u64)?;
                        Ok(out.into())
                    })
                });
                let bytes = ready!(Pin::new(read).poll(cx)).unwrap_or_else(|error| Err(io::Error::other(error)));
                this.read = None;
                this.offset += step;
                if this.offset == *length {
                    (this.next, this.offset) = (this.next + 1, 0);
                }
                bytes?
            }
        };
        this.sent += bytes.len();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.payload.segments().len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.payload.len() - self.sent) as u64)
    }
}

/// Signs the digest that was computed while the buffer filled: the store refuses a body that was damaged on its way.
#[derive(Debug)]
pub(super) struct Signed(String);

impl Signed {
    pub(super) fn new(payload: &Payload) -> Self {
        Self(payload.sha256().to_owned())
    }
}

impl Intercept for Signed {
    fn name(&self) -> &'static str {
        "SignedPayload"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(mut signing) = bag.load::<SigV4OperationSigningConfig>().cloned() {
            signing.signing_options.payload_override = Some(SignableBody::Precomputed(self.0.clone()));
            bag.interceptor_state().store_put(signing);
        }
        Ok(())
    }
}
