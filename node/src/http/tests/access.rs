//! Who may do what, as a table; tokens come from a verifier that believes what they say.

use super::*;
use crate::auth::token::{Claims, TokenError};
use crate::auth::{Caller, Htpasswd, Passwords, Policy, Realm, Resource, Right, Rule, Signer, Tokens, Verify, Who};
use crate::metadata::{self, Outcome, View};
use crate::registry::Source;
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io::Write;
use tokio::time::Instant;

/// Believes `<subject> <scope>...`, percent-free.
pub(super) struct Believer;

#[async_trait]
impl Verify for Believer {
    async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let mut words = token.split('!');
        let subject = words.next().filter(|subject| !subject.is_empty()).map(Into::into);
        let access =
            words.map(|scope| Resource::parse(scope).ok_or(TokenError::Malformed)).collect::<Result<_, _>>()?;
        if subject.as_deref() == Some("forged") { Err(TokenError::Signature) } else { Ok(Claims { subject, access }) }
    }
}

pub(super) fn passwords(users: &[&str]) -> Passwords {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for user in users {
        writeln!(file, "{user}:{hash}").unwrap();
    }
    Passwords { realm: "registry".into(), users: Htpasswd::open(file.path(), 2).unwrap() }
}

pub(super) fn rules() -> Vec<Rule> {
    use Right::{Delete, Pull, Push};
    let rule = |repositories: &str, who: Who, rights: &[Right]| Rule {
        repositories: repositories.split(' ').map(str::to_owned).collect(),
        who: vec![who],
        rights: rights.to_vec(),
    };
    vec![
        rule("public/**", Who::Anyone, &[Pull]),
        rule("team/*", Who::Authenticated, &[Pull]),
        rule("team/app public/app", Who::User("ann".into()), &[Push]),
        rule("team/** public/**", Who::User("root".into()), &[Push, Delete]),
        rule("secret/bob", Who::User("bob".into()), &[Delete]),
    ]
}

pub(super) fn access(signer: Option<Signer>) -> Access {
    let service = "registry".to_owned();
    let tokens = signer.map(|signer| Tokens {
        verifier: Arc::new(Believer),
        realm: Realm::Here("/auth/token".into()),
        service,
        signer,
    });
    Access::new(Policy::new(rules()), Some(passwords(&["ann", "bob", "root"])), tokens)
}

pub(super) fn authorization(caller: &str) -> Option<String> {
    match caller.split_once('!') {
        _ if caller == "nobody" => None,
        Some(_) => Some(format!("Bearer {caller}")),
        None => Some(format!("Basic {}", STANDARD.encode(format!("{caller}:secret")))),
    }
}

/// What a letter of a row asks for in repository `name`. Digests and ids are of nothing there: permission comes first.
fn request(letter: char, name: &str) -> (Method, String) {
    let (digest, id) = (digest_of(b"nothing"), uuid::Uuid::nil());
    match letter {
        'm' => (Method::GET, format!("/v2/{name}/manifests/v1")),
        'h' => (Method::HEAD, format!("/v2/{name}/manifests/{digest}")),
        'b' => (Method::GET, format!("/v2/{name}/blobs/{digest}")),
        't' => (Method::GET, format!("/v2/{name}/tags/list")),
        'r' => (Method::GET, format!("/v2/{name}/referrers/{digest}")),
        'u' => (Method::POST, format!("/v2/{name}/blobs/uploads/")),
        's' => (Method::GET, format!("/v2/{name}/blobs/uploads/{id}")),
        'c' => (Method::DELETE, format!("/v2/{name}/blobs/uploads/{id}")),
        'p' => (Method::PUT, format!("/v2/{name}/manifests/v1")),
        'D' => (Method::DELETE, format!("/v2/{name}/manifests/v1")),
        'B' => (Method::DELETE, format!("/v2/{name}/blobs/{digest}")),
        _ => unreachable!(),
    }
}

const READ: &str = "mhbtr";
const WRITE: &str = "uscp";
const DELETE: &str = "DB";

