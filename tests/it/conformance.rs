//! The OCI distribution specification, checked by our own suite: one node, three nodes, three behind a balancer;
//! and another registry, to see that the suite can fail.

use flotilla_tests::{
    cluster::Cluster,
    conformance::{Suite, Version},
    haproxy::Haproxy,
    http::Client,
    ports,
    process::Process,
    program, skip, wait_for,
};
use std::{process::Command, time::Duration};
use tempfile::TempDir;

const BOTH: [Version; 2] = [Version::V1_1, Version::Dev];

/// How many checks there are at least: none may vanish unnoticed.
fn checks_min(version: Version) -> usize {
    match version {
        Version::V1_1 => 963,
        Version::Dev => 1081,
    }
}

#[tokio::test]
async fn one_node_conforms() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    conforms("one node", &cluster.addresses(), &BOTH).await;
}

/// Every request goes to another node than the one before.
#[tokio::test]
async fn three_nodes_behind_round_robin_conform() {
    let cluster = Cluster::builder().start().await.unwrap();
    conforms("three nodes", &cluster.addresses(), &BOTH).await;
}

#[tokio::test]
async fn three_nodes_behind_haproxy_conform() {
    let cluster = Cluster::builder().start().await.unwrap();
    match Haproxy::start(&cluster.addresses()).await.unwrap() {
        Some(balancer) => conforms("haproxy", std::slice::from_ref(&balancer.listen), &[Version::Dev]).await,
        None => skip("three_nodes_behind_haproxy_conform", "haproxy is not installed"),
    }
}

/// The suite must find what an older registry lacks, and grant what it has.
#[tokio::test]
async fn the_suite_tells_what_dockers_registry_lacks() {
    let Some(registry) = program("docker-registry") else {
        return skip("the_suite_tells_what_dockers_registry_lacks", "docker-registry is not installed");
    };
    let (dir, address) = (TempDir::new().unwrap(), ports::address());
    let config = dir.path().join("config.yml");
    let root = dir.path().join("store");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
        root.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(registry);
    command.arg("serve").arg(&config);
    let _process = Process::start("docker-registry", &mut command, &dir.path().join("log")).unwrap();
    let limit = Duration::from_secs(20);
    wait_for("docker-registry", limit, || async { Client::new([address.clone()]).get("/v2/").await.ok() }).await;
    let report = Suite::new([address.clone()], "conformance/first", "conformance/second", Version::Dev).run().await;
    println!("docker-registry: {} checks passed, {} failed", report.passed.len(), report.failed.len());
    let failed = |name: &str| report.failed.iter().any(|(failed, _)| failed == name);
    for name in [
        "base/an unknown repository has no referrers (sha256)",
        "blobs/sha256/chunks out of order/push",
        "blobs/sha512/POST and PUT/push",
        "artifacts with subject/list referrers",
        "several tags/sha256/10 tags in one push",
        "tags/no tags when n is 0",
    ] {
        assert!(failed(name), "{name} must fail, and did not");
    }
    for name in
        ["image/GET tag image", "blobs/sha256/mount/mount", "ranges/sha256/bytes=-500", "index/delete manifest 2"]
    {
        assert!(report.passed.iter().any(|passed| passed == name), "{name} must hold: {:?}", report.failed);
    }
}

/// Runs the suite for these versions, and fails with every check that does not hold.
async fn conforms(what: &str, addresses: &[String], versions: &[Version]) {
    let mut failed = Vec::new();
    for &version in versions {
        let least = checks_min(version);
        let repository = |name: &str| format!("conformance/{name}/{version:?}").to_lowercase();
        let suite = Suite::new(addresses, &repository("first"), &repository("second"), version);
        let report = suite.run().await;
        println!("{what}, {version:?}: {} checks passed, {} failed", report.passed.len(), report.failed.len());
        assert!(report.count() >= least, "only {} checks ran, {least} are known", report.count());
        failed.extend(report.failed.into_iter().map(|(name, why)| format!("{version:?} {name}: {why}")));
    }
    assert!(failed.is_empty(), "{} checks failed:\n{}", failed.len(), failed.join("\n"));
}
