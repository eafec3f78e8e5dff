//! Builds clusters and waits for conditions.

use crate::{
    config,
    lifecycle::Lifecycle,
    metadata::{Command, Error, MetadataStore as _, Outcome},
    raft::{Options, RaftStore},
};
use bytes::Bytes;
use flotilla_proto::wire::metadata as words;
use prometheus_client::registry::Registry;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::time::Instant;

/// How long a condition may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Nodes with addresses that stay over restarts; some of them run.
pub struct Cluster {
    pub dir: TempDir,
    pub addresses: Vec<String>,
    pub stores: Vec<Option<Arc<RaftStore>>>,
    pub options: Options,
    pub tls: Option<config::ClusterTls>,
}

impl Cluster {
    /// `count` nodes, none running.
    pub fn new(count: usize) -> Self {
        let listeners: Vec<_> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
        let (dir, stores) = (tempfile::tempdir().unwrap(), (0..count).map(|_| None).collect());
        let options = Options { tick: Duration::from_millis(200), ..Options::default() };
        Self { dir, addresses, stores, options, tls: None }
    }

    /// `count` nodes that have formed a cluster.
    pub async fn started(count: usize) -> Self {
        let mut cluster = Self::new(count);
        cluster.start_all().await;
        cluster
    }

    pub async fn start_all(&mut self) {
        for node in 0..self.addresses.len() {
            self.start(node).await;
        }
        for node in 0..self.addresses.len() {
            self.store(node).barrier(soon()).await.unwrap();
        }
    }

    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    pub fn config(&self, node: usize) -> config::Config {
        let cluster = config::Cluster {
            name: "test".into(),
            addr: self.addresses[node].clone(),
            advertise: self.addresses[node].clone(),
            peers: self.addresses.clone(),
            bootstrap_expect: self.addresses.len(),
            tls: self.tls.clone(),
            new_store: false,
        };
        config_of(self.data_dir(node), Some(cluster))
    }

    pub async fn start(&mut self, node: usize) {
        let config = self.config(node);
        self.stores[node] = Some(start(&config, self.options.clone()).await);
    }

    pub fn store(&self, node: usize) -> &Arc<RaftStore> {
        self.stores[node].as_ref().expect("the node runs")
    }

    /// Stops a node in order.
    pub async fn stop(&mut self, node: usize) {
        let store = self.stores[node].take().expect("the node runs");
        store.shutdown().await;
    }

    /// Cuts a node off without handing over: as good as kill -9 inside one process.
    pub async fn kill(&mut self, node: usize) {
        let store = self.stores[node].take().expect("the node runs");
        cut(&store).await;
    }

    pub async fn wipe(&mut self, node: usize) {
        std::fs::remove_dir_all(self.data_dir(node)).unwrap();
    }

    pub fn running(&self) -> Vec<usize> {
        (0..self.stores.len()).filter(|node| self.stores[*node].is_some()).collect()
    }

    /// The one running node that leads with a quorum.
    pub async fn leader(&self) -> usize {
        until("a leader", || {
            self.running().into_iter().find(|node| {
                let store = self.store(*node);
                store.is_leader() && store.leaderless() < self.options.election_max
            })
        })
        .await
    }

    /// All running nodes have applied the same and agree on every record.
    pub async fn assert_same_state(&self) {
        let deadline = soon();
        loop {
            let mut hashes = Vec::new();
            for node in self.running() {
                hashes.push(self.store(node).state_hash().await.unwrap());
            }
            if hashes.iter().all(|hash| hash.0 == hashes[0].0) {
                assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
                return;
            }
            assert!(Instant::now() < deadline, "the nodes do not reach one index: {hashes:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Ends a store in the middle of whatever it does. Its state's thread would outlive it in this process: it is waited for.
pub async fn cut(store: &RaftStore) {
    store.end_runtime().await;
    if let Some(parts) = store.host.parts() {
        parts.replica.state.shutdown().await.unwrap();
    }
}

pub fn config_of(data_dir: PathBuf, cluster: Option<config::Cluster>) -> config::Config {
    let text = serde_json::json!({"storage": {"filesystem": {"rootdirectory": data_dir}, "delete": {"enabled": true}}});
    let config::Loaded { config, .. } = config::from_yaml(&text.to_string(), []).unwrap();
    config::Config { cluster, data_dir, ..config }
}

/// Starts a store, waiting for the lock of one that is still ending.
pub async fn start(config: &config::Config, options: Options) -> Arc<RaftStore> {
    let deadline = soon();
    loop {
        match RaftStore::start_with(config, &Lifecycle::new(), &mut Registry::default(), options.clone()).await {
            Ok(store) => return store,
            Err(crate::raft::Error::Locked(_) | crate::raft::Error::Listen { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Polls until `condition` holds.
pub async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = soon();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Opens an upload session, the simplest change that leaves a record.
pub fn open_session(id: u64) -> Command {
    let mut session_id = [0; 16];
    session_id[..8].copy_from_slice(&id.to_be_bytes());
    Command::OpenSession(words::OpenSession {
        session_id: Bytes::copy_from_slice(&session_id),
        repository: "team/app".into(),
        algorithm: 1,
        idle_ms: 3_600_000,
        hard_ms: 7_200_000,
    })
}

pub async fn write(store: &RaftStore, id: u64) {
    match store.propose(open_session(id), soon()).await {
        Ok(Outcome::SessionOpened(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// Whether the session is in this node's state.
pub fn holds(store: &RaftStore, id: u64) -> bool {
    let mut session_id = [0; 16];
    session_id[..8].copy_from_slice(&id.to_be_bytes());
    store.view().unwrap().session(&session_id).unwrap().is_some()
}

pub fn is_no_quorum<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::NoQuorum(_)))
}
