//! Reviews manifests that lost what held them, and removes those that nothing holds.

use super::{STEP_LIMIT, Setup, collects, pace::Pace};
use crate::{
    metadata::{Command, Outcome},
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use tokio_util::sync::CancellationToken;

/// The worker.
pub(super) struct Manifests {
    setup: Setup,
    pace: Pace,
}

impl Manifests {
    pub(super) fn new(setup: Setup) -> Self {
        let pace = Pace::new(setup.rate);
        Self { setup, pace }
    }
}

#[async_trait]
impl Worker for Manifests {
    const NAME: &'static str = "gc_manifests";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        if !self.pace.wait(stop).await {
            return Ok(Report::default());
        }
        let view = self.setup.metadata.view()?;
        let due = collects(&view)? && view.manifests_wait()?;
        drop(view);
        if !due {
            return Ok(Report::default());
        }
        let command = Command::SweepManifests(wire::SweepManifests { limit: STEP_LIMIT, untagged: false });
        let Outcome::ManifestsSwept(swept) = self.setup.propose(command).await? else {
            anyhow::bail!("SweepManifests was answered by something else");
        };
        self.pace.spend(swept.reviewed.max(swept.removed));
        self.setup.metrics.manifests.inc_by(swept.removed);
        Ok(Report { done: swept.removed, more: swept.more })
    }
}
