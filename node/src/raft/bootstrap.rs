//! How a node gets its id. Joining a running cluster always wins. A new cluster begins only when exactly the expected
//! number of disks is seen and none belongs to a cluster: the one with the smallest disk id proposes the list of first
//! voters, every other one promises on disk to be part of that list and no other, and then the first initializes it.
//! A disk makes one promise, so that no two lists can both become clusters.

use super::{
    error::Error,
    host::Host,
    identity::{Member, Promise},
    replica::Replica,
    types::{DiskId, NodeInfo, node_info_from_wire, node_info_to_wire},
};
use flotilla_proto::wire::cluster as wire;
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use openraft::{
    async_runtime::watch::WatchReceiver as _,
    errors::{InitializeError, RaftError},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const DISCOVER_TIMEOUT: Duration = Duration::from_millis(500);
/// A join waits for a change of the membership.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers are asked this often …
const POLL: Duration = Duration::from_millis(50);
/// … and less often once this many rounds have passed.
const POLLS_QUICK: u32 = 200;
const POLL_SLOW: Duration = Duration::from_millis(500);

/// Gives this node its id and starts its replica. Returns when that is done, or the node stops.
pub async fn establish(host: Arc<Host>) -> Result<(), Error> {
    let identity = host.identity.get();
    if let Some(member) = identity.member {
        let _turn = host.turn.lock().await;
        let replica = host.start_replica(&member.cluster_id, member.node_id, member.log_seen).await?;
        if member.log_seen {
            return Ok(());
        }
        if host.cluster.is_none() {
            return resume_alone(&host, &replica).await;
        }
        tracing::info!("this node has no log yet: it waits for the leader");
        settle_later(&host, replica);
        return Ok(());
    }
    if let Some(promise) = identity.promise {
        return resume(&host, promise).await;
    }
    match &host.cluster {
        None => {
            let _turn = host.turn.lock().await;
            begin_alone(&host).await
        }
        Some(_) => discover(&host).await,
    }
}

/// A cluster of one: nobody to ask.
async fn begin_alone(host: &Arc<Host>) -> Result<(), Error> {
    let member = Member { cluster_id: uuid::Uuid::new_v4().to_string(), node_id: 1, log_seen: false };
    write_identity(host, Some(member.clone()), None).await?;
    let replica = host.start_replica(&member.cluster_id, member.node_id, false).await?;
    resume_alone(host, &replica).await
}

async fn resume_alone(host: &Arc<Host>, replica: &Arc<Replica>) -> Result<(), Error> {
    initialize(replica, [(replica.me.node_id, host.info())].into()).await?;
    settle_later(host, replica.clone());
    Ok(())
}

/// Goes on with a promise made before: the first of the list initializes the cluster, the others wait for it.
async fn resume(host: &Arc<Host>, promise: Promise) -> Result<(), Error> {
    let disk_id = host.identity.get().disk_id;
    let node_id = promise.node_of(disk_id).ok_or_else(|| Error::Raft("the promise is another disk's".to_owned()))?;
    let replica = {
        let _turn = host.turn.lock().await;
        host.start_replica(&promise.cluster_id, node_id, false).await?
    };
    let is_first = promise.nodes.keys().next() == Some(&node_id);
    if is_first && !is_initialized(&replica).await? {
        gather_promises(host, &promise).await;
        if host.stopping.is_cancelled() {
            return Ok(());
        }
        initialize(&replica, promise.nodes.clone()).await?;
    }
    settle_later(host, replica);
    Ok(())
}

fn settle_later(host: &Arc<Host>, replica: Arc<Replica>) {
    host.tasks.spawn_on(settle(host.clone(), replica), &host.runtime);
}

/// Once the cluster's log is here, the promise has become membership, and a later lack of the log is a loss.
async fn settle(host: Arc<Host>, replica: Arc<Replica>) {
    let mut server = replica.raft.server_metrics();
    loop {
        let known = server.borrow_watched().committed_membership_config.membership().nodes().next().is_some();
        if known {
            break;
        }
        tokio::select! {
            changed = server.changed() => if changed.is_err() { return },
            () = host.stopping.cancelled() => return,
        }
    }
    let _turn = host.turn.lock().await;
    let member = Member { cluster_id: replica.me.cluster_id.clone(), node_id: replica.me.node_id, log_seen: true };
    if let Err(error) = write_identity(&host, Some(member), None).await {
        tracing::warn!(%error, "the identity does not say yet that the log was seen");
    }
}

/// Asks every peer until this node joins a cluster, begins one, or has promised to be part of one.
async fn discover(host: &Arc<Host>) -> Result<(), Error> {
    let Some(cluster) = host.cluster.clone() else { return Ok(()) };
    let me = host.info();
    let others: Vec<_> = cluster.peers.iter().filter(|peer| **peer != me.address).cloned().collect();
    let mut rounds = 0_u32;
    loop {
        if host.stopping.is_cancelled() {
            return Ok(());
        }
        let answers = join_all(others.iter().map(|peer| ask(host, peer))).await;
        if host.identity.get().promise.is_some() {
            // `promise` has started the replica, or is about to.
            return Ok(());
        }
        let seen: Vec<_> =
            answers.iter().flatten().filter(|answer| answer.disk_id != me.disk_id.0.as_slice()).collect();
        let running = seen.iter().any(|answer| answer.initialized);
        if running {
            if join(host, &others, &me).await? {
                return Ok(());
            }
        } else if answers.iter().all(Option::is_some) {
            let mut disks: BTreeMap<DiskId, NodeInfo> = [(me.disk_id, me.clone())].into();
            let fresh = seen.iter().all(|answer| answer.cluster_id.is_none() && answer.promise.is_none());
            for answer in &seen {
                if let Some(disk_id) = DiskId::from_bytes(&answer.disk_id) {
                    let (address, name) = (answer.address.clone(), answer.address.clone());
                    disks.insert(disk_id, NodeInfo { address, disk_id, name });
                }
            }
            let count = disks.len();
            let expected = count == cluster.bootstrap_expect;
            let smallest = disks.keys().next() == Some(&me.disk_id);
            if fresh && expected && smallest && begin(host, disks).await? {
                return Ok(());
            }
            if !expected && rounds % 100 == 20 {
                tracing::warn!(
                    seen = count,
                    expected = cluster.bootstrap_expect,
                    "cluster.peers and cluster.bootstrapexpect do not agree: no cluster is begun"
                );
            }
        } else if rounds % 100 == 20 {
            tracing::info!("not all of cluster.peers answer yet: waiting");
        }
        rounds = rounds.saturating_add(1);
        let pause = if rounds < POLLS_QUICK { POLL } else { POLL_SLOW };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = host.stopping.cancelled() => return Ok(()),
        }
    }
}

