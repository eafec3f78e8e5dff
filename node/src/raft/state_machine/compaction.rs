//! Purging the log behind the durable state.

#[cfg(test)]
mod tests;

use super::{StateHandle, StateMachine};
use crate::raft::{log::LogStore, types::TypeConfig};

/// After each checkpoint, tells openraft that it is a snapshot and purges the log up to it, minus the kept tail. Ends
/// when openraft or the state machine has stopped. Cancel safe: a purge left out is made after a later checkpoint.
///
/// openraft must run with `SnapshotPolicy::Never` and with `max_in_snapshot_log_to_keep` at the log's `keep_entries`, or
/// it purges by its own count (never past a durable state either).
pub async fn run(raft: openraft::Raft<TypeConfig, StateMachine>, log: LogStore, state: StateHandle) {
    let mut durable = state.durable();
    // Keeping a handle would keep the thread, and with it the channel, alive.
    drop(state);
    while durable.changed().await.is_ok() {
        let Some(index) = durable.borrow_and_update().map(|id| id.index) else { continue };
        let Some(target) = log.purge_target(index) else { continue };
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
        let included = |metrics: &openraft::RaftMetrics<TypeConfig>| {
            metrics.snapshot.is_some_and(|snapshot| snapshot.index >= target)
        };
        if raft.wait(None).metrics(included, "the durable state as a snapshot").await.is_err()
            || raft.trigger().purge_log(target).await.is_err()
        {
            return;
        }
    }
}
