//! Which requests leave which lines in the audit log, and what never does.

use super::*;
use crate::auth::{Htpasswd, Passwords, Policy, Right, Rule, Who};
use crate::config;
use base64::{Engine, engine::general_purpose::STANDARD};
use prometheus_client::registry::Registry as Figures;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A registry with an audit log, and the users `ann` (who may do anything) and `bob` (who may read below `team`).
struct Audited {
    dir: tempfile::TempDir,
    cluster: Cluster,
    audits: Vec<Audit>,
    seen: usize,
}

fn path(dir: &Path, node: usize) -> PathBuf {
    dir.join(format!("audit{node}.json"))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

const PASSWORD: &str = "pa:ss-wörd-of-ann";

impl Audited {
    async fn of(nodes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("users");
        let line = |user: &str, password: &str| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap());
        std::fs::write(&users, line("ann", PASSWORD) + &line("bob", "bob-secret")).unwrap();
        let passwords = Passwords { realm: "r".into(), users: Htpasswd::open(&users, 2).unwrap() };
        let rule = |repositories: &str, user: &str, rights: &[Right]| Rule {
            repositories: vec![repositories.into()],
            who: vec![Who::User(user.into())],
            rights: rights.to_vec(),
        };
        let all = [Right::Pull, Right::Push, Right::Delete];
        let policy = Policy::new(vec![rule("**", "ann", &all), rule("team/**", "bob", &[Right::Pull])]);
        let audits: Vec<_> = (0..nodes)
            .map(|node| Audit::open(&config::Audit::File(path(dir.path(), node)), &mut Figures::default()).unwrap())
            .collect();
        let cluster = Cluster::audited(Access::new(policy, Some(passwords), None), &audits).await;
        Self { dir, cluster, audits, seen: 0 }
    }

    async fn text(&self, node: usize) -> String {
        self.audits[node].flush().await;
        std::fs::read_to_string(path(self.dir.path(), node)).unwrap()
    }

    async fn lines(&self, node: usize) -> Vec<Value> {
        self.text(node).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines since the last look, without what differs each time.
    async fn news(&mut self) -> Vec<Value> {
        let mut lines = self.lines(0).await.split_off(self.seen);
        self.seen += lines.len();
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            assert!(is_time(line.remove("time").unwrap().as_str().unwrap()), "{line:?}");
            assert_eq!(line.remove("request").unwrap().as_str().unwrap().len(), 16);
            assert_eq!(line.remove("from").unwrap(), "127.0.0.1");
        }
        lines
    }

    async fn ann(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let ann = basic("ann", PASSWORD);
        let fields = [("authorization", ann.as_str()), ("content-type", MANIFEST)];
        self.cluster.send(method, path, &fields, body).await
    }
}

fn is_time(text: &str) -> bool {
    text.len() == 24 && text.ends_with('Z') && &text[10..11] == "T" && &text[19..20] == "."
}

