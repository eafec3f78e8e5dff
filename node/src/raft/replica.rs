//! A node that has an id: its openraft instance, its stores, and what it knows about the leader.

use super::{
    error::Error,
    log::LogStore,
    metrics::Metrics,
    network::Network,
    options::Options,
    peers::{Envelope, Peers, Seal},
    state_machine::{StateHandle, StateMachine},
    types::{LogId, NodeInfo, StoredMembership, TypeConfig},
};
use openraft::{
    Instant as _, RaftLogReader as _, ServerState, async_runtime::watch::WatchReceiver as _, errors::Fatal,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// openraft with our types.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Who a replica is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The cluster.
    pub cluster_id: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// The id it votes under.
    pub node_id: u64,
    /// The disk it votes with.
    pub info: NodeInfo,
    /// Whether it has had a log before.
    pub log_seen: bool,
}

/// One voter or learner.
pub struct Replica {
    /// Who it is.
    pub me: Place,
    /// openraft.
    pub raft: Raft,
    /// The applied state.
    pub state: StateHandle,
    /// The log.
    pub log: LogStore,
    /// Connections.
    pub peers: Arc<Peers>,
    /// Timing and sizes.
    pub options: Options,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the node stops.
    pub stopping: CancellationToken,
    started: Instant,
    /// Milliseconds after `started` at which a leader was last heard of.
    heard_ms: AtomicU64,
}

impl Replica {
    /// Opens the stores below `dir` and runs openraft on the calling runtime.
    pub async fn start(
        dir: &Path,
        me: Place,
        peers: Arc<Peers>,
        options: Options,
        metrics: Arc<Metrics>,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let stores = {
            let (dir, options, cluster_id) = (dir.to_owned(), options.clone(), me.cluster_id.clone());
            tokio::task::spawn_blocking(move || {
                let log = LogStore::open(&dir.join("log"), options.log.clone())?;
                let state = StateMachine::open(options.state(dir.join("state"), &cluster_id))?;
                Ok::<_, std::io::Error>((log, state))
            })
        };
        let stores = stores.await.map_err(|error| Error::Io("the stores could not be opened", error.into()))?;
        let (mut log, (machine, state)) = stores.map_err(|error| Error::Io("the stores could not be opened", error))?;
        // Whoever has had the cluster's log has voted for its leader.
        let vote = log.read_vote().await.map_err(|error| Error::Io("the log could not be read", error))?;
        if me.log_seen && vote.is_none() {
            return Err(Error::LogLost { node_id: me.node_id, disk_id: me.info.disk_id });
        }
        let config = options.raft(&me.cluster_name).map_err(|error| Error::Raft(error.to_string()))?;
        let network = Network {
            cluster_id: me.cluster_id.clone(),
            node_id: me.node_id,
            disk_id: me.info.disk_id,
            peers: peers.clone(),
            append_timeout: options.election_max * 2,
        };
        let raft = Raft::new(me.node_id, Arc::new(config), network, log.clone(), machine).await;
        let raft = raft.map_err(|error| Error::Raft(error.to_string()))?;
        let (started, heard_ms) = (Instant::now(), AtomicU64::new(0));
        Ok(Arc::new(Self { me, raft, state, log, peers, options, metrics, stopping, started, heard_ms }))
    }

    /// Notes that a leader spoke to this node.
    pub fn hear(&self) {
        self.heard_ms.fetch_max(self.elapsed_ms(), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long no leader with a quorum has been heard of. Zero on a sole voter that leads.
    pub fn leaderless(&self) -> Duration {
        self.hear_quorum();
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// On a leader: notes when its quorum last answered, so that its leaderless time, too, counts from there once it is
    /// deposed. Must be called now and then.
    pub fn hear_quorum(&self) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return;
        }
        let ago = match is_sole_voter(&metrics.membership_config, self.me.node_id) {
            true => Some(Duration::ZERO),
            false => metrics.last_quorum_acked.map(|acked| acked.elapsed()),
        };
        if let Some(ago) = ago {
            let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
            self.heard_ms.fetch_max(self.elapsed_ms().saturating_sub(ago_ms), Ordering::Relaxed);
        }
    }

    /// The leader as this node believes; it may have died since.
    pub fn leader(&self) -> Option<(u64, NodeInfo)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let id = metrics.current_leader?;
        Some((id, metrics.membership_config.membership().get_node(&id)?.clone()))
    }

    /// The leader, if it has been heard of lately.
    pub fn live_leader(&self) -> Option<u64> {
        let leader = self.raft.server_metrics().borrow_watched().current_leader?;
        (self.leaderless() < self.options.election_max * 2).then_some(leader)
    }

    /// Resolves when this node knows another leader than `leader`.
    pub async fn leader_is_not(&self, leader: u64) {
        let mut server = self.raft.server_metrics();
        while server.borrow_watched().current_leader.is_none_or(|current| current == leader) {
            if server.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// Whether everything acknowledged anywhere is in the local state already: this node leads, it is the only voter, and
    /// it has applied an entry of its own term. A change is then acknowledged by nobody but this node, after it applied
    /// it. Another voter can acknowledge one only after this node's openraft has taken the membership that lets it and
    /// has published it here.
    pub fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.state == ServerState::Leader
            && metrics.running_state.is_ok()
            && metrics.last_applied.is_some_and(|applied| applied.leader_id == metrics.vote.leader_id)
            && is_sole_voter(&metrics.membership_config, self.me.node_id)
    }

    /// Waits until entry `index` is in the local state; `false` if the node stops first.
    pub async fn applied(&self, index: u64) -> bool {
        if self.state.applied_index() >= index {
            return true;
        }
        let mut applied = self.state.applied();
        let reached = applied.wait_for(|id| id.is_some_and(|id: LogId| id.index >= index));
        tokio::select! {
            reached = reached => reached.is_ok(),
            () = self.stopping.cancelled() => false,
        }
    }

    /// The envelope of calls to a member.
    pub fn seal(&self, to_node: u64, to: &NodeInfo) -> Option<Seal> {
        let envelope = Envelope {
            cluster_id: self.me.cluster_id.clone(),
            from_node: self.me.node_id,
            from_disk: self.me.info.disk_id,
            to_node,
            to_disk: to.disk_id,
        };
        envelope.sealed()
    }

    /// Resolves when openraft has stopped; `None` if it was asked to.
    pub async fn failure(&self) -> Option<String> {
        let mut metrics = self.raft.metrics();
        loop {
            let state = metrics.borrow_watched().running_state.clone();
            match state {
                Ok(()) => {}
                Err(Fatal::Stopped) => return None,
                Err(fatal) => return Some(fatal.to_string()),
            }
            if metrics.changed().await.is_err() {
                let state = metrics.borrow_watched().running_state.clone();
                return match state {
                    Err(fatal @ (Fatal::StorageError(_) | Fatal::Panicked)) => Some(fatal.to_string()),
                    Ok(()) | Err(Fatal::Stopped) => None,
                };
            }
        }
    }
}

fn is_sole_voter(membership: &StoredMembership, node_id: u64) -> bool {
    match membership.membership().get_joint_config().as_slice() {
        [voters] => voters.len() == 1 && voters.contains(&node_id),
        _ => false,
    }
}
