//! What balancers and monitoring ask: `/livez`, `/readyz`, and on the ops address `/metrics` and `/debug/health`.

use super::{body::Body, headers};
use crate::lifecycle::Readiness;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::error;

/// The ops address. Cheap to clone.
#[derive(Clone)]
pub struct Ops {
    readiness: watch::Receiver<Readiness>,
    metrics: Arc<Registry>,
}

impl Ops {
    /// Answers from what the node publishes.
    pub fn new(readiness: watch::Receiver<Readiness>, metrics: Arc<Registry>) -> Self {
        Self { readiness, metrics }
    }

    /// Answers one request.
    pub async fn handle(self, request: Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/debug/health" => health(&self.readiness),
            path => probe(path, &self.readiness).unwrap_or_else(|| text(StatusCode::NOT_FOUND, "no such page")),
        }
    }

    fn metrics(&self) -> Response<Body> {
        let mut out = String::with_capacity(16 << 10);
        if let Err(error) = prometheus_client::encoding::text::encode(&mut out, &self.metrics) {
            error!(%error, "cannot encode the metrics");
            return text(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics");
        }
        let mut response = full(StatusCode::OK, out.into());
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

/// `/livez` and `/readyz`, also on the public address; `None` for other paths.
pub(super) fn probe(path: &str, readiness: &watch::Receiver<Readiness>) -> Option<Response<Body>> {
    match path {
        "/livez" => Some(text(StatusCode::OK, "alive")),
        "/readyz" => Some(match &*readiness.borrow() {
            Readiness::Ready => text(StatusCode::OK, "ready"),
            Readiness::Degraded => text(StatusCode::OK, "degraded: no leader; reads by digest only"),
            Readiness::Starting(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("starting: {why}")),
            Readiness::Unready(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("unready: {why}")),
        }),
        _ => None,
    }
}

/// registry:2's health page.
fn health(readiness: &watch::Receiver<Readiness>) -> Response<Body> {
    let readiness = readiness.borrow();
    let (status, body) = match &*readiness {
        Readiness::Ready | Readiness::Degraded => (StatusCode::OK, serde_json::json!({})),
        Readiness::Starting(why) | Readiness::Unready(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "node": why }))
        }
    };
    let mut response = full(status, body.to_string().into());
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
