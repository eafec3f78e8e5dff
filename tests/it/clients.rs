//! docker (every CLI there is), skopeo, podman and buildah push and pull; each node serves exactly what was pushed.

use crate::{garage, on_garage};
use anyhow::Result;
use flotilla_tests::{
    dev::Dev,
    dockerd::{Dockerd, clis},
    haproxy::Haproxy,
    http::{Client, digest_of},
    images::{Layout, debian_rootfs},
    is_root, missing,
    process::run,
    skip,
};
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(300);
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json";

/// What is pushed, made once per test.
struct Samples {
    dir: TempDir,
    ten_layers: Layout,
    two_platforms: Layout,
    /// A Debian root file system as a tar, as `docker import` wants it, and as an image with one layer of over 100 MB.
    rootfs: Option<(PathBuf, Layout)>,
}

impl Samples {
    async fn make(test: &str) -> Self {
        // podman derives an image's name from this path: no capitals.
        let name = format!("flotilla-{}-{}", std::process::id(), flotilla_tests::ports::free());
        let dir = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
        let sizes: Vec<u64> = (1..=10).map(|number| number * 150_000).collect();
        let ten_layers = Layout::image(&dir.path().join("ten"), 11, &sizes).unwrap();
        let two_platforms = Layout::two_platforms(&dir.path().join("two"), 22).unwrap();
        let rootfs = match debian_rootfs().await.unwrap() {
            Ok(tar) => {
                let layout = Layout::of_tar(&dir.path().join("rootfs"), &tar).unwrap();
                assert!(layout.blobs[0].1 > 100_000_000, "the layer is too small: {:?}", layout.blobs);
                Some((tar, layout))
            }
            Err(why) => {
                skip(&format!("{test}: Debian root file system"), &why);
                None
            }
        };
        Self { dir, ten_layers, two_platforms, rootfs }
    }
}

#[tokio::test]
async fn every_client_pushes_and_pulls_through_dev() {
    let test = "every_client_pushes_and_pulls_through_dev";
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(&dir.path().join("data"), &[]).await.unwrap();
    let nodes: Vec<_> = dev.description().unwrap().nodes.into_iter().map(|node| node.http).collect();
    every_client(test, &dev.listen, &nodes).await;
}

#[tokio::test]
async fn every_client_pushes_and_pulls_through_haproxy_on_garage() {
    let test = "every_client_pushes_and_pulls_through_haproxy_on_garage";
    let Some(store) = garage(test).await else { return };
    let cluster = on_garage(&store).await.start().await.unwrap();
    let Some(balancer) = Haproxy::start(&cluster.addresses()).await.unwrap() else {
        skip(test, "haproxy is not installed");
        return;
    };
    every_client(test, &balancer.listen, &cluster.addresses()).await;
}

async fn every_client(test: &str, registry: &str, nodes: &[String]) {
    let samples = Samples::make(test).await;
    if missing(&["skopeo"]).is_empty() {
        skopeo(&samples, registry, nodes).await.unwrap();
    } else {
        skip(&format!("{test}: skopeo"), "it is not installed");
    }
    for tool in ["podman", "buildah"] {
        if !missing(&[tool]).is_empty() || !is_root() {
            skip(&format!("{test}: {tool}"), "it is not installed, or this is not root");
            continue;
        }
        containers_tool(tool, &samples, registry, nodes).await.unwrap();
    }
    let Some(engine) = Dockerd::start(&format!("{test}: docker")).await.unwrap() else { return };
    let clis = clis();
    if clis.len() < 2 {
        skip(&format!("{test}: newer docker CLI"), "only Debian's CLI is in PATH");
    }
    for (number, (cli, version)) in clis.iter().enumerate() {
        println!("{version}");
        docker(&engine, cli, &format!("docker{number}"), &samples, registry, nodes).await.unwrap();
    }
    engine.stop().await.unwrap();
}

