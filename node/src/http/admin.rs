//! Operator access: HTTP/1 with JSON over a unix socket in the data directory (mode 0600). Never on a public port.

use super::{body::Body, headers, query::Query};
use crate::lifecycle::Lifecycle;
use async_trait::async_trait;
use flotilla_proto::admin::{Collect, Collected};
use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::sleep,
};
use tracing::{debug, warn};

/// Open operator connections, at most.
const CONNECTIONS_MAX: usize = 64;

/// What operators may ask; the composition root answers.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// The node's and the cluster's state (`GET /status`); with `hash` (`?hash=true`) a digest of the whole state too.
    async fn status(&self, hash: bool) -> anyhow::Result<serde_json::Value>;

    /// Collects garbage in the whole cluster, and says what went (`POST /garbage-collect?dry_run=true&delete_untagged=true`).
    async fn collect(&self, collect: Collect) -> anyhow::Result<Collected>;
}

/// Binds the socket, for this user only. A socket that a dead process left is replaced; the data directory's lock has made
/// sure that it is dead.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves operators until everything stops.
pub async fn serve(listener: UnixListener, lifecycle: Lifecycle, operations: Arc<dyn Operations>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopping = lifecycle.stopping().clone();
    let accept = async {
        loop {
            let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (operations, draining) = (operations.clone(), lifecycle.draining().clone());
                    lifecycle.spawn(async move {
                        // Ends at a soft stop: operators' connections must not hold it up.
                        draining.run_until_cancelled(connection(stream, operations)).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept an operator's connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    stopping.run_until_cancelled(accept).await;
}

async fn connection(stream: UnixStream, operations: Arc<dyn Operations>) {
    let service = service_fn(|request: Request<Incoming>| {
        let operations = operations.clone();
        async move { Ok::<_, Infallible>(answer(&*operations, &request).await) }
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        debug!(%error, "an operator's connection ended early");
    }
}

async fn answer(operations: &dyn Operations, request: &Request<Incoming>) -> Response<Body> {
    let asks = |name: &str| Query::of(request.uri()).get(name).is_some_and(|value| value == "true");
    let said = |result: anyhow::Result<serde_json::Value>| match result {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "error": format!("{error:#}") })),
    };
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => said(operations.status(asks("hash")).await),
        (_, "/status") => (StatusCode::METHOD_NOT_ALLOWED, serde_json::json!({ "error": "only GET" })),
        (&Method::POST, "/garbage-collect") => {
            let collect = Collect { dry_run: asks("dry_run"), delete_untagged: asks("delete_untagged") };
            said(operations.collect(collect).await.and_then(|collected| Ok(serde_json::to_value(collected)?)))
        }
        (_, "/garbage-collect") => (StatusCode::METHOD_NOT_ALLOWED, serde_json::json!({ "error": "only POST" })),
        _ => (StatusCode::NOT_FOUND, serde_json::json!({ "error": "no such page" })),
    };
    let mut response = Response::new(Body::Full(Some(body.to_string().into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, headers::JSON);
    response
}
