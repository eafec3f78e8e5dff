//! Mode `verify`: nothing that was readable goes, and the log tells what would.

use super::Desk;
use crate::{
    metadata::MetadataStore,
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use flotilla_proto::{admin::Collected, wire::metadata::GcMode};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Tells what would be collected, each time that it is something else.
pub struct Rehearsal {
    metadata: Arc<dyn MetadataStore>,
    told: Option<Collected>,
}

impl Rehearsal {
    /// Between two looks. One runs the state machine over what is due, 10,000 records of a kind at most.
    pub const INTERVAL: Duration = Duration::from_secs(60);

    /// Of this metadata.
    pub fn new(metadata: Arc<dyn MetadataStore>) -> Self {
        Self { metadata, told: None }
    }

    /// What would go, if nobody has been told yet.
    pub(super) async fn news(&mut self) -> anyhow::Result<Option<Collected>> {
        if self.metadata.view()?.gc()?.1.mode() != GcMode::Verify {
            self.told = None;
            return Ok(None);
        }
        let would = Desk::new(self.metadata.clone()).would_collect(false).await?;
        if self.told.as_ref() == Some(&would) {
            return Ok(None);
        }
        self.told = Some(would.clone());
        Ok(Some(would))
    }
}

#[async_trait]
impl Worker for Rehearsal {
    const NAME: &'static str = "gc_rehearsal";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, _stop: &CancellationToken) -> anyhow::Result<Report> {
        if let Some(would) = self.news().await? {
            let (manifests, links, blobs, bytes) = (would.manifests.len(), would.links, would.blobs.len(), would.bytes);
            let (lists, list_bytes) = (would.lists, would.list_bytes);
            info!(
                manifests,
                links,
                blobs,
                bytes,
                lists,
                list_bytes,
                more = would.more,
                "mode verify: {manifests} manifests, {links} links and {blobs} blobs ({bytes} bytes) would be collected, and \
                 the objects of {lists} dead segment lists ({list_bytes} bytes) deleted; nothing was"
            );
        }
        Ok(Report::default())
    }
}
