//! What an operator of registry:2 switches: a file that takes a node out, a look at the store, read-only mode.

use flotilla_tests::{
    cluster::{Cluster, Node},
    http::{Client, Response, digest_of, full},
    missing,
    process::{output, run},
    skip, wait_for,
};
use http::Method;
use std::{path::Path, process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// Status and text of a page of the ops address.
async fn page(node: &Node, path: &str) -> (u16, String) {
    let answer = Client::new([node.ops.clone()]).send(Method::GET, path).await.unwrap();
    (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
}

/// Waits until the node answers the base by `status`.
async fn until_base_is(node: &Node, status: u16) -> Response {
    wait_for(&format!("{status}"), LIMIT, || async {
        node.client().send(Method::GET, "/v2/").await.ok().filter(|answer| answer.status == status)
    })
    .await
}

#[tokio::test]
async fn a_file_takes_one_node_out_and_brings_it_back() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("out");
    let health = format!("health:\n  file:\n    - file: {}\n      interval: 1s\n", file.display());
    // The same file on every node would take all of them out.
    let mut cluster = Cluster::builder().prepare().unwrap();
    let config = std::fs::read_to_string(&cluster.nodes[0].config).unwrap();
    std::fs::write(&cluster.nodes[0].config, config + &health).unwrap();
    for node in &mut cluster.nodes {
        node.start().unwrap();
    }
    cluster.wait_ready().await;
    let (out, others) = (&cluster.nodes[0], Client::new(cluster.addresses().split_off(1)));
    let digest = others.push_image("team/app", "v1", "health").await.unwrap();
    let manifest = format!("/v2/team/app/manifests/{digest}");
    out.client().get(&manifest).await.unwrap();
    assert_eq!(page(out, "/debug/health").await, (200, "{}".to_owned()));

    std::fs::write(&file, "").unwrap();
    let refused = until_base_is(out, 503).await;
    assert_eq!((refused.header("retry-after"), refused.header("connection")), ("5", "close"));
    assert!(String::from_utf8_lossy(&refused.body).contains("\"UNAVAILABLE\""), "{refused:?}");
    for path in ["/", &manifest] {
        assert_eq!(out.client().send(Method::GET, path).await.unwrap().status, 503, "{path}");
    }
    let (status, body) = page(out, "/debug/health").await;
    let failures: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &failures[file.to_str().unwrap()]), (503, &"file exists".into()));
    assert_eq!((page(out, "/readyz").await.0, page(out, "/livez").await.0), (503, 200));
    assert!(page(out, "/metrics").await.1.contains("flotilla_health_failing{kind=\"file\"} 1"));
    // The cluster goes on, the node's replica too.
    others.push_image("team/app", "v2", "while it is out").await.unwrap();

    std::fs::remove_file(&file).unwrap();
    until_base_is(out, 200).await;
    out.client().get("/v2/team/app/manifests/v2").await.unwrap();
    assert_eq!(page(out, "/debug/health").await, (200, "{}".to_owned()));
    assert_eq!(page(out, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_store_that_is_away_is_reported_and_manifests_are_served_on() {
    let health = "health:\n  storagedriver:\n    enabled: true\n    interval: 1s\n    threshold: 2\n";
    let cluster = Cluster::builder().nodes(1).sections(health).start().await.unwrap();
    let (node, client) = (&cluster.nodes[0], cluster.client());
    client.push_image("team/app", "v1", "store").await.unwrap();
    let marker = cluster.dir().join("store/flotilla.json");
    let hidden = marker.with_extension("hidden");
    std::fs::rename(&marker, &hidden).unwrap();
    let (_, body) = wait_for("the store to be missed", LIMIT, || async {
        Some(page(node, "/debug/health").await).filter(|(status, _)| *status == 503)
    })
    .await;
    assert!(body.contains("storagedriver_filesystem") && body.contains("flotilla.json"), "{body}");
    assert_eq!(page(node, "/readyz").await.0, 200);
    client.get("/v2/team/app/manifests/v1").await.unwrap();
    client.get("/v2/team/app/tags/list").await.unwrap();
    std::fs::rename(&hidden, &marker).unwrap();
    wait_for("the store to be found", LIMIT, || async {
        Some(page(node, "/debug/health").await).filter(|(status, _)| *status == 200)
    })
    .await;
}

async fn copy(arguments: &[&str], from: &str, to: &str) -> std::process::Output {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--preserve-digests"]).args(arguments).args([from, to]);
    output(&mut skopeo, LIMIT).await.unwrap()
}

#[tokio::test]
async fn a_read_only_registry_is_pulled_from_and_not_pushed_to() {
    let mut cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let client = cluster.client();
    let digest = client.push_image("team/app", "v1", "read-only").await.unwrap();
    let upload = client.open_upload("team/app").await.unwrap();
    cluster.nodes[0].stop().await.unwrap();
    let config = &cluster.nodes[0].config;
    let text = std::fs::read_to_string(config).unwrap();
    let switch = "storage:\n  maintenance:\n    readonly:\n      enabled: true\n";
    std::fs::write(config, text.replace("storage:\n", switch)).unwrap();
    cluster.restart(0).await.unwrap();

    let client = cluster.client();
    let blob = digest_of(b"x");
    for (method, path) in [
        (Method::POST, "/v2/team/app/blobs/uploads/".to_owned()),
        (Method::PATCH, upload.clone()),
        (Method::PUT, format!("{upload}?digest={blob}")),
        (Method::DELETE, upload),
        (Method::PUT, "/v2/team/app/manifests/v2".into()),
        (Method::DELETE, "/v2/team/app/manifests/v1".into()),
        (Method::DELETE, format!("/v2/team/app/manifests/{digest}")),
    ] {
        let refused = client.send_body(method.clone(), &path, &[], full("x".into())).await.unwrap();
        assert_eq!(refused.status, 405, "{method} {path}");
        assert!(String::from_utf8_lossy(&refused.body).contains("\"UNSUPPORTED\""), "{refused:?}");
    }
    client.get("/v2/team/app/manifests/v1").await.unwrap();

    let test = "a_read_only_registry_is_pulled_from_and_not_pushed_to: skopeo";
    if !missing(&["skopeo"]).is_empty() {
        return skip(test, "it is not installed");
    }
    let dir = TempDir::new().unwrap();
    let image = format!("docker://{}/team/app", cluster.nodes[0].http);
    let back = dir.path().join("back");
    let mut pull = Command::new("skopeo");
    pull.args(["--insecure-policy", "copy", "--src-tls-verify=false"]).arg(format!("{image}:v1"));
    run(pull.arg(layout_at(&back)), LIMIT).await.unwrap();
    let refused = copy(&["--dest-tls-verify=false"], &layout_at(&back), &format!("{image}:v2")).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("read-only"), "{said}");
    assert_eq!(client.send(Method::GET, "/v2/team/app/manifests/v2").await.unwrap().status, 404);
}

fn layout_at(dir: &Path) -> String {
    format!("oci:{}:latest", dir.display())
}
