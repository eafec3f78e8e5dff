//! One check, again and again.

use super::{Health, probe::Probe};
use crate::config::Pace;
use std::{future::Future, pin::pin, time::Duration};
use tokio::time::{sleep, timeout};

pub(super) struct Watch {
    pub(super) name: String,
    pub(super) probe: Probe,
    pub(super) pace: Pace,
    pub(super) health: Health,
}

impl Watch {
    /// Checks at once, and then every interval. Never ends.
    pub(super) async fn run(self) {
        let mut failed = 0;
        loop {
            self.pass(&mut failed, self.probe.check(self.pace.timeout)).await;
            sleep(jittered(self.pace.interval)).await;
        }
    }

    /// One check. What hangs is not asked again: each further wait counts as a failure until it answers.
    pub(super) async fn pass(&self, failed: &mut u32, check: impl Future<Output = Result<(), String>>) {
        let mut check = pin!(check);
        loop {
            match timeout(self.probe.patience(self.pace.timeout), &mut check).await {
                Ok(result) => return self.record(failed, result),
                Err(_) => self.record(failed, Err(format!("no answer in {} s", self.pace.timeout.as_secs_f32()))),
            }
        }
    }

    fn record(&self, failed: &mut u32, result: Result<(), String>) {
        let kind = self.probe.kind();
        self.health.0.metrics.checked(kind, result.is_ok());
        match result {
            Ok(()) => {
                *failed = 0;
                self.health.set(&self.name, kind, None);
            }
            Err(message) => {
                *failed = failed.saturating_add(1);
                if *failed >= self.pace.threshold {
                    self.health.set(&self.name, kind, Some(message));
                }
            }
        }
    }
}

/// `interval` plus or minus a tenth, so that nodes do not ask in step.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.9..1.1))
}
