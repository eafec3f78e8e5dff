//! Advisories about who may do what: odd ways to what is private, blobs and uploads of others, verbs, users that were removed,
//! times that tell, secrets in logs.

use super::super::{case, exchange, request, with_body};
use base64::{Engine, engine::general_purpose::STANDARD};
use flotilla_tests::{
    cluster::Cluster,
    http::{Client, OCI_MANIFEST, Response, digest_of, empty, full, manifest, path_of, with_digest},
    wait_for,
    wire::{Answer, Wire},
};
use http::Method;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const HASH: &str = "$2y$05$IUvrYueQ0/0iDd1.gEnZT.tC1hGktlQB/lqOYIM83XXcaGD2CKVTS";
/// The same password at a cost that can be measured.
const SLOW_HASH: &str = "$2y$08$Bg2JvGEPqQGD4O/3sse3BO6tssrEdaDuuhNscUYZAaSh1GfWxKhmK";
const PASSWORD: &str = "secret";
const RULES: &str = "access:
  tokens:
    enabled: true
  rules:
    - {repositories: [public/**], users: [$all], rights: [pull]}
    - {repositories: [public/**, ann/**, shared/**], users: [ann], rights: [pull, push]}
    - {repositories: [ann/**, shared/**], users: [carl], rights: [delete]}
    - {repositories: [bob/**, shared/**], users: [bob], rights: [pull, push]}
";
const SECRET: &[u8] = b"only ann may read this";

/// Three nodes with several users, and an image of ann's.
struct Tenants {
    cluster: Cluster,
    client: Client,
    users: PathBuf,
    digest: String,
    manifest: String,
    _dir: TempDir,
}

impl Tenants {
    async fn start(users: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("htpasswd");
        std::fs::write(&file, users).unwrap();
        let sections = format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n{RULES}", file.display());
        let cluster = Cluster::builder().sections(&sections).start().await.unwrap();
        let client = cluster.client();
        let digest = digest_of(SECRET);
        let body = manifest(&digest, SECRET.len() as u64, &[]);
        let tenants = Self { cluster, client, users: file, digest, manifest: body, _dir: dir };
        tenants.push("ann", "ann/app").await.expect(201).unwrap();
        let put = tenants.put("ann", "/v2/ann/app/manifests/v1").await;
        put.expect(201).unwrap();
        tenants
    }

    async fn send(&self, user: &str, method: Method, path: &str) -> Response {
        let authorization = authorization(user);
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        self.client.send_body(method, path, &headers, empty()).await.unwrap()
    }

    async fn push(&self, user: &str, repository: &str) -> Response {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", self.digest);
        let authorization = authorization(user).unwrap();
        let headers = [("authorization", authorization.as_str())];
        self.client.send_body(Method::POST, &path, &headers, full(SECRET.into())).await.unwrap()
    }

    async fn put(&self, user: &str, path: &str) -> Response {
        let authorization = authorization(user).unwrap();
        let headers = [("authorization", authorization.as_str()), ("content-type", OCI_MANIFEST)];
        self.client.send_body(Method::PUT, path, &headers, full(self.manifest.clone().into())).await.unwrap()
    }

    /// A token of the user's, as a header's value.
    async fn token(&self, user: &str, scopes: &[&str]) -> String {
        let path = format!("/auth/token?service=flotilla&scope={}", scopes.join("&scope="));
        let answer = self.send(user, Method::GET, &path).await.expect(200).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        format!("Bearer {}", body["token"].as_str().unwrap())
    }

    /// Sends the bytes to each node; all must answer alike.
    async fn ask(&self, name: &str, bytes: &[u8]) -> Answer {
        let mut first: Option<Answer> = None;
        for address in self.cluster.addresses() {
            let statuses: Vec<u16> = (200..600).collect();
            let (answer, problems) = exchange(&address, &case(name, bytes, &statuses)).await;
            assert!(problems.is_empty(), "{name}: {problems:?}");
            let first = first.get_or_insert_with(|| Answer { status: answer.status, ..Answer::default() });
            assert_eq!(answer.status, first.status, "{name}: nodes decide differently");
            *first = answer;
        }
        first.unwrap()
    }

    fn logs_hold_no(&mut self, secrets: &[&str]) {
        for node in &mut self.cluster.nodes {
            let log = node.process().log_text();
            for secret in secrets {
                assert!(!log.contains(secret), "a log holds {secret}");
            }
        }
    }
}

/// The header of a user; a value with a space in it stands for itself, the empty name for nobody.
fn authorization(user: &str) -> Option<String> {
    match user {
        "" => None,
        token if token.contains(' ') => Some(token.to_owned()),
        user => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")))),
    }
}

fn users(names: &[&str], hash: &str) -> String {
    names.iter().map(|name| format!("{name}:{hash}\n")).collect()
}

async fn tenants() -> Tenants {
    Tenants::start(&users(&["ann", "bob", "carl"], HASH)).await
}

/// What one may ask of a repository.
fn endpoints(repository: &str, digest: &str, manifest: &str, id: &str) -> Vec<(&'static str, String)> {
    let path = |rest: &str| format!("/v2/{repository}/{rest}");
    vec![
        ("GET", path("tags/list")),
        ("GET", path("manifests/v1")),
        ("HEAD", path("manifests/v1")),
        ("GET", path(&format!("manifests/{manifest}"))),
        ("GET", path(&format!("blobs/{digest}"))),
        ("HEAD", path(&format!("blobs/{digest}"))),
        ("GET", path(&format!("referrers/{manifest}"))),
        ("POST", path("blobs/uploads/")),
        ("POST", path(&format!("blobs/uploads/?mount={digest}&from=ann/else"))),
        ("GET", path(&format!("blobs/uploads/{id}"))),
        ("PATCH", path(&format!("blobs/uploads/{id}"))),
        ("PUT", path(&format!("blobs/uploads/{id}?digest={digest}"))),
        ("DELETE", path(&format!("blobs/uploads/{id}"))),
        ("PUT", path("manifests/v1")),
        ("DELETE", path("manifests/v1")),
        ("DELETE", path(&format!("manifests/{manifest}"))),
        ("DELETE", path(&format!("blobs/{digest}"))),
    ]
}

/// CVE-2026-42018, CVE-2019-9733, CVE-2026-27771, CVE-2019-12825, CVE-2024-41110, CVE-2026-34040: a slash more, a header that
/// claims to be from inside, a token for nobody, another group's registry, no body or a huge one.
#[tokio::test]
async fn no_odd_way_leads_to_what_is_private() {
    let tenants = tenants().await;
    let manifest = digest_of(tenants.manifest.as_bytes());
    let nobody = tenants.token("", &["repository:ann/app:pull,push,delete", "registry:catalog:*"]).await;
    let bob = tenants.token("bob", &["repository:ann/app:pull,push,delete"]).await;
    let opened = tenants.send("ann", Method::POST, "/v2/ann/app/blobs/uploads/").await.expect(202).unwrap();
    let id = opened.header("location").rsplit('/').next().unwrap();
    // What each answers for a repository that is there must be what it answers for one that is not.
    let answers = async |fields: &str, repository: &str, odd: &dyn Fn(&str) -> String| {
        let mut answers = Vec::new();
        for (method, path) in endpoints(repository, &tenants.digest, &manifest, id) {
            let path = odd(&path);
            let answer = tenants
                .ask(&format!("{method} {path} {fields}"), &with_body(&format!("{method} {path}"), fields, b""))
                .await;
            assert!(!(200..400).contains(&answer.status), "{method} {path} {fields}: {}", answer.status);
            let text = answer.text();
            assert!(!text.contains("only ann"), "{text}");
            let challenge = answer.field("www-authenticate").replace(repository, "REPOSITORY");
            answers.push((method, answer.status, challenge, text.replace(repository, "REPOSITORY")));
        }
        answers
    };
    let same = |path: &str| path.to_owned();
    let mut callers = vec![
        String::new(),
        format!("Authorization: {nobody}\r\n"),
        format!("Authorization: {bob}\r\n"),
        format!("Authorization: {}\r\n", authorization("bob").unwrap()),
    ];
    let tricks = [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: localhost",
        "X-Forwarded-Proto: https",
        "X-Forwarded-User: ann",
        "X-Forwarded-Client-Cert: Subject=\"CN=ann\"",
        "X-Real-IP: 127.0.0.1",
        "X-Client-IP: 127.0.0.1",
        "X-Originating-IP: 127.0.0.1",
        "X-Remote-User: ann",
        "X-Remote-Addr: 127.0.0.1",
        "Remote-User: ann",
        "X-Auth-User: ann",
        "X-Original-URL: /v2/public/app/tags/list",
        "X-Rewrite-URL: /v2/public/app/tags/list",
        "X-HTTP-Method-Override: OPTIONS",
        "Forwarded: for=127.0.0.1;host=localhost",
        "True-Client-IP: 127.0.0.1",
        "Via: 1.1 localhost",
    ];
    callers.extend(tricks.iter().map(|trick| format!("{trick}\r\n")));
    for fields in &callers {
        let there = answers(fields, "ann/app", &same).await;
        assert_eq!(there, answers(fields, "ann/non", &same).await, "{fields}");
        assert!(there.iter().all(|(_, status, ..)| *status == 401), "{fields}: {there:?}");
    }
    let spellings: [&dyn Fn(&str) -> String; 9] = [
        &|path| format!("{path}/"),
        &|path| format!("/{path}"),
        &|path| path.replace("/v2/", "/v2//"),
        &|path| path.replace("/v2/", "/v2/./"),
        &|path| path.replace("/v2/", "/v2/public/../"),
        &|path| path.replace("/v2/", "/V2/"),
        &|path| path.replacen("ann/", "ann%2f", 1),
        &|path| format!("{path};x"),
        &|path| path.replacen("ann", "%61nn", 1),
    ];
    for spelling in spellings {
        assert_eq!(answers("", "ann/app", spelling).await, answers("", "ann/non", spelling).await);
    }
    // Who may not send is told so before the body is asked for.
    for framing in ["Content-Length: 99999999\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 0\r\n", ""] {
        for path in ["/v2/ann/app/manifests/v1", "/v2/ann/app/blobs/uploads/?digest=sha256:0"] {
            let method = if path.contains("uploads") { "POST" } else { "PUT" };
            let mut wire = Wire::connect(&tenants.cluster.nodes[0].http).await.unwrap();
            let expect = if framing.len() > 20 { "Expect: 100-continue\r\n" } else { "" };
            wire.send(&request(&format!("{method} {path}"), &format!("{framing}{expect}"))).await;
            let answer = wire.answer(false).await.unwrap();
            assert_eq!((answer.status, answer.interim.len()), (401, 0), "{method} {path} {framing}");
        }
    }
}

/// CVE-2019-19030, CVE-2020-13794, CVE-2020-29662, CVE-2026-123710: what there is, by a second path or with a token for something else.
#[tokio::test]
async fn nobody_lists_what_is_private() {
    let tenants = tenants().await;
    tenants.push("ann", "public/app").await.expect(201).unwrap();
    let nobody = tenants.token("", &["registry:catalog:*"]).await;
    for path in [
        "/v2/_catalog",
        "/v2/_catalog?n=100",
        "/v2/_catalog?n=1&last=a",
        "/v2/_catalog/",
        "/v2//_catalog",
        "/v2/_CATALOG",
        "/_catalog",
        "/api/v2.0/search?q=ann",
        "/api/repositories",
        "/v1/search",
        "/v2/_oci/ext/discover",
        "/debug/vars",
        "/metrics",
        "/users",
        "/auth/keys",
        "/auth/token/keys",
    ] {
        for user in ["", "Bearer x", nobody.as_str()] {
            for method in [Method::GET, Method::POST, Method::HEAD] {
                let answer = tenants.send(user, method, path).await;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(!text.contains("ann/") && !text.contains("bob"), "{path}: {text}");
                let may = user == nobody && (path.starts_with("/v2/_catalog") || path.contains("_oci"));
                assert!(may || !answer.status.is_success(), "{path}: {}", answer.status);
            }
        }
    }
    let list = tenants.send(&nobody, Method::GET, "/v2/_catalog").await.expect(200).unwrap();
    assert_eq!(list.body, r#"{"repositories":["public/app"]}"#);
    // A token is good for the registry alone: it buys no other.
    tenants.send(&nobody, Method::GET, "/auth/token?scope=registry:catalog:*").await.expect(401).unwrap();
    let list = tenants.send("bob", Method::GET, "/v2/_catalog").await.expect(200).unwrap();
    assert_eq!(list.body, r#"{"repositories":["public/app"]}"#);
}

/// CVE-2024-39897, CVE-2026-117685: a blob that is stored anyway was given, or mounted, to whom it is not for.
#[tokio::test]
async fn a_blob_of_another_tenant_is_neither_read_nor_mounted() {
    let tenants = tenants().await;
    let digest = tenants.digest.clone();
    // Every node has just read it, for ann.
    for _ in &tenants.cluster.nodes {
        tenants.send("ann", Method::GET, &format!("/v2/ann/app/blobs/{digest}")).await.expect(200).unwrap();
    }
    let mount = |to: &str, from: &str| format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}");
    for _ in &tenants.cluster.nodes {
        for (method, path, expected) in [
            (Method::GET, format!("/v2/ann/app/blobs/{digest}"), 401),
            (Method::HEAD, format!("/v2/ann/app/blobs/{digest}"), 401),
            (Method::GET, format!("/v2/bob/app/blobs/{digest}"), 404),
            (Method::HEAD, format!("/v2/bob/app/blobs/{digest}"), 404),
            (Method::POST, mount("bob/app", "ann/app"), 202),
            (Method::POST, mount("bob/app", "ann/none"), 202),
            (Method::POST, format!("/v2/bob/app/blobs/uploads/?mount={digest}"), 202),
        ] {
            let answer = tenants.send("bob", method, &path).await.expect(expected).unwrap();
            assert!(answer.header("docker-content-digest").is_empty(), "{path}: {answer:?}");
        }
        let refused = tenants.put("bob", "/v2/bob/app/manifests/v1").await.expect(400).unwrap();
        assert!(String::from_utf8_lossy(&refused.body).contains("MANIFEST_BLOB_UNKNOWN"), "{refused:?}");
    }
    // Who may read the source may mount out of it only with a token that says so.
    let narrow = tenants.token("ann", &["repository:shared/one:pull,push"]).await;
    let both = tenants.token("ann", &["repository:shared/two:pull,push", "repository:ann/app:pull"]).await;
    for (token, to, expected) in [(&narrow, "shared/one", 202), (&both, "shared/two", 201), (&both, "shared/one", 401)]
    {
        tenants.send(token, Method::POST, &mount(to, "ann/app")).await.expect(expected).unwrap();
    }
    tenants.send("bob", Method::GET, &format!("/v2/shared/one/blobs/{digest}")).await.expect(404).unwrap();
    tenants.send("bob", Method::GET, &format!("/v2/shared/two/blobs/{digest}")).await.expect(200).unwrap();
}

/// CVE-2026-32589: an upload of another was read, written and cancelled.
#[tokio::test]
async fn an_upload_is_reached_by_those_who_may_push_to_its_repository() {
    let tenants = tenants().await;
    let opened = tenants.send("ann", Method::POST, "/v2/ann/app/blobs/uploads/").await.expect(202).unwrap();
    let location = path_of(opened.header("location"));
    let narrow = tenants.token("ann", &["repository:ann/other:pull,push"]).await;
    for (user, prefix, expected) in [
        ("bob", "ann/app", 401),
        ("", "ann/app", 401),
        ("carl", "ann/app", 401),
        (narrow.as_str(), "ann/app", 401),
        ("bob", "bob/app", 404),
        (narrow.as_str(), "ann/other", 404),
        ("ann", "ann/other", 404),
    ] {
        let place = location.replace("ann/app", prefix);
        let end = with_digest(&place, &tenants.digest);
        for (method, path) in
            [(Method::GET, &place), (Method::PATCH, &place), (Method::PUT, &end), (Method::DELETE, &place)]
        {
            // What may be read is not what may be written: `carl` may pull, and an upload's state is no pull.
            let answer = tenants.send(user, method.clone(), path).await;
            assert_eq!(answer.status, expected, "{user}: {method} {path}");
        }
    }
    // Where both may push, both may go on.
    let opened = tenants.send("ann", Method::POST, "/v2/shared/app/blobs/uploads/").await.expect(202).unwrap();
    let shared = path_of(opened.header("location"));
    tenants.send("bob", Method::GET, &shared).await.expect(204).unwrap();
    let end = with_digest(&location, &tenants.digest);
    let ann = authorization("ann").unwrap();
    let headers = [("authorization", ann.as_str())];
    tenants.client.send_body(Method::PUT, &end, &headers, full(SECRET.into())).await.unwrap().expect(201).unwrap();
}

/// CVE-2026-61833: DELETE asked for the right to push.
#[tokio::test]
async fn each_verb_needs_its_own_right() {
    let tenants = tenants().await;
    let (manifest, digest) = (digest_of(tenants.manifest.as_bytes()), tenants.digest.clone());
    let push = tenants.token("ann", &["repository:ann/app:pull,push,delete"]).await;
    let delete = tenants.token("carl", &["repository:ann/app:pull,push,delete"]).await;
    for (pusher, deleter) in [("ann", "carl"), (push.as_str(), delete.as_str())] {
        tenants.push(pusher, "ann/app").await.expect(201).unwrap();
        tenants.put(pusher, "/v2/ann/app/manifests/v1").await.expect(201).unwrap();
        let paths = ["manifests/v1".to_owned(), format!("manifests/{manifest}"), format!("blobs/{digest}")];
        for path in paths.map(|path| format!("/v2/ann/app/{path}")) {
            for method in [Method::DELETE, Method::GET] {
                let expected = if method == Method::DELETE { 401 } else { 200 };
                let answer = tenants.send(pusher, method, &path).await.expect(expected).unwrap();
                let challenge = answer.header("www-authenticate");
                assert!(expected == 200 || challenge.contains("repository:ann/app:delete"), "{challenge}");
            }
            tenants.put(deleter, "/v2/ann/app/manifests/v2").await.expect(401).unwrap();
            tenants.push(deleter, "ann/app").await.expect(401).unwrap();
            tenants.send(deleter, Method::DELETE, &path).await.expect(202).unwrap();
        }
    }
    // Giving up an upload of one's own is no delete.
    let opened = tenants.send("ann", Method::POST, "/v2/ann/app/blobs/uploads/").await.expect(202).unwrap();
    tenants.send("ann", Method::DELETE, &path_of(opened.header("location"))).await.expect(204).unwrap();
}

/// CVE-2025-23208, GitLab #34550: who was removed went on. CVE-2025-48374: secrets in logs.
#[tokio::test]
async fn a_user_that_was_removed_fails_on_every_node_at_once() {
    let mut tenants = tenants().await;
    let token = tenants.token("ann", &["repository:ann/app:pull,push"]).await;
    let tags = "/v2/ann/app/tags/list";
    for user in ["ann", token.as_str()] {
        for _ in &tenants.cluster.nodes {
            tenants.send(user, Method::GET, tags).await.expect(200).unwrap();
        }
    }
    std::fs::write(&tenants.users, users(&["bob", "carl"], HASH)).unwrap();
    for node in &tenants.cluster.nodes {
        let client = node.client();
        for user in [authorization("ann").unwrap(), token.clone()] {
            let headers = [("authorization", user.as_str())];
            wait_for("the end of the user", Duration::from_secs(2), || async {
                let answer = client.send_body(Method::GET, tags, &headers, empty()).await.unwrap();
                (answer.status == 401).then_some(())
            })
            .await;
        }
        let bob = authorization("bob").unwrap();
        let headers = [("authorization", bob.as_str())];
        client.send_body(Method::GET, "/v2/", &headers, empty()).await.unwrap().expect(200).unwrap();
    }
    tenants.send("ann", Method::GET, "/auth/token").await.expect(401).unwrap();
    // Nor does what was done to it come back with the next change of the file.
    std::fs::write(&tenants.users, users(&["bob", "carl", "dora"], HASH)).unwrap();
    wait_for("the new user", Duration::from_secs(2), || async {
        (tenants.send("dora", Method::GET, "/v2/").await.status == 200).then_some(())
    })
    .await;
    tenants.send(&token, Method::GET, tags).await.expect(401).unwrap();
    let encoded = [STANDARD.encode("ann:secret"), STANDARD.encode("bob:secret")];
    let token = token.trim_start_matches("Bearer ");
    tenants.logs_hold_no(&[token, "eyJ", "$2y$", &encoded[0], &encoded[1], ":secret"]);
}

/// CVE-2023-20902: the time told who exists. The median of 24, each after one of the other kind.
#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    // Each user once, since every failure slows the next attempt of the same user down.
    const COUNT: usize = 24;
    let known: Vec<String> = (0..COUNT).map(|number| format!("known{number}")).collect();
    let names: Vec<&str> = ["ann"].into_iter().chain(known.iter().map(String::as_str)).collect();
    let tenants = Tenants::start(&users(&names, SLOW_HASH)).await;
    let client = tenants.cluster.nodes[0].client();
    let time = async |path: &str, user: &str| {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:wrong")));
        let start = Instant::now();
        let headers = [("authorization", authorization.as_str())];
        client.send_body(Method::GET, path, &headers, empty()).await.unwrap().expect(401).unwrap();
        start.elapsed()
    };
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    for (number, user) in known.iter().enumerate() {
        // Both doors, and both orders.
        let path = if number % 2 == 0 { "/v2/" } else { "/auth/token" };
        let stranger = format!("nobody{number}");
        if number % 4 < 2 {
            wrong.push(time(path, user).await);
            unknown.push(time(path, &stranger).await);
        } else {
            unknown.push(time(path, &stranger).await);
            wrong.push(time(path, user).await);
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (wrong, unknown) = (median(wrong), median(unknown));
    println!("a wrong password takes {wrong:?}, an unknown user {unknown:?}");
    let ratio = unknown.as_secs_f64() / wrong.as_secs_f64();
    assert!((0.7..1.4).contains(&ratio), "a wrong password takes {wrong:?}, an unknown user {unknown:?}");
}
