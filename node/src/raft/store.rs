//! [`RaftStore`]: the metadata as the rest of the node uses it.

use super::{
    bootstrap,
    error::Error,
    host::{Host, Make, Parts},
    identity::IdentityFile,
    metrics::Metrics,
    operators::Answerer,
    options::Options,
    peers::Peers,
    service,
    status::{self, Status},
    tls::Tls,
    types::LogId,
};
use crate::{
    config,
    lifecycle::Lifecycle,
    metadata::{self, Command, MetadataStore, Outcome, View},
};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use openraft::{Instant as _, ServerState, async_runtime::watch::WatchReceiver as _};
use prometheus_client::registry::Registry;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Runtime, time::Instant};
use tokio_stream::wrappers::TcpListenerStream;

/// A leader that stops waits so long for another one.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The metadata, agreed with the other nodes. Raft and its port run on two threads of their own.
pub struct RaftStore {
    pub(super) host: Arc<Host>,
    runtime: Mutex<Option<Runtime>>,
}

impl RaftStore {
    /// Opens the data directory and the cluster port; then, in the background, joins, begins or goes on with a cluster.
    /// Until that is done, proposals and barriers wait.
    pub async fn start(
        config: &config::Config,
        lifecycle: &Lifecycle,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, Error> {
        let options = Options { tick: config.gc.tick(), ..Options::default() };
        Self::start_with(config, lifecycle, registry, options).await
    }

    /// As [`RaftStore::start`], with other timing and sizes.
    pub async fn start_with(
        config: &config::Config,
        lifecycle: &Lifecycle,
        registry: &mut Registry,
        options: Options,
    ) -> Result<Arc<Self>, Error> {
        let dir = config.data_dir.clone();
        let identity = IdentityFile::open(&dir)?;
        let tls = config.cluster.as_ref().and_then(|cluster| cluster.tls.as_ref()).map(Tls::load).transpose()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("raft")
            .max_blocking_threads(16)
            .enable_all()
            .build()
            .map_err(|error| Error::Io("the raft runtime could not be started", error))?;
        let handle = runtime.handle().clone();
        let host = Host::new(Make {
            dir,
            cluster: config.cluster.clone(),
            identity,
            peers: Arc::new(Peers::new(tls.clone(), options.election_min / 2, handle.clone())),
            options,
            metrics: Arc::new(Metrics::register(registry)),
            runtime: handle.clone(),
            stopping: lifecycle.stopping().child_token(),
        });
        let store = Arc::new(Self { host: host.clone(), runtime: Mutex::new(Some(runtime)) });
        if let Some(cluster) = &config.cluster {
            listen(&host, cluster, tls).await?;
        }
        let establish = async move {
            if let Err(error) = bootstrap::establish(host.clone()).await {
                host.fail(error.to_string());
                return;
            }
            if host.cluster.is_some()
                && let Some(parts) = host.parts_by(Instant::now() + Duration::from_secs(3600)).await
            {
                bootstrap::announce(host.clone(), parts.replica.clone()).await;
            }
        };
        store.host.tasks.spawn_on(establish, &handle);
        Ok(store)
    }

    /// Resolves, with the reason, when the Raft part cannot go on: the process must end (exit code 70) and start again
    /// from disk. Never resolves otherwise.
    pub async fn failed(&self) -> String {
        let mut failed = self.host.failed.subscribe();
        match failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone()) {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// This node's view of the cluster.
    pub fn status(&self) -> Status {
        status::of(&self.host)
    }

    /// Hands operators' calls at the cluster port to `answerer`; before that they are refused.
    pub fn serve_operators(&self, answerer: Answerer) {
        let _first_counts = self.host.operators.set(answerer);
    }

    /// The cluster this node belongs to, once it does.
    pub fn cluster_id(&self) -> Option<String> {
        self.host.parts().map(|parts| parts.replica.me.cluster_id.clone())
    }

    /// Whether this node leads, as far as it knows. For work that one node should do; safety must not rest on it.
    pub fn is_leader(&self) -> bool {
        self.host.parts().is_some_and(|parts| parts.replica.is_leader())
    }

    /// How long this node has not heard of a leader with a quorum.
    pub fn leaderless(&self) -> Duration {
        self.host.parts().map_or(Duration::MAX, |parts| parts.replica.leaderless())
    }

    /// The last applied entry of one view and the sha256 over its records. Reads the whole state.
    pub async fn state_hash(&self) -> Result<(u64, [u8; 32]), metadata::Error> {
        let parts = self.host.parts().ok_or_else(not_yet)?;
        let state = parts.replica.state.clone();
        let hash = self.host.runtime.spawn(async move { state.hash().await });
        let hash = hash.await.map_err(|_| metadata::Error::Stopping)?;
        let (applied, hash) = hash.map_err(|error| metadata::Error::Storage(Arc::new(error)))?;
        Ok((applied.map_or(0, |id: LogId| id.index), hash))
    }

    /// Whether any other node hears of a leader. Takes at most half a second.
    pub async fn peers_have_leader(&self) -> bool {
        let Some(cluster) = &self.host.cluster else { return false };
        let me = &cluster.advertise;
        let members = self.status().nodes.into_iter().map(|node| node.address);
        let mut addresses: Vec<_> = members.chain(cluster.peers.iter().cloned()).filter(|it| it != me).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut answers: FuturesUnordered<_> =
            addresses.iter().map(|address| bootstrap::ask(&self.host, address)).collect();
        while let Some(answer) = answers.next().await {
            if answer.is_some_and(|answer| answer.leader.is_some()) {
                return true;
            }
        }
        false
    }

    /// If this node leads, hands over to the voter that has most of the log, and waits until that one leads, or 2 s.
    /// `true` if this node does not lead (any more).
    pub async fn transfer_leadership(&self) -> bool {
        let Some(parts) = self.host.parts() else { return true };
        let raft = &parts.replica.raft;
        let metrics = raft.metrics().borrow_watched().clone();
        if metrics.state != ServerState::Leader {
            return true;
        }
        let me = parts.replica.me.node_id;
        let voters: Vec<_> = metrics.membership_config.voter_ids().filter(|id| *id != me).collect();
        let matching = |id: &u64| metrics.replication.as_ref().and_then(|all| all.get(id).cloned().flatten());
        // An idle leader's log does not tell a dead voter from a live one.
        let answers = |id: &u64| {
            let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(id).cloned().flatten());
            heard.is_some_and(|heard| heard.elapsed() < self.host.options.election_max)
        };
        let Some(best) = voters.into_iter().max_by_key(|id| (answers(id), matching(id))) else { return false };
        if raft.trigger().transfer_leader(best).await.is_err() {
            return true;
        }
        tracing::info!(raft.node = best, "handing over leadership to node {best}");
        let mut server = raft.server_metrics();
        let handed_over = async {
            while server.borrow_watched().current_leader == Some(me) || server.borrow_watched().current_leader.is_none()
            {
                if server.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(TRANSFER_TIMEOUT, handed_over).await.is_ok()
    }

    /// Hands over leadership, makes the state durable and stops.
    pub async fn shutdown(&self) {
        self.transfer_leadership().await;
        if let Some(parts) = self.host.parts() {
            let (raft, state) = (parts.replica.raft.clone(), parts.replica.state.clone());
            let stopping = self.host.stopping.clone();
            let stop = self.host.runtime.spawn(async move {
                if let Err(error) = state.checkpoint().await {
                    tracing::warn!(%error, "the last checkpoint failed; the log holds what it lacks");
                }
                stopping.cancel();
                // The answer only says whether its task could be joined.
                let _ = raft.shutdown().await;
                if let Err(error) = state.shutdown().await {
                    tracing::debug!(%error, "the state did not stop in order");
                }
            });
            if tokio::time::timeout(STOP_TIMEOUT, stop).await.is_err() {
                tracing::warn!("raft did not stop in time");
            }
        }
        self.host.stopping.cancel();
        self.host.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.host.tasks.wait()).await.is_err() {
            tracing::warn!("tasks of raft did not end in time");
        }
        self.end_runtime().await;
    }

    /// Drops everything that still runs, in whatever state it is.
    pub(super) async fn end_runtime(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // Blocks until what still ran on it is dropped, connections above all.
            let stop = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(STOP_TIMEOUT));
            if stop.await.is_err() {
                tracing::warn!("the raft runtime did not stop in order");
            }
        }
    }

