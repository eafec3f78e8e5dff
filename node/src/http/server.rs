//! Accepting connections: HTTP/1.1 and HTTP/2 without TLS on one port, bounded, drained at a soft stop.

use super::body::Body;
use super::metrics::Metrics;
use crate::lifecycle::Lifecycle;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tracing::{debug, warn};

/// Open connections of one listener, at most; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// A connection that sends no request head for this long is closed.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// Pause after a failed accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` until the soft stop, when it ends at once; open connections finish as tracked tasks.
pub async fn serve<H, F>(listener: TcpListener, lifecycle: Lifecycle, metrics: Option<Metrics>, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let draining = lifecycle.draining().clone();
    let builder = Arc::new(builder());
    let accept = async {
        loop {
            let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (builder, handler, metrics) = (builder.clone(), handler.clone(), metrics.clone());
            let stop = lifecycle.clone();
            lifecycle.spawn(async move {
                let _open = metrics.as_ref().map(Open::new);
                connection(stream, &builder, &stop, handler).await;
                drop(permit);
            });
        }
    };
    draining.run_until_cancelled(accept).await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // No `pipeline_flush`: it makes hyper copy body pieces into one buffer, and keeps back the 400 for bytes that are no HTTP
    // (a TLS hello), by which clients learn that this port speaks plain HTTP.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(HEADER_LIMIT);
    builder
}

async fn connection<H, F>(stream: TcpStream, builder: &auto::Builder<TokioExecutor>, lifecycle: &Lifecycle, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "the connection is gone already");
        return;
    }
    let began = Arc::new(AtomicBool::new(false));
    let begun = began.clone();
    let service = service_fn(move |request| {
        begun.store(true, Ordering::Relaxed);
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // hyper's own limit begins once it knows the version, which the first bytes tell; they may never come.
    let silent = async {
        sleep(HEADER_LIMIT).await;
        if began.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = silent => return debug!("the connection sent no request"),
        () = lifecycle.draining().cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = lifecycle.stopping().cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        debug!(error = &*error, "connection ended early");
    }
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
