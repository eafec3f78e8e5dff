//! Requests by endpoint, method and status, counted once. Counting looks nothing up and allocates once per endpoint and
//! method: the table has a place for each.

use super::Answered;
use crate::telemetry::Tally;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, gauge::ConstGauge},
};
use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

/// Every endpoint's label; the last one is for what is none.
pub(super) const ENDPOINTS: [&str; 13] = [
    "root",
    "probe",
    "base",
    "catalog",
    "discover",
    "tags",
    "referrers",
    "manifest",
    "blob",
    "uploads",
    "upload",
    "token",
    "none",
];
/// Methods' labels; the last one is for all others, so that labels stay few.
pub(super) const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "other"];

/// Bounds of times; distribution's are among them.
const SECONDS: [f64; 18] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 30.0, 60.0, 120.0];
/// Bounds of sizes: 1 KiB to 2 GiB, as distribution has them.
const BYTES: [f64; 22] = {
    let mut bounds = [1024.0; 22];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
};
/// Statuses from 100 to 599.
const CODES: usize = 500;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    cells: [[OnceLock<Box<Cell>>; METHODS.len()]; ENDPOINTS.len()],
    in_flight: [AtomicI64; ENDPOINTS.len()],
}

/// The requests of one endpoint and method.
#[derive(Debug)]
pub(super) struct Cell {
    codes: [AtomicU64; CODES],
    pub(super) seconds: Tally,
    pub(super) received: Tally,
    pub(super) sent: Tally,
}

impl Cell {
    fn new() -> Self {
        Self {
            codes: [const { AtomicU64::new(0) }; CODES],
            seconds: Tally::of_seconds(&SECONDS),
            received: Tally::of_bytes(&BYTES),
            sent: Tally::of_bytes(&BYTES),
        }
    }

    /// Statuses that were answered, and how often.
    pub(super) fn codes(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = self.codes.iter().map(|count| count.load(Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0).map(|(at, count)| ((at + 100).to_string(), count))
    }
}

/// The place of an endpoint.
pub(super) fn endpoint(label: &'static str) -> usize {
    ENDPOINTS.iter().position(|known| *known == label).unwrap_or(ENDPOINTS.len() - 1)
}

fn method(method: &http::Method) -> usize {
    match *method {
        http::Method::GET => 0,
        http::Method::HEAD => 1,
        http::Method::POST => 2,
        http::Method::PUT => 3,
        http::Method::PATCH => 4,
        http::Method::DELETE => 5,
        _ => METHODS.len() - 1,
    }
}

impl Requests {
    pub(super) fn enter(&self, endpoint: usize) {
        self.in_flight[endpoint].fetch_add(1, Relaxed);
    }

    pub(super) fn leave(&self, endpoint: usize) {
        self.in_flight[endpoint].fetch_sub(1, Relaxed);
    }

    pub(super) fn record(&self, request: &Answered<'_>) {
        let cell = &self.cells[endpoint(request.endpoint)][method(request.method)];
        let cell = cell.get_or_init(|| Box::new(Cell::new()));
        if let Some(count) = cell.codes.get(usize::from(request.code).wrapping_sub(100)) {
            count.fetch_add(1, Relaxed);
        }
        cell.seconds.observe(request.took.as_secs_f64());
        cell.received.observe(request.received as f64);
        cell.sent.observe(request.sent as f64);
    }

    /// What was asked for so far: endpoint, method and counts.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&'static str, &'static str, &Cell)> {
        let rows = ENDPOINTS.into_iter().zip(&self.cells);
        rows.flat_map(|(endpoint, row)| {
            METHODS.into_iter().zip(row).filter_map(move |(method, cell)| Some((endpoint, method, &**cell.get()?)))
        })
    }

    /// Requests that are being answered, by endpoint.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (&'static str, i64)> {
        ENDPOINTS.into_iter().zip(self.in_flight.iter().map(|count| count.load(Relaxed)))
    }
}

/// Our own names.
impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut requests =
            encoder.encode_descriptor("flotilla_http_requests", "Requests answered", None, MetricType::Counter)?;
        for (endpoint, method, cell) in self.cells() {
            for (code, count) in cell.codes() {
                let labels = [("method", method), ("endpoint", endpoint), ("code", code.as_str())];
                requests.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let (name, help) = ("flotilla_http_request_duration_seconds", "Time to an answer's header");
        let mut seconds = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (endpoint, method, cell) in self.cells() {
            let labels = [("method", method), ("endpoint", endpoint)];
            cell.seconds.counts().encode(&mut seconds.encode_family(&labels)?)?;
        }
        let (name, help) = ("flotilla_http_in_flight_requests", "Requests being answered");
        let sum = self.in_flight().map(|(_, count)| count).sum::<i64>();
        ConstGauge::new(sum).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}