/// Caller, repository, what it may do there: `r`ead, `w`rite, `d`elete.
const TABLE: &[(&str, &str, &str)] = &[
    ("nobody", "public/app", "r"),
    ("nobody", "public/a/b", "r"),
    ("nobody", "team/app", ""),
    ("nobody", "secret/bob", ""),
    ("nobody", "public", ""),
    ("bob", "public/app", "r"),
    ("bob", "team/app", "r"),
    ("bob", "team/a/b", ""),
    ("bob", "secret/bob", "rd"),
    ("bob", "secret/bobby", ""),
    ("ann", "team/app", "rw"),
    ("ann", "team/apps", "r"),
    ("ann", "public/app", "rw"),
    ("ann", "public/other", "r"),
    ("ann", "secret/bob", ""),
    ("root", "team/a/b", "rwd"),
    ("root", "public/x", "rwd"),
    ("root", "secret/bob", ""),
    ("eve", "public/app", ""),
    ("eve", "team/app", ""),
];

async fn check(cluster: &Cluster, table: &[(&str, &str, &str)], challenge: &str) -> usize {
    let mut cases = 0;
    for (caller, name, permitted) in table {
        for (kind, letters) in [('r', READ), ('w', WRITE), ('d', DELETE)] {
            for letter in letters.chars() {
                let (method, path) = request(letter, name);
                // Another stranger each time: guessing one user's password is slowed down.
                let sent = match *caller {
                    "eve" => authorization(&format!("eve{cases}")),
                    caller => authorization(caller),
                };
                let fields: Vec<_> = sent.iter().map(|value| ("authorization", value.as_str())).collect();
                let answer = cluster.send(method.clone(), &path, &fields, "x").await;
                let is_permitted = answer.status != StatusCode::UNAUTHORIZED;
                assert_eq!(is_permitted, permitted.contains(kind), "{caller}: {method} {path}: {}", answer.status);
                assert_ne!(answer.status, StatusCode::FORBIDDEN);
                if !is_permitted {
                    let sent = answer.field("www-authenticate");
                    assert!(sent.starts_with(challenge), "{caller}: {method} {path}: {sent}");
                }
                cases += 1;
            }
        }
    }
    cases
}

#[tokio::test]
async fn rules_decide_what_users_may_do() {
    let cluster = Cluster::accessed(1, access(None)).await;
    let cases = check(&cluster, TABLE, "Basic realm=\"registry\"").await;
    assert!(cases >= 60, "{cases}");
}

#[tokio::test]
async fn passwords_go_on_where_there_are_tokens() {
    for signer in [Signer::Cluster, Signer::External] {
        let cluster = Cluster::accessed(1, access(Some(signer))).await;
        check(&cluster, TABLE, "Bearer realm=\"http://registry/auth/token\",service=\"registry\"").await;
    }
}

#[tokio::test]
async fn a_token_of_another_server_is_good_for_what_it_says() {
    let cluster = Cluster::accessed(1, access(Some(Signer::External))).await;
    let table = [
        ("x!repository:any/where:pull", "any/where", "r"),
        ("x!repository:any/where:pull", "any", ""),
        ("x!repository:any/where:pull,push", "any/where", "rw"),
        ("x!repository:any/where:push", "any/where", ""),
        ("x!repository:any/where:delete", "any/where", "d"),
        ("x!repository:any/where:*", "any/where", "rwd"),
        ("!repository:a:pull!repository:b:pull,push", "a", "r"),
        ("!repository:a:pull!repository:b:pull,push", "b", "rw"),
        ("x!registry:catalog:*", "public/app", ""),
        ("x!plugin:a:pull", "a", ""),
        ("forged!repository:a:pull", "a", ""),
    ];
    check(&cluster, &table, "Bearer ").await;
}

