//! The registry of metrics and its text form. Each room owns its metrics and registers them here.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::fmt;

/// Linux reports CPU time to programs in units of 1/100 s on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A registry with the figures of the process. Rooms register theirs when they start; then it is only read.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    registry
}

/// Figures of this process from `/proc/self`; what cannot be read is left out.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        use prometheus_client::metrics::MetricType;
        let mut gauge = |name: &str, help: &str, value: Option<u64>| match value {
            Some(value) => {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
            }
            None => Ok(()),
        };
        gauge("process_resident_memory_bytes", "Resident memory", resident_bytes())?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        if let Some(seconds) = cpu_seconds() {
            let counter =
                encoder.encode_descriptor("process_cpu_seconds", "User and system time", None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(counter)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn open_files() -> Option<u64> {
    // One descriptor is that of the reading itself.
    u64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)).ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th fields after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_hold_the_process_and_what_rooms_register() {
        let mut registry = registry();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("flotilla_test_events", "Events", counter.clone());
        counter.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for wanted in [
            "flotilla_test_events_total 1",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_open_fds ",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}
