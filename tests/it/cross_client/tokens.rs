//! Entry 7: what clients are asked for when they lack a permission, and what they get for it. Each request goes to another node.

use base64::{Engine, engine::general_purpose::STANDARD};
use flotilla_tests::{
    cluster::Cluster,
    http::{Client, Response, digest_of, empty, full, path_of, with_digest},
    token_server::{Named, Signed, TokenServer, User},
};
use http::Method;
use serde_json::json;
use tempfile::TempDir;

const ANN: &str = "ann:s€:crét:";
const BOB: &str = "bob:b:ob";
const USERS: &str = "ann:$2y$05$.DayjXPP5iLSvX45ATNTYeUjp7ZulJ5HqLSX5HNKxfwGtwQhFIn2q\n\
                     bob:$2y$05$MYifZdGnM8qctZYlSeXoyO6QUDPitoqi5iOxlUibIlE1x3SJL9l.6\n";
const RULES: &str = "access:
  tokens:
    enabled: true
  rules:
    - {repositories: [public/**], users: [$all], rights: [pull]}
    - {repositories: [public/**, team/**], users: [ann], rights: [pull, push, delete]}
    - {repositories: [bob/**], users: [bob], rights: [pull, push]}
";
const BLOB: &[u8] = b"a blob to mount";

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

async fn send(client: &Client, method: Method, path: &str, authorization: Option<&str>) -> Response {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    client.send_body(method, path, &headers, empty()).await.unwrap()
}

/// Does as a client does: asks where the challenge says, for what it says, and gives the header to come back with.
async fn answered(client: &Client, refused: &Response, credentials: Option<&str>) -> String {
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate");
    let field = |name: &str| {
        let rest = challenge.split_once(&format!("{name}=\"")).map(|(_, rest)| rest).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let scopes = field("scope").replace(' ', "&scope=");
    let path = format!("{}?service={}&scope={scopes}", path_of(&field("realm")), field("service"));
    let answer = send(client, Method::GET, &path, credentials.map(basic).as_deref()).await.expect(200).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    format!("Bearer {}", body["token"].as_str().unwrap())
}

#[tokio::test]
async fn tokens_and_challenges() {
    let dir = TempDir::new().unwrap();
    let users = dir.path().join("htpasswd");
    std::fs::write(&users, USERS).unwrap();
    let sections = format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n{RULES}", users.display());
    let cluster = Cluster::builder().sections(&sections).start().await.unwrap();
    let client = cluster.client();
    let digest = digest_of(BLOB);
    let as_ann = basic(ANN);
    for repository in ["public/app", "team/app", "bob/app"] {
        let (user, path) = (if repository == "bob/app" { BOB } else { ANN }, upload(repository, &digest));
        let body = full(BLOB.into());
        let authorization = basic(user);
        let sent = client.send_body(Method::POST, &path, &[("authorization", &authorization)], body).await.unwrap();
        sent.expect(201).unwrap();
    }
    let blob = |repository: &str| format!("/v2/{repository}/blobs/{digest}");

    // No token, then one for what the challenge says; without a password, where anybody may pull.
    let refused = send(&client, Method::GET, "/v2/", None).await.expect(401).unwrap();
    assert!(!refused.header("www-authenticate").contains("scope"), "{refused:?}");
    assert_eq!(refused.header("docker-distribution-api-version"), "registry/2.0");
    let anyone = answered(&client, &refused, None).await;
    for (repository, credentials, expected) in [
        ("public/app", None, 200),
        ("public/app", Some(BOB), 200),
        ("team/app", None, 401),
        ("team/app", Some(BOB), 401),
        ("team/app", Some(ANN), 200),
        ("none/app", None, 401),
    ] {
        let path = blob(repository);
        let refused = send(&client, Method::GET, &path, Some(&anyone)).await.expect(401).unwrap();
        assert!(refused.header("www-authenticate").contains("error=\"insufficient_scope\""), "{refused:?}");
        let token = answered(&client, &refused, credentials).await;
        let answer = send(&client, Method::GET, &path, Some(&token)).await;
        assert_eq!(answer.status, expected, "{repository} {credentials:?}");
    }
    // Without any header, too: clients that never log in.
    assert_eq!(send(&client, Method::GET, &blob("public/app"), None).await.expect(200).unwrap().body, BLOB);
    let head = send(&client, Method::HEAD, &blob("team/app"), None).await.expect(401).unwrap();
    let wanted = ",scope=\"repository:team/app:pull\"";
    assert!(head.header("www-authenticate").ends_with(wanted), "{head:?}");

    // The wrong scope: a pull's token does not push, one repository's not to another.
    let pull = answered(&client, &head, Some(ANN)).await;
    for (path, wanted) in [
        ("/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
        ("/v2/team/other/blobs/uploads/", "repository:team/other:pull,push"),
    ] {
        let refused = send(&client, Method::POST, path, Some(&pull)).await.expect(401).unwrap();
        let rest = format!(",scope=\"{wanted}\",error=\"insufficient_scope\"");
        assert!(refused.header("www-authenticate").ends_with(&rest), "{refused:?}");
        let token = answered(&client, &refused, Some(ANN)).await;
        send(&client, Method::POST, path, Some(&token)).await.expect(202).unwrap();
    }

    // The list of repositories.
    for (credentials, expected) in [(ANN, json!(["public/app", "team/app"])), (BOB, json!(["bob/app", "public/app"]))] {
        let refused = send(&client, Method::GET, "/v2/_catalog", None).await.expect(401).unwrap();
        let wanted = ",scope=\"registry:catalog:*\"";
        assert!(refused.header("www-authenticate").ends_with(wanted), "{refused:?}");
        let token = answered(&client, &refused, Some(credentials)).await;
        let list = send(&client, Method::GET, "/v2/_catalog", Some(&token)).await.expect(200).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
        assert_eq!(list["repositories"], expected, "{credentials}");
    }

    // A mount needs both: one challenge asks for both, and one token has them.
    for (from, expected) in [("public/app", 201), ("team/app", 201), ("bob/app", 202), ("none/app", 202)] {
        let path = format!("/v2/team/mounted-from-{from}/blobs/uploads/?mount={digest}&from={from}");
        let refused = send(&client, Method::POST, &path, None).await.expect(401).unwrap();
        let wanted = format!("scope=\"repository:team/mounted-from-{from}:pull,push repository:{from}:pull\"");
        assert!(refused.header("www-authenticate").contains(&wanted), "{refused:?}");
        let token = answered(&client, &refused, Some(ANN)).await;
        // Where the source may not be read the answer is an upload, as if the blob were not there.
        send(&client, Method::POST, &path, Some(&token)).await.expect(expected).unwrap();
    }

    // A push without tokens by the password in each request, as some scripts do it.
    let opened = send(&client, Method::POST, "/v2/team/new/blobs/uploads/", Some(&as_ann)).await.expect(202).unwrap();
    let end = with_digest(&path_of(opened.header("location")), &digest);
    let headers = [("authorization", as_ann.as_str())];
    client.send_body(Method::PUT, &end, &headers, full(BLOB.into())).await.unwrap().expect(201).unwrap();
    for wrong in ["ann:s€:crét", "ann:s€", "ann:", "ann:s?:cr?t:", "änn:s€:crét:"] {
        let refused = send(&client, Method::GET, "/auth/token", Some(&basic(wrong))).await.expect(401).unwrap();
        assert_eq!(refused.header("www-authenticate"), "Basic realm=\"tests\"", "{wrong}");
    }
}

fn upload(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/?digest={digest}")
}

#[tokio::test]
async fn an_expired_token_is_answered_by_a_challenge_and_a_new_one_goes_on() {
    let users = vec![User::new("ann", "s€:crét:").may("repository:team/*", &["pull", "push"])];
    let server = TokenServer::start(Signed::Es256, Named::Libtrust, users).await.unwrap();
    let cluster = Cluster::builder().sections(&server.section()).start().await.unwrap();
    let scopes = ["repository:team/app:pull,push"];
    let mut payload = server.payload("ann", &scopes);
    payload["exp"] = json!(payload["iat"].as_u64().unwrap() - 61);
    let expired = format!("Bearer {}", server.sign(&server.header(), &payload).unwrap());
    let good = format!("Bearer {}", server.token("ann", &scopes).unwrap());
    let client = cluster.client();
    // In mid upload, as it happens to large layers.
    let opened = send(&client, Method::POST, "/v2/team/app/blobs/uploads/", Some(&good)).await.expect(202).unwrap();
    let location = path_of(opened.header("location"));
    for _ in &cluster.nodes {
        let refused = send(&client, Method::PATCH, &location, Some(&expired)).await.expect(401).unwrap();
        let challenge = refused.header("www-authenticate");
        let wanted = "scope=\"repository:team/app:pull,push\",error=\"invalid_token\"";
        assert!(challenge.starts_with("Bearer realm=") && challenge.ends_with(wanted), "{challenge}");
    }
    let end = with_digest(&location, &digest_of(BLOB));
    let headers = [("authorization", good.as_str())];
    client.send_body(Method::PUT, &end, &headers, full(BLOB.into())).await.unwrap().expect(201).unwrap();
}