    fn stop_runtime(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    async fn parts_by(&self, deadline: Instant) -> Result<&Parts, metadata::Error> {
        match self.host.parts_by(deadline).await {
            Some(parts) => Ok(parts),
            None if self.host.stopping.is_cancelled() => Err(metadata::Error::Stopping),
            None => Err(not_yet()),
        }
    }
}

impl Drop for RaftStore {
    fn drop(&mut self) {
        self.host.stopping.cancel();
        self.stop_runtime();
    }
}

#[async_trait]
impl MetadataStore for RaftStore {
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, metadata::Error> {
        self.parts_by(deadline).await?.proposer.propose(command, deadline).await
    }

    async fn barrier(&self, deadline: Instant) -> Result<(), metadata::Error> {
        self.parts_by(deadline).await?.barrier.pass(deadline).await
    }

    fn fresh_age(&self) -> Option<Duration> {
        self.host.parts()?.barrier.fresh_age()
    }

    fn view(&self) -> Result<View, metadata::Error> {
        self.host.parts().ok_or_else(not_yet)?.replica.state.view()
    }
}

fn not_yet() -> metadata::Error {
    metadata::Error::NoQuorum("this node is not part of a cluster yet".to_owned())
}

/// Opens the cluster port and serves it until the node stops.
async fn listen(host: &Arc<Host>, cluster: &config::Cluster, tls: Option<Tls>) -> Result<(), Error> {
    if tls.is_none() && !is_loopback(&cluster.addr) {
        return Err(Error::Plaintext(cluster.addr.clone()));
    }
    let address = match cluster.addr.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => cluster.addr.clone(),
    };
    let failed = |source| Error::Listen { address: cluster.addr.clone(), source };
    let mut server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(1024);
    if let Some(tls) = tls {
        server = server.tls_config(tls.server()).map_err(|error| Error::Tls("certificate", Box::new(error)))?;
    }
    // The listener must be driven by the runtime that serves it.
    let bound = host.runtime.spawn(TcpListener::bind(address)).await;
    let listener = bound.map_err(|error| failed(error.into()))?.map_err(failed)?;
    let port = service::Port::new(host);
    let (stopping, owner) = (host.stopping.clone(), Arc::downgrade(host));
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        stream.inspect(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
        })
    });
    let serve = async move {
        // Peers' streams never end by themselves: they are cut.
        let served = tokio::select! {
            served = server.serve_with_incoming(port, incoming) => served,
            () = stopping.cancelled() => Ok(()),
        };
        if let (Err(error), Some(host)) = (served, owner.upgrade()) {
            host.fail(format!("the cluster port failed: {error}"));
        }
    };
    host.tasks.spawn_on(serve, &host.runtime);
    Ok(())
}

/// Whether `address` can be reached from this machine only. A name other than `localhost` cannot be trusted to be.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
