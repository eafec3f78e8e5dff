//! The built-in token service on real nodes: a token of one is good on all, whoever leads and whoever was restarted; docker and
//! skopeo log in, push and pull by it through a balancer that sends each request to another node.

use flotilla_tests::{
    cluster::Cluster,
    dockerd::{Dockerd, clis},
    haproxy::Haproxy,
    http::{Client, Response, digest_of, empty, full},
    images::Layout,
    missing,
    process::{output, run},
    skip,
};
use http::Method;
use std::{path::Path, process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);
/// `ann` with the password `secret`.
const USERS: &str = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
const ANN: &str = "Basic YW5uOnNlY3JldA==";
const WRONG: &str = "Basic YW5uOnNlY3JldHM=";

/// Three nodes; anyone may pull below `public`, users may do everything.
async fn cluster(dir: &Path) -> Cluster {
    let users = dir.join("htpasswd");
    std::fs::write(&users, USERS).unwrap();
    let sections = format!(
        "auth:\n  htpasswd:\n    realm: tests\n    path: {}\naccess:\n  tokens:\n    enabled: true\n  rules:\n    \
         - {{repositories: [\"public/**\"], users: [$all], rights: [pull]}}\n    \
         - {{repositories: [\"**\"], users: [$authenticated], rights: [pull, push, delete]}}\n",
        users.display()
    );
    Cluster::builder().sections(&sections).start().await.unwrap()
}

async fn send(client: &Client, method: Method, path: &str, authorization: &str) -> Response {
    client.send_body(method, path, &[("authorization", authorization)], empty()).await.unwrap()
}

/// Logs in.
async fn token(client: &Client, scope: &str) -> String {
    let path = format!("/auth/token?service=flotilla&scope={scope}");
    let answer = send(client, Method::GET, &path, ANN).await.expect(200).unwrap();
    assert_eq!(answer.header("cache-control"), "no-store");
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    format!("Bearer {}", body["token"].as_str().unwrap())
}

/// Pushes a small blob by `token`.
async fn push(client: &Client, repository: &str, text: &str, token: &str) -> Response {
    let digest = digest_of(text.as_bytes());
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let body = full(text.as_bytes().to_vec().into());
    client.send_body(Method::POST, &path, &[("authorization", token)], body).await.unwrap()
}

async fn pull(client: &Client, repository: &str, text: &str, token: &str) -> Response {
    send(client, Method::GET, &format!("/v2/{repository}/blobs/{}", digest_of(text.as_bytes())), token).await
}

#[tokio::test]
async fn a_token_is_good_on_every_node_through_kill_9_and_restarts() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(dir.path()).await;
    let scope = "repository:team/app:pull,push";
    let mut tokens = Vec::new();
    // Each node's, at once: the first of them makes the key.
    for node in &cluster.nodes {
        tokens.push(token(&node.client(), scope).await);
    }
    for (from, token) in tokens.iter().enumerate() {
        for (at, node) in cluster.nodes.iter().enumerate() {
            let text = format!("{from} at {at}");
            push(&node.client(), "team/app", &text, token).await.expect(201).unwrap();
            pull(&cluster.client(), "team/app", &text, token).await.expect(200).unwrap();
            push(&node.client(), "team/other", &text, token).await.expect(401).unwrap();
        }
    }

    let victim = cluster.leader().await;
    cluster.nodes[victim].kill();
    for number in (0..3).filter(|number| *number != victim) {
        let client = cluster.nodes[number].client();
        for token in &tokens {
            push(&client, "team/app", &format!("after the leader {number}"), token).await.expect(201).unwrap();
        }
        tokens.push(token(&client, scope).await);
    }
    cluster.nodes[victim].start().unwrap();
    cluster.wait_ready().await;
    for token in &tokens {
        push(&cluster.nodes[victim].client(), "team/app", "back", token).await.expect(201).unwrap();
    }

    // All at once: the key is on their disks.
    let logs: Vec<_> = cluster.nodes.iter_mut().map(|node| node.process().log_text()).collect();
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().unwrap();
    }
    cluster.wait_ready().await;
    for token in &tokens {
        for node in &cluster.nodes {
            pull(&node.client(), "team/app", "back", token).await.expect(200).unwrap();
        }
    }
    cluster.wait_equal_hash().await;
    for log in logs {
        let secrets = tokens.iter().map(|token| token.trim_start_matches("Bearer ")).chain(["YW5uOnNlY3JldA", "$2y$"]);
        for secret in secrets {
            assert!(!log.contains(secret), "a log holds {secret}");
        }
    }
}

