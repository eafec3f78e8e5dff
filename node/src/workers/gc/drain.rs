//! Removes, in pages, what was in deleted repositories.

use super::{STEP, STEP_LIMIT, Setup, collects, pace::Pace};
use crate::{
    metadata::Command,
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use tokio_util::sync::CancellationToken;

/// Repositories of one pass.
const REPOSITORIES: usize = 10;

/// The worker.
pub(super) struct Drain {
    setup: Setup,
    pace: Pace,
}

impl Drain {
    pub(super) fn new(setup: Setup) -> Self {
        let pace = Pace::new(setup.rate);
        Self { setup, pace }
    }
}

#[async_trait]
impl Worker for Drain {
    const NAME: &'static str = "gc_drain";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        let view = self.setup.metadata.view()?;
        // A drained link condemns its blob, which is final: not while collection is paused.
        let draining = if collects(&view)? { view.draining(REPOSITORIES)? } else { Vec::new() };
        drop(view);
        let mut report = Report { done: 0, more: draining.len() == REPOSITORIES };
        for id in draining {
            if !self.pace.wait(stop).await {
                return Ok(Report { more: false, ..report });
            }
            let repository_id = Bytes::copy_from_slice(id.as_bytes());
            let command = Command::DrainRepository(wire::DrainRepository { repository_id, limit: STEP_LIMIT });
            let count = self.setup.count(command).await?;
            self.pace.spend(count);
            self.setup.metrics.drained.inc_by(count);
            report.done += count;
            report.more |= count >= STEP as u64;
        }
        Ok(report)
    }
}
