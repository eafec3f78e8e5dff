use crate::telemetry::{Counts, Tally};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::time::Instant;

/// What the store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names of the trait's methods and of the requests behind them")]
pub enum Operation {
    Put,
    Part,
    Create,
    Complete,
    Abort,
    Read,
    Length,
    Delete,
    List,
    Presign,
}

impl Operation {
    const ALL: [Self; 10] = [
        Self::Put,
        Self::Part,
        Self::Create,
        Self::Complete,
        Self::Abort,
        Self::Read,
        Self::Length,
        Self::Delete,
        Self::List,
        Self::Presign,
    ];

    /// The method of distribution's storage drivers that does the same.
    const fn action(self) -> &'static str {
        match self {
            Self::Put => "PutContent",
            Self::Part | Self::Create | Self::Complete | Self::Abort => "Writer",
            Self::Read => "Reader",
            Self::Length => "Stat",
            Self::Delete => "Delete",
            Self::List => "List",
            Self::Presign => "URLFor",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    NotFound,
    Unavailable,
    Full,
    Refused,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Ok, Self::NotFound, Self::Unavailable, Self::Full, Self::Refused];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Retried {
    operation: Operation,
}

/// The figures of this room, `flotilla_blobstore_*`, and operations once more as distribution names them. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    operations: Arc<Operations>,
    retries: Family<Retried, Counter>,
    pub(super) written: Counter,
    pub(super) read: Counter,
    pub(super) buffered: Gauge<i64>,
    pub(super) spilled: Gauge<i64>,
    pub(super) spills: Counter<u64, AtomicU64>,
}

const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Distribution's buckets, which are among ours.
const ACTION_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A place for each operation and outcome.
#[derive(Debug)]
struct Operations {
    /// The driver's name in distribution.
    driver: &'static str,
    tallies: Vec<Tally>,
}

impl Operations {
    fn new(driver: &'static str) -> Self {
        let places = 0..Operation::ALL.len() * Outcome::ALL.len();
        Self { driver, tallies: places.map(|_| Tally::of_seconds(&SECONDS)).collect() }
    }

    fn record(&self, operation: Operation, outcome: Outcome, seconds: f64) {
        self.tallies[operation as usize * Outcome::ALL.len() + outcome as usize].observe(seconds);
    }

    /// What happened so far.
    fn counts(&self) -> impl Iterator<Item = (Operation, Outcome, Counts)> {
        let places = Operation::ALL.into_iter().flat_map(|operation| Outcome::ALL.map(|outcome| (operation, outcome)));
        let counts =
            places.zip(&self.tallies).map(|((operation, outcome), tally)| (operation, outcome, tally.counts()));
        counts.filter(|(.., counts)| counts.count() > 0)
    }
}

impl Collector for Operations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let name = "flotilla_blobstore_operation_seconds";
        let help = "Time of operations of the blob store, by operation and result";
        let mut seconds = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let mut actions: BTreeMap<&str, Counts> = BTreeMap::new();
        for (operation, outcome, counts) in self.counts() {
            let [operation_label, result] =
                [format!("{operation:?}"), format!("{outcome:?}")].map(|l| l.to_lowercase());
            let labels = [("operation", operation_label), ("result", result)];
            counts.encode(&mut seconds.encode_family(&labels)?)?;
            actions.entry(operation.action()).or_default().add(&counts.within(&ACTION_SECONDS));
        }
        let (name, help) = ("registry_storage_action_seconds", "Time of actions of the storage driver");
        let mut seconds = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (action, counts) in actions {
            let labels = [("action", action), ("driver", self.driver)];
            counts.encode(&mut seconds.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new("filesystem")
    }
}

impl Metrics {
    fn new(driver: &'static str) -> Self {
        let retries = Family::default();
        for operation in Operation::ALL {
            drop(retries.get_or_create(&Retried { operation }));
        }
        Self {
            operations: Arc::new(Operations::new(driver)),
            retries,
            written: Counter::default(),
            read: Counter::default(),
            buffered: Gauge::default(),
            spilled: Gauge::default(),
            spills: Counter::default(),
        }
    }

    /// Figures shown by `registry`; `driver` is what distribution calls the store's driver.
    pub fn register(registry: &mut Registry, driver: &'static str) -> Self {
        let all = Self::new(driver);
        registry.register_collector(Box::new(all.operations.clone()));
        let room = registry.sub_registry_with_prefix("flotilla_blobstore");
        room.register("retries", "Requests to the object store that were sent again", all.retries.clone());
        room.register_with_unit("written", "Bytes of objects written", Unit::Bytes, all.written.clone());
        room.register_with_unit("read", "Bytes of objects read", Unit::Bytes, all.read.clone());
        room.register_with_unit("buffered", "Bytes of upload buffers in memory", Unit::Bytes, all.buffered.clone());
        room.register_with_unit("spilled", "Bytes of upload buffers on disk", Unit::Bytes, all.spilled.clone());
        room.register("spills", "Buffers moved to disk because memory was spent", all.spills.clone());
        all
    }

    /// Runs `work` and records how long it took and how it ended.
    pub(super) async fn time<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, super::Error>>,
    ) -> Result<T, super::Error> {
        let started = Instant::now();
        let result = work.await;
        self.record(operation, started, result.as_ref().err());
        result
    }

    /// Records an operation that began at `started`.
    pub(super) fn record(&self, operation: Operation, started: Instant, error: Option<&super::Error>) {
        let result = match error {
            None => Outcome::Ok,
            Some(super::Error::NotFound { .. }) => Outcome::NotFound,
            Some(super::Error::Unavailable { .. }) => Outcome::Unavailable,
            Some(super::Error::Full { .. }) => Outcome::Full,
            Some(super::Error::Refused { .. }) => Outcome::Refused,
        };
        self.operations.record(operation, result, started.elapsed().as_secs_f64());
    }

    /// Counts one more attempt.
    pub(super) fn retried(&self, operation: Operation) {
        self.retries.get_or_create(&Retried { operation }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exposition::{Format, page};

    #[tokio::test(start_paused = true)]
    async fn an_operation_is_shown_under_both_names() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, "s3aws");
        let began = Instant::now();
        tokio::time::advance(std::time::Duration::from_secs(20)).await;
        metrics.record(Operation::Part, began, None);
        let missing = super::super::Error::NotFound { key: "k".into() };
        metrics.record(Operation::Length, Instant::now(), Some(&missing));
        for operation in Operation::ALL {
            metrics.record(operation, Instant::now(), None);
        }
        let text = page(&registry, Format::Plain).unwrap();
        for line in [
            "flotilla_blobstore_operation_seconds_count{operation=\"part\",result=\"ok\"} 2",
            "flotilla_blobstore_operation_seconds_count{operation=\"length\",result=\"notfound\"} 1",
            "flotilla_blobstore_operation_seconds_bucket{le=\"30.0\",operation=\"part\",result=\"ok\"} 2",
            "registry_storage_action_seconds_bucket{le=\"10.0\",action=\"Writer\",driver=\"s3aws\"} 4",
            "registry_storage_action_seconds_count{action=\"Writer\",driver=\"s3aws\"} 5",
            "registry_storage_action_seconds_count{action=\"Stat\",driver=\"s3aws\"} 2",
            "registry_storage_action_seconds_count{action=\"URLFor\",driver=\"s3aws\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