#[tokio::test]
async fn a_token_of_ours_is_good_for_what_it_says_and_its_subject_may_do() {
    let cluster = Cluster::accessed(1, access(Some(Signer::Cluster))).await;
    let table = [
        ("ann!repository:team/app:pull,push,delete", "team/app", "rw"),
        ("ann!repository:team/app:pull", "team/app", "r"),
        ("ann!repository:team/app:pull", "public/app", ""),
        ("ann!repository:secret/bob:*", "secret/bob", ""),
        ("bob!repository:team/app:*", "team/app", "r"),
        ("root!repository:team/app:*", "team/app", "rwd"),
        ("!repository:public/app:pull,push", "public/app", "r"),
        ("!repository:team/app:pull", "team/app", ""),
        // Removed from the users since.
        ("eve!repository:public/app:pull", "public/app", ""),
    ];
    check(&cluster, &table, "Bearer ").await;
}

#[tokio::test]
async fn the_challenge_says_what_is_missing() {
    let cluster = Cluster::accessed(1, access(Some(Signer::Cluster))).await;
    let digest = digest_of(b"x");
    let start = "Bearer realm=\"http://registry/auth/token\",service=\"registry\"";
    let forged = authorization("forged!").unwrap();
    let narrow = authorization("ann!repository:team/app:pull").unwrap();
    for (method, path, sent, rest) in [
        ("GET", "/v2/".to_owned(), None, ""),
        ("GET", "/v2/".to_owned(), Some(&forged), ",error=\"invalid_token\""),
        ("GET", "/v2/_catalog".to_owned(), None, ",scope=\"registry:catalog:*\""),
        ("GET", "/v2/team/app/manifests/v1".to_owned(), None, ",scope=\"repository:team/app:pull\""),
        (
            "PUT",
            "/v2/team/app/manifests/v1".to_owned(),
            Some(&narrow),
            ",scope=\"repository:team/app:pull,push\",error=\"insufficient_scope\"",
        ),
        ("DELETE", "/v2/team/app/manifests/v1".to_owned(), None, ",scope=\"repository:team/app:delete\""),
        (
            "POST",
            format!("/v2/team/app/blobs/uploads/?mount={digest}&from=team/other"),
            None,
            ",scope=\"repository:team/app:pull,push repository:team/other:pull\"",
        ),
    ] {
        let fields: Vec<_> = sent.iter().map(|value| ("authorization", value.as_str())).collect();
        let refused = cluster.send(method.parse().unwrap(), &path, &fields, "").await.expect(401);
        assert_eq!(refused.field("www-authenticate"), format!("{start}{rest}"), "{method} {path}");
        let detail = &refused.json()["errors"][0]["detail"];
        match rest.contains("scope=\"repository:team/app:pull,push repository") {
            true => assert_eq!(
                *detail,
                serde_json::json!([
                    { "Type": "repository", "Class": "", "Name": "team/app", "Action": "pull" },
                    { "Type": "repository", "Class": "", "Name": "team/app", "Action": "push" },
                    { "Type": "repository", "Class": "", "Name": "team/other", "Action": "pull" },
                ])
            ),
            false => assert_eq!(detail.is_null(), !rest.contains("scope="), "{detail}"),
        }
    }
}

#[tokio::test]
async fn the_list_of_repositories_shows_what_the_caller_may_read() {
    for (caller, signer, expected) in [
        ("nobody", None, Some("public/app")),
        ("bob", None, Some("public/app secret/bob team/app")),
        ("ann", Some(Signer::Cluster), Some("public/app team/app")),
        ("ann!registry:catalog:*", Some(Signer::Cluster), Some("public/app team/app")),
        ("!registry:catalog:*", Some(Signer::Cluster), Some("public/app")),
        ("ann!repository:team/app:pull", Some(Signer::Cluster), None),
        ("x!registry:catalog:*", Some(Signer::External), Some("public/app secret/bob team/app team/deep/x")),
        ("x!repository:team/app:pull", Some(Signer::External), None),
        ("nobody", Some(Signer::Cluster), None),
    ] {
        let cluster = Cluster::accessed(1, access(signer)).await;
        for name in ["public/app", "secret/bob", "team/app", "team/deep/x"] {
            seed(&cluster, name);
        }
        let authorization = authorization(caller);
        let fields: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = cluster.send(Method::GET, "/v2/_catalog", &fields, "").await;
        match expected {
            Some(names) => {
                let names: Vec<_> = names.split(' ').collect();
                assert_eq!(answer.expect(200).json(), serde_json::json!({ "repositories": names }), "{caller}");
            }
            None => assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{caller}"),
        }
    }
}

