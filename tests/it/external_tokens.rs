//! Bearer tokens of a token server elsewhere: what they are good for, and that nothing else is.

use anyhow::Result;
use flotilla_tests::{
    cluster::Cluster,
    http::{Client, Response, empty},
    images::Layout,
    missing, ports,
    process::{Process, output, run},
    program, skip,
    token_server::{ISSUER, Named, Signed, TokenServer, User},
    wait_for,
};
use http::Method;
use serde_json::{Value, json};
use std::{process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const TAGS: &str = "/v2/team/app/tags/list";
const UPLOADS: &str = "/v2/team/app/blobs/uploads/";

fn users() -> Vec<User> {
    let ann = User::new("ann", "secret").may("repository:team/*", &["pull", "push"]);
    vec![ann, User::new("bob", "secret").may("repository:team/*", &["pull"])]
}

async fn registry(server: &TokenServer) -> Cluster {
    Cluster::builder().nodes(1).sections(&server.section()).start().await.unwrap()
}

async fn with_token(client: &Client, method: Method, path: &str, token: &str) -> Response {
    let header = format!("Bearer {token}");
    client.send_body(method, path, &[("authorization", &header)], empty()).await.unwrap()
}

#[tokio::test]
async fn a_token_is_good_for_what_it_says_and_nothing_else() {
    let server = TokenServer::start(Signed::Es256, Named::Libtrust, users()).await.unwrap();
    let cluster = registry(&server).await;
    let client = cluster.client();
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"registry.example\"", server.listen);
    let nobody = client.send(Method::GET, "/v2/").await.unwrap().expect(401).unwrap();
    assert_eq!(nobody.header("www-authenticate"), challenge);
    let nobody = client.send(Method::GET, TAGS).await.unwrap().expect(401).unwrap();
    assert_eq!(nobody.header("www-authenticate"), format!("{challenge},scope=\"repository:team/app:pull\""));
    let token = |scopes: &[&str]| server.token("ann", scopes).unwrap();
    let cases = [
        (Method::GET, "/v2/", token(&[]), 200),
        (Method::GET, TAGS, token(&["repository:team/app:pull"]), 404),
        (Method::GET, TAGS, token(&["repository:team/app:*"]), 404),
        (Method::GET, TAGS, token(&["repository:team/other:pull"]), 401),
        (Method::GET, TAGS, token(&["repository:team/app:push"]), 401),
        (Method::GET, TAGS, token(&["registry:team/app:pull"]), 401),
        (Method::GET, TAGS, token(&[]), 401),
        (Method::POST, UPLOADS, token(&["repository:team/app:pull,push"]), 202),
        (Method::POST, UPLOADS, token(&["repository:team/app:pull"]), 401),
        (Method::GET, "/v2/_catalog", token(&["registry:catalog:*"]), 200),
        (Method::GET, "/v2/_catalog", token(&["repository:team/app:pull"]), 401),
    ];
    for (method, path, token, expected) in cases {
        let answer = with_token(&client, method, path, &token).await;
        assert_eq!(answer.status, expected, "{path} {token}");
        if expected == 401 {
            let challenge = answer.header("www-authenticate");
            assert!(challenge.ends_with("error=\"insufficient_scope\""), "{challenge}");
        }
    }
}

#[tokio::test]
async fn what_is_no_good_token_is_refused_with_a_challenge() {
    let server = TokenServer::start(Signed::Rs256, Named::Chain, users()).await.unwrap();
    let stranger = TokenServer::start(Signed::Es256, Named::Chain, users()).await.unwrap();
    let cluster = registry(&server).await;
    let client = cluster.client();
    let header = server.header();
    let good = server.payload("ann", &["repository:team/app:pull"]);
    let sign = |header: &Value, payload: &Value| server.sign(header, payload).unwrap();
    let token = sign(&header, &good);
    with_token(&client, Method::GET, TAGS, &token).await.expect(404).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let other = sign(&header, &server.payload("ann", &["repository:team/app:pull,push"]));
    let other_payload = other.split('.').nth(1).unwrap();
    let none = sign(&changed(&header, &json!({"alg": "none"})), &good);
    let unsigned = none.rsplit_once('.').unwrap().0;
    let iat = good["iat"].as_u64().unwrap();
    for (name, token) in [
        ("tampered", format!("{}.{other_payload}.{}", parts[0], parts[2])),
        ("alg none", format!("{unsigned}.")),
        ("alg none, signed", none.clone()),
        ("expired", sign(&header, &changed(&good, &json!({"exp": iat - 61})))),
        ("to come", sign(&header, &changed(&good, &json!({"nbf": iat + 120})))),
        ("another issuer", sign(&header, &changed(&good, &json!({"iss": "x"})))),
        ("another service", sign(&header, &changed(&good, &json!({"aud": ISSUER})))),
        ("no end", sign(&header, &changed(&good, &json!({"exp": null})))),
        ("another server", stranger.token("ann", &["repository:team/app:pull"]).unwrap()),
        ("too long", "A".repeat(17 << 10)),
        ("dots", ".".repeat(8 << 10)),
        ("nonsense", "x".to_owned()),
    ] {
        let answer = with_token(&client, Method::GET, TAGS, &token).await;
        assert_eq!(answer.status, 401, "{name}");
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.starts_with("Bearer ") && challenge.ends_with("error=\"invalid_token\""),
            "{name}: {challenge}"
        );
    }
}

