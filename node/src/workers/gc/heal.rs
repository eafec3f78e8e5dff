//! Reads suspect blobs again: a store that had lost an object for a while (a layout in motion, a bucket that was restored) may
//! have it back, and then nobody needs to push it again.

use super::{Setup, reading::Reading};
use crate::{
    metadata::Command,
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use flotilla_proto::{oci::Digest, wire::metadata as wire};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// Between two walks over the blobs, while some are suspect.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// Blobs of one pass, of which most are sound: they are not read.
const PAGE: usize = 10_000;
/// Suspect blobs that one pass reads.
const LOOKS: usize = 16;
const BYTES_PER_SECOND: u64 = 32 << 20;

/// The worker.
pub(super) struct Heal {
    setup: Setup,
    reading: Reading,
    /// The last blob that was looked at.
    after: Option<Digest>,
}

impl Heal {
    pub(super) fn new(setup: Setup) -> Self {
        let reading = Reading::new(setup.clone(), BYTES_PER_SECOND);
        Self { setup, reading, after: None }
    }
}

#[async_trait]
impl Worker for Heal {
    const NAME: &'static str = "gc_heal";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        let view = self.setup.metadata.view()?;
        if view.cluster()?.suspects == 0 {
            self.after = None;
            return Ok(Report::default());
        }
        let after = self.after;
        let page = tokio::task::spawn_blocking(move || view.blobs(after.as_ref(), PAGE)).await??;
        let last = page.last().map(|(digest, _)| *digest).filter(|_| page.len() == PAGE);
        let suspects: Vec<_> = page.into_iter().filter(|(_, blob)| blob.suspect).take(LOOKS).collect();
        self.after = if suspects.len() == LOOKS { suspects.last().map(|(digest, _)| *digest) } else { last };
        let mut done = 0;
        for (digest, blob) in suspects {
            match self.reading.reads_well(&digest, &blob, stop).await {
                Ok(Some(true)) => {
                    let (digest_bytes, segment_list) = (digest.to_bytes().into(), blob.segment_list);
                    let clear = wire::ClearSuspect { digest: digest_bytes, segment_list };
                    done += self.setup.count(Command::ClearSuspect(clear)).await?;
                    info!(oci.digest = %digest, "a suspect blob is whole again");
                }
                Ok(Some(false)) => {}
                Ok(None) => break,
                Err(error) => debug!(oci.digest = %digest, "a suspect blob could not be read: {error:#}"),
            }
        }
        self.setup.metrics.healed.inc_by(done);
        Ok(Report { done, more: self.after.is_some() && !stop.is_cancelled() })
    }
}
