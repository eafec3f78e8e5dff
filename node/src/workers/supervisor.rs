use super::{
    Report, Scope, Worker,
    metrics::{Labels, Metrics, Name},
};
use crate::lifecycle::Lifecycle;
use futures_util::FutureExt;
use prometheus_client::registry::Registry;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tracing::{Instrument, debug, info_span, warn};

/// Longest wait between passes of a worker that keeps failing.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Runs workers: interval with jitter, back-off, panics, leadership, figures.
pub struct Supervisor {
    lifecycle: Lifecycle,
    is_leader: Arc<dyn Fn() -> bool + Send + Sync>,
    metrics: Metrics,
}

impl Supervisor {
    /// `is_leader` tells whether workers of [`Scope::Leader`] should run here now.
    pub fn new(lifecycle: Lifecycle, is_leader: Arc<dyn Fn() -> bool + Send + Sync>, registry: &mut Registry) -> Self {
        Self { lifecycle, is_leader, metrics: Metrics::register(registry) }
    }

    /// Runs `worker` every `interval` until the soft stop begins.
    pub fn run<W: Worker>(&self, mut worker: W, interval: Duration) {
        let (lifecycle, is_leader, metrics) = (self.lifecycle.clone(), self.is_leader.clone(), self.metrics.clone());
        let stop = lifecycle.draining().clone();
        metrics.expect(W::NAME);
        self.lifecycle.spawn(async move {
            let mut wait = jittered(interval);
            while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
                if W::SCOPE == Scope::Leader && !is_leader() {
                    wait = jittered(interval);
                    continue;
                }
                let span = info_span!("worker_pass", worker.name = W::NAME);
                let pass = AssertUnwindSafe(worker.pass(&stop)).catch_unwind().instrument(span.clone());
                let (result, next) = match pass.await {
                    Ok(Ok(Report { done, more })) => {
                        metrics.done.get_or_create(&Name { worker: W::NAME }).inc_by(done);
                        if done > 0 {
                            debug!(parent: &span, done, "worker changed {done} things");
                        }
                        ("ok", if more { Duration::ZERO } else { jittered(interval) })
                    }
                    Ok(Err(error)) => {
                        warn!(parent: &span, "worker pass failed: {error:#}");
                        ("error", jittered((wait * 2).clamp(interval, BACKOFF_MAX.max(interval))))
                    }
                    Err(_) => {
                        tracing::error!(parent: &span, "worker pass panicked");
                        ("panic", BACKOFF_MAX)
                    }
                };
                metrics.passes.get_or_create(&Labels { worker: W::NAME, result }).inc();
                wait = next;
            }
        });
    }
}

/// `interval` plus or minus a tenth, so that nodes do not act in step.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.9..1.1))
}
