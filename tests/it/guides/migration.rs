//! From registry:2 to here: the same file and variables, the images copied by skopeo.

use super::guide::{Guide, NOTICES};
use flotilla_tests::{
    missing, ports,
    process::{Process, output, run},
    skip, wait_for,
};
use std::{process::Command, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

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
