//! The figures of this room: `flotilla_http_*` and `flotilla_upload_*`, and requests once more under distribution's names.

mod distribution;
mod requests;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use requests::Requests;
use std::{sync::Arc, time::Duration};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

/// An answered request.
pub(super) struct Answered<'a> {
    pub(super) method: &'a http::Method,
    pub(super) endpoint: &'static str,
    pub(super) code: u16,
    pub(super) took: Duration,
    /// Bytes of the request's body that arrived.
    pub(super) received: u64,
    /// Bytes of the answer's body, as announced.
    pub(super) sent: u64,
}

/// The figures. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Arc<Requests>,
    sent: Counter,
    uploaded: Counter,
    uploads: Family<Ended, Counter>,
    pub(super) connections: Gauge,
}

impl Metrics {
    /// Registers the figures.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Arc::default(),
            sent: Counter::default(),
            uploaded: Counter::default(),
            uploads: Family::default(),
            connections: Gauge::default(),
        };
        for result in ["committed", "mounted", "cancelled"] {
            drop(metrics.uploads.get_or_create(&Ended { result }));
        }
        registry.register_collector(Box::new(metrics.requests.clone()));
        registry.register_collector(Box::new(distribution::Names(metrics.requests.clone())));
        let http = registry.sub_registry_with_prefix("flotilla_http");
        http.register("response_bytes", "Bytes of answers' bodies, as announced", metrics.sent.clone());
        http.register("connections", "Open connections", metrics.connections.clone());
        let upload = registry.sub_registry_with_prefix("flotilla_upload");
        upload.register("bytes", "Bytes of uploads that were recorded or committed", metrics.uploaded.clone());
        upload.register("ended", "Uploads that became blobs, were mounted, or cancelled", metrics.uploads.clone());
        metrics
    }

    /// Counts a request while it is being answered, also if its client leaves.
    pub(super) fn begin(&self, endpoint: &'static str) -> InFlight {
        let endpoint = requests::endpoint(endpoint);
        self.requests.enter(endpoint);
        InFlight { requests: self.requests.clone(), endpoint }
    }

    pub(super) fn answered(&self, request: &Answered<'_>) {
        self.requests.record(request);
        self.sent.inc_by(request.sent);
    }

    pub(super) fn uploaded(&self, bytes: u64) {
        self.uploaded.inc_by(bytes);
    }

    pub(super) fn upload_ended(&self, result: &'static str) {
        self.uploads.get_or_create(&Ended { result }).inc();
    }
}

pub(super) struct InFlight {
    requests: Arc<Requests>,
    endpoint: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.requests.leave(self.endpoint);
    }
}