/// Begins a cluster of `disks` as the one that proposes it; `false` if this disk has promised otherwise meanwhile.
async fn begin(host: &Arc<Host>, disks: BTreeMap<DiskId, NodeInfo>) -> Result<bool, Error> {
    let promise =
        Promise { cluster_id: uuid::Uuid::new_v4().to_string(), nodes: (1..).zip(disks.into_values()).collect() };
    {
        let _turn = host.turn.lock().await;
        let identity = host.identity.get();
        if identity.promise.is_some() || identity.member.is_some() {
            return Ok(false);
        }
        write_identity(host, None, Some(promise.clone())).await?;
    }
    tracing::info!(raft.cluster = promise.cluster_id, "beginning a cluster of {} nodes", promise.nodes.len());
    resume(host, promise).await?;
    Ok(true)
}

/// Returns once every other node of the list has promised, or this node stops.
async fn gather_promises(host: &Arc<Host>, promise: &Promise) {
    let me = host.identity.get().disk_id;
    let request = wire::PromiseRequest {
        cluster_id: promise.cluster_id.clone(),
        nodes: promise.nodes.iter().map(|(id, info)| node_info_to_wire(*id, info)).collect(),
        cluster_name: host.cluster_name().to_owned(),
    };
    let request = &request;
    let asked = promise.nodes.values().filter(|info| info.disk_id != me).map(|info| async move {
        let mut attempts = 0_u32;
        while !host.stopping.is_cancelled() {
            match ask_promise(host, &info.address, request.clone()).await {
                Ok(()) => return,
                Err(reason) if attempts % 20 == 19 => {
                    tracing::warn!(reason, "{} does not promise to be part of the new cluster", info.address);
                }
                Err(_) => {}
            }
            attempts = attempts.saturating_add(1);
            tokio::time::sleep(POLL).await;
        }
    });
    asked.collect::<FuturesUnordered<_>>().collect::<()>().await;
}