#[tokio::test]
async fn every_change_login_and_denial_leaves_one_line_and_reading_none() {
    let mut audited = Audited::of(1).await;
    let (config, image) = (digest_of(b"{}"), manifest(&[(digest_of(b"{}"), 2)], ""));
    let image_digest = digest_of(image.as_bytes());
    let ann = |more: Value| {
        let mut line = json!({"outcome": "ok", "user": "ann", "auth": "basic", "repository": "a/b"});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let upload = audited.ann(Method::POST, "/v2/a/b/blobs/uploads/", "").await.expect(202).location();
    let given_up = audited.ann(Method::POST, "/v2/a/b/blobs/uploads/", "").await.expect(202).location();
    let [id, given_up_id] = [&upload, &given_up].map(|path| path.rsplit('/').next().unwrap().to_owned());
    assert_eq!(audited.news().await, [] as [Value; 0], "nothing has changed yet");
    let mount = format!("/v2/c/blobs/uploads/?mount={config}&from=a/b");
    let blob = json!({"event": "push", "object": "blob", "method": "PUT", "status": 201, "digest": config.to_string()});
    let push = json!({"event": "push", "object": "manifest", "method": "PUT", "status": 201, "reference": "v1",
        "digest": image_digest.to_string()});
    let with = |line: &Value, more: Value| {
        let mut line = line.clone();
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ann(line)
    };
    let by_digest = format!("/v2/a/b/manifests/{image_digest}");
    for (method, path, body, expected) in [
        ("PATCH", upload.clone(), "{}", None),
        ("PUT", format!("{upload}?digest={config}"), "", Some(with(&blob, json!({"upload": id})))),
        ("POST", format!("/v2/a/b/blobs/uploads/?digest={config}"), "{}", Some(with(&blob, json!({"method": "POST"})))),
        (
            "POST",
            format!("/v2/a/b/blobs/uploads/?digest={config}"),
            "other",
            Some(with(&blob, json!({"method": "POST", "status": 400, "outcome": "refused"}))),
        ),
        (
            "POST",
            mount.clone(),
            "",
            Some(with(&blob, json!({"event": "mount", "method": "POST", "repository": "c", "source": "a/b"}))),
        ),
        ("POST", mount.replace("a/b", "no/such"), "", None),
        (
            "DELETE",
            given_up,
            "",
            Some(ann(json!({"event": "cancel", "object": "upload", "method": "DELETE", "status": 204,
                "upload": given_up_id}))),
        ),
        ("PUT", "/v2/a/b/manifests/v1".into(), &image, Some(with(&push, json!({})))),
        (
            "PUT",
            format!("{by_digest}?tag=v2&tag=v3"),
            &image,
            Some(with(&push, json!({"reference": image_digest.to_string(), "tags": ["v2", "v3"]}))),
        ),
        (
            "PUT",
            "/v2/a/b/manifests/v1".into(),
            "nonsense",
            Some(ann(json!({"event": "push", "object": "manifest", "method": "PUT", "status": 400,
                "outcome": "refused", "reference": "v1"}))),
        ),
        ("GET", "/v2/a/b/manifests/v1".into(), "", None),
        ("HEAD", by_digest.clone(), "", None),
        ("GET", format!("/v2/a/b/blobs/{config}"), "", None),
        ("GET", "/v2/a/b/tags/list".into(), "", None),
        ("GET", "/v2/_catalog".into(), "", None),
        ("GET", "/v2/a/b/manifests/nothing".into(), "", None),
        ("GET", "/".into(), "", None),
        ("POST", "/v2/a/b/tags/list".into(), "", None),
        (
            "DELETE",
            "/v2/a/b/manifests/v1".into(),
            "",
            Some(ann(json!({"event": "untag", "object": "tag", "method": "DELETE", "status": 202, "reference": "v1"}))),
        ),
        (
            "DELETE",
            "/v2/a/b/manifests/v1".into(),
            "",
            Some(ann(
                json!({"event": "untag", "object": "tag", "method": "DELETE", "status": 404, "outcome": "refused",
                "reference": "v1"}),
            )),
        ),
        (
            "DELETE",
            by_digest.clone(),
            "",
            Some(ann(json!({"event": "delete", "object": "manifest", "method": "DELETE", "status": 202,
                "reference": image_digest.to_string(), "digest": image_digest.to_string()}))),
        ),
        (
            "DELETE",
            format!("/v2/a/b/blobs/{config}"),
            "",
            Some(ann(json!({"event": "delete", "object": "blob", "method": "DELETE", "status": 202,
                "digest": config.to_string()}))),
        ),
        (
            "GET",
            "/v2/".into(),
            "",
            Some(json!({"event": "login", "outcome": "ok", "method": "GET", "status": 200, "user": "ann",
                "auth": "basic"})),
        ),
    ] {
        audited.ann(method.parse().unwrap(), &path, body.to_owned()).await;
        assert_eq!(audited.news().await, Vec::from_iter(expected), "{method} {path}");
    }
}

#[tokio::test]
async fn who_is_turned_away_is_named_only_if_there_is_such_a_user() {
    let mut audited = Audited::of(1).await;
    let digest = digest_of(b"x");
    let denied = |more: Value| {
        let mut line = json!({"event": "denied", "outcome": "refused", "status": 401});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let login = |auth: &str, user: &str| {
        let mut line = json!({"event": "login", "outcome": "refused", "status": 401, "method": "GET", "auth": auth});
        if !user.is_empty() {
            line["user"] = user.into();
        }
        line
    };
    let bob = basic("bob", "bob-secret");
    for (credentials, method, path, expected) in [
        // How every client begins.
        ("", "GET", "/v2/".to_owned(), None),
        (&basic("ann", "guess"), "GET", "/v2/".into(), Some(login("basic", "ann"))),
        (&basic("pa:ss-wörd", "x"), "GET", "/v2/".into(), Some(login("basic", ""))),
        ("Bearer eyJ", "GET", "/v2/".into(), Some(login("token", ""))),
        ("nonsense", "GET", "/v2/".into(), Some(login("unknown", ""))),
        (
            &basic("eve", "x"),
            "GET",
            "/v2/a/manifests/v1".into(),
            Some(denied(json!({"auth": "basic", "method": "GET", "object": "manifest", "repository": "a",
                "reference": "v1"}))),
        ),
        (
            "",
            "PUT",
            "/v2/a/manifests/v1".into(),
            Some(denied(json!({"auth": "none", "user": "anonymous", "method": "PUT", "object": "manifest",
                "repository": "a", "reference": "v1"}))),
        ),
        (
            "",
            "GET",
            "/v2/_catalog".into(),
            Some(denied(json!({"auth": "none", "user": "anonymous", "method": "GET", "object": "catalog"}))),
        ),
        (
            &bob,
            "GET",
            format!("/v2/ann/blobs/{digest}"),
            Some(denied(
                json!({"auth": "basic", "user": "bob", "method": "GET", "object": "blob", "repository": "ann",
                "digest": digest.to_string()}),
            )),
        ),
        (
            &bob,
            "DELETE",
            "/v2/team/app/manifests/v1".into(),
            Some(denied(json!({"auth": "basic", "user": "bob", "method": "DELETE", "object": "tag",
                "repository": "team/app", "reference": "v1"}))),
        ),
        (
            &bob,
            "POST",
            format!("/v2/team/app/blobs/uploads/?mount={digest}&from=ann"),
            Some(denied(json!({"auth": "basic", "user": "bob", "method": "POST", "object": "blob",
                "repository": "team/app", "source": "ann", "digest": digest.to_string()}))),
        ),
        (&bob, "GET", "/v2/team/app/manifests/v1".into(), None),
    ] {
        let fields = [("authorization", credentials)];
        let fields = if credentials.is_empty() { &[][..] } else { &fields };
        audited.cluster.send(method.parse().unwrap(), &path, fields, "").await;
        assert_eq!(audited.news().await, Vec::from_iter(expected), "{credentials} {method} {path}");
    }
}

#[tokio::test]
async fn nothing_a_client_sends_forges_breaks_or_leaks_into_a_line() {
    let audited = Audited::of(1).await;
    let (ann, token) = (basic("ann", PASSWORD), "Bearer eyJhbGciOiJub25lIn0.c2VjcmV0LXRva2Vu.".to_owned());
    let agents: [&[u8]; 6] = [
        b"\"}\\\",\"event\":\"forged\"",
        b"\xff\xfe\xc2\x9b31m",
        b"{\"a\":1}\tx",
        b"\xe2\x80\xa8\xe2\x80\xae",
        &[b'x'; 2000],
        b"",
    ];
    let upload = audited.ann(Method::POST, "/v2/a/blobs/uploads/", "").await.expect(202).location();
    let secret = "s3cr3t-in-a-query";
    let mut typos = Vec::new();
    for (n, agent) in agents.iter().enumerate() {
        for kind in ["password", "typo", "token"] {
            // An address that fails twenty times is slowed down.
            let requests = if kind == "typo" { 3 } else { 6 };
            for (method, path) in [
                ("GET", "/v2/".to_owned()),
                ("DELETE", format!("/v2/a/manifests/v{n}?access_token={secret}")),
                ("PUT", format!("{upload}?digest={secret}&_state={secret}")),
                ("POST", format!("/v2/a/blobs/uploads/?mount={secret}&from={secret}%0a%22")),
                ("POST", format!("/v2/a/blobs/uploads/?digest={secret}")),
                ("EVENT-\"FORGED\"".split('"').next().unwrap(), "/v2/a/manifests/v1".into()),
            ]
            .into_iter()
            .take(requests)
            {
                // Another one each time: so are guesses of one user's password.
                let typo = basic(&format!("{PASSWORD}{}", typos.len()), "ann");
                let credentials = match kind {
                    "password" => &ann,
                    "typo" => &typo,
                    _ => &token,
                };
                // By hand: clients' libraries refuse such agents.
                let mut stream = TcpStream::connect(audited.cluster.nodes[0]).await.unwrap();
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: 0\r\ncookie: {secret}\r\n\
                     x-secret: {secret}\r\nauthorization: {credentials}\r\nuser-agent: "
                );
                stream.write_all(&[head.as_bytes(), agent, b"\r\n\r\n"].concat()).await.unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.unwrap();
                assert!(answer.starts_with(b"HTTP/1.1 "), "{method} {path}");
                typos.push(typo);
            }
        }
    }
    let lines = audited.lines(0).await;
    assert!(lines.len() > 6 * 3 * 3, "{}", lines.len());
    for line in &lines {
        assert!(["login", "untag", "push", "mount", "denied"].contains(&line["event"].as_str().unwrap()), "{line}");
        assert!(line["agent"].as_str().unwrap().len() <= 256 && line["user"] != "");
    }
    let text = audited.text(0).await;
    assert_eq!(text.lines().count(), lines.len());
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "all of it can be seen");
    for secret in [secret, PASSWORD, "pa:ss", &ann[6..], &token[7..], "c2VjcmV0LXRva2Vu"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(typos.iter().all(|typo| !text.contains(&typo[6..])));
}

#[tokio::test]
async fn a_rotated_log_goes_on_in_a_new_file() {
    let audited = Audited::of(1).await;
    let (file, old) = (path(audited.dir.path(), 0), audited.dir.path().join("old"));
    audited.ann(Method::GET, "/v2/", "").await.expect(200);
    audited.audits[0].flush().await;
    std::fs::rename(&file, &old).unwrap();
    for _ in 0..2 {
        audited.ann(Method::GET, "/v2/", "").await.expect(200);
    }
    assert_eq!((audited.lines(0).await.len(), std::fs::read_to_string(old).unwrap().lines().count()), (2, 1));
}

#[tokio::test]
async fn each_node_writes_what_it_was_asked() {
    let audited = Audited::of(2).await;
    let ann = basic("ann", PASSWORD);
    let fields = [("authorization", ann.as_str()), ("content-type", "application/vnd.oci.image.index.v1+json")];
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    audited.cluster.send_to(0, Method::PUT, "/v2/a/manifests/v1", &fields, index).await.expect(201);
    audited.cluster.send_to(1, Method::DELETE, "/v2/a/manifests/v1", &fields, "").await.expect(202);
    let (first, second) = (audited.lines(0).await, audited.lines(1).await);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!((&first[0]["event"], &second[0]["event"]), (&json!("push"), &json!("untag")));
    assert_ne!(first[0]["request"], second[0]["request"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_a_mistake_at_the_start() {
    let opened = Audit::open(&config::Audit::File("/nowhere/audit.json".into()), &mut Figures::default());
    assert!(format!("{:#}", opened.err().unwrap()).starts_with("/nowhere/audit.json: "));
}

#[tokio::test]
async fn the_answer_bears_the_same_request_id_as_the_line() {
    let audited = Audited::of(1).await;
    let answer = audited.ann(Method::GET, "/v2/", "").await.expect(200);
    assert_eq!(audited.lines(0).await[0]["request"], answer.field("x-request-id"));
}
