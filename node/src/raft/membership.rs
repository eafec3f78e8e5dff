//! Who belongs to the cluster. One task per node, idle unless the node leads, makes every change: openraft would let
//! parallel ones interleave into a joint membership that stays.
//!
//! A new disk joins as a learner under a fresh id. Caught up, it takes the place of the voter that had its address (the
//! disk was lost), or becomes a voter while there are fewer than expected; otherwise it stays a learner.

use super::{
    propose,
    replica::Replica,
    types::{DiskId, NodeInfo, StoredMembership},
};
use crate::metadata::{Command, Outcome};
use flotilla_proto::wire::{cluster as wire, metadata as words};
use openraft::{ChangeMembers, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver as _, raft::Precondition};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tonic::Status;

/// Nodes waiting to join at most.
const CALLS_MAX: usize = 64;
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Where joins are handed in.
pub struct Desk(mpsc::Sender<Call>);

struct Call {
    disk_id: DiskId,
    address: String,
    name: String,
    answer: oneshot::Sender<wire::JoinResponse>,
}

impl Desk {
    /// Asks for a place in the cluster, or says where the node of this disk is now.
    pub async fn join(&self, request: wire::JoinRequest) -> Result<wire::JoinResponse, Status> {
        let disk_id = DiskId::from_bytes(&request.disk_id).ok_or_else(|| Status::invalid_argument("disk id"))?;
        let (answer, answered) = oneshot::channel();
        let call = Call { disk_id, address: request.address, name: request.name, answer };
        self.0.try_send(call).map_err(|_| Status::resource_exhausted("too many nodes are joining"))?;
        answered.await.map_err(|_| Status::unavailable("the node is stopping"))
    }
}

/// The desk and the work behind it. `voters_max` voters are wanted.
pub fn open(replica: Arc<Replica>, voters_max: usize) -> (Desk, impl Future<Output = ()> + Send + 'static) {
    let (sender, calls) = mpsc::channel(CALLS_MAX);
    (Desk(sender), work(replica, voters_max, calls))
}

async fn work(replica: Arc<Replica>, voters_max: usize, mut calls: mpsc::Receiver<Call>) {
    let mut timer = tokio::time::interval(replica.options.review);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            call = calls.recv() => match call {
                Some(call) => on_join(&replica, call).await,
                None => return,
            },
            _ = timer.tick() => on_review(&replica, voters_max).await,
            () = replica.stopping.cancelled() => return,
        }
    }
}

async fn on_join(replica: &Replica, call: Call) {
    use wire::join_response::Result as Answer;
    let result = match join(replica, &call).await {
        Ok(Some(node_id)) => Answer::Joined(wire::Joined { cluster_id: replica.me.cluster_id.clone(), node_id }),
        Ok(None) => Answer::NotLeader(propose::not_leader(replica)),
        Err(reason) => Answer::Refused(reason),
    };
    // A node that hung up asks again.
    let _ = call.answer.send(wire::JoinResponse { result: Some(result) });
}

/// The node id of the caller's disk; `None` if this node does not lead.
async fn join(replica: &Replica, call: &Call) -> Result<Option<u64>, String> {
    let metrics = replica.raft.metrics().borrow_watched().clone();
    if metrics.state != ServerState::Leader {
        return Ok(None);
    }
    let known = metrics.membership_config.membership().nodes().find(|(_, info)| info.disk_id == call.disk_id);
    let known = known.map(|(id, info)| (*id, info.clone()));
    if let Some((id, info)) = &known
        && info.address == call.address
    {
        return Ok(Some(*id));
    }
    if !is_at(replica, &call.address, call.disk_id).await {
        return Err(format!("no node with disk {} answers at {}", call.disk_id, call.address));
    }
    let info = NodeInfo { address: call.address.clone(), disk_id: call.disk_id, name: call.name.clone() };
    if let Some((id, old)) = known {
        tracing::info!(raft.node = id, "node {id} moves from {} to {}", old.address, info.address);
        replica.peers.place(id, &info.address);
        change(replica, ChangeMembers::SetNodes([(id, info)].into()), &metrics.membership_config).await?;
        return Ok(Some(id));
    }
    let allocate = Command::AllocateNodeId(words::AllocateNodeId { disk_id: call.disk_id.to_bytes() });
    let id = match propose::write_command(replica, allocate).await.map_err(|error| error.to_string())? {
        Some(Outcome::NodeIdAllocated(allocated)) => allocated.node_id,
        Some(_) => return Err("no node id was allocated".to_owned()),
        None => return Ok(None),
    };
    replica.raft.add_learner(id, info, false).await.map_err(|error| error.to_string())?;
    tracing::info!(raft.node = id, "disk {} joins as node {id} at {}", call.disk_id, call.address);
    Ok(Some(id))
}

