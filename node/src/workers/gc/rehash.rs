//! Reads blobs again, slowly, and compares their digests. One that is damaged by two readings a minute apart is suspect.
//!
//! Where the walk is is lost with the process; it begins at a random digest, so that no blob is left out for ever.

use super::{Setup, reading::Reading};
use crate::{
    blobstore::Hasher,
    metadata::{Command, Outcome, query::Blob},
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use flotilla_proto::{
    oci::{Algorithm, Digest},
    wire::metadata as wire,
};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Between the two readings of a blob that seems damaged.
const APART: Duration = Duration::from_secs(60);

/// The worker.
pub(super) struct Rehash {
    setup: Setup,
    reading: Reading,
    after: Option<Digest>,
}

impl Rehash {
    pub(super) fn new(setup: Setup, bytes_per_second: u64) -> Self {
        let reading = Reading::new(setup.clone(), bytes_per_second);
        let mut anywhere = Hasher::new(Algorithm::Sha256);
        anywhere.update(&rand::random::<[u8; 16]>());
        Self { setup, reading, after: Some(anywhere.finish()) }
    }

    /// Whether a blob is damaged. One that has gone, was healed or marked meanwhile is not.
    async fn is_damaged(&mut self, digest: &Digest, blob: &Blob, stop: &CancellationToken) -> anyhow::Result<bool> {
        if self.reading.reads_well(digest, blob, stop).await? != Some(false) {
            return Ok(false);
        }
        let now = self.setup.metadata.view()?.blob_anywhere(digest)?;
        Ok(now.is_some_and(|now| now.segment_list == blob.segment_list && !now.suspect))
    }

    async fn mark(&self, digest: &Digest, blob: Blob) -> anyhow::Result<u64> {
        self.setup.ensure_ours().await?;
        warn!(oci.digest = %digest, "a blob is damaged: it counts as absent until it is pushed again");
        let segment_list = blob.segment_list;
        let command = Command::MarkSuspect(wire::MarkSuspect { digest: digest.to_bytes().into(), segment_list });
        let Outcome::Done(done) = self.setup.propose(command).await? else { return Ok(0) };
        self.setup.metrics.suspects.inc_by(done.count);
        Ok(done.count)
    }
}

#[async_trait]
impl Worker for Rehash {
    const NAME: &'static str = "gc_rehash";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        let next = self.setup.metadata.view()?.blobs(self.after.as_ref(), 1)?.pop();
        let Some((digest, blob)) = next else {
            self.after = None; // from the beginning, at the next interval
            return Ok(Report::default());
        };
        // First: a blob that cannot be read must not hold up the others.
        self.after = Some(digest);
        let more = !stop.is_cancelled();
        if blob.suspect || !self.reading.wait(stop).await {
            return Ok(Report { done: 0, more });
        }
        let damaged = match self.is_damaged(&digest, &blob, stop).await {
            Ok(damaged) => damaged,
            Err(error) => {
                error!(oci.digest = %digest, "a blob could not be read: {error:#}");
                return Ok(Report::default());
            }
        };
        if !damaged || stop.run_until_cancelled(sleep(APART)).await.is_none() {
            return Ok(Report { done: 0, more });
        }
        let done = match self.is_damaged(&digest, &blob, stop).await? {
            true => self.mark(&digest, blob).await?,
            false => 0,
        };
        Ok(Report { done, more })
    }
}
