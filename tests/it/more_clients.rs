//! Further clients that Debian and PyPI have: containerd by `ctr`, umoci with skopeo, and the Python client of oras.

use crate::clients::check_tag;
use flotilla_tests::{
    cluster::Cluster, containerd::Containerd, haproxy::Haproxy, images::Layout, missing, process::run, skip,
};
use std::{path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// Three nodes behind a balancer without stickiness.
async fn balanced(test: &str) -> Option<(Cluster, Haproxy)> {
    let cluster = Cluster::builder().start().await.unwrap();
    let Some(balancer) = Haproxy::start(&cluster.addresses()).await.unwrap() else {
        skip(test, "haproxy is not installed");
        return None;
    };
    Some((cluster, balancer))
}

#[tokio::test]
async fn containerd_pushes_and_pulls_images_and_indexes() {
    let test = "containerd_pushes_and_pulls_images_and_indexes";
    let Some(daemon) = Containerd::start(test).await.unwrap() else { return };
    let Some((cluster, balancer)) = balanced(test).await else { return };
    let dir = TempDir::new().unwrap();
    let image = Layout::image(&dir.path().join("image"), 91, &[100_000, 9_000_000, 3_000_000, 50]).unwrap();
    let index = Layout::two_platforms(&dir.path().join("index"), 92).unwrap();
    for (name, layout) in [("image", &image), ("index", &index)] {
        let tar = layout.archive(&dir.path().join(format!("{name}.tar"))).await.unwrap();
        let base = format!("{}/ctr/{name}", balancer.listen);
        let tagged = format!("{base}:latest");
        let import = ["images", "import", "--no-unpack", "--all-platforms", "--base-name", &base];
        daemon.ctr(&[import.as_slice(), &[&tar.display().to_string()]].concat()).await.unwrap();
        daemon.ctr(&["images", "push", "--plain-http", &tagged]).await.unwrap();
        let repository = format!("ctr/{name}");
        assert_eq!(check_tag(&repository, "latest", &cluster.addresses()).await.unwrap(), layout.digest);
        // Once more: it finds everything, and moves a tag.
        let again = format!("{base}:again");
        daemon.ctr(&["images", "tag", &tagged, &again]).await.unwrap();
        daemon.ctr(&["images", "push", "--plain-http", &again]).await.unwrap();
        assert_eq!(check_tag(&repository, "again", &cluster.addresses()).await.unwrap(), layout.digest);

        daemon.forget().await.unwrap();
        daemon.ctr(&["content", "fetch", "--plain-http", "--all-platforms", &tagged]).await.unwrap();
        let images = daemon.ctr(&["images", "ls"]).await.unwrap();
        assert!(images.contains(&layout.digest), "{images}");
        let content = daemon.ctr(&["content", "ls", "-q"]).await.unwrap();
        for (digest, _) in &layout.blobs {
            assert!(content.contains(digest), "{digest} was not fetched: {content}");
        }
        daemon.forget().await.unwrap();
    }
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn umoci_changes_an_image_that_skopeo_carries() {
    let test = "umoci_changes_an_image_that_skopeo_carries";
    let lacking = missing(&["umoci", "skopeo"]);
    if !lacking.is_empty() {
        return skip(test, &format!("{lacking:?} are not installed"));
    }
    let Some((cluster, balancer)) = balanced(test).await else { return };
    let dir = TempDir::new().unwrap();
    let layout = Layout::image(&dir.path().join("image"), 93, &[40_000, 600_000]).unwrap();
    let remote = |tag: &str| format!("docker://{}/umoci/app:{tag}", balancer.listen);
    let (local, bundle) = (dir.path().join("local"), dir.path().join("bundle"));
    let oci = |tag: &str| format!("oci:{}:{tag}", local.display());
    let copy = |from: String, to: String| async move {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false"]);
        command.args(["--dest-tls-verify=false", &from, &to]);
        run(&mut command, LIMIT).await.unwrap();
    };
    let umoci = |command: &'static str, tag: &str| {
        let image = format!("{}:{tag}", local.display());
        let mut program = Command::new("umoci");
        program.arg(command);
        program.args((command == "unpack").then_some("--rootless")).args(["--image", &image]).arg(&bundle);
        async move { run(&mut program, LIMIT).await.unwrap() }
    };
    copy(layout.source(), remote("v1")).await;
    copy(remote("v1"), oci("v1")).await;
    umoci("unpack", "v1").await;
    std::fs::write(bundle.join("rootfs/added"), "by umoci").unwrap();
    umoci("repack", "v2").await;
    copy(oci("v2"), remote("v2")).await;
    let first = check_tag("umoci/app", "v1", &cluster.addresses()).await.unwrap();
    let second = check_tag("umoci/app", "v2", &cluster.addresses()).await.unwrap();
    assert_eq!(first, layout.digest);
    assert_ne!(first, second);
}

/// Whole and in chunks with `Content-Range`; both are pulled back and compared.
const ORAS: &str = r#"
import hashlib, os, sys
import oras.client
registry, work = sys.argv[1:]
os.chdir(work)
def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
client = oras.client.OrasClient(insecure=True, tls_verify=False)
for name, options in [("whole", {}), ("chunked", {"do_chunked": True, "chunk_size": 1 << 20})]:
    target = f"{registry}/oras/{name}:v1"
    answer = client.push(target=target, files=["layer:application/octet-stream"], disable_path_validation=True, **options)
    assert answer.status_code == 201, answer.status_code
    pulled = client.pull(target=target, outdir=f"out-{name}")
    assert digest(pulled[0]) == digest("layer"), pulled
    assert client.get_tags(f"{registry}/oras/{name}") == ["v1"]
"#;

#[tokio::test]
async fn the_python_client_of_oras_pushes_whole_and_in_chunks() {
    let test = "the_python_client_of_oras_pushes_whole_and_in_chunks";
    let python = std::env::var_os("FLOTILLA_ORAS").map(PathBuf::from).filter(|file| file.exists());
    let Some(python) = python else {
        return skip(test, "it is not installed (FLOTILLA_ORAS)");
    };
    let Some((cluster, balancer)) = balanced(test).await else { return };
    let dir = TempDir::new().unwrap();
    let layout = Layout::image(&dir.path().join("image"), 94, &[3_500_000]).unwrap();
    let layer = layout.dir.join("blobs/sha256").join(layout.blobs[0].0.trim_start_matches("sha256:"));
    std::fs::copy(layer, dir.path().join("layer")).unwrap();
    let mut command = Command::new(python);
    run(command.args(["-c", ORAS, &balancer.listen]).arg(dir.path()), LIMIT).await.unwrap();
    for repository in ["oras/whole", "oras/chunked"] {
        check_tag(repository, "v1", &cluster.addresses()).await.unwrap();
    }
}
