use super::Kind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    result: &'static str,
}

/// The figures of this room: `flotilla_health_*`.
#[derive(Debug)]
pub(super) struct Metrics {
    failing: Family<Of, Gauge>,
    checks: Family<Ended, Counter>,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Storage => "storage",
            Self::Manual => "manual",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self { failing: Family::default(), checks: Family::default() };
        for kind in Kind::ALL {
            metrics.failing(kind, 0);
            for result in ["ok", "failed"].into_iter().filter(|_| kind != Kind::Manual) {
                drop(metrics.checks.get_or_create(&Ended { kind: kind.label(), result }));
            }
        }
        metrics
    }
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let health = registry.sub_registry_with_prefix("flotilla_health");
        health.register("failing", "Health checks that fail, by kind", metrics.failing.clone());
        health.register("checks", "Health checks made, by kind and result", metrics.checks.clone());
        metrics
    }

    pub(super) fn failing(&self, kind: Kind, count: usize) {
        self.failing.get_or_create(&Of { kind: kind.label() }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn checked(&self, kind: Kind, ok: bool) {
        let result = if ok { "ok" } else { "failed" };
        self.checks.get_or_create(&Ended { kind: kind.label(), result }).inc();
    }
}
