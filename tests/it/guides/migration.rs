//! From registry:2 to here: the same file and variables, the images copied by skopeo.

use super::guide::{DEFAULT, Guide, NOTICES};
use flotilla_tests::{
    missing, ports,
    process::{Process, output, run},
    skip, wait_for,
};
use std::{process::Command, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

/// As `docs/migrate-from-registry2.md` adds nodes: one starts again with a section `cluster`, two more join it.
#[tokio::test]
async fn a_node_alone_becomes_a_cluster_of_three() {
    let alone = Guide::new().start(&NOTICES).await;
    let root = alone.path("data");
    let digest = alone.client().push_image("team/app", "v1", "alone").await.unwrap();
    let mut first = alone.stopped().await;

    let addresses = [ports::address(), ports::address(), ports::address()];
    let peers = addresses.join("\", \"");
    let file = format!("{DEFAULT}cluster:\n  peers: [\"{peers}\"]\n  bootstrapexpect: 3\n");
    first.file.clone_from(&file);
    let member = |guide: Guide, address: &str, metadata: &str| {
        let guide = guide.set("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &root);
        guide
            .set("REGISTRY_CLUSTER_DATADIR", metadata)
            .set("REGISTRY_CLUSTER_ADDR", address)
            .set("REGISTRY_CLUSTER_ADVERTISE", address)
    };
    // Where it kept its metadata when it was alone.
    let metadata = format!("{root}/flotilla");
    let mut nodes = vec![member(first, &addresses[0], &metadata).start(&NOTICES).await];
    for address in &addresses[1..] {
        let mut guide = Guide::new();
        guide.file.clone_from(&file);
        let metadata = guide.path("metadata");
        nodes.push(member(guide, address, &metadata).start(&NOTICES).await);
    }
    for (number, node) in nodes.iter().enumerate() {
        let answer = node.client().get("/v2/team/app/manifests/v1").await.unwrap();
        assert_eq!(answer.header("docker-content-digest"), digest, "node {number}");
    }
    // Two voters of three write without the one that was alone: both are voters soon.
    wait_for("three voters", LIMIT, || async {
        let said = nodes[0].process.as_ref().map(Process::log_text).unwrap_or_default();
        (said.matches("becomes a voter").count() == 2).then_some(())
    })
    .await;
    nodes.remove(0).stopped().await;
    wait_for("a push without the first node", LIMIT, || async {
        nodes[0].client().push_image("team/app", "v2", "cluster").await.ok()
    })
    .await;
}

#[tokio::test]
async fn images_of_registry_2_are_copied_to_a_new_root() {
    let test = "images_of_registry_2_are_copied_to_a_new_root";
    if !missing(&["docker-registry", "skopeo"]).is_empty() {
        skip(test, "docker-registry or skopeo is not installed");
        return;
    }
    // The old one, with the file and the variables of the new one.
    let mut old = Guide::new();
    let config = old.path("config.yml");
    std::fs::write(&config, &old.file).unwrap();
    let mut command = Command::new("docker-registry");
    command.args(["serve", &config]).envs(old.variables.iter().map(|(name, value)| (name, value)));
    let process = Process::start("docker-registry", &mut command, &old.dir.path().join("old.log")).unwrap();
    wait_for("docker-registry", LIMIT, || async { old.client().get("/v2/").await.ok() }).await;
    old.process = Some(process);
    let layout = old.skopeo_in_plain("team/app").await;
    for tag in ["v1", "v2"] {
        old.client().push_image("team/tools", tag, tag).await.unwrap();
    }

    // On its root the new one does not start.
    let mut refused = Command::new(&old.program);
    refused.args(["serve", &config]).envs(old.variables.iter().map(|(name, value)| (name, value)));
    refused.env("REGISTRY_HTTP_ADDR", ports::address());
    let refused = output(&mut refused, LIMIT).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
    assert!(!refused.status.success() && said.contains("docker/registry/v2"), "{said}");

    let new = Guide::new().start(&NOTICES).await;
    for (repository, parent) in [("team/app", "team"), ("team/tools", "team")] {
        let (from, to) = (format!("{}/{repository}", old.address), format!("{}/{parent}", new.address));
        let mut sync = Command::new("skopeo");
        sync.args(["--insecure-policy", "sync", "--all", "--preserve-digests", "--src", "docker", "--dest", "docker"]);
        run(sync.args(["--src-tls-verify=false", "--dest-tls-verify=false", &from, &to]), LIMIT).await.unwrap();
        let path = format!("/v2/{repository}/tags/list");
        let (old_tags, new_tags) = (old.client().get(&path).await.unwrap(), new.client().get(&path).await.unwrap());
        let sorted = |bytes: &[u8]| {
            let list: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let mut tags: Vec<String> = serde_json::from_value(list["tags"].clone()).unwrap();
            tags.sort_unstable();
            tags
        };
        assert_eq!(sorted(&old_tags.body), sorted(&new_tags.body), "{repository}");
    }
    new.holds(&new.path("data"), &layout);
}
