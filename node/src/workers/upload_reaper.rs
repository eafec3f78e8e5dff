//! Ends expired upload sessions. Their objects are garbage from then on, which the workers of `gc` delete.

use super::{Report, Scope, Worker};
use crate::metadata::{Command, MetadataStore};
use anyhow::Context;
use async_trait::async_trait;
use flotilla_proto::{metadata::WORK_MAX, wire::metadata as wire};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait for the change.
const PATIENCE: Duration = Duration::from_secs(20);

/// The worker.
pub struct UploadReaper {
    metadata: Arc<dyn MetadataStore>,
}

impl UploadReaper {
    /// A worker over this room.
    pub fn new(metadata: Arc<dyn MetadataStore>) -> Self {
        Self { metadata }
    }

    async fn expire_sessions(&self) -> anyhow::Result<usize> {
        let due = self.metadata.view()?.due_sessions(WORK_MAX)?;
        let count = due.len();
        if count > 0 {
            let session_ids = due.into_iter().map(|id| id.to_vec().into()).collect();
            let command = Command::ExpireSessions(wire::ExpireSessions { session_ids });
            self.metadata.propose(command, Instant::now() + PATIENCE).await.context("metadata change")?;
        }
        Ok(count)
    }
}

#[async_trait]
impl Worker for UploadReaper {
    const NAME: &'static str = "upload_reaper";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, _stop: &CancellationToken) -> anyhow::Result<Report> {
        let expired = self.expire_sessions().await?;
        Ok(Report { done: expired as u64, more: expired == WORK_MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{Caller, Policy},
        blobstore::memory::Memory,
        lifecycle::Lifecycle,
        metadata::local::LocalStore,
        registry::{Chunk, Registry, Settings},
    };
    use bytes::Bytes;
    use flotilla_proto::oci::Algorithm;
    use futures_util::{StreamExt, stream};

    #[tokio::test]
    async fn an_abandoned_upload_ends_and_leaves_nothing() {
        let (metadata, blobs) = (Arc::new(LocalStore::new()), Arc::new(Memory::new()));
        let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
        let store = wire::CreateStore { cluster_id, incarnation, token };
        metadata.apply(Command::CreateStore(store)).expect("applied");
        let registry = Registry::new(metadata.clone(), blobs.clone(), Lifecycle::new(), Settings::default());
        let mut reaper = UploadReaper::new(metadata.clone());
        let name = "team/app".parse().expect("name");
        let grant = Policy::open().grant(&Caller::Anonymous, &name).expect("open to all");
        let upload = registry.open_upload(&grant, Algorithm::Sha256).await.expect("opened");
        let body = stream::iter([Ok(Bytes::from_static(b"abandoned"))]).boxed();
        let chunk = Chunk { body, length: None, range: None };
        registry.write_chunk(&grant, upload.id, chunk).await.expect("written");
        let stop = CancellationToken::new();
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report::default());
        assert_eq!(blobs.keys().len(), 1);

        metadata.advance(Duration::from_secs(7 * 3_600)).expect("applied");
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report { done: 1, more: false });
        assert!(registry.upload_status(&grant, upload.id).await.is_err());
        assert_eq!(reaper.pass(&stop).await.expect("pass"), Report::default());
        crate::workers::gc::settle(metadata, blobs.clone()).await;
        assert!(blobs.keys().is_empty());
    }
}
