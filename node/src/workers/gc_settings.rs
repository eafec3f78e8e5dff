//! Brings the delays of the leader's configuration into the replicated state, where apply finds them: so all nodes agree on
//! them at every log entry, whatever their files say.

use super::{Report, Scope, Worker};
use crate::metadata::{Command, MetadataStore, Outcome};
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Longest wait for the change.
const PATIENCE: Duration = Duration::from_secs(20);

/// The worker.
pub struct GcSettings {
    metadata: Arc<dyn MetadataStore>,
    wanted: wire::GcDelays,
}

impl GcSettings {
    /// A worker that wants these delays.
    pub fn new(metadata: Arc<dyn MetadataStore>, wanted: wire::GcDelays) -> Self {
        Self { metadata, wanted }
    }
}

#[async_trait]
impl Worker for GcSettings {
    const NAME: &'static str = "gc_settings";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, _stop: &CancellationToken) -> anyhow::Result<Report> {
        if self.metadata.view()?.gc()?.0 == self.wanted {
            return Ok(Report::default());
        }
        let command = Command::ConfigureGc(wire::ConfigureGc { delays: Some(self.wanted) });
        match self.metadata.propose(command, Instant::now() + PATIENCE).await? {
            Outcome::Done(_) => info!("the delays of collection are those of this node's configuration now"),
            other => anyhow::bail!("ConfigureGc answered {other:?}"),
        }
        Ok(Report { done: 1, more: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::local::LocalStore;
    use flotilla_proto::metadata::GC_DELAYS;

    #[tokio::test]
    async fn the_leaders_delays_become_those_of_the_cluster() {
        let metadata = Arc::new(LocalStore::new());
        let stop = CancellationToken::new();
        let mut defaults = GcSettings::new(metadata.clone(), GC_DELAYS);
        assert_eq!(defaults.pass(&stop).await.expect("pass"), Report::default());
        let wanted = wire::GcDelays { grace_ms: 30_000, promise_ms: 20_000, ..GC_DELAYS };
        let mut settings = GcSettings::new(metadata.clone(), wanted);
        assert_eq!(settings.pass(&stop).await.expect("pass").done, 1);
        assert_eq!(metadata.view().expect("view").gc().expect("read").0, wanted);
        assert_eq!(settings.pass(&stop).await.expect("pass"), Report::default());
    }
}
