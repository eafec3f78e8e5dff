//! What an operator does to collection, by the real programs: pausing, explaining, collecting, putting back, verifying.

use flotilla_client::admin;
use flotilla_tests::{
    bucket::Store,
    churn::gc_status,
    cluster::{Cluster, Node, operator},
    http::{Client, digest_of, full},
    process::output,
    wait_for,
};
use http::Method;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(60);
/// The time between two looks of a worker, and a tick.
const PASS_MS: u64 = 6_500;

/// One node whose delays hold: what is deleted goes after seconds.
async fn start(delete_delay: &str) -> (Cluster, PathBuf) {
    let mut cluster = Cluster::builder().nodes(1).prepare().unwrap();
    let audit = cluster.dir().join("audit.json");
    let config = &cluster.nodes[0].config;
    let sections = format!(
        "gc:\n  unsafedelays: true\n  grace: 6s\n  promise: 2s\n  deletedelay: {delete_delay}\n  sweepdelay: 5s\n  \
         breaker: off\naudit:\n  enabled: true\n  path: {}\n",
        audit.display()
    );
    let text = std::fs::read_to_string(config).unwrap() + &sections;
    std::fs::write(config, text).unwrap();
    cluster.nodes[0].start().unwrap();
    cluster.wait_ready().await;
    wait_for("the delays to hold", LIMIT, || async {
        (gc_status(&cluster.nodes[0]).await.ok()?["delays"]["grace_ms"] == 6_000).then_some(())
    })
    .await;
    (cluster, audit)
}

/// Exit code, standard output and standard error.
async fn ask(node: &Node, arguments: &[&str]) -> (i32, String, String) {
    let ended = node.operate(arguments, LIMIT).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code().unwrap(), text(&ended.stdout), text(&ended.stderr))
}