async fn skopeo(samples: &Samples, registry: &str, nodes: &[String]) -> Result<()> {
    let rootfs = samples.rootfs.iter().map(|(_, layout)| ("rootfs", layout, false));
    let small = [("ten", &samples.ten_layers, false), ("two", &samples.two_platforms, true)];
    for (name, layout, all) in small.into_iter().chain(rootfs) {
        let image = format!("docker://{registry}/skopeo/{name}:latest");
        let mut push = Command::new("skopeo");
        push.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]).args(all.then_some("--all"));
        run(push.args(["--preserve-digests", &layout.source(), &image]), LIMIT).await?;
        check_layout(layout, &format!("skopeo/{name}"), nodes).await?;
        let back = samples.dir.path().join(format!("skopeo-{name}"));
        let mut pull = Command::new("skopeo");
        pull.args(["--insecure-policy", "copy", "--src-tls-verify=false"]).args(all.then_some("--all"));
        run(pull.args(["--preserve-digests", &image, &format!("oci:{}:latest", back.display())]), LIMIT).await?;
        let index = std::fs::read_to_string(back.join("index.json"))?;
        assert!(index.contains(&layout.digest), "skopeo pulled another digest than {}: {index}", layout.digest);
    }
    Ok(())
}

/// podman and buildah: the same storage library and the same commands.
async fn containers_tool(tool: &str, samples: &Samples, registry: &str, nodes: &[String]) -> Result<()> {
    // A storage of its own, so that a pull cannot find what the push left.
    let storage = samples.dir.path().join(tool);
    let command = |arguments: &[&str]| {
        let mut command = Command::new(tool);
        command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments);
        command
    };
    let rootfs = samples.rootfs.iter().map(|(_, layout)| ("rootfs", layout));
    for (name, layout) in [("ten", &samples.ten_layers)].into_iter().chain(rootfs) {
        let repository = format!("{tool}/{name}");
        let image = format!("{registry}/{repository}:latest");
        let id = run(&mut command(&["pull", "-q", &layout.source()]), LIMIT).await?;
        run(&mut command(&["push", "--tls-verify=false", id.trim(), &format!("docker://{image}")]), LIMIT).await?;
        let pushed = check_tag(&repository, "latest", nodes).await?;
        run(&mut command(&["rmi", "--all", "--force"]), LIMIT).await?;
        run(&mut command(&["pull", "-q", "--tls-verify=false", &format!("docker://{image}")]), LIMIT).await?;
        let shown = match tool {
            "podman" => run(&mut command(&["image", "inspect", &image]), LIMIT).await?,
            _ => run(&mut command(&["inspect", "--type", "image", &image]), LIMIT).await?,
        };
        assert!(shown.contains(&pushed), "{tool} does not show digest {pushed}: {shown}");
    }

    // A list of both platforms, out of an OCI layout, pushed with all its images.
    let list = format!("{tool}-list");
    let source = samples.two_platforms.source();
    run(&mut command(&["manifest", "create", "--all", &list, &source]), LIMIT).await?;
    let target = format!("docker://{registry}/{tool}/two:latest");
    run(&mut command(&["manifest", "push", "--tls-verify=false", "--all", &list, &target]), LIMIT).await?;
    check_tag(&format!("{tool}/two"), "latest", nodes).await?;
    Ok(())
}

async fn docker(
    engine: &Dockerd,
    cli: &Path,
    name: &str,
    samples: &Samples,
    registry: &str,
    nodes: &[String],
) -> Result<()> {
    // The ten-layer image by way of the registry, where skopeo put it.
    let source = format!("{registry}/skopeo/ten:latest");
    if missing(&["skopeo"]).is_empty() {
        engine.docker(cli, &["pull", "-q", &source]).await?;
        let image = format!("{registry}/{name}/ten:latest");
        push_and_pull(engine, cli, &source, &image, nodes).await?;
        engine.docker(cli, &["pull", "-q", &format!("{registry}/skopeo/two:latest")]).await?;
        // A list of both platforms by `docker manifest`.
        let children: Vec<_> = samples.two_platforms.manifests[..2]
            .iter()
            .map(|digest| format!("{registry}/skopeo/two@{digest}"))
            .collect();
        for (child, architecture) in children.iter().zip(["amd64", "arm64"]) {
            let image = format!("{registry}/{name}/two:{architecture}");
            engine.docker(cli, &["pull", "-q", "--platform", &format!("linux/{architecture}"), child]).await?;
            engine.docker(cli, &["tag", child, &image]).await?;
            engine.docker(cli, &["push", "-q", &image]).await?;
        }
        let list = format!("{registry}/{name}/two:latest");
        let parts = [format!("{registry}/{name}/two:amd64"), format!("{registry}/{name}/two:arm64")];
        engine.docker(cli, &["manifest", "create", "--insecure", &list, &parts[0], &parts[1]]).await?;
        engine.docker(cli, &["manifest", "push", "--insecure", &list]).await?;
        check_tag(&format!("{name}/two"), "latest", nodes).await?;
    }
    if let Some((tar, _)) = &samples.rootfs {
        let tar = tar.display().to_string();
        engine.docker(cli, &["import", &tar, "rootfs:latest"]).await?;
        let image = format!("{registry}/{name}/rootfs:latest");
        push_and_pull(engine, cli, "rootfs:latest", &image, nodes).await?;
    }
    Ok(())
}

