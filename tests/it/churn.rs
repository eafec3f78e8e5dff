//! Nothing that was promised is lost while collection runs, and nothing is left that nobody needs.

use crate::garage;
use flotilla_tests::{
    bucket::Store,
    churn::{self, GC_SECTION, Plan},
    cluster::{Cluster, Storage},
    faulty_s3::{FaultyS3, Rates},
    garage::Garage,
    haproxy::Haproxy,
    skip, wait_for,
};
use std::time::Duration;

/// How long the workers work: `FLOTILLA_CHURN_SECONDS`; 300 in CI, 1800 by hand for a release.
fn length(default: u64) -> Duration {
    let seconds = std::env::var("FLOTILLA_CHURN_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(default))
}

fn seed() -> u64 {
    let seed = std::env::var("FLOTILLA_CHURN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("FLOTILLA_CHURN_SEED={seed}");
    seed
}

/// Three nodes on a store; abandoned uploads end within the run.
async fn start(storage: Storage) -> Cluster {
    let mut cluster = Cluster::builder().storage(storage).sections(GC_SECTION).prepare().unwrap();
    for node in &mut cluster.nodes {
        node.environment.push(("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE".to_owned(), "30s".to_owned()));
        node.start().unwrap();
    }
    cluster.wait_ready().await;
    // Until the leader has told the log of its delays, those of a day hold, and what is deleted waits for so long.
    wait_for("the delays to hold", Duration::from_secs(60), || async {
        let status = churn::gc_status(&cluster.nodes[0]).await.ok()?;
        (status["delays"]["grace_ms"] == 30_000).then_some(())
    })
    .await;
    cluster
}

async fn churn(test: &str, plan: Plan, mut cluster: Cluster, store: Store, at_the_end: impl FnOnce()) {
    let Some(balancer) = Haproxy::start(&cluster.addresses()).await.unwrap() else {
        return skip(test, "haproxy is not installed");
    };
    let ended = churn::run(plan, &mut cluster, &balancer.listen).await.unwrap();
    at_the_end();
    let report = &ended.world.report;
    println!("{report}");
    let checked = ended.check(&cluster, &store).await;
    assert!(report.violations().is_empty(), "{:#?}", report.violations());
    checked.unwrap();
    cluster.wait_equal_hash().await;
    // A run that did not do these proves nothing.
    for what in [
        "pushes done",
        "images pushed again",
        "indexes pushed",
        "referrers pushed",
        "blobs mounted",
        "blobs skipped after HEAD",
        "tags moved or added",
        "tags deleted",
        "manifests deleted",
        "repositories deleted",
        "uploads abandoned or cancelled",
        "images pulled and verified",
    ] {
        assert!(report.of(what) > 0, "no {what}\n{report}");
    }
    let (begun, late) = (report.of("pushes begun"), report.of("pushes over the deadline"));
    println!("{late} of {begun} pushes were over the deadline");
    assert!(late * 2 < begun, "most pushes take longer than the promise allows for: {late} of {begun}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_while_nodes_die_and_collection_runs() {
    let test = "nothing_promised_is_lost_while_nodes_die_and_collection_runs";
    let Some(garage) = garage(test).await else { return };
    let storage = Storage::garage(&garage).await.unwrap();
    let store = Store::of(&storage, None);
    let plan = Plan { workers: 16, length: length(300), seed: seed(), disturbed: true };
    churn(test, plan, start(storage).await, store, || {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_on_a_store_that_fails() {
    let test = "nothing_promised_is_lost_on_a_store_that_fails";
    let Some(garage) = garage(test).await else { return };
    let plan = Plan { workers: 8, length: length(300) / 5, seed: seed(), disturbed: false };
    let (proxy, storage) = behind_faults(&garage, plan.seed).await;
    // The count at the end asks the store itself.
    let store = Store::of(&storage, Some(&garage.s3));
    let cluster = start(storage).await;
    proxy.set(Rates::some());
    churn(test, plan, cluster, store, || {
        proxy.set(Rates::none());
        println!("{}", proxy.counters());
        assert!(proxy.counters().injected() > 0, "no fault was injected");
    })
    .await;
}

async fn behind_faults(garage: &Garage, seed: u64) -> (FaultyS3, Storage) {
    let proxy = FaultyS3::start(&garage.s3, seed).await.unwrap();
    let Storage::S3 { bucket, access_key, secret_key, .. } = Storage::garage(garage).await.unwrap() else {
        unreachable!()
    };
    let storage = Storage::S3 { endpoint: proxy.listen.clone(), bucket, access_key, secret_key };
    (proxy, storage)
}