async fn json(node: &Node, arguments: &[&str]) -> Value {
    let (code, out, err) = ask(node, &[arguments, &["--json"]].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap()
}

async fn delete(client: &Client, path: &str) {
    client.send(Method::DELETE, path).await.unwrap().expect(202).unwrap();
}

async fn status(client: &Client, path: &str) -> u16 {
    client.send(Method::GET, path).await.unwrap().status.as_u16()
}

/// The digest of the only blob of what `push_image` pushes.
fn config_of(label: &str) -> String {
    digest_of(format!(r#"{{"label":"{label}"}}"#).as_bytes())
}

/// What the audit log says of operators, once there are so many lines: they are written after the answer, in order.
async fn audited(audit: &Path, lines: usize) -> Vec<Value> {
    wait_for("the audit's lines", LIMIT, || async {
        let text = std::fs::read_to_string(audit).unwrap();
        let lines_now = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let operators: Vec<Value> = lines_now.filter(|line: &Value| line["user"] == "operator").collect();
        (operators.len() >= lines).then_some(operators)
    })
    .await
}

/// Keys in the store, but the marker.
async fn objects(store: &Store) -> Vec<String> {
    let keys = store.objects().await.unwrap().into_keys();
    keys.filter(|key| !key.ends_with("flotilla.json")).collect()
}

/// Waits until a verification reads bytes; asks nothing that could begin another one.
async fn until_it_reads(node: &Node) {
    let socket = admin::Node::Socket(node.data.join(admin::SOCKET));
    wait_for("a verification to read", LIMIT, || async {
        let seen = admin::verification(&socket).await.unwrap();
        (seen.running && seen.bytes > 0).then_some(())
    })
    .await;
}

fn queue(status: &Value, name: &str) -> Value {
    status["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn a_deleted_image_stays_while_collection_is_paused_and_goes_when_it_is_resumed() {
    let (cluster, audit) = start("10s").await;
    let (node, client, store) = (&cluster.nodes[0], cluster.client(), Store::of(&cluster.storage, None));
    let kept = client.push_image("team/app", "kept", "kept").await.unwrap();
    let gone = client.push_image("team/app", "gone", "gone").await.unwrap();
    let (code, out, _) = ask(node, &["gc", "pause", "a look first"]).await;
    assert_eq!((code, out.as_str()), (0, "collection is paused: a look first\n"));
    delete(&client, &format!("/v2/team/app/manifests/{gone}")).await;
    wait_for("the deleted image to have been due for longer than a worker sleeps", LIMIT, || async {
        let late = queue(&gc_status(node).await.ok()?, "links")["oldest_due_ms"].as_u64()?;
        (late > PASS_MS).then_some(())
    })
    .await;
    assert_eq!(objects(&store).await.len(), 2);
    let blob = config_of("gone");
    let (_, out, _) = ask(node, &["why", &blob]).await;
    for said in ["a blob of 16 bytes", "no manifest references it; its lease is over", "collection is not on"] {
        assert!(out.contains(said), "{said}: {out}");
    }
    let (code, _, err) = ask(node, &["gc", "run"]).await;
    assert!(code == 1 && err.contains("a look first") && err.contains("nothing was deleted"), "{err}");
    let would = json(node, &["gc", "dry-run"]).await;
    assert_eq!(would["blobs"], serde_json::json!([blob]), "{would}");
    assert_eq!((&would["bytes"], &would["marked"]), (&16.into(), &1.into()), "{would}");

    assert_eq!(ask(node, &["gc", "resume"]).await.1, "collection is on\n");
    let did = json(node, &["gc", "run"]).await;
    if did["blobs"] == serde_json::json!([]) {
        // A worker came first.
        let metrics = Client::new([node.ops.clone()]).get("/metrics").await.unwrap();
        assert!(String::from_utf8_lossy(&metrics.body).contains("flotilla_gc_blobs_collected_total 1"), "{did}");
    } else {
        assert_eq!((&did["blobs"], &did["bytes"]), (&would["blobs"], &would["bytes"]), "{did}");
    }
    let why = json(node, &["why", &blob]).await;
    assert_eq!((&why["condemned"][0]["bytes"], why.get("blob")), (&16.into(), None), "{why}");
    let object = why["condemned"][0]["objects"][0].as_str().unwrap().to_owned();
    assert!(objects(&store).await.iter().any(|key| key.ends_with(&object)), "readers may hold it");
    let (_, out, _) = ask(node, &["why", &blob]).await;
    assert!(out.contains("was a blob of 16 bytes; condemned for"), "{out}");
    let (_, out, _) = ask(node, &["why", &object]).await;
    assert!(out.contains(": condemned, for "), "{out}");
    wait_for("its object to go", LIMIT, || async { (objects(&store).await.len() == 1).then_some(()) }).await;
    assert_eq!(ask(node, &["why", &blob]).await.1, format!("{blob}: nothing is known of it\n"));
    assert_eq!(status(&client, &format!("/v2/team/app/manifests/{kept}")).await, 200);
    assert_eq!(ask(node, &["verify", "--hash", "--rate", "1GiB"]).await.0, 0);

    let operators = audited(&audit, 5).await;
    let told: Vec<_> =
        operators.iter().map(|line| (line["event"].as_str().unwrap(), line["outcome"].as_str().unwrap())).collect();
    let wanted =
        [("collection", "ok"), ("collect", "refused"), ("collection", "ok"), ("collect", "ok"), ("verify", "ok")];
    assert_eq!(told, wanted, "and questions leave no line");
    assert_eq!((&operators[0]["mode"], &operators[0]["reason"]), (&"paused".into(), &"a look first".into()));
    let uid = rustix::process::geteuid().as_raw();
    assert!(operators.iter().all(|line| line["auth"] == "socket" && line["uid"] == uid), "{operators:?}");
}

#[tokio::test]
async fn tags_and_manifests_come_back_and_whatever_holds_them_is_named() {
    let (cluster, audit) = start("10s").await;
    let (node, client) = (&cluster.nodes[0], cluster.client());
    // Its time would be over before this test is.
    ask(node, &["gc", "pause", "a test"]).await;
    let digest = client.push_image("team/app", "v1", "image").await.unwrap();
    let (by_tag, by_digest) = ("/v2/team/app/manifests/v1".to_owned(), format!("/v2/team/app/manifests/{digest}"));

    let why = json(node, &["why", &config_of("image")]).await;
    let link = &why["places"][0]["link"];
    assert_eq!((&link["references"], &link["manifests"]), (&1.into(), &serde_json::json!([digest])), "{why}");
    let held = json(node, &["why", &format!("team/app@{digest}")]).await;
    assert_eq!(held["places"][0]["manifest"]["tags"], serde_json::json!(["v1"]), "{held}");
    let loose = digest_of(b"loose");
    client.push_blob("team/app", &loose, full("loose".into())).await.unwrap();
    let why = json(node, &["why", &loose]).await;
    let lease = why["places"][0]["link"]["lease_ms"].as_u64().unwrap();
    assert!((1..=6_000).contains(&lease), "{why}");

    delete(&client, &by_tag).await;
    assert_eq!((status(&client, &by_tag).await, status(&client, &by_digest).await), (404, 200));
    let (code, out, err) = ask(node, &["undelete", "team/app:v1"]).await;
    assert_eq!((code, out.as_str()), (0, "team/app:v1 is back; 1 tag points to it\n"), "{err}");
    assert_eq!(status(&client, &by_tag).await, 200);

    delete(&client, &by_digest).await;
    assert_eq!((status(&client, &by_tag).await, status(&client, &by_digest).await), (404, 404));
    let (_, out, _) = ask(node, &["why", &format!("team/app@{digest}")]).await;
    assert!(out.contains("manifest in the trash: can be undeleted for ") && out.contains("with tag v1"), "{out}");
    let (_, out, _) = ask(node, &["trash", "team/app"]).await;
    assert!(out.starts_with(&format!("team/app@{digest}  ")) && out.ends_with(", with tags v1\n"), "{out}");
    let (code, out, err) = ask(node, &["undelete", &format!("team/app@{digest}")]).await;
    assert_eq!((code, out), (0, format!("team/app@{digest} is back; 1 tag points to it\n")), "{err}");
    let image = client.get(&by_tag).await.unwrap();
    assert_eq!(image.header("docker-content-digest"), digest);
    client.get(&format!("/v2/team/app/blobs/{}", config_of("image"))).await.unwrap();
    let (code, _, err) = ask(node, &["undelete", "team/app:v1"]).await;
    assert!(code == 1 && err.contains("not among what was deleted"), "{err}");

    let lines = audited(&audit, 4).await;
    let undeleted: Vec<_> = lines.iter().filter(|line| line["event"] == "undelete").collect();
    assert_eq!(undeleted.len(), 3);
    assert_eq!((&undeleted[0]["object"], &undeleted[0]["reference"]), (&"tag".into(), &"v1".into()));
    assert_eq!((&undeleted[1]["object"], &undeleted[1]["digest"]), (&"manifest".into(), &digest.into()));
    assert_eq!(undeleted[2]["outcome"], "refused");
}

#[tokio::test]
async fn a_deleted_repository_is_gone_at_once_and_its_bytes_after_a_while() {
    let (cluster, audit) = start("3s").await;
    let (node, client, store) = (&cluster.nodes[0], cluster.client(), Store::of(&cluster.storage, None));
    client.push_image("team/old", "v1", "old").await.unwrap();
    client.push_image("team/new", "v1", "new").await.unwrap();
    let (code, out, err) = ask(node, &["repository", "delete", "team/old"]).await;
    assert!(code == 0 && out.starts_with("team/old is deleted;"), "{out}{err}");
    assert_eq!(status(&client, "/v2/team/old/tags/list").await, 404);
    assert_eq!(status(&client, "/v2/team/new/manifests/v1").await, 200);
    wait_for("its object to go", LIMIT, || async { (objects(&store).await.len() == 1).then_some(()) }).await;
    assert_eq!(status(&client, "/v2/team/new/manifests/v1").await, 200);
    assert_eq!(ask(node, &["verify", "--hash"]).await.0, 0);
    let (code, _, err) = ask(node, &["repository", "delete", "team/old"]).await;
    assert!(code == 1 && err.contains("there is no repository team/old"), "{err}");
    // Then the verification, then the refusal.
    let line = &audited(&audit, 3).await[0];
    assert_eq!(line["event"], "delete", "{line}");
    assert_eq!((&line["object"], &line["repository"]), (&"repository".into(), &"team/old".into()), "{line}");
}

#[tokio::test]
async fn verify_says_by_its_exit_code_how_it_ended() {
    let mut cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let client = cluster.client();
    client.push_image("team/app", "v1", "verified").await.unwrap();
    let store = Store::of(&cluster.storage, None);
    let node = &cluster.nodes[0];
    let (code, out, err) = ask(node, &["verify", "--hash"]).await;
    assert!(code == 0 && out.starts_with("0 differences; 1 blobs (0 suspect), 20 bytes read"), "{out}{err}");
    assert_eq!(ask(node, &["verify", "--rate", "1MiB"]).await.0, 2, "a rate of nothing that is read");

    // Twenty bytes, one a second; meanwhile no other may begin.
    let slow = node.operate(&["verify", "--hash", "--rate", "1"], LIMIT);
    let other = async {
        until_it_reads(node).await;
        let (code, _, err) = ask(node, &["verify"]).await;
        assert!(code == 2 && err.contains("runs already"), "{err}");
    };
    let (slow, ()) = tokio::join!(slow, other);
    assert_eq!(slow.unwrap().status.code(), Some(0));

    store.remove(&objects(&store).await[0]).await.unwrap();
    let (code, out, _) = ask(node, &["verify"]).await;
    assert!(code == 1 && out.contains("is missing") && out.contains("1 differences"), "{out}");
    cluster.nodes[0].stop().await.unwrap();
    let (code, _, err) = ask(&cluster.nodes[0], &["verify"]).await;
    assert!(code == 2 && err.contains("cannot reach a node"), "{err}");
}

#[tokio::test]
async fn a_verification_ends_with_its_node() {
    let mut cluster = Cluster::builder().nodes(1).start().await.unwrap();
    cluster.client().push_image("team/app", "v1", "long").await.unwrap();
    let mut verify = Command::new(operator());
    verify.args(["verify", "--hash", "--rate", "1", "--data"]).arg(&cluster.nodes[0].data);
    let stop = async {
        until_it_reads(&cluster.nodes[0]).await;
        // Fails if it takes a minute.
        cluster.nodes[0].stop().await.unwrap();
    };
    let (ended, ()) = tokio::join!(output(&mut verify, LIMIT), stop);
    let ended = ended.unwrap();
    assert_eq!(ended.status.code(), Some(2), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(cluster.nodes[0].log_text().contains("the verification ended early: the node stops"));
}
