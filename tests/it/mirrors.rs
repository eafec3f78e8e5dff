//! A cluster as a mirror: docker's `registry-mirrors`, containerd's `hosts.toml`, podman's `registries.conf`. The
//! registry that is meant cannot be reached, so what arrives came through the mirror. Local repositories only.

use flotilla_tests::{
    cluster::Cluster,
    containerd::Containerd,
    dockerd::{Dockerd, clis},
    images::Layout,
    is_root, missing,
    process::run,
    skip,
};
use std::{process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);
/// A registry that is not there.
const ABSENT: &str = "registry.invalid";

/// Three nodes, and an image in `team/app:latest`, put there by its bytes.
async fn cluster_with(layout: &Layout, repository: &str) -> Cluster {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    for (digest, _) in &layout.blobs {
        client.push_blob(repository, digest, flotilla_tests::http::full(layout.read(digest).unwrap())).await.unwrap();
    }
    let manifest = layout.read(&layout.digest).unwrap();
    client.put_manifest(repository, "latest", &manifest).await.unwrap();
    cluster
}

fn image(dir: &TempDir) -> Layout {
    Layout::image(&dir.path().join("image"), 95, &[50_000, 1_500_000]).unwrap()
}

#[tokio::test]
async fn docker_pulls_images_of_the_hub_through_registry_mirrors() {
    let test = "docker_pulls_images_of_the_hub_through_registry_mirrors";
    let dir = TempDir::new().unwrap();
    let layout = image(&dir);
    let cluster = cluster_with(&layout, "flotilla/mirrored").await;
    let mirrors: Vec<_> = cluster.addresses().iter().map(|node| format!("--registry-mirror=http://{node}")).collect();
    let mirrors: Vec<_> = mirrors.iter().map(String::as_str).collect();
    let Some(engine) = Dockerd::start_with(test, &mirrors).await.unwrap() else { return };
    let (cli, _) = clis().into_iter().next().expect("a docker CLI");
    engine.docker(&cli, &["pull", "-q", "flotilla/mirrored:latest"]).await.unwrap();
    let format = ["image", "inspect", "--format", "{{.RepoDigests}}", "flotilla/mirrored:latest"];
    let shown = engine.docker(&cli, &format).await.unwrap();
    assert!(shown.contains(&layout.digest), "{shown}");
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn containerd_pulls_through_the_mirrors_of_hosts_toml() {
    let test = "containerd_pulls_through_the_mirrors_of_hosts_toml";
    let Some(daemon) = Containerd::start(test).await.unwrap() else { return };
    let dir = TempDir::new().unwrap();
    let layout = image(&dir);
    let cluster = cluster_with(&layout, "team/app").await;
    let hosts = dir.path().join("hosts");
    std::fs::create_dir_all(hosts.join(ABSENT)).unwrap();
    let mirrors: String = cluster
        .addresses()
        .iter()
        .map(|node| format!("[host.\"http://{node}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"))
        .collect();
    std::fs::write(hosts.join(ABSENT).join("hosts.toml"), format!("server = \"https://{ABSENT}\"\n{mirrors}")).unwrap();
    let name = format!("{ABSENT}/team/app:latest");
    // With the query `ns=registry.invalid` on each request.
    daemon
        .ctr(&["content", "fetch", "--hosts-dir", &hosts.display().to_string(), "--all-platforms", &name])
        .await
        .unwrap();
    let content = daemon.ctr(&["content", "ls", "-q"]).await.unwrap();
    for digest in layout.blobs.iter().map(|(digest, _)| digest).chain([&layout.digest]) {
        assert!(content.contains(digest), "{digest} was not fetched: {content}");
    }
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn podman_pulls_through_the_mirrors_of_registries_conf() {
    let test = "podman_pulls_through_the_mirrors_of_registries_conf";
    if !missing(&["podman"]).is_empty() || !is_root() {
        return skip(test, "podman is not installed, or this is not root");
    }
    let dir = TempDir::new().unwrap();
    let layout = image(&dir);
    let cluster = cluster_with(&layout, "team/app").await;
    let conf = dir.path().join("registries.conf");
    let mirrors: String = cluster
        .addresses()
        .iter()
        .map(|node| format!("[[registry.mirror]]\nlocation = \"{node}\"\ninsecure = true\n"))
        .collect();
    std::fs::write(&conf, format!("[[registry]]\nprefix = \"{ABSENT}\"\nlocation = \"{ABSENT}\"\n{mirrors}")).unwrap();
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(dir.path().join("root")).arg("--runroot").arg(dir.path().join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments).env("CONTAINERS_REGISTRIES_CONF", &conf);
        command
    };
    let name = format!("{ABSENT}/team/app:latest");
    run(&mut podman(&["pull", "-q", &name]), LIMIT).await.unwrap();
    let shown = run(&mut podman(&["image", "inspect", &name]), LIMIT).await.unwrap();
    assert!(shown.contains(&layout.digest), "{shown}");
}
