//! What balancers and monitoring ask: `/livez`, `/readyz`, and on the ops address the metrics and `/debug/*`.

use super::{body::Body, headers};
use crate::{
    health::Health,
    lifecycle::Readiness,
    telemetry::exposition::{Format, page},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::error;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Go's profiler has nothing to look at here.
const NO_PROFILES: &str =
    "there are no Go profiles: the server is not written in Go. Metrics and spans show where time goes";

/// The ops address. Cheap to clone.
#[derive(Clone)]
pub struct Ops {
    readiness: watch::Receiver<Readiness>,
    health: Health,
    metrics: Arc<Registry>,
    /// Where they are served, if they are.
    metrics_path: Option<Arc<str>>,
}

impl Ops {
    /// Answers from what the node publishes; metrics at `metrics_path`, if there is one.
    pub fn new(
        readiness: watch::Receiver<Readiness>,
        health: Health,
        metrics: Arc<Registry>,
        metrics_path: Option<&str>,
    ) -> Self {
        Self { readiness, health, metrics, metrics_path: metrics_path.map(Into::into) }
    }

    /// Answers one request.
    pub async fn handle(self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if *request.method() == Method::POST && matches!(path, "/debug/health/down" | "/debug/health/up") {
            self.health.set_out(path == "/debug/health/down");
            return text(StatusCode::OK, "done");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        }
        match path {
            "/debug/health" => self.checks(),
            "/debug/vars" => json(StatusCode::OK, &serde_json::json!({ "registry": { "version": VERSION } })),
            path if path.starts_with("/debug/pprof") => text(StatusCode::NOT_FOUND, NO_PROFILES),
            path if self.metrics_path.as_deref() == Some(path) => self.metrics(&request),
            path => probe(path, &self.readiness, &self.health)
                .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "no such page")),
        }
    }

    fn metrics(&self, request: &Request<Incoming>) -> Response<Body> {
        let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::for_accept(accept);
        match page(&self.metrics, format) {
            Ok(page) => {
                let mut response = full(StatusCode::OK, page.into());
                let kind = HeaderValue::from_static(format.content_type());
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(error) => {
                error!(%error, "cannot encode the metrics");
                text(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics")
            }
        }
    }

    /// registry:2's health page: every check that fails, with what it met.
    fn checks(&self) -> Response<Body> {
        let mut failures = self.health.failures(false);
        if let Readiness::Starting(why) | Readiness::Unready(why) = &*self.readiness.borrow() {
            failures.insert("node".to_owned(), why.clone());
        }
        let status = if failures.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &serde_json::json!(failures))
    }
}

/// `/livez` and `/readyz`, also on the public address; `None` for other paths.
pub(super) fn probe(path: &str, readiness: &watch::Receiver<Readiness>, health: &Health) -> Option<Response<Body>> {
    match path {
        "/livez" => Some(text(StatusCode::OK, "alive")),
        "/readyz" => Some(match &*readiness.borrow() {
            Readiness::Starting(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("starting: {why}")),
            Readiness::Unready(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("unready: {why}")),
            _ if health.is_out() => {
                // Not what is checked: names may be addresses, and this page is public.
                let count = health.failures(true).len();
                text(StatusCode::SERVICE_UNAVAILABLE, &format!("unhealthy: {count} failing; see /debug/health"))
            }
            Readiness::Ready => text(StatusCode::OK, "ready"),
            Readiness::Degraded => text(StatusCode::OK, "degraded: no leader; reads by digest only"),
        }),
        _ => None,
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = full(status, value.to_string().into());
    response.headers_mut().insert(header::CONTENT_TYPE, headers::JSON);
    response
}

fn text(status: StatusCode, line: &str) -> Response<Body> {
    let mut response = full(status, format!("{line}\n").into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn full(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Full(Some(body)));
    *response.status_mut() = status;
    response
}
