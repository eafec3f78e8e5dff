//! Collection on real nodes: the delays hold from the first request on, all nodes share the deletes, and the state is counted
//! again by those that do not lead.

use flotilla_tests::{
    bucket::{Store, by_session},
    churn::gc_status,
    cluster::{Cluster, Node},
    http::{Client, digest_of, full},
    wait_for,
};
use http::Method;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// As short as they can be.
const SHORT: &str =
    "gc:\n  unsafedelays: true\n  grace: 3s\n  promise: 2s\n  deletedelay: 1s\n  sweepdelay: 10s\n  breaker: off\n";

/// A counter of a node.
pub async fn counted(node: &Node, metric: &str) -> u64 {
    let page = Client::new([node.ops.clone()]).get("/metrics").await.unwrap();
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {metric} in {text}"))
}

/// Entries of a queue, as `gc status` counts them.
async fn queued(node: &Node, queue: &str) -> Option<u64> {
    let status = gc_status(node).await.ok()?;
    let queues = status["queues"].as_array()?;
    queues.iter().find(|one| one["name"] == queue)?["waiting"].as_u64()
}

#[tokio::test]
async fn a_new_cluster_serves_with_the_delays_of_its_configuration() {
    let mut cluster = Cluster::builder().sections(SHORT).prepare().unwrap();
    for node in &mut cluster.nodes {
        node.start().unwrap();
    }
    // The first thing that each node does once it is ready.
    let pushes = cluster.nodes.iter().enumerate().map(|(number, node)| async move {
        wait_for("a node to be ready", LIMIT, || async { node.is_ready().await.then_some(()) }).await;
        let bytes = format!("blob of node {number}");
        let digest = digest_of(bytes.as_bytes());
        node.client().push_blob("team/app", &digest, full(bytes.into())).await.unwrap();
        digest
    });
    let digests = futures_util::future::join_all(pushes).await;
    for node in &cluster.nodes {
        assert_eq!(gc_status(node).await.unwrap()["delays"]["grace_ms"], 3_000);
    }
    // Leases of a day would keep them.
    wait_for("blobs that nothing references to go", LIMIT, || async {
        for digest in &digests {
            let answer = cluster.client().send(Method::GET, &format!("/v2/team/app/blobs/{digest}")).await.ok()?;
            if answer.status != 404 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Pushes blobs twice each: the second copies are garbage at once.
async fn push_twice(client: &Client, what: &str, blobs: usize) {
    for number in 0..blobs {
        let bytes = format!("{what} {number}");
        for _ in 0..2 {
            client.push_blob("team/app", &digest_of(bytes.as_bytes()), full(bytes.clone().into())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn all_nodes_share_the_deletes_and_the_leader_takes_those_of_a_dead_one() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let store = Store::of(&cluster.storage, None);
    push_twice(&cluster.client(), "first", 60).await;
    let objects = || async { by_session(&store.objects().await.ok()?).ok().map(|sessions| sessions.len()) };
    wait_for("one object for each blob", LIMIT, || async { (objects().await? == 60).then_some(()) }).await;
    let mut deleted = Vec::new();
    for node in &cluster.nodes {
        deleted.push(counted(node, "flotilla_gc_objects_deleted_total").await);
    }
    println!("objects deleted by each node: {deleted:?}");
    assert!(deleted.iter().all(|deleted| *deleted >= 5), "somebody did not do its part: {deleted:?}");

    let leader = cluster.leader().await;
    let dead = (leader + 1) % 3;
    cluster.nodes[dead].kill();
    let others = cluster.nodes.iter().enumerate().filter(|(number, _)| *number != dead);
    let client = Client::new(others.map(|(_, node)| node.http.clone()));
    push_twice(&client, "second", 60).await;
    // The leader waits half a minute for the other one.
    wait_for("one object for each blob, without a node", LIMIT * 2, || async {
        (objects().await? == 120).then_some(())
    })
    .await;
    wait_for("the state to know", LIMIT, || async {
        (queued(&cluster.nodes[leader], "deleting").await? == 0).then_some(())
    })
    .await;
    cluster.restart(dead).await.unwrap();
    cluster.wait_equal_hash().await;
    let verified = cluster.nodes[dead].operate(&["verify", "--hash"], LIMIT).await.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn those_who_do_not_lead_count_the_state_again() {
    let cluster = Cluster::builder().sections("gc:\n  recount: 2s\n").start().await.unwrap();
    let client = cluster.client();
    for number in 0..20 {
        client.push_image("team/app", &format!("v{number}"), &format!("image {number}")).await.unwrap();
    }
    let leader = cluster.leader().await;
    let before = counted(&cluster.nodes[leader], "flotilla_gc_recounts_total").await;
    for (number, node) in cluster.nodes.iter().enumerate().filter(|(number, _)| *number != leader) {
        wait_for("a follower to count", LIMIT, || async {
            (counted(node, "flotilla_gc_recounts_total").await >= 3).then_some(())
        })
        .await;
        assert_eq!(counted(node, "flotilla_gc_miscounts_total").await, 0, "{number}");
    }
    assert_eq!(
        counted(&cluster.nodes[leader], "flotilla_gc_recounts_total").await,
        before,
        "the leader has other work"
    );
    assert_eq!(gc_status(&cluster.nodes[leader]).await.unwrap()["mode"], "on");
}