async fn push_and_pull(engine: &Dockerd, cli: &Path, local: &str, image: &str, nodes: &[String]) -> Result<()> {
    engine.docker(cli, &["tag", local, image]).await?;
    let id = engine.docker(cli, &["image", "inspect", "--format", "{{.Id}}", image]).await?;
    engine.docker(cli, &["push", "-q", image]).await?;
    let repository = image.split_once('/').map(|(_, rest)| rest.trim_end_matches(":latest")).unwrap_or_default();
    let digest = check_tag(repository, "latest", nodes).await?;
    // Nothing of it may be left, or the pull finds its layers here.
    engine.docker(cli, &["rmi", "--force", id.trim()]).await?;
    engine.docker(cli, &["pull", "-q", image]).await?;
    let again = engine.docker(cli, &["image", "inspect", "--format", "{{.Id}} {{.RepoDigests}}", image]).await?;
    assert!(again.contains(id.trim()) && again.contains(&digest), "{image}: {again}, not {id} {digest}");
    Ok(())
}

/// Every manifest and blob of a layout, from every node, byte for byte.
async fn check_layout(layout: &Layout, repository: &str, nodes: &[String]) -> Result<()> {
    let tag = check_tag(repository, "latest", nodes).await?;
    assert_eq!(tag, layout.digest, "the tag of {repository}");
    Ok(())
}

/// Reads what a tag stands for, down to every layer, from every node; all bytes must hash to their digests. Gives the
/// tag's digest.
pub async fn check_tag(repository: &str, tag: &str, nodes: &[String]) -> Result<String> {
    let mut digests = Vec::new();
    for node in nodes {
        let client = Client::new([node.clone()]);
        digests.push(check_manifest(&client, repository, tag).await?);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "nodes disagree on {repository}:{tag}: {digests:?}");
    Ok(digests.remove(0))
}

async fn check_manifest(client: &Client, repository: &str, reference: &str) -> Result<String> {
    let mut wanted = vec![reference.to_owned()];
    let mut top = None;
    while let Some(reference) = wanted.pop() {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let body = flotilla_tests::http::empty();
        let answer = client.send_body(http::Method::GET, &path, &[("accept", ACCEPT)], body).await?.expect(200)?;
        let digest = digest_of(&answer.body);
        assert_eq!(answer.header("docker-content-digest"), digest, "{path}");
        assert!(!reference.contains(':') || reference == digest, "{path} gives {digest}");
        top.get_or_insert(digest);
        let manifest: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let digests = |key: &str| -> Vec<String> {
            let items = manifest[key].as_array().into_iter().flatten();
            items.filter_map(|item| item["digest"].as_str().map(str::to_owned)).collect()
        };
        wanted.extend(digests("manifests"));
        let config = manifest["config"]["digest"].as_str().map(str::to_owned);
        for blob in digests("layers").into_iter().chain(config) {
            let answer = client.get(&format!("/v2/{repository}/blobs/{blob}")).await?;
            assert_eq!(format!("sha256:{}", hex::encode(Sha256::digest(&answer.body))), blob, "{repository}");
        }
    }
    Ok(top.expect("the first reference was read"))
}
