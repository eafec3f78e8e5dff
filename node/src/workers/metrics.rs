use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    pub(super) worker: &'static str,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Name {
    pub(super) worker: &'static str,
}

/// Figures of all workers.
#[derive(Clone, Default)]
pub(super) struct Metrics {
    pub(super) passes: Family<Labels, Counter>,
    pub(super) done: Family<Name, Counter>,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("flotilla_workers_passes", "Worker passes by result", metrics.passes.clone());
        registry.register("flotilla_workers_done", "Things that workers changed", metrics.done.clone());
        metrics
    }

    /// Shows a worker's figures before its first pass.
    pub(super) fn expect(&self, worker: &'static str) {
        drop(self.done.get_or_create(&Name { worker }));
        for result in ["ok", "error", "panic"] {
            drop(self.passes.get_or_create(&Labels { worker, result }));
        }
    }
}
