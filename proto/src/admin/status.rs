use serde::{Deserialize, Serialize};

/// `GET /status`: how one node sees itself and its cluster. Figures are this node's own, taken at `applied_index`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Raft id of the node; 0 while it has none.
    pub node_id: u64,
    /// Name, for people.
    pub name: String,
    /// Id of the cluster; empty while it has none.
    pub cluster_id: String,
    /// Id of the data directory, hex.
    pub disk_id: String,
    /// Version of the program.
    pub version: String,
    /// `leader`, `follower`, `candidate`, `learner` or `shutdown`.
    pub role: String,
    /// Node that leads, as far as known.
    pub leader: Option<u64>,
    /// Current term.
    pub term: u64,
    /// Last log index that is applied to the state.
    pub applied_index: u64,
    /// Last log index known to be committed.
    pub committed: u64,
    /// Last log index on disk.
    pub last_log: u64,
    /// The membership.
    pub members: Vec<Member>,
    /// Whether a balancer should send requests here.
    pub readiness: Readiness,
    /// Number of repositories.
    pub repositories: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// Bytes of the blobs.
    pub blob_bytes: u64,
    /// Open upload sessions.
    pub sessions: u64,
    /// With `?hash=true`: equal on all nodes at one index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_hash: Option<StateHash>,
}

/// A node of the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Raft id.
    pub id: u64,
    /// Name, for people.
    pub name: String,
    /// Cluster address.
    pub address: String,
    /// Id of its data directory, hex.
    pub disk_id: String,
    /// Whether it votes.
    pub voter: bool,
}

/// Readiness, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readiness {
    /// `starting`, `ready`, `degraded` or `unready`.
    pub state: String,
    /// Why, if not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Digest of the whole state at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateHash {
    /// Log index.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_newer_version_are_ignored_and_missing_ones_have_defaults() {
        let status: Status = serde_json::from_str(r#"{"node_id":3,"of_tomorrow":1}"#).unwrap();
        assert_eq!(status, Status { node_id: 3, ..Status::default() });
        assert!(!serde_json::to_string(&status).unwrap().contains("state_hash"));
    }
}
