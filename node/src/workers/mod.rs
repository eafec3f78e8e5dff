//! Reconcilers that run beside the requests: each compares what is with what should be and takes one bounded step.
//!
//! A worker's only input is the state, so a lost wake-up costs time, never truth, and any node can take over where another
//! stopped. It never holds state of its own between passes that matters. Read `upload_reaper` for the pattern:
//! a pure `select`, then an effect that is safe to repeat.

pub mod gc;
pub mod gc_settings;
mod metrics;
mod supervisor;
pub mod token_keys;
pub mod upload_reaper;

pub use supervisor::Supervisor;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// On the node that leads. Two leaders for a moment do no harm: every change is re-checked in apply.
    Leader,
    /// On every node.
    EveryNode,
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Things changed.
    pub done: u64,
    /// Whether the pass stopped at its bound, so that the next one should follow at once.
    pub more: bool,
}

/// A reconciler.
#[async_trait]
pub trait Worker: Send + 'static {
    /// Its name in logs and metrics: a noun.
    const NAME: &'static str;
    /// Where it runs.
    const SCOPE: Scope;

    /// One bounded step. Returns early, with what is done so far, once `stop` is cancelled.
    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report>;
}
