//! What a node tells operators about itself.

use super::{host::Host, replica::Replica, types::DiskId};
use openraft::{ServerState, async_runtime::watch::WatchReceiver as _};

/// A node's own view of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id; `None` before it has one.
    pub node_id: Option<u64>,
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub disk_id: DiskId,
    /// Its cluster; `None` before it belongs to one.
    pub cluster_id: Option<String>,
    /// `leader`, `follower`, `candidate`, `learner`, or `starting`.
    pub role: &'static str,
    /// The leader it believes in.
    pub leader: Option<u64>,
    /// That leader's cluster address.
    pub leader_address: Option<String>,
    /// Term.
    pub term: u64,
    /// Last entry in its log.
    pub last_log_index: u64,
    /// Last entry it has applied.
    pub applied_index: u64,
    /// Last entry it knows a quorum has.
    pub committed_index: u64,
    /// Last entry its log no longer holds.
    pub purged_index: u64,
    /// All nodes, by id.
    pub nodes: Vec<Node>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its cluster address.
    pub address: String,
    /// Its data directory.
    pub disk_id: DiskId,
    /// Whether it votes.
    pub voter: bool,
}

pub(super) fn of(host: &Host) -> Status {
    let info = host.info();
    let mut status = Status {
        node_id: None,
        name: info.name,
        disk_id: info.disk_id,
        cluster_id: None,
        role: "starting",
        leader: None,
        leader_address: None,
        term: 0,
        last_log_index: 0,
        applied_index: 0,
        committed_index: 0,
        purged_index: 0,
        nodes: Vec::new(),
    };
    if let Some(parts) = host.parts() {
        fill(&mut status, &parts.replica);
    }
    status
}

fn fill(status: &mut Status, replica: &Replica) {
    let metrics = replica.raft.metrics().borrow_watched().clone();
    let membership = metrics.membership_config.membership();
    let voters: Vec<u64> = membership.voter_ids().collect();
    status.node_id = Some(replica.me.node_id);
    status.cluster_id = Some(replica.me.cluster_id.clone());
    status.role = match metrics.state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    };
    status.leader = metrics.current_leader;
    status.leader_address =
        metrics.current_leader.and_then(|id| membership.get_node(&id)).map(|info| info.address.clone());
    status.term = metrics.current_term;
    status.last_log_index = metrics.last_log_index.unwrap_or(0);
    status.applied_index = replica.state.applied_index();
    status.committed_index = metrics.local_committed.map_or(0, |id| id.index);
    status.purged_index = metrics.purged.map_or(0, |id| id.index);
    status.nodes = membership
        .nodes()
        .map(|(id, info)| Node {
            id: *id,
            name: info.name.clone(),
            address: info.address.clone(),
            disk_id: info.disk_id,
            voter: voters.contains(id),
        })
        .collect();
}