/// Puts an image into a repository, whoever may do so.
pub(super) fn seed(cluster: &Cluster, name: &str) -> (Digest, Digest) {
    let (blob, id) = (digest_of(b"{}"), *uuid::Uuid::new_v4().as_bytes());
    let id = || Bytes::copy_from_slice(&id);
    let apply = |command| cluster.metadata.apply(command).unwrap();
    apply(Command::OpenSession(wire::OpenSession {
        session_id: id(),
        repository: name.into(),
        algorithm: 1,
        idle_ms: 60_000,
        hard_ms: 60_000,
    }));
    apply(Command::CommitBlob(wire::CommitBlob {
        session_id: id(),
        at: 0,
        segment: Some(wire::Segment { key: format!("c/i/0/00/{name}"), length: 2 }),
        digest: blob.to_bytes().into(),
        size: 2,
        new_repository_id: id(),
    }));
    let body = manifest(&[(blob, 2)], "");
    let digest = digest_of(body.as_bytes());
    apply(Command::PutManifest(wire::PutManifest {
        repository: name.into(),
        digest: digest.to_bytes().into(),
        media_type: MANIFEST.into(),
        body: body.into(),
        blobs: vec![blob.to_bytes().into()],
        tags: vec!["v1".into()],
        new_repository_id: id(),
        ..Default::default()
    }));
    (blob, digest)
}

/// Counts what is proposed to the log.
struct Counting(Arc<LocalStore>, std::sync::atomic::AtomicUsize);

#[async_trait]
impl MetadataStore for Counting {
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, metadata::Error> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.propose(command, deadline).await
    }
    async fn barrier(&self, deadline: Instant) -> Result<(), metadata::Error> {
        self.0.barrier(deadline).await
    }
    fn fresh_age(&self) -> Option<std::time::Duration> {
        self.0.fresh_age()
    }
    fn view(&self) -> Result<View, metadata::Error> {
        self.0.view()
    }
}

/// An entry of the log takes longer than none, which a stranger can measure.
#[tokio::test]
async fn what_a_mount_costs_does_not_tell_what_other_repositories_hold() {
    let cluster = Cluster::of(1).await;
    let (held, nowhere) = (digest_of(b"x"), digest_of(b"nothing"));
    let push = |name: &str| format!("/v2/{name}/blobs/uploads/?digest={held}");
    cluster.send(Method::POST, &push("secret/bob"), &[], "x").await.expect(201);
    seed(&cluster, "public/app");
    let counting = Arc::new(Counting(cluster.metadata.clone(), Default::default()));
    let blobs = Arc::new(cluster.blobs.clone());
    let registry = Registry::new(counting.clone(), blobs, cluster.lifecycle.clone(), Settings::default());
    let from =
        |name: &str| Source::Repository(Policy::open().grant(&Caller::Anonymous, &name.parse().unwrap()).unwrap());
    let to = Policy::open().grant(&Caller::Anonymous, &"team/app".parse().unwrap()).unwrap();
    for (source, digest, size, proposals) in [
        ("public/app", held, None, 0),
        ("public/app", nowhere, None, 0),
        ("no/such", held, None, 0),
        ("secret/bob", held, Some(1), 1),
    ] {
        assert_eq!(registry.mount(&from(source), &to, digest).await.unwrap(), size, "{source}");
        assert_eq!(counting.1.load(std::sync::atomic::Ordering::Relaxed), proposals, "{source}");
    }
}
