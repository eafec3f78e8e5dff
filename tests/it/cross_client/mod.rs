//! What all clients rely on together, over three nodes, each request to another one.
//!
//! The list has twelve entries; `uploads`, `reads` and `tokens` have most of them. Those that are not here: an upload that wanders
//! over the nodes and loses one in mid PATCH (1) and a repeated PUT after a client hung up (part of 4) are in `memory.rs`;
//! tags that move under load (part of 10) in `linearizable.rs`, a leader that dies in `failover.rs`; mirrors (11) in
//! `mirrors.rs`; the conformance suite (12) is a stage of its own.

mod reads;
mod tokens;
mod uploads;

use flotilla_tests::{
    cluster::Cluster,
    http::{OCI_MANIFEST, digest_of, full},
    replay::{Material, Replay, Step, Table, Wire},
    wait_for,
};
use http::Method;
use rustix::process::Signal;
use std::time::Duration;

/// Sends these steps.
async fn run(cluster: &Cluster, name: &'static str, steps: Vec<Step>, material: &mut Material) {
    let table = Table::new(name, "tests").then(steps);
    Replay::new(cluster.addresses(), Wire::Http1).run(&table, material).await;
}

/// Entry 10, the part about a minority; the rest is in `linearizable.rs`.
#[tokio::test]
async fn a_minority_refuses_writes_with_a_time_to_retry_and_serves_blobs_by_digest() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    let manifest = client.push_image("team/app", "v1", "first").await.unwrap();
    let layer = vec![3; 100_000];
    client.push_blob("team/app", &digest_of(&layer), full(layer.clone().into())).await.unwrap();
    // The other two hang, as behind a cable that was pulled: nothing is refused, nothing is answered.
    let alone = (cluster.leader().await + 1) % 3;
    for number in (0..3).filter(|number| *number != alone) {
        cluster.nodes[number].process().signal(Signal::STOP);
    }
    let mut client = cluster.nodes[alone].client();
    client.limit = Duration::from_secs(30);
    let path = "/v2/team/app/manifests/v2";
    let body = client.get(&format!("/v2/team/app/manifests/{manifest}")).await.unwrap().body;
    let refused = client.send_body(Method::PUT, path, &[("content-type", OCI_MANIFEST)], full(body.clone())).await;
    let refused = refused.unwrap().expect(503).unwrap();
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    let blob = client.get(&format!("/v2/team/app/blobs/{}", digest_of(&layer))).await.unwrap();
    assert_eq!(blob.body, layer);
    let read = client.send(Method::GET, "/v2/team/app/manifests/v1").await.unwrap().expect(503).unwrap();
    assert!(!read.header("retry-after").is_empty(), "{read:?}");

    for number in (0..3).filter(|number| *number != alone) {
        cluster.nodes[number].process().signal(Signal::CONT);
    }
    wait_for("writes to go on", Duration::from_secs(20), || async {
        let headers = [("content-type", OCI_MANIFEST)];
        let answer = client.send_body(Method::PUT, path, &headers, full(body.clone())).await.ok()?;
        (answer.status == 201).then_some(())
    })
    .await;
    for node in &cluster.nodes {
        let answer = node.client().send(Method::HEAD, path).await.unwrap().expect(200).unwrap();
        assert_eq!(answer.header("docker-content-digest"), manifest);
    }
}
