//! Start, drain and stop of a process: which tasks it runs, and in which order they are asked to end.
//!
//! Order of a soft stop: [`Lifecycle::leave`] (asked to stop: say that this node is not ready) → [`Lifecycle::drain`] (take
//! nothing new, finish what runs) → tracked tasks end → leadership and Raft stop. [`Lifecycle::stop`] cuts it short.

use std::{future::Future, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by every room that spawns tasks.
#[derive(Clone, Default)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tracker: TaskTracker,
    leaving: CancellationToken,
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl Lifecycle {
    /// A process that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that a soft stop waits for (a commit that outlives its connection, a request).
    #[expect(clippy::disallowed_methods, reason = "this is the tracker")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.0.tracker.track_future(task))
    }

    /// Cancelled when the process is asked to stop; it still takes requests until balancers had time to notice.
    pub fn leaving(&self) -> &CancellationToken {
        &self.0.leaving
    }

    /// Cancelled when nothing new may begin: finish what runs.
    pub fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Cancelled when everything must end now.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Asks the process to stop softly.
    pub fn leave(&self) {
        self.0.leaving.cancel();
    }

    /// Takes nothing new from here on.
    pub fn drain(&self) {
        self.0.leaving.cancel();
        self.0.draining.cancel();
    }

    /// Ends the soft stop at once.
    pub fn stop(&self) {
        self.drain();
        self.0.stopping.cancel();
    }

    /// Waits for the tracked tasks; `false` if `limit` passed first.
    pub async fn drained(&self, limit: Duration) -> bool {
        self.0.tracker.close();
        tokio::time::timeout(limit, self.0.tracker.wait()).await.is_ok()
    }
}

/// Whether a balancer should send requests here. Published through a `tokio::sync::watch` channel by the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: why.
    Starting(String),
    /// A barrier through the leader succeeded.
    Ready,
    /// No node knows a leader: reads by digest go on, writes wait.
    Degraded,
    /// Not any more: why (lost its leader while a peer has one, or a soft stop).
    Unready(String),
}

impl Readiness {
    /// Whether `/readyz` answers 200.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}
