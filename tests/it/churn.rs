//! Nothing that was promised is lost while collection runs, and nothing is left that nobody needs.

use crate::garage;
use flotilla_tests::{
    bucket::Store,
    churn::{self, Ended, GC_SECTION, Plan, worker::GIVEN_UP},
    cluster::{Cluster, Storage},
    faulty_s3::{Fault, FaultyS3, Rates, operation::Operation},
    garage::Garage,
    haproxy::Haproxy,
    skip, wait_for,
};
use std::time::Duration;

/// Of the pushes, this part at most may be over the deadline, and of what was written, this part given up because an answer
/// was lost: one in five. Of all time, nodes are away for less than a third, and one node of three each time, so a run in which
/// more fails than this has other reasons, and says more about itself than about collection.
const SHARE_MAX: u64 = 5;
/// How long the store fails, at least.
const FAULTS: Duration = Duration::from_secs(60);
/// Fewer pushes a second than this are no churn.
const PUSHES_A_SECOND: u64 = 2;

/// How long the workers work: `FLOTILLA_CHURN_SECONDS`, else 300 s in CI and a minute elsewhere; 1800 before a release.
fn length() -> Duration {
    let seconds = std::env::var("FLOTILLA_CHURN_SECONDS").ok().and_then(|text| text.parse().ok());
    let default = if std::env::var_os("CI").is_some() { 300 } else { 60 };
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

async fn churn(test: &str, plan: Plan, mut cluster: Cluster, store: Store, garage: &Garage, at_the_end: impl FnOnce()) {
    let Some(balancer) = Haproxy::start(&cluster.addresses()).await.unwrap() else {
        return skip(test, "haproxy is not installed");
    };
    let ended = churn::run(plan, &mut cluster, &balancer.listen).await.unwrap();
    at_the_end();
    let report = &ended.world.report;
    println!("{report}");
    let checked = ended.check(&cluster, &store).await;
    let in_parts = garage.requests().await.unwrap().create;
    println!("{}", summary(&plan, &ended, in_parts));
    assert!(report.violations().is_empty(), "{:#?}", report.violations());
    checked.unwrap();
    cluster.wait_equal_hash().await;
    is_churn(&plan, &ended);
    assert!(in_parts > 0, "the store saw no upload in parts");
}

fn summary(plan: &Plan, ended: &Ended, in_parts: u64) -> String {
    let (of, collected) = (|what| ended.world.report.of(what), |what| ended.collection.of(what));
    format!(
        "CHURN {} s: {} of {} pushes ({} over the deadline), {} pulls, {} deletes of manifests and tags, {} of repositories; nodes: \
         {} kills, {} pauses ({} long), {} restarts; attempts: {} answered 5xx, {} not answered; {} things given up; collected: \
         {} blobs, {} manifests, {} objects deleted, {} strays, {} hours swept; {in_parts} uploads in parts, {} aborted by the \
         sweep; {} verifications under load; {} violations",
        plan.length.as_secs(),
        of("pushes done"),
        of("pushes begun"),
        of("pushes over the deadline"),
        of("images pulled and verified"),
        of("tags deleted") + of("manifests deleted"),
        of("repositories deleted"),
        of("nodes killed with -9"),
        of("nodes paused") + of("nodes paused for long"),
        of("nodes paused for long"),
        of("nodes stopped and started again"),
        of("attempts answered 5xx or 429"),
        of("attempts without an answer"),
        of(GIVEN_UP),
        collected("blobs_collected"),
        collected("manifests_removed"),
        collected("objects_deleted"),
        collected("strays_deleted"),
        collected("hours_swept"),
        collected("uploads_aborted"),
        of("verifications under load"),
        ended.world.report.violations().len(),
    )
}

/// A run that did not do all this proves nothing.
fn is_churn(plan: &Plan, ended: &Ended) {
    let report = &ended.world.report;
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
        "tags undeleted",
        "manifests undeleted",
        "verifications under load",
        "collection paused by the operator",
    ] {
        assert!(report.of(what) > 0, "no {what}\n{report}");
    }
    if plan.disturbed {
        for what in ["nodes killed with -9", "nodes paused for long"] {
            assert!(report.of(what) > 0, "no {what}\n{report}");
        }
    }
    let (begun, late) = (report.of("pushes begun"), report.of("pushes over the deadline"));
    assert!(late * SHARE_MAX <= begun, "{late} of {begun} pushes took longer than the promise allows for");
    let (pulls, silent) = (report.of("images pulled and verified"), report.of("reads without an answer"));
    assert!(silent * SHARE_MAX <= pulls, "{silent} reads had no answer, and only {pulls} pulls had");
    let (done, given_up) = (report.of("pushes done"), report.of(GIVEN_UP));
    assert!(given_up * SHARE_MAX <= done, "{given_up} things were given up, and only {done} pushes done");
    let seconds = plan.length.as_secs();
    assert!(done >= PUSHES_A_SECOND * seconds, "only {done} pushes in {seconds} s");
    // What is pushed and deleted in the first half must have gone by the end.
    let (blobs, objects) = (ended.collection.of("blobs_collected"), ended.collection.of("objects_deleted"));
    assert!(blobs >= seconds && objects >= blobs, "only {blobs} blobs were collected and {objects} objects deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_while_nodes_die_and_collection_runs() {
    let test = "nothing_promised_is_lost_while_nodes_die_and_collection_runs";
    let Some(garage) = garage(test).await else { return };
    let storage = Storage::garage(&garage).await.unwrap();
    let store = Store::of(&storage, None);
    let plan = Plan { workers: 16, length: length(), seed: seed(), disturbed: true, huge_in: 120 };
    churn(test, plan, start(storage).await, store, &garage, || {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_on_a_store_that_fails() {
    let test = "nothing_promised_is_lost_on_a_store_that_fails";
    let Some(garage) = garage(test).await else { return };
    let plan = Plan { workers: 8, length: (length() / 5).max(FAULTS), seed: seed(), disturbed: false, huge_in: 50 };
    let (proxy, storage) = behind_faults(&garage, plan.seed).await;
    // The count at the end asks the store itself.
    let store = Store::of(&storage, Some(&garage.s3));
    let cluster = start(storage).await;
    proxy.set(Rates::some());
    churn(test, plan, cluster, store, &garage, || {
        proxy.set(Rates::none());
        println!("{}", proxy.counters());
    })
    .await;
    for fault in Fault::ALL {
        assert!(proxy.counters().of_fault(fault) > 0, "{fault:?} was not injected");
    }
    // An upload that the server knows nothing of, once before the one that it completes and once after it.
    for fault in [Fault::LostAnswer, Fault::Twice] {
        let unknown = (Operation::CreateMultipartUpload, fault);
        assert!(proxy.counters().faults.contains_key(&unknown), "no upload began unknown: {fault:?}");
    }
}

async fn behind_faults(garage: &Garage, seed: u64) -> (FaultyS3, Storage) {
    let proxy = FaultyS3::start(&garage.s3, seed).await.unwrap();
    let Storage::S3 { bucket, access_key, secret_key, .. } = Storage::garage(garage).await.unwrap() else {
        unreachable!()
    };
    let storage = Storage::S3 { endpoint: proxy.listen.clone(), bucket, access_key, secret_key };
    (proxy, storage)
}
