//! Agreement: bootstrap, writes and reads from any node, lost leaders, nodes that come back.

use super::cluster::{Cluster, PATIENCE, config_of, cut, holds, is_no_quorum, open_session, soon, start, until, write};
use crate::{
    metadata::{Error, MetadataStore as _},
    raft::{Options, log},
};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_needs_no_port_and_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_of(dir.path().to_owned(), None);
    let store = start(&config, Options::default()).await;
    assert_eq!(store.fresh_age(), None);
    write(&store, 1).await;
    assert!(holds(&store, 1));
    store.barrier(soon()).await.unwrap();
    assert!(store.fresh_age().unwrap() < PATIENCE);
    let before = store.status();
    assert_eq!((before.role, before.nodes.len()), ("leader", 1));
    cut(&store).await;
    drop(store);
    let store = start(&config, Options::default()).await;
    store.barrier(soon()).await.unwrap();
    assert!(holds(&store, 1));
    assert_eq!(store.status().cluster_id, before.cluster_id);
    store.shutdown().await;
    assert!(matches!(store.propose(open_session(2), soon()).await, Err(Error::Stopping)));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_agree_whoever_is_asked() {
    let begun = Instant::now();
    let cluster = Cluster::started(3).await;
    eprintln!("three nodes were ready after {:?}", begun.elapsed());
    for round in 0..30_u64 {
        let writer = cluster.store((round % 3) as usize);
        write(writer, round).await;
        assert!(holds(writer, round), "a proposer reads what it wrote");
        for node in 0..3 {
            cluster.store(node).barrier(soon()).await.unwrap();
            assert!(holds(cluster.store(node), round), "node {node} misses write {round} after a barrier");
        }
    }
    let ids: Vec<_> = (0..3).map(|node| cluster.store(node).status().node_id.unwrap()).collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert!(cluster.store(0).status().nodes.iter().all(|node| node.voter));
    assert!(cluster.store(1).peers_have_leader().await);
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_are_each_made_once() {
    let cluster = Cluster::started(3).await;
    let proposals = (0..600_u64).map(|id| {
        let store = cluster.store((id % 3) as usize).clone();
        async move { write(&store, id).await }
    });
    futures_util::future::join_all(proposals).await;
    cluster.store(0).barrier(soon()).await.unwrap();
    assert_eq!(cluster.store(0).view().unwrap().cluster().unwrap().sessions, 600);
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_resume_after_the_leader_is_killed_and_it_catches_up_by_log() {
    let mut cluster = Cluster::started(3).await;
    write(cluster.store(0), 1).await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let survivor = cluster.running()[0];
    let begun = Instant::now();
    write(cluster.store(survivor), 2).await;
    eprintln!("writes resumed after {:?}", begun.elapsed());
    for node in cluster.running() {
        cluster.store(node).barrier(soon()).await.unwrap();
        assert!(holds(cluster.store(node), 1) && holds(cluster.store(node), 2));
    }
    cluster.start(leader).await;
    cluster.store(leader).barrier(soon()).await.unwrap();
    assert!(holds(cluster.store(leader), 2));
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_in_order_hands_over() {
    let mut cluster = Cluster::started(3).await;
    write(cluster.store(0), 1).await;
    let leader = cluster.leader().await;
    assert!(cluster.store(leader).transfer_leadership().await);
    assert_ne!(cluster.leader().await, leader);
    let next = cluster.leader().await;
    cluster.stop(next).await;
    let other = cluster.running()[0];
    write(cluster.store(other), 2).await;
    cluster.start(next).await;
    cluster.store(next).barrier(soon()).await.unwrap();
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_was_purged_catches_up_by_snapshot() {
    let mut cluster = Cluster::new(3);
    cluster.options.log = log::Config { keep_entries: 5, ..log::Config::default() };
    cluster.options.checkpoint_every = Duration::from_millis(100);
    cluster.start_all().await;
    write(cluster.store(0), 0).await;
    let away = (cluster.leader().await + 1) % 3;
    cluster.stop(away).await;
    let writer = cluster.running()[0];
    let seen = cluster.store(writer).status().last_log_index;
    for id in 1..100 {
        write(cluster.store(writer), id).await;
    }
    for node in cluster.running() {
        until("the log is purged", || (cluster.store(node).status().purged_index > seen + 10).then_some(())).await;
    }
    cluster.start(away).await;
    cluster.store(away).barrier(soon()).await.unwrap();
    assert!((0..100).all(|id| holds(cluster.store(away), id)));
    until("its log begins after the snapshot", || (cluster.store(away).status().purged_index > seen).then_some(()))
        .await;
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_changes_and_reads_fail_in_time_and_go_on_afterwards() {
    let mut cluster = Cluster::new(3);
    cluster.options.give_up_after = Duration::from_millis(1500);
    cluster.start_all().await;
    let (left, others) = (0, [1, 2]);
    for node in others {
        cluster.kill(node).await;
    }
    until("the node notices", || (cluster.store(left).leaderless() >= cluster.options.give_up_after).then_some(()))
        .await;
    let begun = Instant::now();
    assert!(is_no_quorum(&cluster.store(left).propose(open_session(1), soon()).await));
    assert!(is_no_quorum(&cluster.store(left).barrier(soon()).await));
    assert!(begun.elapsed() < Duration::from_secs(10), "it does not wait for the deadline");
    assert!(!cluster.store(left).peers_have_leader().await);
    cluster.store(left).view().unwrap();
    for node in others {
        cluster.start(node).await;
    }
    for node in others {
        cluster.store(node).barrier(soon()).await.unwrap();
    }
    write(cluster.store(1), 2).await;
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_without_a_quorum_does_not_count() {
    const ALONE: Duration = Duration::from_secs(4);
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let mono = |cluster: &Cluster| cluster.store(leader).view().unwrap().cluster().unwrap().mono;
    until("the clock runs", || (mono(&cluster) > 0).then_some(())).await;
    for node in others {
        cluster.kill(node).await;
    }
    let before = mono(&cluster);
    until("nobody is heard for long", || (cluster.store(leader).leaderless() >= ALONE).then_some(())).await;
    // One alone: it lacks what the leader wrote meanwhile, so that leader's log stays.
    let back = Instant::now();
    cluster.start(others[0]).await;
    cluster.store(leader).barrier(soon()).await.unwrap();
    // Long enough for whatever was held back.
    let ticked = mono(&cluster);
    until("the clock goes on", || (mono(&cluster) > ticked && back.elapsed() > ALONE / 2).then_some(())).await;
    let (counted, passed) = (Duration::from_millis(mono(&cluster) - before), back.elapsed());
    assert!(counted < passed + ALONE / 2, "{counted:?} were counted in the {passed:?} since they are back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_waits_for_the_next_one() {
    let mut cluster = Cluster::new(3);
    cluster.options.give_up_after = Duration::from_millis(1500);
    cluster.start_all().await;
    let old = cluster.leader().await;
    // It led for longer than it would wait without a leader.
    tokio::time::sleep(Duration::from_millis(2000)).await;
    let store = cluster.store(old).clone();
    let watch = async {
        let (mut worst, end) = (Duration::ZERO, Instant::now() + Duration::from_secs(1));
        while Instant::now() < end {
            worst = worst.max(store.leaderless());
            tokio::task::yield_now().await;
        }
        worst
    };
    let go_on = async {
        store.transfer_leadership().await;
        write(&store, 1).await;
        store.barrier(soon()).await.unwrap();
    };
    let (worst, ()) = tokio::join!(watch, go_on);
    assert!(worst < cluster.options.give_up_after, "without a leader for {worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(&config_of(dir.path().to_owned(), None), Options::default()).await;
    let command = crate::metadata::Command::PutManifest(flotilla_proto::wire::metadata::PutManifest {
        body: vec![0; 9 << 20].into(),
        ..Default::default()
    });
    assert!(matches!(store.propose(command, soon()).await, Err(Error::TooLarge)));
}
