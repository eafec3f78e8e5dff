//! The timing and sizes of Raft. Constants of the product; tests shrink some.

use super::{log, state_machine};
use std::time::Duration;

/// Timing and sizes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often a leader shows itself.
    pub heartbeat: Duration,
    /// A follower campaigns after between this …
    pub election_min: Duration,
    /// … and this long without a leader. Also the leader's lease.
    pub election_max: Duration,
    /// How often the leader advances replicated time.
    pub tick: Duration,
    /// Leaderless for so long, a node answers `NoQuorum` at once.
    pub give_up_after: Duration,
    /// How often the leader looks whether the membership needs a change.
    pub review: Duration,
    /// Entries a learner may lag behind and still become a voter.
    pub lag_max: u64,
    /// The log.
    pub log: log::Config,
    /// Longest time applied entries stay volatile.
    pub checkpoint_every: Duration,
    /// Page cache of the state, in bytes.
    pub state_cache_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            // A lost leader is missed after `election_max` plus an election timeout: writes resume within 2 s.
            election_max: Duration::from_millis(800),
            tick: Duration::from_secs(5),
            give_up_after: Duration::from_secs(10),
            review: Duration::from_millis(500),
            lag_max: 1000,
            log: log::Config::default(),
            checkpoint_every: Duration::from_secs(5),
            state_cache_bytes_max: 64 << 20,
        }
    }
}

impl Options {
    /// For the state store.
    pub(super) fn state(&self, dir: std::path::PathBuf, cluster_id: &str) -> state_machine::Options {
        let mut options = state_machine::Options::new(dir, cluster_id);
        options.checkpoint_every = self.checkpoint_every;
        options.cache_bytes_max = self.state_cache_bytes_max;
        options
    }

    /// For openraft.
    pub(super) fn raft(&self, cluster_name: &str) -> Result<openraft::Config, openraft::ConfigError> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: cluster_name.to_owned(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            // Of one message of a snapshot; the transfer as a whole may take long.
            install_snapshot_timeout: 20_000,
            max_payload_entries: 512,
            // A peer is sent a snapshot only when the log it needs is gone.
            replication_lag_threshold: self.log.keep_entries.saturating_mul(4).max(5000),
            // Checkpoints decide (`checkpoints`).
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.log.keep_entries,
            purge_batch_size: 256.min(self.log.keep_entries.max(1)),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            // A leader that lost its quorum pauses so that its followers' leases can end.
            quorum_loss_probe_interval: Some(ms(self.election_max) * 2 + 100),
            ..openraft::Config::default()
        }
        .validate()
    }
}
