//! A store that fails in the ways S3 services do: a proxy that now and then loses an answer after its effect, sends a request
//! twice, answers 200 with an error inside, reports only a part of a bulk delete, or has no time.
//!
//! Requests pass unchanged, `Host` too, so that their signatures stay true. Which fault comes when is decided by a seeded
//! generator in the order of arrival. [`operation`] says what a request is, [`fault`] which faults it may meet.

pub mod fault;
pub mod operation;
#[cfg(test)]
mod tests;

use crate::{
    http::{AnyBody, exchange, full},
    ports,
};
use anyhow::{Result, bail};
use bytes::Bytes;
pub use fault::{Fault, Rates};
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use operation::Operation;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

type Body = BoxBody<Bytes, io::Error>;
/// A request as it came, to be sent once or twice.
type Held = Request<Bytes>;

/// A running proxy.
pub struct FaultyS3 {
    /// `host:port` it listens on.
    pub listen: String,
    inner: Arc<Inner>,
    _task: JoinSet<()>,
}

struct Inner {
    store: String,
    state: Mutex<State>,
    /// Requests that are sent again later.
    late: Mutex<JoinSet<()>>,
}

struct State {
    random: StdRng,
    rates: Rates,
    chances: BTreeMap<(Operation, Fault), u32>,
    counters: Counters,
}

/// What passed, by operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests.
    pub requests: BTreeMap<Operation, u64>,
    /// Faults.
    pub faults: BTreeMap<(Operation, Fault), u64>,
}

impl Counters {
    /// All faults.
    pub fn injected(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Faults of one kind.
    pub fn of_fault(&self, fault: Fault) -> u64 {
        self.faults.iter().filter(|((_, kind), _)| *kind == fault).map(|(_, count)| count).sum()
    }

    /// Requests of one operation.
    pub fn of(&self, operation: Operation) -> u64 {
        self.requests.get(&operation).copied().unwrap_or(0)
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (operation, count) in &self.requests {
            write!(f, "{count:>8} {operation:?}")?;
            for ((_, fault), count) in self.faults.iter().filter(|((of, _), _)| of == operation) {
                write!(f, ", {count} {fault:?}")?;
            }
            writeln!(f)?;
        }
        write!(f, "{:>8} faults", self.injected())
    }
}

impl FaultyS3 {
    /// Starts one in front of `store` (`host:port`); it fails in no way until it is told to.
    pub async fn start(store: &str, seed: u64) -> Result<Self> {
        let listen = ports::address();
        let listener = TcpListener::bind(&listen).await?;
        let random = StdRng::seed_from_u64(seed);
        let (rates, chances, counters) = (Rates::none(), BTreeMap::new(), Counters::default());
        let state = Mutex::new(State { random, rates, chances, counters });
        let inner = Arc::new(Inner { store: store.to_owned(), state, late: Mutex::default() });
        let (mut task, shared) = (JoinSet::new(), inner.clone());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let inner = shared.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| forward(inner.clone(), request));
                    // A connection that breaks is what this is for.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { listen, inner, _task: task })
    }

    /// From now on it fails so often.
    pub fn set(&self, rates: Rates) {
        self.inner.lock().rates = rates;
    }

    /// What passed so far.
    pub fn counters(&self) -> Counters {
        self.inner.lock().counters.clone()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, operation: Operation) -> (Option<Fault>, u64) {
        let mut state = self.lock();
        let State { random, rates, chances, counters } = &mut *state;
        *counters.requests.entry(operation).or_default() += 1;
        let fault = rates.draw(operation, random, chances);
        if let Some(fault) = fault {
            *counters.faults.entry((operation, fault)).or_default() += 1;
        }
        (fault, random.random())
    }

    async fn send(&self, request: &Held) -> Result<crate::http::Response> {
        let (head, body) = request.clone().into_parts();
        let body: AnyBody = full(body);
        exchange(&self.store, Request::from_parts(head, body)).await
    }

    /// The same request once more, when nobody expects it any longer.
    fn send_late(self: &Arc<Self>, request: Held, after: Duration) {
        let inner = self.clone();
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        while late.try_join_next().is_some() {}
        late.spawn(async move {
            sleep(after).await;
            // Its answer is nobody's.
            let _ = inner.send(&request).await;
        });
    }
}

/// The whole request, then the whole answer, with a fault between them. An error closes the connection without an answer.
async fn forward(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, body.collect().await?.to_bytes());
    let operation = Operation::of(&request);
    let (fault, dice) = inner.decide(operation);
    match fault {
        None => Ok(pass(inner.send(&request).await?)),
        Some(Fault::Delay) => {
            let answer = inner.send(&request).await?;
            sleep(Duration::from_millis(dice % 2_000)).await;
            Ok(pass(answer))
        }
        Some(Fault::LostRequest) => bail!("lost before its effect"),
        Some(Fault::LostAnswer) => {
            inner.send(&request).await?;
            bail!("lost after its effect")
        }
        Some(Fault::Twice) => {
            inner.send_late(request.clone(), Duration::from_millis(dice % 3_000));
            Ok(pass(inner.send(&request).await?))
        }
        Some(Fault::SlowDown) => Ok(error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some(Fault::ErrorInside) => {
            // Whether it took effect cannot be told from the answer.
            if dice % 2 == 0 {
                inner.send(&request).await?;
            }
            Ok(error(StatusCode::OK, "InternalError"))
        }
        Some(Fault::UploadGone) => {
            inner.send(&request).await?;
            Ok(error(StatusCode::NOT_FOUND, "NoSuchUpload"))
        }
        Some(Fault::PartialDelete) => {
            // Either all took effect and some are reported as failed, or none did and all are.
            let effect = dice % 2 == 0;
            if effect {
                inner.send(&request).await?;
            }
            let text = String::from_utf8_lossy(request.body()).into_owned();
            Ok(xml(StatusCode::OK, fault::partial_delete(&text, effect)))
        }
        Some(Fault::CutBody) => Ok(cut(inner.send(&request).await?)),
    }
}

fn pass(answer: crate::http::Response) -> Response<Body> {
    let mut out = Response::new(whole(answer.body));
    (*out.status_mut(), *out.headers_mut()) = (answer.status, answer.headers);
    // These are of the other connection.
    for name in [header::TRANSFER_ENCODING, header::CONNECTION] {
        out.headers_mut().remove(name);
    }
    out
}

/// Half of the body under the header of the whole one, then the end of the connection.
fn cut(answer: crate::http::Response) -> Response<Body> {
    let length = answer.body.len();
    let half = answer.body.slice(..length / 2);
    let mut out = pass(answer);
    if length == 0 {
        return out;
    }
    out.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let frames = [Ok(Frame::data(half)), Err(io::Error::other("cut"))];
    *out.body_mut() = BodyExt::boxed(StreamBody::new(stream::iter(frames)));
    out
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>injected</Message></Error>"
    );
    xml(status, text)
}

fn xml(status: StatusCode, text: String) -> Response<Body> {
    let mut answer = Response::new(whole(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}
