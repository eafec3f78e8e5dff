//! The OCI distribution specification, checked by our own suite: one node, three nodes, three behind a balancer.

use flotilla_tests::{
    cluster::Cluster,
    conformance::{Suite, Version},
    haproxy::Haproxy,
    skip,
};

/// How many checks there are at least: none may vanish unnoticed.
const CHECKS_MIN: [(Version, usize); 2] = [(Version::V1_1, 900), (Version::Dev, 1000)];

#[tokio::test]
async fn one_node_conforms() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    conforms("one node", &cluster.addresses()).await;
}

/// Every request goes to another node than the one before.
#[tokio::test]
async fn three_nodes_behind_round_robin_conform() {
    let cluster = Cluster::builder().start().await.unwrap();
    conforms("three nodes", &cluster.addresses()).await;
}

#[tokio::test]
async fn three_nodes_behind_haproxy_conform() {
    let cluster = Cluster::builder().start().await.unwrap();
    match Haproxy::start(&cluster.addresses()).await.unwrap() {
        Some(balancer) => conforms("haproxy", std::slice::from_ref(&balancer.listen)).await,
        None => skip("three_nodes_behind_haproxy_conform", "haproxy is not installed"),
    }
}

/// Runs both versions, and fails with every check that does not hold.
async fn conforms(what: &str, addresses: &[String]) {
    let mut failed = Vec::new();
    for (version, least) in CHECKS_MIN {
        let repository = |name: &str| format!("conformance/{name}/{version:?}").to_lowercase();
        let suite = Suite::new(addresses, &repository("first"), &repository("second"), version);
        let report = suite.run().await;
        println!("{what}, {version:?}: {} checks passed, {} failed", report.passed.len(), report.failed.len());
        assert!(report.count() >= least, "only {} checks ran, {least} are known", report.count());
        failed.extend(report.failed.into_iter().map(|(name, why)| format!("{version:?} {name}: {why}")));
    }
    assert!(failed.is_empty(), "{} checks failed:\n{}", failed.len(), failed.join("\n"));
}
