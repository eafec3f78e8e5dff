use super::{Setup, pace::Pace};
use crate::{
    blobstore::{Error, Hasher, Key},
    metadata::query::Blob,
};
use anyhow::Context;
use flotilla_proto::oci::Digest;
use futures_util::TryStreamExt;
use tokio_util::sync::CancellationToken;

/// Bytes after which the pace is looked at.
const STRIDE: u64 = 1 << 20;

/// Reads blobs from the store, at a pace, and compares their digests.
pub(super) struct Reading {
    setup: Setup,
    pace: Pace,
}

impl Reading {
    pub(super) fn new(setup: Setup, bytes_per_second: u64) -> Self {
        Self { setup, pace: Pace::new(usize::try_from(bytes_per_second).unwrap_or(usize::MAX)) }
    }

    /// Waits until the last bytes are paid for; false if `stop` came first.
    pub(super) async fn wait(&self, stop: &CancellationToken) -> bool {
        self.pace.wait(stop).await
    }

    /// Whether a blob's bytes are there and what its digest says; `None`: stopped. An error is no answer.
    pub(super) async fn reads_well(
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
                Err(Error::NotFound { .. }) => return Ok(Some(false)),
                pieces => pieces.with_context(|| format!("reading {key}"))?,
            };
            loop {
                let piece = match pieces.try_next().await {
                    Err(Error::NotFound { .. }) => return Ok(Some(false)),
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
        Ok(Some(read == blob.size && hasher.finish() == *digest))
    }
}
