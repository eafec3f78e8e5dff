//! `GET /auth/token` as docker, containerd and crane ask it.

use super::*;
use crate::auth::{
    Access, Htpasswd, Passwords, Policy, Realm, Right, Signer, Tokens, Verify,
    token::{
        Claims, TokenError,
        own::{Issuer, Settings as TokenSettings},
    },
};
use std::io::Write;

/// `ann` with the password `se:cret`.
const ANN: (&str, &str) = ("authorization", "Basic YW5uOnNlOmNyZXQ=");
const WRONG: (&str, &str) = ("authorization", "Basic YW5uOndyb25n");

/// A registry with one user, and the issuer of another node of its cluster.
async fn service() -> (Cluster, Issuer) {
    let (access, issuer) = access();
    (Cluster::accessed(1, access).await, issuer)
}

fn access() -> (Access, Issuer) {
    let hash = bcrypt::hash("se:cret", 4).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "ann:{hash}").unwrap();
    let users = Htpasswd::open(file.path(), 2).unwrap();
    let access = Access::users(Passwords { realm: "the \"registry\"".into(), users });
    let metadata = Arc::new(LocalStore::new());
    let issuer = || Issuer::new(metadata.clone(), TokenSettings::new("c", "registry.example"));
    (access.with_issuer(Arc::new(issuer())), issuer())
}

fn scopes(claims: &Claims) -> String {
    let texts = claims.access.iter().map(|r| format!("{}:{}:{}", r.kind, r.name, r.actions.join(",")));
    texts.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_user_gets_a_token_for_what_it_may_do() {
    let (cluster, issuer) = service().await;
    let all = "repository:a/b:pull,push";
    for (query, expected) in [
        ("", ""),
        ("?service=registry.example&account=ann&client_id=docker&offline_token=true", ""),
        ("?service=registry.example&scope=repository%3Aa%2Fb%3Apull%2Cpush", all),
        ("?service=registry.example&scope=repository:a/b:pull,push&account=ann", all),
        ("?scope=repository:a/b:pull&scope=repository:c:pull,delete", "repository:a/b:pull repository:c:pull,delete"),
        ("?scope=repository:a/b:pull%20repository:c:pull", "repository:a/b:pull repository:c:pull"),
        ("?scope=repository:a/b:pull+repository:c:pull&scope=", "repository:a/b:pull repository:c:pull"),
        ("?scope=repository:a/b:pull&scope=repository:a/b:pull,push", all),
        ("?scope=repository(plugin):a/b:pull,push", all),
        ("?scope=repository:a/b:*", "repository:a/b:pull,push,delete"),
        ("?scope=registry:catalog:*", "registry:catalog:*"),
        ("?scope=nonsense&scope=repository:A:pull&scope=thing:x:pull&scope=%FF&scope=repository:a/b:pull,push", all),
        ("?service=another.example", ""),
    ] {
        let path = format!("/auth/token{query}");
        let answer = cluster.send(Method::GET, &path, &[ANN], "").await.expect(200);
        assert_eq!((answer.field("content-type"), answer.field("cache-control")), ("application/json", "no-store"));
        let body = answer.json();
        let fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["access_token", "expires_in", "token"], "no issued_at: a wrong clock would count");
        assert_eq!((&body["token"], &body["expires_in"]), (&body["access_token"], &serde_json::json!(300)));
        let claims = issuer.verify(body["token"].as_str().unwrap()).await.unwrap();
        assert_eq!(claims.subject.as_deref(), Some("ann"));
        assert_eq!(scopes(&claims), expected, "{query}");
        if !claims.access.is_empty() && claims.access[0].kind == "repository" {
            assert!(claims.allow(Right::Pull, &claims.access[0].name.parse().unwrap()));
        }
    }
}

