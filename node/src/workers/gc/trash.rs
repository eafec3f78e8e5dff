//! Forgets deleted manifests and tags that can no longer be undeleted.

use super::{STEP, STEP_LIMIT, Setup, collects, pace::Pace};
use crate::{
    metadata::Command,
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use tokio_util::sync::CancellationToken;

/// The worker.
pub(super) struct Trash {
    setup: Setup,
    pace: Pace,
}

impl Trash {
    pub(super) fn new(setup: Setup) -> Self {
        let pace = Pace::new(setup.rate);
        Self { setup, pace }
    }
}

#[async_trait]
impl Worker for Trash {
    const NAME: &'static str = "gc_trash";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        if !self.pace.wait(stop).await {
            return Ok(Report::default());
        }
        let view = self.setup.metadata.view()?;
        // Whoever paused collection may want to undelete.
        let due = collects(&view)? && view.trash_waits()?;
        drop(view);
        if !due {
            return Ok(Report::default());
        }
        let done = self.setup.count(Command::PurgeTrash(wire::PurgeTrash { limit: STEP_LIMIT })).await?;
        self.pace.spend(done);
        self.setup.metrics.trash.inc_by(done);
        Ok(Report { done, more: done >= STEP as u64 })
    }
}
