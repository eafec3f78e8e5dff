//! The JSON line of one run.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one run of `loadgen` found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The caller's labels; `compare.sh` sets `row`, `side` and `round`.
    pub labels: BTreeMap<String, String>,
    /// The scenario's name.
    pub scenario: String,
    /// The seed of content and choices.
    pub seed: u64,
    /// Operations in flight at once.
    pub concurrency: usize,
    /// Operations that succeeded.
    pub ops: u64,
    /// Length of the measured time.
    pub seconds: f64,
    /// Operations a second.
    pub ops_per_second: f64,
    /// Content bytes a second, both directions together.
    pub bytes_per_second: f64,
    /// Time per operation.
    pub latency_us: Latency,
    /// CPU time of the watched processes per operation, in microseconds; absent if none was watched.
    pub cpu_us_per_op: Option<f64>,
    /// CPU time of the load generator itself per operation, in microseconds.
    pub client_cpu_us_per_op: f64,
    /// Largest resident set in bytes of each watched process, by pid.
    pub peak_rss_bytes: BTreeMap<u32, u64>,
    /// Failed operations by kind, warm-up included.
    pub errors: BTreeMap<String, u64>,
}

/// Time per operation, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words say it")]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_json() {
        let outcome = Outcome {
            labels: BTreeMap::from([("side".to_owned(), "ours".to_owned())]),
            scenario: "push".to_owned(),
            seed: 1,
            concurrency: 2,
            ops: 3,
            seconds: 0.5,
            ops_per_second: 6.0,
            bytes_per_second: 1e9,
            latency_us: Latency { p50: 1.0, p90: 2.0, p99: 3.0, max: 4.0 },
            cpu_us_per_op: None,
            client_cpu_us_per_op: 9.5,
            peak_rss_bytes: BTreeMap::from([(42, 4096)]),
            errors: BTreeMap::new(),
        };
        let line = serde_json::to_string(&outcome).expect("plain data");
        assert!(!line.contains('\n') && line.contains(r#""peak_rss_bytes":{"42":4096}"#), "{line}");
        let again: Outcome = serde_json::from_str(&line).expect("own format");
        assert_eq!(serde_json::to_string(&again).expect("plain data"), line);
    }
}
