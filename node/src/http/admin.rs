//! Operator access: HTTP/1 with JSON over a unix socket in the data directory (mode 0600); the same questions come from the
//! cluster port, whose side is in `raft`. Never on a public port.

use super::{
    audit::{Audit, Operator, operator_line},
    body::Body,
    headers,
    query::Query,
};
use crate::{lifecycle::Lifecycle, operator::Refused};
use async_trait::async_trait;
use bytes::Bytes;
use flotilla_proto::admin::{Collect, Collected, Collection, Deleted, Undeleted, Verification, Verify, Why};
use http::{Method, Request, Response, StatusCode, Uri, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Handle,
    sync::Semaphore,
    time::sleep,
};
use tracing::{debug, warn};

/// Open operator connections, and questions under way, at most.
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

    /// What of a repository can be put back (`GET /trash?repository=`).
    async fn trash(&self, repository: &str) -> anyhow::Result<Deleted>;

    /// Puts back what was deleted (`POST /undelete?repository=&tag=` or `&digest=`).
    async fn undelete(&self, repository: &str, what: Undelete<'_>) -> anyhow::Result<Undeleted>;

    /// Deletes a repository (`DELETE /repository?name=`).
    async fn delete_repository(&self, name: &str) -> anyhow::Result<()>;

    /// Begins a verification (`POST /verify?hash=true&rate=`), or says how it does (`GET /verify`).
    async fn verify(&self, start: Option<Verify>) -> anyhow::Result<Verification>;
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

/// Answers operators, wherever they ask.
pub struct Operators {
    operations: Arc<dyn Operations>,
    audit: Option<Audit>,
    lifecycle: Lifecycle,
    /// Where questions are answered.
    runtime: Handle,
    places: Arc<Semaphore>,
}

impl Operators {
    /// Answers by these operations, on the runtime that this is called on.
    pub fn new(operations: Arc<dyn Operations>, audit: Option<Audit>, lifecycle: Lifecycle) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { operations, audit, lifecycle, runtime: Handle::current(), places }
    }

    /// Answers a question by a status and JSON, and notes a change in the audit log. Once begun it goes on without the one who
    /// asked, so that no change is without its line; the drain of the node ends it.
    pub async fn answer(self: &Arc<Self>, from: Operator, method: Method, uri: Uri) -> (StatusCode, Bytes) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many operators ask at once");
        };
        let (this, draining) = (self.clone(), self.lifecycle.draining().clone());
        let answer = {
            let _inside = self.runtime.enter();
            self.lifecycle.spawn(async move {
                let answered = draining.run_until_cancelled(answer(&*this.operations, &method, &uri)).await;
                let stops = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the node stops");
                let (status, json) = answered.unwrap_or_else(stops);
                if let Some(audit) = &this.audit
                    && let Some(line) = operator_line(&from, &method, &uri, status)
                {
                    audit.write(line).await;
                }
                drop(place);
                (status, json)
            })
        };
        answer.await.unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer was not found"))
    }
}

/// Serves the socket until everything stops.
pub async fn serve(listener: UnixListener, operators: Arc<Operators>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let lifecycle = operators.lifecycle.clone();
    let stopping = lifecycle.stopping().clone();
    let accept = async {
        loop {
            let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (operators, draining) = (operators.clone(), lifecycle.draining().clone());
                    lifecycle.spawn(async move {
                        // Ends at a soft stop: operators' connections must not hold it up.
                        draining.run_until_cancelled(connection(stream, operators)).await;
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

async fn connection(stream: UnixStream, operators: Arc<Operators>) {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let service = service_fn(|request: Request<Incoming>| {
        let operators = operators.clone();
        async move {
            let (head, _) = request.into_parts();
            let (status, json) = operators.answer(Operator::Socket { uid }, head.method, head.uri).await;
            let mut response = Response::new(Body::Full(Some(json)));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, headers::JSON);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        debug!(%error, "an operator's connection ended early");
    }
}

async fn answer(operations: &dyn Operations, method: &Method, uri: &Uri) -> (StatusCode, Bytes) {
    match asked(operations, method, uri).await {
        Ok(Some(body)) => (StatusCode::OK, body.to_string().into()),
        Ok(None) => refusal(StatusCode::NOT_FOUND, "no such page, or not by this method"),
        Err(error) => {
            let refused = error.downcast_ref::<Refused>().is_some();
            let status = if refused { StatusCode::CONFLICT } else { StatusCode::SERVICE_UNAVAILABLE };
            refusal(status, &format!("{error:#}"))
        }
    }
}

fn refusal(status: StatusCode, why: &str) -> (StatusCode, Bytes) {
    (status, serde_json::json!({ "error": why }).to_string().into())
}

/// The answer's body; `None` if there is no such page.
async fn asked(operations: &dyn Operations, method: &Method, uri: &Uri) -> anyhow::Result<Option<serde_json::Value>> {
    let query = Query::of(uri);
    let asks = |name: &str| query.get(name).is_some_and(|value| value == "true");
    let needs = |name: &str| query.get(name).ok_or_else(|| Refused(format!("the query lacks `{name}`")));
    let body = match (method, uri.path()) {
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
        (&Method::GET, "/trash") => serde_json::to_value(operations.trash(&needs("repository")?).await?)?,
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
        (&Method::POST, "/verify") => {
            let rate = match query.get("rate").map(|rate| rate.parse()) {
                Some(Ok(0) | Err(_)) => anyhow::bail!(Refused("`rate` is bytes a second, at least 1".to_owned())),
                Some(Ok(rate)) => Some(rate),
                None => None,
            };
            serde_json::to_value(operations.verify(Some(Verify { hash: asks("hash"), rate })).await?)?
        }
        (&Method::GET, "/verify") => serde_json::to_value(operations.verify(None).await?)?,
        _ => return Ok(None),
    };
    Ok(Some(body))
}
