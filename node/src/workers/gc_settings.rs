//! Brings the delays of the leader's configuration into the replicated state, where apply finds them: so all nodes agree on
//! them at every log entry, whatever their files say.

use super::{Report, Scope, Worker};
use crate::metadata::{Command, MetadataStore, Outcome};
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Longest wait for the change.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a state that has no delays yet, and after one that failed.
const POLL: Duration = Duration::from_millis(20);
const POLL_FAILED: Duration = Duration::from_secs(1);

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

    /// Waits, before a node serves, until its state has delays: leases that begin under those of no configuration would last
    /// as long as the defaults say. The node that leads brings its own. A state that has delays is enough for all others,
    /// also without a leader.
    pub async fn settle(
        &mut self,
        leads: &(dyn Fn() -> bool + Send + Sync),
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let brought = if leads() { self.pass(stop).await.map(drop) } else { Ok(()) };
            if self.metadata.view()?.gc()?.1.delays.is_some() {
                return Ok(());
            }
            match brought {
                Ok(()) => sleep(POLL).await,
                Err(error) => {
                    warn!("the delays of collection are not set yet: {error:#}");
                    sleep(POLL_FAILED).await;
                }
            }
        }
    }
}

#[async_trait]
impl Worker for GcSettings {
    const NAME: &'static str = "gc_settings";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, _stop: &CancellationToken) -> anyhow::Result<Report> {
        if self.metadata.view()?.gc()?.1.delays == Some(self.wanted) {
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
        assert_eq!(defaults.pass(&stop).await.expect("pass").done, 1, "the defaults are said too");
        assert_eq!(defaults.pass(&stop).await.expect("pass"), Report::default());
        let wanted = wire::GcDelays { grace_ms: 30_000, promise_ms: 20_000, ..GC_DELAYS };
        let mut settings = GcSettings::new(metadata.clone(), wanted);
        assert_eq!(settings.pass(&stop).await.expect("pass").done, 1);
        assert_eq!(metadata.view().expect("view").gc().expect("read").0, wanted);
        assert_eq!(settings.pass(&stop).await.expect("pass"), Report::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_does_not_serve_before_the_leader_has_brought_the_delays() {
        let metadata = Arc::new(LocalStore::new());
        let stop = CancellationToken::new();
        let wanted = wire::GcDelays { grace_ms: 30_000, promise_ms: 20_000, ..GC_DELAYS };
        let mut follower = GcSettings::new(metadata.clone(), wanted);
        let waits = tokio::time::timeout(Duration::from_secs(600), follower.settle(&|| false, &stop)).await;
        assert!(waits.is_err(), "nobody has brought them");
        assert_eq!(metadata.view().expect("view").gc().expect("read").1.delays, None);

        let mut leader = GcSettings::new(metadata.clone(), wanted);
        let (follows, leads) = tokio::join!(follower.settle(&|| false, &stop), leader.settle(&|| true, &stop));
        assert!(follows.is_ok() && leads.is_ok());
        assert_eq!(metadata.view().expect("view").gc().expect("read").1.delays, Some(wanted));

        // They are there after a restart, with or without a leader; other ones are the worker's business.
        let mut restarted = GcSettings::new(metadata.clone(), GC_DELAYS);
        restarted.settle(&|| false, &stop).await.expect("at once");
        assert_eq!(metadata.view().expect("view").gc().expect("read").1.delays, Some(wanted));
    }
}
