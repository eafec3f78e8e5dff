//! Ends expired upload sessions and deletes the objects that no digest names any more.
//!
//! Three bounded steps a pass: expire sessions that are due, move the segments of dead lists to `Deleting`, delete those
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
        let view = self.metadata.view()?;
        if !view.garbage_waits()? && !view.condemned_waits()? {
            return Ok(0);
        }
        drop(view);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{Caller, Grant, Policy, Push},
        blobstore::memory::Memory,
        lifecycle::Lifecycle,
        metadata::local::LocalStore,
        registry::{Chunk, Registry, Settings},
    };
    use bytes::Bytes;
    use flotilla_proto::oci::Algorithm;
    use futures_util::{StreamExt, stream};

    struct World {
        metadata: Arc<LocalStore>,
        blobs: Arc<Memory>,
        registry: Registry,
        reaper: UploadReaper,
        grant: Grant<Push>,
    }

    fn world() -> World {
        let (metadata, blobs) = (Arc::new(LocalStore::new()), Arc::new(Memory::new()));
        let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
        let store = wire::CreateStore { cluster_id, incarnation, token };
        metadata.apply(Command::CreateStore(store)).expect("applied");
        let registry = Registry::new(metadata.clone(), blobs.clone(), Lifecycle::new(), Settings::default());
        let reaper = UploadReaper::new(metadata.clone(), blobs.clone());
        let name = "team/app".parse().expect("name");
        let grant = Policy::open().grant(&Caller::Anonymous, &name).expect("open to all");
        World { metadata, blobs, registry, reaper, grant }
    }

    fn chunk(bytes: &'static [u8]) -> Chunk {
        Chunk { body: stream::iter([Ok(Bytes::from_static(bytes))]).boxed(), length: None, range: None }
    }

    #[tokio::test]
    async fn an_abandoned_upload_ends_and_leaves_nothing() {
        let World { metadata, blobs, registry, mut reaper, grant } = world();
        let upload = registry.open_upload(&grant, Algorithm::Sha256).await.expect("opened");
        registry.write_chunk(&grant, upload.id, chunk(b"abandoned")).await.expect("written");
        let stop = CancellationToken::new();
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report::default());
        assert_eq!(blobs.keys().len(), 1);

        for _ in 0..7 * 3_600 / 15 {
            metadata.advance(Duration::from_secs(15)).expect("applied"); // a tick counts 15 s at most
        }
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report { done: 3, more: false });
        assert!(blobs.keys().is_empty());
        assert!(registry.upload_status(&grant, upload.id).await.is_err());
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report::default());
    }

    #[tokio::test]
    async fn a_duplicate_upload_goes_and_the_blob_stays() {
        let World { blobs, registry, mut reaper, grant, .. } = world();
        let mut hasher = crate::blobstore::Hasher::new(Algorithm::Sha256);
        hasher.update(b"twice");
        let digest = hasher.finish();
        registry.upload(&grant, digest, chunk(b"twice")).await.expect("first");
        let first = blobs.keys();
        registry.upload(&grant, digest, chunk(b"twice")).await.expect("second");
        assert_eq!(blobs.keys().len(), 2);
        reaper.pass(&CancellationToken::new()).await.expect("pass");
        assert_eq!(blobs.keys(), first);
    }

    #[tokio::test]
    async fn the_objects_of_a_dropped_blob_go_when_nobody_can_read_them_any_more() {
        let World { metadata, blobs, registry, mut reaper, grant } = world();
        let mut hasher = crate::blobstore::Hasher::new(Algorithm::Sha256);
        hasher.update(b"dropped");
        let digest = hasher.finish();
        registry.upload(&grant, digest, chunk(b"dropped")).await.expect("pushed");
        let (repository, digest) = ("team/app".to_owned(), digest.to_bytes().into());
        metadata.apply(Command::DeleteBlobLink(wire::DeleteBlobLink { repository, digest })).expect("applied");
        let stop = CancellationToken::new();
        metadata.advance(Duration::from_secs(24 * 3_600 - 1)).expect("applied");
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report::default());
        metadata.advance(Duration::from_secs(1)).expect("applied");
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report { done: 2, more: false });
        assert!(blobs.keys().is_empty());
    }
}
