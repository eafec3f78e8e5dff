//! What a node refuses to start with: every mistake at once, exit code 2, and a store that is not its own.

use flotilla_tests::{
    cluster::{Cluster, Storage, server},
    ports,
    process::output,
};
use std::{path::Path, process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// Exit code and output of `flotilla serve` with this configuration.
async fn serve(dir: &Path, text: &str) -> (Option<i32>, String) {
    let config = dir.join("config.yml");
    std::fs::write(&config, text).unwrap();
    serve_file(&config).await
}

async fn serve_file(config: &Path) -> (Option<i32>, String) {
    let ended = output(Command::new(server()).arg("serve").arg(config), LIMIT).await.expect("a refusal ends by itself");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    (ended.status.code(), format!("{out}{err}"))
}

fn minimal(root: &Path) -> String {
    format!(
        "version: 0.1\nhttp:\n  addr: {}\nstorage:\n  filesystem:\n    rootdirectory: {}\n",
        ports::address(),
        root.display()
    )
}

#[tokio::test]
async fn all_mistakes_are_reported_at_once_with_exit_code_2() {
    let dir = TempDir::new().unwrap();
    let text = "version: 0.1\nlog:\n  level: loud\nhttp:\n  addr: nonsense\nstorage:\n  filesystem:\n    \
                rootdirectory: /tmp/x\n  s3:\n    bucket: b\nauth:\n  htpasswd:\n    realm: r\ncluster:\n  \
                bootstrapexpct: 3\n";
    let (code, said) = serve(dir.path(), text).await;
    assert_eq!(code, Some(2), "{said}");
    for part in ["log.level", "loud", "http.addr", "storage", "auth.htpasswd.path", "bootstrapexpct"] {
        assert!(said.contains(part), "no word of {part} in: {said}");
    }
}

#[tokio::test]
async fn sections_not_built_yet_are_refused_and_disabled_ones_are_not() {
    let dir = TempDir::new().unwrap();
    let base = minimal(&dir.path().join("store"));
    for (name, section) in [
        ("proxy", "proxy:\n  remoteurl: http://127.0.0.1:1\n"),
        ("auth", "auth:\n  token:\n    realm: http://127.0.0.1:1/\n    service: s\n    issuer: i\n"),
        ("notifications", "notifications:\n  endpoints:\n    - name: a\n      url: http://127.0.0.1:1/\n"),
    ] {
        let (code, said) = serve(dir.path(), &format!("{base}{section}")).await;
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(name), "{said}");
    }
}

#[tokio::test]
async fn a_password_file_that_cannot_be_read_is_no_open_registry() {
    let dir = TempDir::new().unwrap();
    let base = minimal(&dir.path().join("store"));
    let (code, said) =
        serve(dir.path(), &format!("{base}auth:\n  htpasswd:\n    realm: r\n    path: /nowhere\n")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("auth.htpasswd") && said.contains("/nowhere"), "{said}");
}

#[tokio::test]
async fn a_cluster_address_that_is_not_loopback_needs_tls() {
    let dir = TempDir::new().unwrap();
    let text = format!(
        "{}cluster:\n  name: c\n  datadir: {}\n  addr: 0.0.0.0:{port}\n  advertise: 127.0.0.1:{port}\n  \
         peers: [\"127.0.0.1:{port}\"]\n  bootstrapexpect: 1\n",
        minimal(&dir.path().join("store")),
        dir.path().join("data").display(),
        port = ports::free()
    );
    let (code, said) = serve(dir.path(), &text).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("cluster.tls"), "{said}");
}

#[tokio::test]
async fn a_registry_2_tree_under_the_root_is_refused() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    std::fs::create_dir_all(root.join("docker/registry/v2/repositories")).unwrap();
    let (code, said) = serve(dir.path(), &minimal(&root)).await;
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("docker/registry/v2"), "{said}");
}

#[tokio::test]
async fn a_second_cluster_on_the_same_store_is_refused() {
    let dir = TempDir::new().unwrap();
    let storage = Storage::Directory(dir.path().join("store"));
    let _first = Cluster::builder().nodes(1).storage(storage.clone()).start().await.unwrap();
    let second = Cluster::builder().nodes(1).storage(storage).prepare().unwrap();
    let (code, said) = serve_file(&second.nodes[0].config).await;
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("flotilla.json") || said.contains("newstore"), "no fix is named: {said}");
}

#[tokio::test]
async fn nodes_that_do_not_share_their_directory_are_refused() {
    let mut cluster = Cluster::builder().prepare().unwrap();
    let other = cluster.dir().join("not-shared");
    let config = cluster.nodes[2].config.clone();
    let text = std::fs::read_to_string(&config).unwrap();
    let shared = cluster.dir().join("store").display().to_string();
    std::fs::write(&config, text.replace(&shared, &other.display().to_string())).unwrap();
    for node in &mut cluster.nodes {
        node.start().unwrap();
    }
    // Whoever wrote the marker, at least one node finds none, says so, and does not become ready.
    let start = std::time::Instant::now();
    let refused = loop {
        let ended = (0..3).find(|number| !cluster.nodes[*number].is_running());
        match ended {
            Some(number) => break number,
            None => assert!(start.elapsed() < LIMIT, "no node refused"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let said = cluster.nodes[refused].process().log_text();
    assert!(said.contains("flotilla.json") || said.contains("marker") || said.contains("share"), "{said}");
}
