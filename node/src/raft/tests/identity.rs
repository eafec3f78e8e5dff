//! Nodes that are not who they were, and strangers.

use super::cluster::{Cluster, holds, soon, until, write};
use crate::{
    metadata::MetadataStore as _,
    raft::{
        peers::{Envelope, Lane, Peers},
        types::{DiskId, NodeInfo},
    },
};
use flotilla_proto::wire::cluster as wire;
use std::time::Duration;
use tonic::Code;

fn node_info(cluster: &Cluster, node: usize) -> NodeInfo {
    let status = cluster.store(node).status();
    NodeInfo { address: cluster.addresses[node].clone(), disk_id: status.disk_id, name: String::new() }
}

/// The answer to a vote request with this envelope.
async fn call(cluster: &Cluster, to: &NodeInfo, envelope: &Envelope) -> Code {
    let peers = Peers::new(None, Duration::from_secs(1), tokio::runtime::Handle::current());
    let mut client = peers.raft(&to.address, &envelope.sealed().unwrap(), Lane::Control).unwrap();
    let vote = wire::Vote { term: 0, node_id: 1, committed: false };
    let request = wire::VoteRequest { vote: Some(vote), last_log_id: None, leader_transfer: false };
    assert!(!cluster.running().is_empty());
    match client.pre_vote(request).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_from_strangers_and_to_the_wrong_node_are_refused() {
    let cluster = Cluster::started(3).await;
    let (from, to) = (cluster.store(0).status(), cluster.store(1).status());
    let info = node_info(&cluster, 1);
    let good = Envelope {
        cluster_id: to.cluster_id.clone().unwrap(),
        from_node: from.node_id.unwrap(),
        from_disk: from.disk_id,
        to_node: to.node_id.unwrap(),
        to_disk: to.disk_id,
    };
    assert_eq!(call(&cluster, &info, &good).await, Code::Ok);
    let other_disk = DiskId([7; 16]);
    let wrong = [
        Envelope { cluster_id: "another".into(), ..good.clone() },
        Envelope { to_node: 99, ..good.clone() },
        Envelope { to_disk: other_disk, ..good.clone() },
        Envelope { from_disk: other_disk, ..good.clone() },
        Envelope { from_node: 99, ..good.clone() },
    ];
    for envelope in wrong {
        assert_eq!(call(&cluster, &info, &envelope).await, Code::FailedPrecondition, "{envelope:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_comes_back_under_a_new_id_and_its_old_one_is_refused() {
    let mut cluster = Cluster::started(3).await;
    for id in 0..20 {
        write(cluster.store(0), id).await;
    }
    let wiped = (cluster.leader().await + 1) % 3;
    let old = cluster.store(wiped).status();
    cluster.kill(wiped).await;
    cluster.wipe(wiped).await;
    cluster.start(wiped).await;
    cluster.store(wiped).barrier(soon()).await.unwrap();
    assert!((0..20).all(|id| holds(cluster.store(wiped), id)));
    let new = cluster.store(wiped).status();
    assert!(new.node_id.unwrap() > 65_536, "{new:?}");
    assert_ne!(new.disk_id, old.disk_id);
    for node in 0..3 {
        until("the new disk votes in place of the old one", || {
            let nodes = cluster.store(node).status().nodes;
            let voters: Vec<_> = nodes.iter().filter(|node| node.voter).map(|node| node.id).collect();
            let replaced = nodes.len() == 3 && voters.len() == 3 && voters.contains(&new.node_id.unwrap());
            (replaced && !voters.contains(&old.node_id.unwrap())).then_some(())
        })
        .await;
    }
    // The removal is committed on the node that is asked.
    write(cluster.store(wiped), 100).await;
    let asked = (wiped + 1) % 3;
    cluster.store(asked).barrier(soon()).await.unwrap();
    let to = cluster.store(asked).status();
    let envelope = Envelope {
        cluster_id: to.cluster_id.clone().unwrap(),
        from_node: old.node_id.unwrap(),
        from_disk: old.disk_id,
        to_node: to.node_id.unwrap(),
        to_disk: to.disk_id,
    };
    assert_eq!(call(&cluster, &node_info(&cluster, asked), &envelope).await, Code::FailedPrecondition);
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cluster_begins_before_all_expected_nodes_are_there() {
    let mut cluster = Cluster::new(3);
    cluster.start(0).await;
    cluster.start(1).await;
    let early = tokio::time::Instant::now() + Duration::from_millis(500);
    assert!(cluster.store(0).barrier(early).await.is_err());
    assert_eq!(cluster.store(0).cluster_id(), None);
    cluster.start(2).await;
    for node in 0..3 {
        cluster.store(node).barrier(soon()).await.unwrap();
    }
    let ids: Vec<_> = (0..3).map(|node| cluster.store(node).cluster_id()).collect();
    assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_moved_is_found_again() {
    let mut cluster = Cluster::started(3).await;
    let moved = (cluster.leader().await + 1) % 3;
    let id = cluster.store(moved).status().node_id.unwrap();
    cluster.stop(moved).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    cluster.addresses[moved] = port.local_addr().unwrap().to_string();
    drop(port);
    cluster.start(moved).await;
    let other = (moved + 1) % 3;
    until("the new address is known", || {
        let nodes = cluster.store(other).status().nodes;
        nodes.iter().any(|node| node.id == id && node.address == cluster.addresses[moved]).then_some(())
    })
    .await;
    write(cluster.store(other), 1).await;
    cluster.store(moved).barrier(soon()).await.unwrap();
    assert!(holds(cluster.store(moved), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_alone_is_gone_does_not_vote_again() {
    let mut cluster = Cluster::started(3).await;
    write(cluster.store(0), 1).await;
    until("the identity knows of the log", || {
        cluster.store(0).host.identity.get().member.filter(|member| member.log_seen)
    })
    .await;
    cluster.stop(0).await;
    std::fs::remove_dir_all(cluster.data_dir(0).join("log")).unwrap();
    cluster.start(0).await;
    let reason = tokio::time::timeout_at(soon(), cluster.store(0).failed()).await.unwrap();
    assert!(reason.contains("is gone from disk"), "{reason}");
}
