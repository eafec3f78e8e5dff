//! Gives objects to be deleted: those of lists that no reader ever had at once, those of condemned lists after the delay.

use super::{Setup, pace::Pace};
use crate::{
    metadata::Command,
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use flotilla_proto::{metadata::START_DELETE_MAX, wire::metadata as wire};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// The worker.
pub(super) struct StartDeletes {
    setup: Setup,
    pace: Pace,
}

impl StartDeletes {
    pub(super) fn new(setup: Setup) -> Self {
        let pace = Pace::new(setup.rate);
        Self { setup, pace }
    }
}

#[async_trait]
impl Worker for StartDeletes {
    const NAME: &'static str = "gc_start_deletes";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        if !self.pace.wait(stop).await {
            return Ok(Report::default());
        }
        let view = self.setup.metadata.view()?;
        let had = view.condemned_waits()?;
        if !had && !view.garbage_waits()? {
            return Ok(Report::default());
        }
        drop(view);
        let limit = START_DELETE_MAX;
        let done = self.setup.count(Command::StartDelete(wire::StartDelete { limit })).await?;
        self.pace.spend(done);
        self.setup.metrics.started.inc_by(done);
        let (_, gc) = self.setup.metadata.view()?.gc()?;
        if had && gc.breaker {
            error!("collection is paused until somebody looks at it: {}", gc.reason);
        }
        Ok(Report { done, more: done >= u64::from(limit) })
    }
}
