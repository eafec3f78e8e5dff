//! Operator access: HTTP/1 with JSON over a unix socket in the data directory (mode 0600). Never on a public port.

use super::{body::Body, headers, query::Query};
use crate::{lifecycle::Lifecycle, operator::Refused};
use async_trait::async_trait;
use flotilla_proto::admin::{Collect, Collected, Collection, Undeleted, Verification, Why};
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

    /// How collection does (`GET /gc`).
    async fn collection(&self) -> anyhow::Result<Collection>;

    /// Switches collection (`POST /gc?mode=on|paused|verify&reason=`).
    async fn set_mode(&self, mode: &str, reason: &str) -> anyhow::Result<Collection>;

    /// Everything that holds a digest or a key of the store (`GET /why?what=&repository=`).
    async fn why(&self, repository: Option<&str>, what: &str) -> anyhow::Result<Why>;

    /// Puts back what was deleted (`POST /undelete?repository=&tag=` or `&digest=`).
    async fn undelete(&self, repository: &str, what: Undelete<'_>) -> anyhow::Result<Undeleted>;

    /// Deletes a repository (`DELETE /repository?name=`).
    async fn delete_repository(&self, name: &str) -> anyhow::Result<()>;

    /// Begins a verification (`POST /verify?hash=true`), or says how it does (`GET /verify`).
    async fn verify(&self, start: Option<bool>) -> anyhow::Result<Verification>;
}

/// What is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelete<'a> {
    /// A tag.
    Tag(&'a str),
    /// A manifest, with its tags.
    Manifest(&'a str),
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
    let (status, body) = match asked(operations, request).await {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => (StatusCode::NOT_FOUND, serde_json::json!({ "error": "no such page, or not by this method" })),
        Err(error) => {
            let refused = error.downcast_ref::<Refused>().is_some();
            let status = if refused { StatusCode::CONFLICT } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, serde_json::json!({ "error": format!("{error:#}") }))
        }
    };
    let mut response = Response::new(Body::Full(Some(body.to_string().into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, headers::JSON);
    response
}

/// The answer's body; `None` if there is no such page.
async fn asked(operations: &dyn Operations, request: &Request<Incoming>) -> anyhow::Result<Option<serde_json::Value>> {
    let query = Query::of(request.uri());
    let asks = |name: &str| query.get(name).is_some_and(|value| value == "true");
    let needs = |name: &str| query.get(name).ok_or_else(|| Refused(format!("the query lacks `{name}`")));
    let body = match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => operations.status(asks("hash")).await?,
        (&Method::POST, "/garbage-collect") => {
            let collect = Collect { dry_run: asks("dry_run"), delete_untagged: asks("delete_untagged") };
            serde_json::to_value(operations.collect(collect).await?)?
        }
        (&Method::GET, "/gc") => serde_json::to_value(operations.collection().await?)?,
        (&Method::POST, "/gc") => {
            let reason = query.get("reason").unwrap_or_default();
            serde_json::to_value(operations.set_mode(&needs("mode")?, &reason).await?)?
        }
        (&Method::GET, "/why") => {
            let repository = query.get("repository");
            serde_json::to_value(operations.why(repository.as_deref(), &needs("what")?).await?)?
        }
        (&Method::POST, "/undelete") => {
            let (repository, tag) = (needs("repository")?, query.get("tag"));
            let undeleted = match &tag {
                Some(tag) => operations.undelete(&repository, Undelete::Tag(tag)).await?,
                None => operations.undelete(&repository, Undelete::Manifest(&needs("digest")?)).await?,
            };
            serde_json::to_value(undeleted)?
        }
        (&Method::DELETE, "/repository") => {
            operations.delete_repository(&needs("name")?).await?;
            serde_json::json!({})
        }
        (&Method::POST, "/verify") => serde_json::to_value(operations.verify(Some(asks("hash"))).await?)?,
        (&Method::GET, "/verify") => serde_json::to_value(operations.verify(None).await?)?,
        _ => return Ok(None),
    };
    Ok(Some(body))
}