async fn on_review(replica: &Replica, voters_max: usize) {
    let metrics = replica.raft.metrics().borrow_watched().clone();
    if metrics.state != ServerState::Leader {
        return;
    }
    let membership = &metrics.membership_config;
    // Learners that do not answer must not keep others from becoming voters.
    let mut silent = BTreeSet::new();
    let step = loop {
        match next_step(&metrics, voters_max, replica.options.lag_max, &silent) {
            Some(Step::Promote { learner, info, .. }) if !is_at(replica, &info.address, info.disk_id).await => {
                silent.insert(learner);
            }
            Some(step) => break step,
            None => return,
        }
    };
    let changed = match step {
        Step::Finish(voters) => change(replica, ChangeMembers::ReplaceAllVoters(voters), membership).await,
        Step::Forget(node) => change(replica, ChangeMembers::RemoveNodes([node].into()), membership).await,
        Step::Promote { learner, voters, .. } => {
            tracing::info!(raft.node = learner, "node {learner} becomes a voter of {voters:?}");
            change(replica, ChangeMembers::ReplaceAllVoters(voters), membership).await
        }
    };
    if let Err(reason) = changed {
        tracing::warn!(reason, "the membership could not be changed; it will be tried again");
    }
}

/// What the membership lacks.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// An earlier change was left half done.
    Finish(BTreeSet<u64>),
    /// A learner whose address belongs to a later disk.
    Forget(u64),
    /// A learner to make a voter, and all voters there are then.
    Promote { learner: u64, info: NodeInfo, voters: BTreeSet<u64> },
}

fn next_step(
    metrics: &RaftMetrics<super::types::TypeConfig>,
    voters_max: usize,
    lag_max: u64,
    silent: &BTreeSet<u64>,
) -> Option<Step> {
    let membership = metrics.membership_config.membership();
    let configs = membership.get_joint_config();
    let voters = configs.last()?;
    if configs.len() > 1 {
        return Some(Step::Finish(voters.clone()));
    }
    // One change at a time: the last one must be committed.
    if metrics.committed_membership_config.log_id() != metrics.membership_config.log_id() {
        return None;
    }
    let nodes: BTreeMap<u64, &NodeInfo> = membership.nodes().map(|(id, info)| (*id, info)).collect();
    let last = metrics.last_log_index.unwrap_or(0);
    let caught_up = |id: &u64| {
        let matching = metrics.replication.as_ref().and_then(|replication| replication.get(id).cloned().flatten());
        matching.is_some_and(|matching| matching.index.saturating_add(lag_max) >= last)
    };
    for (id, info) in nodes.iter().filter(|(id, _)| !voters.contains(id)) {
        let same = |other: &&u64| *other != id && nodes.get(other).is_some_and(|node| node.address == info.address);
        if nodes.keys().filter(same).any(|other| other > id) {
            return Some(Step::Forget(*id));
        }
        if silent.contains(id) || !caught_up(id) {
            continue;
        }
        let mut next = voters.clone();
        match voters.iter().find(same) {
            Some(lost) => {
                next.remove(lost);
            }
            None if voters.len() >= voters_max => continue,
            None => {}
        }
        next.insert(*id);
        return Some(Step::Promote { learner: *id, info: (*info).clone(), voters: next });
    }
    None
}

/// Makes one change, if the membership is still the one it was decided on.
async fn change(
    replica: &Replica,
    members: ChangeMembers<u64, NodeInfo>,
    observed: &StoredMembership,
) -> Result<(), String> {
    let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: *observed.log_id() };
    let changed = replica.raft.change_membership_if(members, false, [unchanged]).await;
    changed.map(drop).map_err(|error| error.to_string())
}

/// Whether the node at `address` has this disk.
async fn is_at(replica: &Replica, address: &str, disk_id: DiskId) -> bool {
    let Ok(mut client) = replica.peers.join(address) else { return false };
    let request = wire::DiscoverRequest {
        cluster_name: replica.me.cluster_name.clone(),
        disk_id: replica.me.info.disk_id.to_bytes(),
        address: replica.me.info.address.clone(),
    };
    match tokio::time::timeout(DIAL_TIMEOUT, client.discover(request)).await {
        Ok(Ok(answer)) => DiskId::from_bytes(&answer.into_inner().disk_id) == Some(disk_id),
        Ok(Err(_)) | Err(_) => false,
    }
}
