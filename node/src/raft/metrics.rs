//! What Raft counts: `flotilla_raft_*`.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Figures of one node.
pub struct Metrics {
    /// 1 on the leader.
    pub is_leader: Gauge,
    /// Node id of the leader; 0 if unknown.
    pub leader: Gauge,
    /// How often the leader was seen to change.
    pub leader_changes: Counter,
    /// Term.
    pub term: Gauge,
    /// Index of the last applied entry.
    pub applied_index: Gauge,
    /// Entries in the log that are not applied.
    pub lag: Gauge,
    /// Bytes of the log's files.
    pub log_bytes: Gauge,
    /// Changes proposed by this node.
    pub proposals: Counter,
    /// Changes that failed or ran out of time.
    pub proposals_failed: Counter,
    /// Attempts that had to be repeated.
    pub proposal_retries: Counter,
    /// Changes per log entry.
    pub batch_operations: Histogram,
    /// Read-index rounds.
    pub barrier_rounds: Counter,
    /// Time a reader waits for its barrier.
    pub barrier_seconds: Histogram,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            is_leader: Gauge::default(),
            leader: Gauge::default(),
            leader_changes: Counter::default(),
            term: Gauge::default(),
            applied_index: Gauge::default(),
            lag: Gauge::default(),
            log_bytes: Gauge::default(),
            proposals: Counter::default(),
            proposals_failed: Counter::default(),
            proposal_retries: Counter::default(),
            batch_operations: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            barrier_rounds: Counter::default(),
            barrier_seconds: Histogram::new([0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
        };
        let raft = registry.sub_registry_with_prefix("flotilla_raft");
        raft.register("is_leader", "1 on the leader", metrics.is_leader.clone());
        raft.register("leader", "Node id of the leader, 0 if unknown", metrics.leader.clone());
        raft.register("leader_changes", "Changes of leader seen", metrics.leader_changes.clone());
        raft.register("term", "Term", metrics.term.clone());
        raft.register("applied_index", "Index of the last applied log entry", metrics.applied_index.clone());
        raft.register("lag_entries", "Log entries not applied yet", metrics.lag.clone());
        raft.register("log_bytes", "Size of the log's files", metrics.log_bytes.clone());
        raft.register("proposals", "Changes proposed by this node", metrics.proposals.clone());
        raft.register("proposals_failed", "Changes that failed", metrics.proposals_failed.clone());
        raft.register("proposal_retries", "Attempts that were repeated", metrics.proposal_retries.clone());
        raft.register("batch_operations", "Changes in one log entry", metrics.batch_operations.clone());
        raft.register("barrier_rounds", "Read-index rounds", metrics.barrier_rounds.clone());
        raft.register("barrier_seconds", "Wait of a reader for its barrier", metrics.barrier_seconds.clone());
        metrics
    }
}
