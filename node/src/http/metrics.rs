use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// A request's method; others count as `other`, so that labels stay few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl From<&http::Method> for Method {
    fn from(method: &http::Method) -> Self {
        match *method {
            http::Method::GET => Self::Get,
            http::Method::HEAD => Self::Head,
            http::Method::POST => Self::Post,
            http::Method::PUT => Self::Put,
            http::Method::PATCH => Self::Patch,
            http::Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: Method,
    endpoint: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    method: Method,
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

/// The figures of this room: `flotilla_http_*` and `flotilla_upload_*`. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    seconds: Family<Taken, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    sent: Counter,
    uploaded: Counter,
    uploads: Family<Ended, Counter>,
    pub(super) connections: Gauge,
}

fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0])
}

impl Metrics {
    /// Registers the figures.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            in_flight: Gauge::default(),
            sent: Counter::default(),
            uploaded: Counter::default(),
            uploads: Family::default(),
            connections: Gauge::default(),
        };
        let http = registry.sub_registry_with_prefix("flotilla_http");
        http.register("requests", "Requests answered", metrics.requests.clone());
        http.register("request_duration_seconds", "Time to an answer's header", metrics.seconds.clone());
        http.register("in_flight_requests", "Requests being answered", metrics.in_flight.clone());
        http.register("response_bytes", "Bytes of answers' bodies, as announced", metrics.sent.clone());
        http.register("connections", "Open connections", metrics.connections.clone());
        let upload = registry.sub_registry_with_prefix("flotilla_upload");
        upload.register("bytes", "Bytes of uploads that were recorded or committed", metrics.uploaded.clone());
        upload.register("ended", "Uploads that became blobs, were mounted, or cancelled", metrics.uploads.clone());
        metrics
    }

    /// Counts a request while it is being answered, also if its client leaves.
    pub(super) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub(super) fn answered(
        &self,
        method: &http::Method,
        endpoint: &'static str,
        code: u16,
        took: Duration,
        bytes: u64,
    ) {
        let method = method.into();
        self.requests.get_or_create(&Answered { method, endpoint, code }).inc();
        self.seconds.get_or_create(&Taken { method, endpoint }).observe(took.as_secs_f64());
        self.sent.inc_by(bytes);
    }

    pub(super) fn uploaded(&self, bytes: u64) {
        self.uploaded.inc_by(bytes);
    }

    pub(super) fn upload_ended(&self, result: &'static str) {
        self.uploads.get_or_create(&Ended { result }).inc();
    }
}

pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
