//! A rolling restart behind a balancer loses no request.

use flotilla_tests::{
    cluster::Cluster,
    haproxy::Haproxy,
    http::{Client, digest_of, full},
    skip,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_rolling_restart_behind_haproxy_loses_no_request() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let Some(balancer) = Haproxy::start(&cluster.addresses()).await.unwrap() else {
        return skip("a_rolling_restart_behind_haproxy_loses_no_request", "haproxy is not installed");
    };
    cluster.client().push_image("team/app", "v1", "first").await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..4_u64 {
        let client = Client::new([balancer.listen.clone()]);
        let (done, count) = (done.clone(), count.clone());
        tasks.spawn(async move {
            for number in 0.. {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                client.get("/v2/team/app/manifests/v1").await.unwrap();
                let bytes = format!("{task} {number}").into_bytes();
                client.push_blob("team/app", &digest_of(&bytes), full(bytes.into())).await.unwrap();
                count.fetch_add(4, Ordering::Relaxed);
            }
        });
    }
    for number in 0..3 {
        cluster.nodes[number].stop().await.unwrap();
        cluster.restart(number).await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    println!("{} requests during a rolling restart, none failed", count.load(Ordering::Relaxed));
    cluster.wait_equal_hash().await;
}
