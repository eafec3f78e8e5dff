//! A store that takes its time: a proxy in front of Garage that holds back the answers to some calls.

use crate::{
    http::{AnyBody, Response as Answer, exchange, full},
    ports,
};
use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};

/// How long each answer is held back, in milliseconds.
#[derive(Clone, Default)]
pub struct Delays {
    part: Arc<AtomicU64>,
    complete: Arc<AtomicU64>,
}

impl Delays {
    /// Of UploadPart.
    pub fn part(&self, delay: Duration) {
        self.part.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Of CompleteMultipartUpload.
    pub fn complete(&self, delay: Duration) {
        self.complete.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn of(&self, method: &Method, query: &str) -> Duration {
        let delay = match *method {
            Method::PUT if query.contains("partNumber=") => &self.part,
            Method::POST if query.contains("uploadId=") => &self.complete,
            _ => return Duration::ZERO,
        };
        Duration::from_millis(delay.load(Ordering::Relaxed))
    }
}

/// A running proxy.
pub struct SlowStore {
    /// `host:port` it listens on.
    pub listen: String,
    /// Its delays; none at first.
    pub delays: Delays,
    _task: JoinSet<()>,
}

impl SlowStore {
    /// Starts one in front of `store` (`host:port`). Requests pass unchanged, `Host` too: their signatures stay true.
    pub async fn start(store: &str) -> Result<Self> {
        let listen = ports::address();
        let listener = TcpListener::bind(&listen).await?;
        let delays = Delays::default();
        let (store, held) = (store.to_owned(), delays.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (store, delays) = (store.clone(), held.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| forward(store.clone(), delays.clone(), request));
                    // A connection that its client breaks off is no news here.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { listen, delays, _task: task })
    }
}

/// The whole request, then the whole answer: parts are small, and times are what is tested.
async fn forward(store: String, delays: Delays, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let delay = delays.of(&head.method, head.uri.query().unwrap_or_default());
    let body: AnyBody = full(body.collect().await?.to_bytes());
    let Answer { status, headers, body } = exchange(&store, Request::from_parts(head, body)).await?;
    tokio::time::sleep(delay).await;
    let mut answer = Response::new(Full::new(body));
    (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
    // These are of the other connection.
    for name in [header::TRANSFER_ENCODING, header::CONNECTION] {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}
