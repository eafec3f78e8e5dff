use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{future::Future, sync::atomic::AtomicU64};
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
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Ok,
    NotFound,
    Unavailable,
    Full,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    operation: Operation,
    result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Retried {
    operation: Operation,
}

/// The figures of this room, `flotilla_blobstore_*`. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    operations: Family<Labels, Histogram, fn() -> Histogram>,
    retries: Family<Retried, Counter>,
    pub(super) written: Counter,
    pub(super) read: Counter,
    pub(super) buffered: Gauge<i64>,
    pub(super) spilled: Gauge<i64>,
    pub(super) spills: Counter<u64, AtomicU64>,
}

fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            operations: Family::new_with_constructor(seconds),
            retries: Family::default(),
            written: Counter::default(),
            read: Counter::default(),
            buffered: Gauge::default(),
            spilled: Gauge::default(),
            spills: Counter::default(),
        }
    }
}

impl Metrics {
    /// Figures shown by `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let room = registry.sub_registry_with_prefix("flotilla_blobstore");
        let help = "Time of operations of the blob store, by operation and result";
        room.register_with_unit("operation", help, Unit::Seconds, all.operations.clone());
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
        let labels = Labels { operation, result };
        self.operations.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    }

    /// Counts one more attempt.
    pub(super) fn retried(&self, operation: Operation) {
        self.retries.get_or_create(&Retried { operation }).inc();
    }
}
