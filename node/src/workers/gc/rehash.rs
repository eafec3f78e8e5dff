//! Reads blobs again, slowly, and compares their digests. One that is damaged by two readings a minute apart is suspect.
//!
//! Where the walk is is lost with the process; it begins at a random digest, so that no blob is left out for ever.

use super::{Setup, pace::Pace};
use crate::{
    blobstore::{Error, Hasher, Key},
    metadata::{Command, Outcome, query::Blob},
    workers::{Report, Scope, Worker},
};
use anyhow::Context;
use async_trait::async_trait;
use flotilla_proto::{
    oci::{Algorithm, Digest},
    wire::metadata as wire,
};
use futures_util::TryStreamExt;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Between the two readings of a blob that seems damaged.
const APART: Duration = Duration::from_secs(60);
/// Bytes after which the pace is looked at.
const STRIDE: u64 = 1 << 20;

/// The worker.
pub(super) struct Rehash {
    setup: Setup,
    pace: Pace,
    after: Option<Digest>,
}

impl Rehash {
    pub(super) fn new(setup: Setup, bytes_per_second: u64) -> Self {
        let pace = Pace::new(usize::try_from(bytes_per_second).unwrap_or(usize::MAX));
        let mut anywhere = Hasher::new(Algorithm::Sha256);
        anywhere.update(&rand::random::<[u8; 16]>());
        Self { setup, pace, after: Some(anywhere.finish()) }
    }

    /// Whether a blob's bytes are what its digest says; `None`: stopped, or it has gone meanwhile.
    async fn reads_well(
        &mut self,
        digest: &Digest,
        blob: &Blob,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<bool>> {
        let segments = self.setup.metadata.view()?.segments(&blob.segment_list, blob.segments)?;
        let (mut hasher, mut read, mut unpaid) = (Hasher::new(digest.algorithm()), 0, 0);
        for segment in &segments {
            let key: Key = segment.key.parse().context("recorded key")?;
            let mut pieces = match self.setup.blobs.read(&key, 0..segment.length).await {
                Err(Error::NotFound { .. }) => return self.damaged(digest, blob),
                pieces => pieces.with_context(|| format!("reading {key}"))?,
            };
            loop {
                let piece = match pieces.try_next().await {
                    Err(Error::NotFound { .. }) => return self.damaged(digest, blob),
                    piece => piece.with_context(|| format!("reading {key}"))?,
                };
                let Some(piece) = piece else { break };
                hasher.update(&piece);
                read += piece.len() as u64;
                unpaid += piece.len() as u64;
                if unpaid >= STRIDE {
                    self.pace.spend(unpaid);
                    unpaid = 0;
                    if !self.pace.wait(stop).await {
                        return Ok(None);
                    }
                }
            }
        }
        self.pace.spend(unpaid);
        if read == blob.size && hasher.finish() == *digest {
            return Ok(Some(true));
        }
        self.damaged(digest, blob)
    }

    /// What was read is wrong: unless the blob has gone, was healed or marked meanwhile.
    fn damaged(&self, digest: &Digest, blob: &Blob) -> anyhow::Result<Option<bool>> {
        let now = self.setup.metadata.view()?.blob_anywhere(digest)?;
        Ok(now.filter(|now| now.segment_list == blob.segment_list && !now.suspect).map(|_| false))
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
        if blob.suspect || !self.pace.wait(stop).await {
            return Ok(Report { done: 0, more });
        }
        let first = match self.reads_well(&digest, &blob, stop).await {
            Ok(first) => first,
            Err(error) => {
                error!(oci.digest = %digest, "a blob could not be read: {error:#}");
                return Ok(Report::default());
            }
        };
        if first != Some(false) || stop.run_until_cancelled(sleep(APART)).await.is_none() {
            return Ok(Report { done: 0, more });
        }
        let done = match self.reads_well(&digest, &blob, stop).await? {
            Some(false) => self.mark(&digest, blob).await?,
            Some(true) | None => 0,
        };
        Ok(Report { done, more })
    }
}
