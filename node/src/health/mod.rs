//! Health checks that an operator asks for: files, HTTP and TCP services, the blob store.
//!
//! A file, HTTP or TCP check that fails takes the node out, as in registry:2: the operator wrote it for that. The check of
//! the blob store is only shown: without the store, manifests and tags are still answered right, and every node would go at
//! once. This room decides nothing by itself: `http` asks it. Read `watch` next.

mod http;
mod metrics;
mod probe;
#[cfg(test)]
mod tests;
mod watch;

use crate::{
    blobstore::BlobStore,
    config::{self, Pace},
    lifecycle::Lifecycle,
};
use metrics::Metrics;
use probe::Probe;
use prometheus_client::registry::Registry;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tracing::{info, warn};
use watch::Watch;

/// What an operator on the ops address set by hand.
const MANUAL: &str = "manual_http_status";

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Http,
    Tcp,
    Storage,
    Manual,
}

impl Kind {
    const ALL: [Self; 5] = [Self::File, Self::Http, Self::Tcp, Self::Storage, Self::Manual];

    /// Whether requests are refused while such a check fails.
    fn takes_out(self) -> bool {
        self != Self::Storage
    }
}

#[derive(Clone, Debug)]
struct Failure {
    kind: Kind,
    message: String,
}

/// Checks that can be made.
pub struct Checks(Vec<(String, Probe, Pace)>);

impl Checks {
    /// Those of a configuration whose storage driver is `driver`.
    ///
    /// # Errors
    /// If one makes no sense.
    pub fn new(config: &config::Health, driver: &str, blobs: &Arc<dyn BlobStore>) -> anyhow::Result<Self> {
        let storage = |pace| (format!("storagedriver_{driver}"), Probe::Storage(blobs.clone()), pace);
        let mut checks: Vec<_> = config.storage.map(storage).into_iter().collect();
        for check in &config.checks {
            checks.push((check.name.clone(), Probe::new(check)?, check.pace));
        }
        Ok(Self(checks))
    }
}

/// What the checks found. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    failures: Mutex<BTreeMap<String, Failure>>,
    /// Failing checks that take the node out; asked for every request.
    out: AtomicUsize,
    metrics: Metrics,
}

impl Health {
    /// All is well so far.
    pub fn new(registry: &mut Registry) -> Self {
        Self(Arc::new(Inner { metrics: Metrics::register(registry), ..Inner::default() }))
    }

    /// Runs the checks until the soft stop, each as a task of its own.
    pub fn run(&self, checks: Checks, lifecycle: &Lifecycle) {
        for (name, probe, pace) in checks.0 {
            let watch = Watch { name, probe, pace, health: self.clone() };
            let stop = lifecycle.draining().clone();
            lifecycle.spawn(async move { stop.run_until_cancelled(watch.run()).await });
        }
    }

    /// Whether a check says that this node must not be asked.
    pub fn is_out(&self) -> bool {
        self.0.out.load(Relaxed) > 0
    }

    /// Failing checks, by name, with what they met; of those that take the node out, or all.
    pub fn failures(&self, only_out: bool) -> BTreeMap<String, String> {
        let failures = self.lock();
        let shown = failures.iter().filter(|(_, failure)| !only_out || failure.kind.takes_out());
        shown.map(|(name, failure)| (name.clone(), failure.message.clone())).collect()
    }

    /// Takes the node out by hand, or back.
    pub fn set_out(&self, out: bool) {
        self.set(MANUAL, Kind::Manual, out.then(|| "an operator took this node out".to_owned()));
    }

    /// Records what a check found, once it is sure.
    fn set(&self, name: &str, kind: Kind, failure: Option<String>) {
        let mut failures = self.lock();
        let before = match &failure {
            Some(message) => failures.insert(name.to_owned(), Failure { kind, message: message.clone() }),
            None => failures.remove(name),
        };
        let out = failures.values().filter(|failure| failure.kind.takes_out()).count();
        self.0.out.store(out, Relaxed);
        for kind in Kind::ALL {
            self.0.metrics.failing(kind, failures.values().filter(|failure| failure.kind == kind).count());
        }
        match (before, failure) {
            (None, Some(message)) => warn!("health check {name} fails: {message}"),
            (Some(_), None) => info!("health check {name} is well again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Failure>> {
        self.0.failures.lock().expect("no holder panics")
    }
}
