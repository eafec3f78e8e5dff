//! Drops links whose leases have ended, and with them blobs.

use super::{STEP, STEP_LIMIT, Setup, collects, pace::Pace};
use crate::{
    metadata::{Command, Outcome, View},
    workers::{Report, Scope, Worker},
};
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use tokio_util::sync::CancellationToken;

/// Links wait at most this share of the grace for others, so that one entry drops many.
const LINGER_SHARE: u64 = 24;
const LINGER_MAX_MS: u64 = 60 * 60 * 1_000;

/// The worker.
pub(super) struct Collect {
    setup: Setup,
    pace: Pace,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    /// Links, counted up to a full step.
    links: usize,
    /// For how long the first of them is due, in mono.
    waited_ms: u64,
    grace_ms: u64,
}

/// Whether it is time for an entry: there are enough for a full one, or the first has waited long enough.
fn select(due: Due) -> bool {
    due.links >= STEP || due.links > 0 && due.waited_ms >= (due.grace_ms / LINGER_SHARE).min(LINGER_MAX_MS)
}

fn look(view: &View) -> anyhow::Result<Option<Due>> {
    let Some(since) = view.links_due_since()? else { return Ok(None) };
    let links = view.due_links(STEP)?.len();
    Ok(Some(Due { links, waited_ms: view.mono()?.saturating_sub(since), grace_ms: view.gc()?.0.grace_ms }))
}

impl Collect {
    pub(super) fn new(setup: Setup) -> Self {
        let pace = Pace::new(setup.rate);
        Self { setup, pace }
    }
}

#[async_trait]
impl Worker for Collect {
    const NAME: &'static str = "gc_collect";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        if !self.pace.wait(stop).await {
            return Ok(Report::default());
        }
        let view = self.setup.metadata.view()?;
        let due = if collects(&view)? { look(&view)? } else { None };
        drop(view);
        if !due.is_some_and(select) {
            return Ok(Report::default());
        }
        let command = Command::Collect(wire::Collect { limit: STEP_LIMIT, links: Vec::new() });
        let Outcome::Collected(collected) = self.setup.propose(command).await? else {
            anyhow::bail!("Collect was answered by something else");
        };
        self.pace.spend(collected.links);
        let metrics = &self.setup.metrics;
        metrics.links.inc_by(collected.links);
        metrics.blobs.inc_by(collected.blobs);
        metrics.bytes.inc_by(collected.bytes);
        Ok(Report { done: collected.links, more: collected.links >= STEP as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_wait_for_others_but_not_for_long() {
        let grace_ms = 24 * 3_600_000;
        for (links, waited_ms, expected) in
            [(0, 0, false), (1, 0, false), (999, 3_599_999, false), (1, 3_600_000, true), (1_000, 0, true)]
        {
            assert_eq!(select(Due { links, waited_ms, grace_ms }), expected, "{links} {waited_ms}");
        }
        assert!(select(Due { links: 1, waited_ms: 1_250, grace_ms: 30_000 }));
        assert!(select(Due { links: 1, waited_ms: LINGER_MAX_MS, grace_ms: u64::MAX }));
    }
}
