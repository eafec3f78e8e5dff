//! What a node is before it has an id and stays afterwards: its data directory, its configuration, its runtime. Holds the
//! [`Replica`] from the moment there is one.

use super::{
    barrier::Barrier,
    error::Error,
    identity::IdentityFile,
    membership,
    metrics::Metrics,
    operators::Answerer,
    options::Options,
    peers::Peers,
    propose::Proposer,
    replica::{Place, Replica},
    state_machine::compaction,
    types::NodeInfo,
    upkeep,
};
use crate::config;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by the services, the bootstrap and the store.
pub struct Host {
    /// `data_dir`
    pub dir: PathBuf,
    /// Section `cluster`; absent: alone.
    pub cluster: Option<config::Cluster>,
    /// Who this disk is.
    pub identity: IdentityFile,
    /// Connections.
    pub peers: Arc<Peers>,
    /// Timing and sizes.
    pub options: Options,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The Raft runtime.
    pub runtime: tokio::runtime::Handle,
    /// Its tasks.
    pub tasks: TaskTracker,
    /// Cancelled when the node stops.
    pub stopping: CancellationToken,
    /// Why the Raft part ended by itself, once it has.
    pub failed: watch::Sender<Option<String>>,
    /// Taken by whoever changes the identity or starts the replica.
    pub turn: tokio::sync::Mutex<()>,
    /// Who answers operators, once somebody does.
    pub operators: OnceLock<Answerer>,
    /// Set once, after the identity is on disk.
    parts: OnceLock<Parts>,
    started: watch::Sender<bool>,
}

/// What runs once the node has an id.
pub struct Parts {
    /// openraft and its stores.
    pub replica: Arc<Replica>,
    /// Changes.
    pub proposer: Proposer,
    /// Reads.
    pub barrier: Arc<Barrier>,
    /// Changes of the membership.
    pub membership: membership::Desk,
}

/// What a host is made of.
pub struct Make {
    /// `data_dir`
    pub dir: PathBuf,
    /// Section `cluster`
    pub cluster: Option<config::Cluster>,
    /// Who this disk is.
    pub identity: IdentityFile,
    /// Connections.
    pub peers: Arc<Peers>,
    /// Timing and sizes.
    pub options: Options,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The Raft runtime.
    pub runtime: tokio::runtime::Handle,
    /// Cancelled when the node stops.
    pub stopping: CancellationToken,
}

impl Host {
    /// A node without a replica.
    pub fn new(make: Make) -> Arc<Self> {
        let Make { dir, cluster, identity, peers, options, metrics, runtime, stopping } = make;
        let (tasks, turn, parts) = (TaskTracker::new(), tokio::sync::Mutex::default(), OnceLock::new());
        let (failed, started) = (watch::Sender::new(None), watch::Sender::new(false));
        Arc::new(Self {
            dir,
            cluster,
            identity,
            peers,
            options,
            metrics,
            runtime,
            tasks,
            stopping,
            failed,
            turn,
            operators: OnceLock::new(),
            parts,
            started,
        })
    }

    /// How this node presents itself.
    pub fn info(&self) -> NodeInfo {
        let address = self.cluster.as_ref().map(|cluster| cluster.advertise.clone()).unwrap_or_default();
        NodeInfo { name: address.clone(), address, disk_id: self.identity.get().disk_id }
    }

    /// Name of the cluster.
    pub fn cluster_name(&self) -> &str {
        self.cluster.as_ref().map_or("", |cluster| &cluster.name)
    }

    /// The parts, once there are any.
    pub fn parts(&self) -> Option<&Parts> {
        self.parts.get()
    }

    /// Waits for the parts until `deadline`.
    pub async fn parts_by(&self, deadline: Instant) -> Option<&Parts> {
        if let Some(parts) = self.parts.get() {
            return Some(parts);
        }
        let mut started = self.started.subscribe();
        tokio::select! {
            reached = tokio::time::timeout_at(deadline, started.wait_for(|started| *started)) => { reached.ok()?.ok()?; }
            () = self.stopping.cancelled() => {}
        }
        self.parts.get()
    }

    /// Starts the replica under an id that is on disk; refused if its log has been here and is gone (`log_seen`). The
    /// caller holds `turn`.
    pub async fn start_replica(
        self: &Arc<Self>,
        cluster_id: &str,
        node_id: u64,
        log_seen: bool,
    ) -> Result<Arc<Replica>, Error> {
        if let Some(parts) = self.parts.get() {
            return Ok(parts.replica.clone());
        }
        let me = Place {
            cluster_id: cluster_id.to_owned(),
            cluster_name: self.cluster_name().to_owned(),
            node_id,
            info: self.info(),
            log_seen,
        };
        let replica = Replica::start(
            &self.dir,
            me,
            self.peers.clone(),
            self.options.clone(),
            self.metrics.clone(),
            self.stopping.clone(),
        )
        .await?;
        let spawn = |task: futures_util::future::BoxFuture<'static, ()>| {
            self.tasks.spawn_on(task, &self.runtime);
        };
        spawn(Box::pin(upkeep::tick(replica.clone())));
        let compaction = compaction::run(replica.raft.clone(), replica.log.clone(), replica.state.clone());
        let stopping = self.stopping.clone();
        spawn(Box::pin(async move {
            tokio::select! {
                () = compaction => {}
                () = stopping.cancelled() => {}
            }
        }));
        spawn(Box::pin(upkeep::observe(replica.clone())));
        spawn(Box::pin(watch_for_failure(self.clone(), replica.clone())));
        let expected = self.cluster.as_ref().map_or(1, |cluster| cluster.bootstrap_expect);
        let (desk, work) = membership::open(replica.clone(), expected);
        spawn(Box::pin(work));
        let parts = Parts {
            proposer: Proposer::start(replica.clone(), &self.tasks, &self.runtime),
            barrier: Barrier::new(replica.clone(), self.tasks.clone(), self.runtime.clone()),
            membership: desk,
            replica: replica.clone(),
        };
        tracing::info!(raft.node = node_id, raft.cluster = cluster_id, "raft runs as node {node_id}");
        if self.parts.set(parts).is_ok() {
            self.started.send_replace(true);
        }
        Ok(replica)
    }

    /// Says that the Raft part cannot go on.
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "raft stopped for good");
        self.failed.send_replace(Some(reason));
    }
}

async fn watch_for_failure(host: Arc<Host>, replica: Arc<Replica>) {
    let failure = tokio::select! {
        failure = replica.failure() => failure,
        () = host.stopping.cancelled() => None,
    };
    if let Some(reason) = failure {
        host.fail(reason);
    }
}
