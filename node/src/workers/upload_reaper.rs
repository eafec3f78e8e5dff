//! Ends expired upload sessions and deletes the objects that no digest will ever name.
//!
//! Three bounded steps a pass: expire sessions that are due, move the segments of ended lists to `Deleting`, delete those
//! objects and report the keys that the store named as gone. Apply re-checks each step, so repeating one is harmless.

use super::{Report, Scope, Worker};
use crate::{
    blobstore::{BlobStore, Key},
    metadata::{Command, MetadataStore, Outcome},
};
use anyhow::Context;
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Things a step takes at most; DeleteObjects allows 1,000 keys.
const STEP: usize = 1_000;
/// Longest wait for one change.
const PATIENCE: Duration = Duration::from_secs(20);

/// The worker.
pub struct UploadReaper {
    metadata: Arc<dyn MetadataStore>,
    blobs: Arc<dyn BlobStore>,
    /// Where the next pass goes on among the keys to delete, so that keys that cannot be deleted do not hold up the rest.
    after: Option<String>,
}

impl UploadReaper {
    /// A worker over these rooms.
    pub fn new(metadata: Arc<dyn MetadataStore>, blobs: Arc<dyn BlobStore>) -> Self {
        Self { metadata, blobs, after: None }
    }

    async fn propose(&self, command: Command) -> anyhow::Result<Outcome> {
        self.metadata.propose(command, Instant::now() + PATIENCE).await.context("metadata change")
    }

    async fn expire_sessions(&self) -> anyhow::Result<usize> {
        let due = self.metadata.view()?.due_sessions(STEP)?;
        let count = due.len();
        if count > 0 {
            let session_ids = due.into_iter().map(|id| id.to_vec().into()).collect();
            self.propose(Command::ExpireSessions(wire::ExpireSessions { session_ids })).await?;
        }
        Ok(count)
    }

    async fn start_deletes(&self) -> anyhow::Result<usize> {
        if !self.metadata.view()?.garbage_waits()? {
            return Ok(0);
        }
        let limit = u32::try_from(STEP).unwrap_or(u32::MAX);
        match self.propose(Command::StartDelete(wire::StartDelete { limit })).await? {
            Outcome::Done(done) => Ok(usize::try_from(done.count).unwrap_or(STEP)),
            other => anyhow::bail!("StartDelete answered {other:?}"),
        }
    }

    async fn delete_objects(&mut self) -> anyhow::Result<usize> {
        let keys = self.metadata.view()?.deleting(self.after.as_deref(), STEP)?;
        self.after = keys.last().filter(|_| keys.len() == STEP).cloned();
        let keys: Vec<Key> = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>().context("recorded key")?;
        if keys.is_empty() {
            return Ok(0);
        }
        let mut gone = Vec::with_capacity(keys.len());
        let mut failed = None;
        for deleted in self.blobs.delete(keys).await {
            match deleted.result {
                Ok(()) => gone.push(deleted.key.to_string()),
                Err(error) => failed = Some((deleted.key, error)),
            }
        }
        let count = gone.len();
        if count > 0 {
            self.propose(Command::DeletesDone(wire::DeletesDone { keys: gone })).await?;
        }
        if let Some((key, error)) = failed {
            let error = anyhow::Error::new(error);
            warn!(object.key = %key, "an object could not be deleted, will try again: {error:#}");
            anyhow::ensure!(count > 0, error.context("no object could be deleted"));
        }
        Ok(count)
    }
}

#[async_trait]
impl Worker for UploadReaper {
    const NAME: &'static str = "upload_reaper";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        let expired = self.expire_sessions().await?;
        let started = self.start_deletes().await?;
        if stop.is_cancelled() {
            return Ok(Report { done: (expired + started) as u64, more: false });
        }
        let deleted = self.delete_objects().await?;
        let more = [expired, started, deleted].contains(&STEP);
        Ok(Report { done: (expired + started + deleted) as u64, more })
    }
}