#[tokio::test]
async fn what_is_no_token_of_the_cluster_is_refused_with_a_challenge() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(dir.path()).await;
    let client = cluster.client();
    let good = token(&client, "repository:team/app:pull,push").await;
    push(&client, "team/app", "x", &good).await.expect(201).unwrap();
    let other = token(&client, "repository:team/other:pull,push,delete").await;
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let payload = signed.split_once('.').unwrap().1;
    let bad = [
        String::new(),
        "Bearer".into(),
        "Bearer x".into(),
        format!("{good}x"),
        format!("{signed}."),
        format!("{signed}.{}", signature.chars().rev().collect::<String>()),
        // `alg: none`, with and without the form of ours.
        format!("Bearer eyJhbGciOiJub25lIn0.{payload}."),
        format!("Bearer eyJ0eXAiOiJmbG90aWxsYStqd3QiLCJhbGciOiJub25lIn0.{payload}."),
        other.clone(),
    ];
    for token in &bad {
        let refused = pull(&client, "team/app", "x", token).await.expect(401).unwrap();
        let challenge = refused.header("www-authenticate");
        let wanted = "service=\"flotilla\",scope=\"repository:team/app:pull\"";
        assert!(challenge.starts_with("Bearer realm=\"http://127.0.0.1:") && challenge.contains(wanted), "{challenge}");
        assert_eq!(challenge.contains("insufficient_scope"), *token == other, "{challenge}");
    }
    pull(&client, "team/app", "x", &good).await.expect(200).unwrap();
    for authorization in [WRONG, good.as_str(), "Basic", ""] {
        let refused = send(&client, Method::GET, "/auth/token", authorization).await.expect(401).unwrap();
        assert_eq!(refused.header("www-authenticate"), "Basic realm=\"tests\"", "{authorization}");
    }
    assert_eq!(send(&client, Method::POST, "/auth/token", ANN).await.expect(405).unwrap().header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn clients_log_in_and_push_and_pull_through_a_balancer() {
    let test = "clients_log_in_and_push_and_pull_through_a_balancer";
    let lacking = missing(&["skopeo", "haproxy"]);
    if !lacking.is_empty() {
        return skip(test, &format!("{lacking:?} are not installed"));
    }
    let dir = TempDir::new().unwrap();
    let cluster = cluster(dir.path()).await;
    let balancer = Haproxy::start(&cluster.addresses()).await.unwrap().expect("haproxy is installed");
    let layout = Layout::image(&dir.path().join("image"), 7, &[100_000, 200_000, 300_000]).unwrap();
    let copy = |credentials: &[&str], from: &str, to: &str| {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        command.args(credentials).args([from, to]);
        command
    };
    let team = format!("docker://{}/team/app:v1", balancer.listen);
    let public = format!("docker://{}/public/app:v1", balancer.listen);
    let back = |name: &str| format!("oci:{}:v1", dir.path().join(name).display());
    for image in [&team, &public] {
        let refused =
            output(&mut copy(&["--dest-creds", "ann:secrets"], &layout.source(), image), LIMIT).await.unwrap();
        assert!(!refused.status.success(), "a wrong password pushes");
        let refused = output(&mut copy(&[], &layout.source(), image), LIMIT).await.unwrap();
        assert!(!refused.status.success(), "nobody pushes");
        run(&mut copy(&["--dest-creds", "ann:secret"], &layout.source(), image), LIMIT).await.unwrap();
    }
    run(&mut copy(&["--src-creds", "ann:secret"], &team, &back("team")), LIMIT).await.unwrap();
    run(&mut copy(&[], &public, &back("public")), LIMIT).await.unwrap();
    let refused = output(&mut copy(&[], &team, &back("refused")), LIMIT).await.unwrap();
    assert!(!refused.status.success(), "nobody pulls what is not public");

    let Some(engine) = Dockerd::start(&format!("{test}: docker")).await.unwrap() else { return };
    for (number, (cli, version)) in clis().iter().enumerate() {
        println!("{version}");
        let image = |repository: &str| format!("{}/{repository}:v1", balancer.listen);
        let (team, public, own) = (image("team/app"), image("public/app"), image(&format!("docker/app{number}")));
        engine.docker(cli, &["pull", "-q", &public]).await.unwrap();
        engine.docker(cli, &["pull", "-q", &team]).await.expect_err("nobody pulls what is not public");
        engine
            .docker(cli, &["login", "-u", "ann", "-p", "wrong", &balancer.listen])
            .await
            .expect_err("a wrong password");
        engine.docker(cli, &["login", "-u", "ann", "-p", "secret", &balancer.listen]).await.unwrap();
        engine.docker(cli, &["pull", "-q", &team]).await.unwrap();
        engine.docker(cli, &["tag", &team, &own]).await.unwrap();
        engine.docker(cli, &["push", "-q", &own]).await.unwrap();
        engine.docker(cli, &["logout", &balancer.listen]).await.unwrap();
        engine.docker(cli, &["push", "-q", &own]).await.expect_err("after logout");
    }
    engine.stop().await.unwrap();
}
