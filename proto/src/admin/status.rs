use serde::{Deserialize, Serialize};

/// What a node says of itself and of its cluster: the body of `GET /status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Under which the node votes; never reused. `None` before it has one.
    pub node_id: Option<u64>,
    /// For people.
    pub name: String,
    /// The cluster; `None` before it belongs to one.
    pub cluster_id: Option<String>,
    /// The data directory.
    pub disk_id: String,
    /// The program's version.
    pub version: String,
    /// `leader`, `follower`, `learner`, `candidate` or `starting`.
    pub role: String,
    /// The leader, as far as this node knows.
    pub leader: Option<u64>,
    /// Raft term.
    pub term: u64,
    /// Index of the last log entry here.
    pub last_log: u64,
    /// Index of the last entry known to be committed.
    pub committed: u64,
    /// Index of the last applied entry.
    pub applied_index: u64,
    /// Index of the last entry that the log no longer holds.
    pub purged: u64,
    /// The cluster's members.
    pub members: Vec<Member>,
    /// `starting`, `ready`, `degraded` or `unready`, with the reason.
    pub readiness: String,
    /// Repositories.
    pub repositories: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Open upload sessions.
    pub sessions: u64,
    /// On request: a digest of the whole state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_hash: Option<StateHash>,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Node id.
    pub id: u64,
    /// For people.
    pub name: String,
    /// Cluster address.
    pub address: String,
    /// Data directory.
    pub disk_id: String,
    /// Whether it votes; learners only follow.
    pub voter: bool,
}

/// Equal on every node that has applied the same entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    /// Index of the last applied entry.
    pub index: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
}
