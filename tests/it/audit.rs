//! The audit log of real nodes.

use bytes::Bytes;
use flotilla_tests::{
    cluster::Cluster,
    http::{digest_of, empty, full, manifest},
};
use http::Method;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const PASSWORD: &str = "open-sesame-7f3a";
/// Of [`PASSWORD`], as `htpasswd -nbB -C 5` writes it.
const USERS: &str = "ann:$2y$05$E2b/nW1YCsU3PC7cOTqmaugrfKjarA/P7t24g8bqmdWN/anrZSE4u\n";
/// `ann` with the password, encoded; with another one; the password typed as the user's name.
const ANN: &str = "Basic YW5uOm9wZW4tc2VzYW1lLTdmM2E=";
const GUESS: &str = "Basic YW5uOmd1ZXNzZWQtNWMx";
const TYPO: &str = "Basic b3Blbi1zZXNhbWUtN2YzYTp4";

/// Two nodes that write into one file: their lines stay whole.
#[tokio::test]
async fn the_audit_log_says_who_did_what_and_no_log_holds_a_secret() {
    const LOGINS: usize = 200;
    let dir = TempDir::new().unwrap();
    let (users, audit) = (dir.path().join("users"), dir.path().join("audit.json"));
    std::fs::write(&users, USERS).unwrap();
    let sections = format!(
        "auth:\n  htpasswd:\n    realm: tests\n    path: {}\naudit:\n  enabled: true\n  path: {}\n",
        users.display(),
        audit.display()
    );
    let mut cluster = Cluster::builder().nodes(2).sections(&sections).start().await.unwrap();
    let (digest, image) = (digest_of(b"{}"), manifest(&digest_of(b"{}"), 2, &[]));
    let send = async |node: usize, method: Method, path: &str, credentials: &str, body: Bytes, expected: u16| {
        let mut headers = vec![("user-agent", "tests/1"), ("content-type", flotilla_tests::http::OCI_MANIFEST)];
        if !credentials.is_empty() {
            headers.push(("authorization", credentials));
        }
        let body = if body.is_empty() { empty() } else { full(body) };
        cluster.nodes[node].client().send_body(method, path, &headers, body).await.unwrap().expect(expected).unwrap();
    };
    let upload = format!("/v2/a/blobs/uploads/?digest={digest}");
    send(0, Method::POST, &upload, ANN, Bytes::from_static(b"{}"), 201).await;
    send(1, Method::PUT, "/v2/a/manifests/v1", ANN, image.into(), 201).await;
    send(0, Method::GET, "/v2/a/manifests/v1", "", Bytes::new(), 401).await;
    send(1, Method::GET, "/v2/", GUESS, Bytes::new(), 401).await;
    send(0, Method::GET, "/v2/", TYPO, Bytes::new(), 401).await;
    send(0, Method::DELETE, "/v2/a/manifests/v1", ANN, Bytes::new(), 202).await;
    let logins = |node| async move {
        for _ in 0..LOGINS {
            send(node, Method::GET, "/v2/", ANN, Bytes::new(), 200).await;
        }
    };
    tokio::join!(logins(0), logins(1));
    for node in &mut cluster.nodes {
        node.stop().await.unwrap();
    }

    let text = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |event: &str, outcome: &str, user: Option<&str>| {
        let is = |line: &&Value| {
            line["event"] == event && line["outcome"] == outcome && line.get("user").and_then(Value::as_str) == user
        };
        lines.iter().filter(is).count()
    };
    assert_eq!(count("login", "ok", Some("ann")), 2 * LOGINS, "also the last ones before the stop");
    assert_eq!(count("push", "ok", Some("ann")), 2);
    assert_eq!(count("untag", "ok", Some("ann")), 1);
    assert_eq!(count("denied", "refused", Some("anonymous")), 1);
    assert_eq!(count("login", "refused", Some("ann")), 1);
    assert_eq!(count("login", "refused", None), 1);
    assert_eq!(lines.len(), 2 * LOGINS + 6);
    assert!(lines.iter().all(|line| line["from"] == "127.0.0.1" && line["agent"] == "tests/1"));
    assert_eq!(std::fs::metadata(&audit).unwrap().permissions().mode() & 0o777, 0o600);

    let logs = (0..2).map(|node| std::fs::read_to_string(cluster.dir().join(format!("node{node}.log"))).unwrap());
    for log in logs.chain([text]) {
        assert!(!log.is_empty());
        for secret in [PASSWORD, "guessed-5c1", &ANN[6..], &GUESS[6..], &TYPO[6..], &USERS[4..60]] {
            assert!(!log.contains(secret), "{secret}: {log}");
        }
    }
}
