//! The same requests to Debian's `docker-registry` and to this registry: equal answers, or a listed difference.

use flotilla_tests::{
    differential::{groups, material::Material, rules::Ledger, run},
    missing, skip,
};
use tempfile::TempDir;

#[tokio::test]
async fn every_answer_is_as_of_docker_registry_or_a_listed_difference() {
    let test = "every_answer_is_as_of_docker_registry_or_a_listed_difference";
    if !missing(&["docker-registry"]).is_empty() {
        skip(test, "Debian's docker-registry is not installed");
        return;
    }
    let dir = TempDir::new().unwrap();
    let material = Material::new(dir.path().join("files")).unwrap();
    let mut ledger = Ledger::default();
    for group in groups(&material) {
        if let Err(error) = run(&group, &material, dir.path(), &mut ledger).await {
            ledger.failures.push(format!("{}: {error:#}", group.name));
        }
    }
    println!("{}", ledger.summary());
    let mut failures = std::mem::take(&mut ledger.failures);
    failures.extend(ledger.rotten());
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert!(ledger.requests >= 150, "a short script");
}
