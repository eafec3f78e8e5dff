//! Collection: what nothing needs goes, in the order of `docs/ARCHITECTURE.md`, "A collection".
//!
//! Each worker looks at a queue of the state, decides in a pure `select` whether and what, and proposes one bounded change or
//! asks the store for one bounded effect. Apply checks every item again and effects are safe to repeat, so a worker may
//! stop anywhere and two may run at once. Their places are in the state; what they hold between passes only spares work.

mod collect;
mod delete;
mod drain;
mod heal;
mod manifests;
mod metrics;
mod pace;
mod reading;
mod recount;
mod rehash;
mod scrub;
mod share;
mod start_deletes;
mod sweep;
#[cfg(test)]
mod tests;
mod trash;

pub use metrics::Metrics;
pub use share::{Share, ShareOf};
#[cfg(test)]
pub(crate) use tests::settle;

use super::Supervisor;
use crate::{
    blobstore::BlobStore,
    metadata::{Command, MetadataStore, Outcome, View},
};
use anyhow::Context;
use flotilla_proto::{metadata::WORK_MAX, wire::metadata as wire};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Items of one change, and keys of one request to the store.
const STEP: usize = WORK_MAX;
/// The same, as commands say it.
const STEP_LIMIT: u32 = 1_000;
/// Longest wait for one change.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks of a worker at its queue.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between the end of reading all blobs again and the next beginning.
const REHASH_INTERVAL: Duration = Duration::from_secs(60);

/// The rooms that the workers call, and what they are told.
#[derive(Clone)]
pub struct Setup {
    /// What is true.
    pub metadata: Arc<dyn MetadataStore>,
    /// Where bytes live.
    pub blobs: Arc<dyn BlobStore>,
    /// `gc.rate`: blobs a second.
    pub rate: usize,
    /// `gc.rehash`: bytes a second that are read again; `None`: none.
    pub rehash: Option<u64>,
    /// `gc.recount`: how often everything is counted again; `None`: never.
    pub recount: Option<Duration>,
    /// `gc.scrub`: objects a minute that are compared with the store.
    pub scrub: usize,
    /// This node's share of the deletes, now.
    pub share: ShareOf,
    /// Their figures.
    pub metrics: Metrics,
}

/// Runs all workers of collection.
pub fn run(supervisor: &Supervisor, setup: &Setup) {
    supervisor.run(collect::Collect::new(setup.clone()), INTERVAL);
    supervisor.run(manifests::Manifests::new(setup.clone()), INTERVAL);
    supervisor.run(trash::Trash::new(setup.clone()), INTERVAL);
    supervisor.run(drain::Drain::new(setup.clone()), INTERVAL);
    supervisor.run(start_deletes::StartDeletes::new(setup.clone()), INTERVAL);
    supervisor.run(delete::Delete::new(setup.clone()), INTERVAL);
    supervisor.run(sweep::Sweep::new(setup.clone()), INTERVAL);
    supervisor.run(scrub::Scrub::new(setup.clone()), scrub::interval(setup.scrub));
    supervisor.run(heal::Heal::new(setup.clone()), heal::INTERVAL);
    if let Some(bytes_per_second) = setup.rehash {
        supervisor.run(rehash::Rehash::new(setup.clone(), bytes_per_second), REHASH_INTERVAL);
    }
    if let Some(every) = setup.recount {
        supervisor.run(recount::Recount::new(setup.clone(), every), recount::Recount::interval(every));
    }
}

impl Setup {
    async fn propose(&self, command: Command) -> anyhow::Result<Outcome> {
        self.metadata.propose(command, Instant::now() + PATIENCE).await.context("metadata change")
    }

    /// Fails unless the store is the one that the metadata names: another one, or one that is not mounted, has none of the
    /// objects.
    async fn ensure_ours(&self) -> anyhow::Result<()> {
        let marker = self.blobs.read_marker().await.context("marker")?;
        let store = self.metadata.view()?.cluster()?.store.context("no store is recorded")?;
        let marker: Option<serde_json::Value> = marker.and_then(|marker| serde_json::from_slice(&marker).ok());
        let ours = marker.is_some_and(|marker| marker["token"] == store.token);
        anyhow::ensure!(
            ours,
            "objects are missing, and the store's marker is missing too, or another one's: nothing is marked"
        );
        Ok(())
    }

    /// Proposes a command that answers `Done`; what it counted.
    async fn count(&self, command: Command) -> anyhow::Result<u64> {
        match self.propose(command).await? {
            Outcome::Done(done) => Ok(done.count),
            other => anyhow::bail!("a change was answered {other:?}"),
        }
    }
}

/// Whether what had readers may go. While it may not, nothing is proposed that apply would refuse.
fn collects(view: &View) -> anyhow::Result<bool> {
    Ok(view.gc()?.1.mode() == wire::GcMode::On)
}