async fn ask_promise(host: &Host, address: &str, request: wire::PromiseRequest) -> Result<(), String> {
    let mut client = host.peers.join(address).map_err(|status| status.message().to_owned())?;
    match tokio::time::timeout(JOIN_TIMEOUT, client.promise(request)).await {
        Ok(Ok(answer)) => match answer.into_inner() {
            answer if answer.promised => Ok(()),
            answer => Err(answer.reason),
        },
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// Promises to be part of the list, on disk, and starts the replica under the id it gives this disk.
pub async fn promise(host: &Arc<Host>, request: wire::PromiseRequest) -> Result<(), String> {
    let expected = host.cluster.as_ref().map(|cluster| cluster.bootstrap_expect);
    if request.cluster_name != host.cluster_name() {
        return Err(format!("this cluster is called {:?}", host.cluster_name()));
    }
    if expected != Some(request.nodes.len()) {
        return Err(format!("cluster.bootstrapexpect is {} here", expected.unwrap_or(0)));
    }
    let nodes = request.nodes.iter().map(node_info_from_wire).collect::<Result<BTreeMap<_, _>, _>>();
    let nodes = nodes.map_err(|error| error.to_string())?;
    let promise = Promise { cluster_id: request.cluster_id, nodes };
    let _turn = host.turn.lock().await;
    let identity = host.identity.get();
    let node_id = promise.node_of(identity.disk_id).ok_or("the list names another disk for this node")?;
    match (&identity.member, &identity.promise) {
        (Some(member), _) if member.cluster_id == promise.cluster_id => return Ok(()),
        (Some(member), _) => return Err(format!("this disk belongs to cluster {}", member.cluster_id)),
        (None, Some(made)) if *made == promise => {}
        (None, Some(made)) => return Err(format!("this disk has promised to be part of cluster {}", made.cluster_id)),
        (None, None) => {
            write_identity(host, None, Some(promise.clone())).await.map_err(|error| error.to_string())?;
        }
    }
    let replica = host.start_replica(&promise.cluster_id, node_id, false).await.map_err(|error| error.to_string())?;
    settle_later(host, replica);
    Ok(())
}

/// Asks the running cluster for a place; `false` if it should be tried again.
async fn join(host: &Arc<Host>, others: &[String], me: &NodeInfo) -> Result<bool, Error> {
    use wire::join_response::Result as Answer;
    let mut addresses: Vec<String> = others.to_vec();
    let mut asked = 0;
    // A node that does not lead names the one that does.
    while let Some(address) = addresses.get(asked).cloned() {
        asked += 1;
        let request = wire::JoinRequest {
            cluster_name: host.cluster_name().to_owned(),
            disk_id: me.disk_id.to_bytes(),
            address: me.address.clone(),
            name: me.name.clone(),
        };
        let Ok(mut client) = host.peers.join(&address) else { continue };
        let answer = match tokio::time::timeout(JOIN_TIMEOUT, client.join(request)).await {
            Ok(Ok(answer)) => answer.into_inner().result,
            Ok(Err(_)) | Err(_) => continue,
        };
        match answer {
            Some(Answer::Joined(joined)) => {
                let _turn = host.turn.lock().await;
                let identity = host.identity.get();
                if identity.promise.is_some() || identity.member.is_some() {
                    return Ok(true);
                }
                let member = Member { cluster_id: joined.cluster_id, node_id: joined.node_id, log_seen: false };
                write_identity(host, Some(member.clone()), None).await?;
                settle_later(host, host.start_replica(&member.cluster_id, member.node_id, false).await?);
                return Ok(true);
            }
            Some(Answer::NotLeader(wire::NotLeader { address, .. }))
                if !address.is_empty() && !addresses.contains(&address) =>
            {
                addresses.push(address);
            }
            Some(Answer::Refused(reason)) => tracing::warn!(reason, "the cluster refused this node"),
            Some(Answer::NotLeader(_)) | None => {}
        }
    }
    Ok(false)
}

/// Tells the leader this node's address if the membership has another one. Gives up when the node stops.
pub async fn announce(host: Arc<Host>, replica: Arc<Replica>) {
    let me = host.info();
    loop {
        let known = {
            let server = replica.raft.server_metrics();
            let server = server.borrow_watched();
            server.membership_config.membership().get_node(&replica.me.node_id).map(|info| info.address.clone())
        };
        match known {
            Some(address) if address == me.address => return,
            Some(_) => {
                let leader = replica.leader().map(|(_, info)| info.address);
                let peers = host.cluster.iter().flat_map(|cluster| cluster.peers.clone());
                let addresses: Vec<_> = leader.into_iter().chain(peers).collect();
                announce_to(&host, &addresses, &me).await;
            }
            None => {}
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_SLOW) => {}
            () = host.stopping.cancelled() => return,
        }
    }
}

async fn announce_to(host: &Host, addresses: &[String], me: &NodeInfo) {
    for address in addresses {
        let request = wire::JoinRequest {
            cluster_name: host.cluster_name().to_owned(),
            disk_id: me.disk_id.to_bytes(),
            address: me.address.clone(),
            name: me.name.clone(),
        };
        let Ok(mut client) = host.peers.join(address) else { continue };
        if let Ok(Ok(answer)) = tokio::time::timeout(JOIN_TIMEOUT, client.join(request)).await
            && matches!(answer.into_inner().result, Some(wire::join_response::Result::Joined(_)))
        {
            return;
        }
    }
}

/// Who this node is, for anyone who asks.
pub fn describe(host: &Host) -> wire::DiscoverResponse {
    let identity = host.identity.get();
    let replica = host.parts().map(|parts| &parts.replica);
    let member = identity.member.as_ref();
    wire::DiscoverResponse {
        disk_id: identity.disk_id.to_bytes(),
        address: host.info().address,
        cluster_id: member.map(|member| member.cluster_id.clone()),
        node_id: replica.map_or(0, |replica| replica.me.node_id),
        promise: identity.promise.as_ref().map(|promise| promise.cluster_id.clone().into_bytes().into()),
        initialized: replica.is_some_and(|replica| !is_empty(replica)),
        leader: replica.and_then(|replica| replica.live_leader()),
        cluster_name: host.cluster_name().to_owned(),
    }
}

/// What the node at `address` says of itself; `None` without an answer, or for a cluster of another name.
pub async fn ask(host: &Host, address: &str) -> Option<wire::DiscoverResponse> {
    let me = host.info();
    let request = wire::DiscoverRequest {
        cluster_name: host.cluster_name().to_owned(),
        disk_id: me.disk_id.to_bytes(),
        address: me.address,
    };
    let mut client = host.peers.join(address).ok()?;
    Some(tokio::time::timeout(DISCOVER_TIMEOUT, client.discover(request)).await.ok()?.ok()?.into_inner())
}

/// Whether this replica has never seen the cluster's log.
fn is_empty(replica: &Replica) -> bool {
    let server = replica.raft.server_metrics();
    let server = server.borrow_watched();
    server.membership_config.membership().nodes().next().is_none()
}

async fn is_initialized(replica: &Replica) -> Result<bool, Error> {
    replica.raft.is_initialized().await.map_err(|fatal| Error::Raft(fatal.to_string()))
}

async fn initialize(replica: &Replica, nodes: BTreeMap<u64, NodeInfo>) -> Result<(), Error> {
    match replica.raft.initialize(nodes).await {
        Ok(()) => Ok(()),
        // It has been initialized before: by this node, before a restart.
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(Error::Raft(error.to_string())),
    }
}

/// Writes and syncs the identity. The caller holds `turn`.
async fn write_identity(host: &Arc<Host>, member: Option<Member>, promise: Option<Promise>) -> Result<(), Error> {
    let host = host.clone();
    let written = tokio::task::spawn_blocking(move || host.identity.set(member, promise)).await;
    let written = written.map_err(std::io::Error::other).and_then(|written| written);
    written.map_err(|error| Error::Io("the identity could not be written", error))
}
