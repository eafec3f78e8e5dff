use super::*;
use crate::auth::{Htpasswd, Passwords};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io::Write;

/// A registry with one user, `ann` with the password `se:cret`.
async fn guarded() -> Cluster {
    let hash = bcrypt::hash("se:cret", 4).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "ann:{hash}").unwrap();
    let users = Htpasswd::open(file.path(), 2).unwrap();
    Cluster::accessed(1, Access::users(Passwords { realm: "the \"registry\"".into(), users })).await
}

const ANN: (&str, &str) = ("authorization", "Basic YW5uOnNlOmNyZXQ=");
const WRONG: (&str, &str) = ("authorization", "Basic YW5uOndyb25n");

#[tokio::test]
async fn nobody_does_anything_without_a_password() {
    let cluster = guarded().await;
    let digest = digest_of(b"x");
    let id = uuid::Uuid::new_v4();
    let paths = [
        ("/v2/", "GET"),
        ("/v2/_catalog", "GET"),
        ("/v2/_oci/ext/discover", "GET"),
        ("/v2/a/_oci/ext/discover", "GET"),
        ("/v2/a/tags/list", "GET"),
        ("/v2/a/tags/list?n=x", "GET"),
        (&format!("/v2/a/referrers/{digest}"), "GET"),
        ("/v2/a/manifests/v1", "GET HEAD PUT DELETE"),
        (&format!("/v2/a/manifests/{digest}"), "GET HEAD PUT DELETE"),
        (&format!("/v2/a/blobs/{digest}"), "GET HEAD DELETE"),
        ("/v2/a/blobs/uploads/", "POST"),
        (&format!("/v2/a/blobs/uploads/?digest={digest}"), "POST"),
        (&format!("/v2/a/blobs/uploads/?mount={digest}&from=b"), "POST"),
        (&format!("/v2/a/blobs/uploads/{id}"), "GET HEAD PATCH DELETE"),
        (&format!("/v2/a/blobs/uploads/{id}?digest={digest}"), "PUT"),
    ];
    let odd = [("authorization", "Bearer x"), ("authorization", "Basic"), ("x-forwarded-for", "127.0.0.1")];
    let mut guesses = 0;
    for (path, methods) in paths {
        for method in methods.split(' ') {
            let method: Method = method.parse().unwrap();
            // Another user each time: guessing one user's password is slowed down.
            guesses += 1;
            let stranger = format!("Basic {}", STANDARD.encode(format!("user{guesses}:x")));
            let stranger = [("authorization", stranger.as_str())];
            for fields in [&[][..], &stranger, &[ANN, ANN], &[odd[0]], &[odd[1]], &[odd[2]]] {
                let refused = cluster.send(method.clone(), path, fields, "x").await.expect(401);
                assert_eq!(refused.field("www-authenticate"), "Basic realm=\"the registry\"");
                if method != Method::HEAD {
                    assert_eq!(refused.code(), "UNAUTHORIZED");
                }
            }
            // Whatever else is wrong, it is not the caller.
            let known = cluster.send(method, path, &[ANN], "x").await;
            assert_ne!(known.status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    for open in ["/", "/livez", "/readyz"] {
        cluster.get(open).await.expect(200);
    }
}

#[tokio::test]
async fn a_user_pushes_and_pulls() {
    let cluster = guarded().await;
    cluster.send(Method::GET, "/v2/", &[WRONG], "").await.expect(401);
    let digest = digest_of(b"abc");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    cluster.send(Method::POST, &path, &[ANN], "abc").await.expect(201);
    let blob = format!("/v2/a/blobs/{digest}");
    assert_eq!(&cluster.send(Method::GET, &blob, &[ANN], "").await.expect(200).body[..], b"abc");
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}");
    cluster.send(Method::POST, &mount, &[ANN], "").await.expect(201);
    let catalog = cluster.send(Method::GET, "/v2/_catalog", &[ANN], "").await.expect(200);
    assert_eq!(catalog.json()["repositories"], serde_json::json!(["a", "b"]));
}

#[tokio::test]
async fn without_authentication_credentials_are_not_looked_at() {
    let cluster = Cluster::of(1).await;
    for field in [WRONG, ("authorization", "nonsense")] {
        cluster.send(Method::GET, "/v2/", &[field], "").await.expect(200);
    }
}
