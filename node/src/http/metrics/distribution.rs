//! The same requests under the names that dashboards for distribution ask for.

use super::requests::{ENDPOINTS, METHODS, Requests};
use crate::telemetry::Counts;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Distribution's buckets of times.
const SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0];

/// Shows requests as `registry_http_*`.
#[derive(Debug)]
pub(super) struct Names(pub(super) Arc<Requests>);

/// What distribution calls an endpoint; those that it does not have keep our label.
fn handler(endpoint: &'static str) -> &'static str {
    match endpoint {
        "uploads" => "blob_upload",
        "upload" => "blob_upload_chunk",
        other => other,
    }
}

fn method(method: &'static str) -> &'static str {
    if method == METHODS[METHODS.len() - 1] { "unknown" } else { method }
}

impl Collector for Names {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let name = "registry_http_in_flight_requests";
        let mut gauge = encoder.encode_descriptor(name, "The in-flight HTTP requests", None, MetricType::Gauge)?;
        for (endpoint, count) in self.0.in_flight() {
            gauge.encode_family(&[("handler", handler(endpoint))])?.encode_gauge(&count)?;
        }
        let name = "registry_http_requests";
        let mut counter = encoder.encode_descriptor(name, "HTTP requests answered", None, MetricType::Counter)?;
        for (endpoint, asked, cell) in self.0.cells() {
            for (code, count) in cell.codes() {
                let labels = [("code", code.as_str()), ("handler", handler(endpoint)), ("method", method(asked))];
                counter.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let name = "registry_http_request_duration_seconds";
        let mut seconds = encoder.encode_descriptor(name, "Time to an answer's header", None, MetricType::Histogram)?;
        for (endpoint, asked, cell) in self.0.cells() {
            let labels = [("handler", handler(endpoint)), ("method", method(asked))];
            cell.seconds.counts().within(&SECONDS).encode(&mut seconds.encode_family(&labels)?)?;
        }

        let mut sizes: BTreeMap<&str, (Counts, Counts)> = BTreeMap::new();
        for (endpoint, _, cell) in self.0.cells() {
            let (received, sent) = sizes.entry(endpoint).or_default();
            received.add(&cell.received.counts());
            sent.add(&cell.sent.counts());
        }
        let shown = || ENDPOINTS.into_iter().filter_map(|endpoint| Some((handler(endpoint), sizes.get(endpoint)?)));
        let name = "registry_http_request_size_bytes";
        let mut bytes = encoder.encode_descriptor(name, "Bytes of requests' bodies", None, MetricType::Histogram)?;
        for (handler, (received, _)) in shown() {
            received.encode(&mut bytes.encode_family(&[("handler", handler)])?)?;
        }
        let name = "registry_http_response_size_bytes";
        let mut bytes = encoder.encode_descriptor(name, "Bytes of answers' bodies", None, MetricType::Histogram)?;
        for (handler, (_, sent)) in shown() {
            sent.encode(&mut bytes.encode_family(&[("handler", handler)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answered, Metrics};
    use crate::telemetry::exposition::{Format, page};
    use http::Method;
    use prometheus_client::registry::Registry;
    use std::time::Duration;

    #[test]
    fn a_request_is_shown_under_both_names() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let options: Method = Method::OPTIONS;
        let request = |method, endpoint, code, ms, received, sent| Answered {
            method,
            endpoint,
            code,
            took: Duration::from_millis(ms),
            received,
            sent,
        };
        metrics.answered(&request(&Method::PATCH, "upload", 202, 7, 1_000_000, 0));
        metrics.answered(&request(&Method::PUT, "upload", 201, 40_000, 0, 0));
        metrics.answered(&request(&Method::GET, "manifest", 200, 1, 0, 700));
        metrics.answered(&request(&Method::GET, "manifest", 404, 1, 0, 90));
        metrics.answered(&request(&options, "something new", 999, 1, 0, 0));
        let _running = metrics.begin("uploads");

        let text = page(&registry, Format::Plain).unwrap();
        for line in [
            "flotilla_http_requests_total{method=\"get\",endpoint=\"manifest\",code=\"404\"} 1",
            "flotilla_http_request_duration_seconds_count{method=\"get\",endpoint=\"manifest\"} 2",
            "flotilla_http_request_duration_seconds_bucket{le=\"30.0\",method=\"put\",endpoint=\"upload\"} 0",
            "flotilla_http_in_flight_requests 1",
            "flotilla_http_response_bytes_total 790",
            "registry_http_requests_total{code=\"202\",handler=\"blob_upload_chunk\",method=\"patch\"} 1",
            "registry_http_requests_total{code=\"200\",handler=\"manifest\",method=\"get\"} 1",
            "registry_http_request_duration_seconds_bucket{le=\"0.005\",handler=\"blob_upload_chunk\",method=\"patch\"} 0",
            "registry_http_request_duration_seconds_bucket{le=\"0.01\",handler=\"blob_upload_chunk\",method=\"patch\"} 1",
            "registry_http_request_duration_seconds_bucket{le=\"25.0\",handler=\"blob_upload_chunk\",method=\"put\"} 0",
            "registry_http_request_duration_seconds_bucket{le=\"60.0\",handler=\"blob_upload_chunk\",method=\"put\"} 1",
            "registry_http_request_duration_seconds_count{handler=\"none\",method=\"unknown\"} 1",
            "registry_http_request_size_bytes_sum{handler=\"blob_upload_chunk\"} 1000000.0",
            "registry_http_request_size_bytes_count{handler=\"blob_upload_chunk\"} 2",
            "registry_http_response_size_bytes_bucket{le=\"1024.0\",handler=\"manifest\"} 2",
            "registry_http_in_flight_requests{handler=\"blob_upload\"} 1",
            "registry_http_in_flight_requests{handler=\"manifest\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("code=\"999\""), "{text}");
    }
}