#[tokio::test]
async fn nobody_gets_a_token_for_nothing_and_it_says_so() {
    let (cluster, issuer) = service().await;
    let answer = cluster.get("/auth/token?scope=repository:a:pull,push&scope=registry:catalog:*").await.expect(200);
    let claims = issuer.verify(answer.json()["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(claims, Claims { subject: None, access: vec![] });
}

#[tokio::test]
async fn no_header_of_the_operator_lets_a_token_be_kept_on_the_way() {
    let keys = "headers: {Cache-Control: ['public, max-age=60']}";
    let cluster = super::outside::noted(keys, access().0, AccessLog::Off).await;
    for (path, expected) in [("/auth/token", "no-store"), ("/", "public, max-age=60")] {
        let answer = cluster.send(Method::GET, path, &[ANN], "").await.expect(200);
        let values: Vec<_> = answer.fields.get_all("cache-control").iter().collect();
        assert_eq!(values, [expected], "{path}");
    }
}

#[tokio::test]
async fn what_is_not_the_password_buys_nothing() {
    let (cluster, issuer) = service().await;
    let token = issuer.issue(Some("ann"), vec![]).await.unwrap().token;
    let bearer = format!("Bearer {token}");
    let bearer = ("authorization", bearer.as_str());
    for fields in
        [&[WRONG][..], &[bearer], &[ANN, ANN], &[ANN, bearer], &[("authorization", "")], &[("authorization", "Basic")]]
    {
        for method in [Method::GET, Method::HEAD] {
            let refused = cluster.send(method.clone(), "/auth/token?scope=repository:a:pull", fields, "").await;
            let refused = refused.expect(401);
            assert_eq!(refused.field("www-authenticate"), "Basic realm=\"the registry\"", "{fields:?}");
            if method == Method::GET {
                assert_eq!(refused.code(), "UNAUTHORIZED");
            }
        }
    }
}

#[tokio::test]
async fn other_methods_are_refused_so_that_clients_ask_by_get() {
    let (cluster, _) = service().await;
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let form = "grant_type=password&service=registry.example&username=ann&password=se:cret";
        let refused = cluster.send(method, "/auth/token", &[], form).await.expect(405);
        assert_eq!((refused.field("allow"), refused.code().as_str()), ("GET, HEAD", "UNSUPPORTED"));
    }
    let got = cluster.send(Method::GET, "/auth/token", &[ANN], "").await.expect(200);
    let head = cluster.send(Method::HEAD, "/auth/token", &[ANN], "").await.expect(200);
    assert_eq!((head.field("content-length"), head.body.len()), (got.body.len().to_string().as_str(), 0));
    assert_eq!(head.field("cache-control"), "no-store");
}

#[tokio::test]
async fn the_number_of_scopes_is_bounded() {
    let (cluster, issuer) = service().await;
    let scopes = |count: usize| (0..count).map(|n| format!("repository:a{n}:pull")).collect::<Vec<_>>();
    let path = format!("/auth/token?scope={}", scopes(100).join("&scope="));
    let answer = cluster.send(Method::GET, &path, &[ANN], "").await.expect(200);
    let claims = issuer.verify(answer.json()["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(claims.access.len(), 100);
    for separator in ["&scope=", "+", "%20"] {
        let path = format!("/auth/token?scope={}", scopes(101).join(separator));
        assert_eq!(cluster.send(Method::GET, &path, &[ANN], "").await.expect(400).code(), "UNSUPPORTED");
    }
    // Not more, but longer than a token may be.
    let long: Vec<_> = (0..100).map(|n| format!("repository:{}{n}:*", "a".repeat(60))).collect();
    let path = format!("/auth/token?scope={}", long.join("+"));
    assert_eq!(cluster.send(Method::GET, &path, &[ANN], "").await.expect(400).code(), "UNSUPPORTED");
}

#[tokio::test]
async fn a_registry_without_the_service_has_no_such_page() {
    let cluster = Cluster::of(1).await;
    for method in [Method::GET, Method::POST] {
        cluster.send(method, "/auth/token", &[], "").await.expect(404);
    }
    let (cluster, _) = service().await;
    for path in ["/auth/token/", "/auth", "/auth/", "/auth/tokens", "/Auth/token"] {
        cluster.get(path).await.expect(404);
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_verified_now_is_not_refused() {
    struct CutOff;
    #[async_trait::async_trait]
    impl Verify for CutOff {
        async fn verify(&self, _: &str) -> Result<Claims, TokenError> {
            Err(TokenError::Unavailable)
        }
    }
    let (verifier, realm, service) = (Arc::new(CutOff), Realm::Here("/auth/token".into()), "x".into());
    let tokens = Tokens { verifier, realm, service, signer: Signer::Cluster };
    let cluster = Cluster::accessed(1, Access::new(Policy::authenticated(), None, Some(tokens))).await;
    for path in ["/v2/", "/v2/a/manifests/v1"] {
        let answer = cluster.send(Method::GET, path, &[("authorization", "Bearer a.b.c")], "").await.expect(503);
        assert_eq!((answer.field("retry-after"), answer.field("www-authenticate")), ("5", ""), "it would log in again");
    }
}

#[tokio::test]
async fn a_token_is_used_where_the_challenge_says() {
    let (cluster, _) = service().await;
    let digest = digest_of(b"abc");
    let push = format!("/v2/a/b/blobs/uploads/?digest={digest}");
    let refused = cluster.send(Method::POST, &push, &[], "abc").await.expect(401);
    let challenge = refused.field("www-authenticate").to_owned();
    let scope = "scope=\"repository:a/b:pull,push\"";
    assert!(challenge.starts_with("Bearer realm=") && challenge.contains(scope), "{challenge}");
    let token = async |scope: &str| {
        let path = format!("/auth/token?service=registry.example&scope={scope}");
        let answer = cluster.send(Method::GET, &path, &[ANN], "").await.expect(200);
        format!("Bearer {}", answer.json()["token"].as_str().unwrap())
    };
    let (writes, reads) = (token("repository:a/b:pull,push").await, token("repository:a/b:pull").await);
    let other = token("repository:a/c:*").await;
    let send = async |method: Method, path: &str, token: &str, body: &'static str| {
        cluster.send(method, path, &[("authorization", token)], body).await
    };
    for token in [&reads, &other] {
        send(Method::POST, &push, token, "abc").await.expect(401);
    }
    send(Method::POST, &push, &writes, "abc").await.expect(201);
    let blob = format!("/v2/a/b/blobs/{digest}");
    for token in [&reads, &writes] {
        assert_eq!(&send(Method::GET, &blob, token, "").await.expect(200).body[..], b"abc");
        send(Method::DELETE, &blob, token, "").await.expect(401);
    }
    send(Method::GET, &blob, &other, "").await.expect(401);
    let flip = |token: &str| format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'B' } else { 'A' });
    send(Method::GET, &blob, &flip(&reads), "").await.expect(401);
    send(Method::GET, &blob, "Bearer eyJhbGciOiJub25lIn0.e30.", "").await.expect(401);
}
