use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Looked {
    result: &'static str,
}

/// The figures `flotilla_http_tls_*`. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    reloads: Family<Looked, Counter>,
    expiry: Gauge,
}

impl Metrics {
    /// Registers the figures.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for result in ["replaced", "refused"] {
            drop(metrics.reloads.get_or_create(&Looked { result }));
        }
        let tls = registry.sub_registry_with_prefix("flotilla_http_tls");
        let help = "Changes of the files of TLS that were taken over, or refused because they do not fit";
        tls.register("reloads", help, metrics.reloads.clone());
        let help = "When the first certificate of the chain ends, in Unix seconds";
        tls.register("certificate_expiry_timestamp_seconds", help, metrics.expiry.clone());
        metrics
    }

    pub(super) fn replaced(&self) {
        self.reloads.get_or_create(&Looked { result: "replaced" }).inc();
    }

    pub(super) fn refused(&self) {
        self.reloads.get_or_create(&Looked { result: "refused" }).inc();
    }

    pub(super) fn serves(&self, not_after: Option<u64>) {
        self.expiry.set(not_after.and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or_default());
    }
}
