//! A tag written through one node is read through the others at once.

use flotilla_tests::{
    cluster::Cluster,
    history::History,
    http::{Client, digest_of, full, manifest},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::task::JoinSet;

const WRITES: u64 = 10_000;
/// So many different manifests; the tag moves among them, so that a stale answer shows another digest.
const MANIFESTS: u64 = 500;

#[tokio::test]
async fn a_tag_written_on_one_node_is_never_read_stale_on_another_even_across_a_leader_change() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    let config = b"{}";
    let config_digest = digest_of(config);
    client.push_blob("team/app", &config_digest, full(config.as_slice().into())).await.unwrap();
    let body = |number: u64| {
        let mut text: serde_json::Value =
            serde_json::from_str(&manifest(&config_digest, config.len() as u64, &[])).unwrap();
        text["annotations"] = serde_json::json!({"number": (number % MANIFESTS).to_string()});
        text.to_string().into_bytes()
    };
    let numbers: HashMap<String, u64> = (0..MANIFESTS).map(|number| (digest_of(&body(number)), number)).collect();
    client.put_manifest("team/app", "moving", &body(0)).await.unwrap();

    let leader = cluster.leader().await;
    // The writer's node survives: its client must see every write acknowledged.
    let (writer, readers) = ((leader + 1) % 3, [(leader + 2) % 3, leader]);
    let history = Arc::new(History::default());
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for number in readers {
        let client = Client::new([cluster.nodes[number].http.clone()]);
        let (history, done, reads, numbers) = (history.clone(), done.clone(), reads.clone(), numbers.clone());
        tasks.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let read = history.read();
                // The node that is killed refuses connections until it runs again.
                let Ok(answer) = client.send(http::Method::HEAD, "/v2/team/app/manifests/moving").await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                if answer.status != 200 {
                    assert_eq!(answer.status, 503, "{answer:?}");
                    continue;
                }
                let residue = numbers[answer.header("docker-content-digest")];
                // The newest version at or before the newest begun that this manifest can stand for: anything older
                // with the same digest is indistinguishable, and far outside what a stale read would show.
                let version = history.newest(residue, MANIFESTS);
                history.check(read, version).unwrap();
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let client = cluster.nodes[writer].client();
    for version in 1..=WRITES {
        history.begin(version);
        client.put_manifest("team/app", "moving", &body(version)).await.unwrap();
        history.acknowledge(version);
        // Every hundredth also at once by hand, so that the check does not hang on the readers' luck.
        if version % 100 == 0 {
            for node in cluster.nodes.iter_mut() {
                if !node.is_running() {
                    continue;
                }
                let answer = node.client().send(http::Method::HEAD, "/v2/team/app/manifests/moving").await;
                let Ok(answer) = answer else { continue };
                if answer.status == 200 {
                    assert_eq!(numbers[answer.header("docker-content-digest")], version % MANIFESTS);
                }
            }
        }
        if version == WRITES / 2 {
            cluster.nodes[leader].kill();
        }
        if version == WRITES * 3 / 4 {
            cluster.restart(leader).await.unwrap();
        }
        if let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
            panic!("a reader ended early");
        }
    }
    done.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let reads = reads.load(Ordering::Relaxed);
    println!("{WRITES} writes on one node, {reads} reads on two others, one leader killed, no stale answer");
    assert!(reads > WRITES / 10, "only {reads} reads");
    cluster.wait_equal_hash().await;
}