#[tokio::test]
async fn skopeo_gets_its_tokens_from_the_server() {
    let test = "skopeo_gets_its_tokens_from_the_server";
    if !missing(&["skopeo"]).is_empty() {
        return skip(test, "skopeo is not installed");
    }
    for (signed, named) in [(Signed::Rs256, Named::Libtrust), (Signed::Es256, Named::Chain)] {
        let server = TokenServer::start(signed, named, users()).await.unwrap();
        let cluster = registry(&server).await;
        let dir = TempDir::new().unwrap();
        let layout = Layout::image(dir.path(), 7, &[100_000, 5_000]).unwrap();
        let image = format!("docker://{}/team/app:v1", cluster.nodes[0].http);
        let push = |user: &str| {
            let mut push = Command::new("skopeo");
            push.args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", user]);
            push.args(["--preserve-digests", &layout.source(), &image]);
            push
        };
        run(&mut push("ann:secret"), LIMIT).await.unwrap();
        assert!(server.issued() > 0);
        for user in ["ann:wrong", "bob:secret", "eve:secret"] {
            assert!(!output(&mut push(user), LIMIT).await.unwrap().status.success(), "{user}");
        }
        let pulled = pull(&image, Some("bob:secret"), &dir, "bob").await.unwrap();
        assert!(pulled.contains(&layout.digest), "skopeo pulled another digest than {}: {pulled}", layout.digest);
        assert!(pull(&image, None, &dir, "nobody").await.is_err());
    }
}

/// Debian's `docker-registry` 2.8.2 and this registry, under the same section `auth`.
#[tokio::test]
async fn a_token_is_worth_the_same_here_as_at_distribution() {
    let test = "a_token_is_worth_the_same_here_as_at_distribution";
    let Some(registry) = program("docker-registry") else {
        return skip(test, "docker-registry is not installed");
    };
    let ways = [
        (Signed::Rs256, Named::Libtrust),
        (Signed::Es256, Named::Libtrust),
        (Signed::Rs256, Named::Chain),
        (Signed::Es256, Named::Chain),
    ];
    for (signed, named) in ways {
        let server = TokenServer::start(signed, named, users()).await.unwrap();
        let stranger = TokenServer::start(signed, named, users()).await.unwrap();
        let ours = self::registry(&server).await;
        let (dir, address) = (TempDir::new().unwrap(), ports::address());
        let config = dir.path().join("config.yml");
        let root = dir.path().join("root");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{}",
            root.display(),
            server.section()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(&registry);
        command.arg("serve").arg(&config);
        let _process = Process::start("docker-registry", &mut command, &dir.path().join("log")).unwrap();
        let theirs = Client::new([address]);
        wait_for("docker-registry", LIMIT, || async { theirs.send(Method::GET, "/v2/").await.ok() }).await;
        let good = server.payload("ann", &["repository:team/app:pull"]);
        let iat = good["iat"].as_u64().unwrap();
        let changes = [
            json!({}),
            json!({"exp": iat - 50}),
            json!({"exp": iat - 70}),
            json!({"nbf": iat + 50}),
            json!({"nbf": iat + 70}),
            json!({"iss": "x"}),
            json!({"aud": "x"}),
            json!({"sub": ""}),
            json!({"access": null}),
            json!({"access": []}),
            json!({"access": [{"type": "repository", "name": "team/app", "actions": ["*"]}]}),
            json!({"access": [{"type": "repository", "name": "team/app", "actions": null}]}),
            json!({"access": [{"type": "repository", "class": "plugin", "name": "team/app", "actions": ["pull"]}]}),
            json!({"access": [{"type": "repository", "name": "team/other", "actions": ["pull"]}]}),
            json!({"access": "x"}),
            json!({"exp": "x"}),
        ];
        let mut tokens: Vec<_> = changes
            .iter()
            .map(|change| (change.to_string(), server.sign(&server.header(), &changed(&good, change)).unwrap()))
            .collect();
        for header in [json!({"alg": "none"}), json!({"alg": "HS256"}), json!({"kid": null, "x5c": null})] {
            let token = server.sign(&changed(&server.header(), &header), &good).unwrap();
            tokens.push((header.to_string(), token));
        }
        tokens.push(("a stranger's".to_owned(), stranger.token("ann", &["repository:team/app:pull"]).unwrap()));
        tokens.push(("nonsense".to_owned(), "a.b.c".to_owned()));
        for (name, token) in tokens {
            let mut seen = Vec::new();
            for client in [&ours.client(), &theirs] {
                let answer = with_token(client, Method::GET, TAGS, &token).await;
                let challenge = answer.header("www-authenticate");
                let flaw = challenge.split_once(",error=").map(|(_, flaw)| flaw.to_owned());
                seen.push((answer.status, flaw));
            }
            assert_eq!(seen[0], seen[1], "{signed:?} {named:?} {name}");
        }
    }
}

/// `whole` with these members set.
fn changed(whole: &Value, changes: &Value) -> Value {
    let mut whole = whole.clone();
    for (name, value) in changes.as_object().unwrap() {
        whole[name] = value.clone();
    }
    whole
}

/// What `index.json` says after a pull.
async fn pull(image: &str, user: Option<&str>, dir: &TempDir, name: &str) -> Result<String> {
    let back = dir.path().join(name);
    let mut pull = Command::new("skopeo");
    pull.args(["--insecure-policy", "copy", "--src-tls-verify=false"]);
    match user {
        Some(user) => pull.args(["--src-creds", user]),
        None => pull.arg("--src-no-creds"),
    };
    run(pull.args(["--preserve-digests", image, &format!("oci:{}:latest", back.display())]), LIMIT).await?;
    Ok(std::fs::read_to_string(back.join("index.json"))?)
}
