//! What the specification asks of pulls, where no other test looks at it. `docs/spec-coverage.md` names the test of each row.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The whole answer to a request without body, as it comes over the wire.
async fn raw(cluster: &Cluster, method: Method, path: &str) -> String {
    let mut stream = TcpStream::connect(cluster.nodes[0]).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// end-2, 3
#[tokio::test]
async fn a_head_tells_digest_and_size_and_has_no_body() {
    let cluster = Cluster::of(1).await;
    let (digest, body) = cluster.push_image("a", "v1", b"layer").await;
    let layer = digest_of(b"layer");
    for (path, digest, size) in [
        ("/v2/a/manifests/v1".to_owned(), digest, body.len()),
        (format!("/v2/a/manifests/{digest}"), digest, body.len()),
        (format!("/v2/a/blobs/{layer}"), layer, 5),
    ] {
        let head = cluster.send(Method::HEAD, &path, &[], "").await.expect(200);
        assert_eq!(head.field("docker-content-digest"), digest.to_string(), "{path}");
        assert_eq!(head.field("content-length"), size.to_string(), "{path}");
        let answer = raw(&cluster, Method::HEAD, &path).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    for missing in ["/v2/a/manifests/v2".to_owned(), format!("/v2/a/blobs/{}", digest_of(b"x"))] {
        let answer = raw(&cluster, Method::HEAD, &missing).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

/// end-2, 3
#[tokio::test]
async fn what_the_repository_does_not_hold_is_not_found() {
    let cluster = Cluster::of(1).await;
    let (digest, _) = cluster.push_image("a", "v1", b"layer").await;
    cluster.push_blob("b", b"other").await;
    let layer = digest_of(b"layer");
    for (path, code) in [
        ("/v2/a/manifests/v2".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/a/manifests/{layer}"), "MANIFEST_UNKNOWN"),
        (format!("/v2/a/blobs/{}", digest_of(b"other")), "BLOB_UNKNOWN"),
        (format!("/v2/a/blobs/{digest}"), "BLOB_UNKNOWN"),
        // It is in another repository.
        ("/v2/b/manifests/v1".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/b/manifests/{digest}"), "MANIFEST_UNKNOWN"),
        (format!("/v2/b/blobs/{layer}"), "BLOB_UNKNOWN"),
    ] {
        assert_eq!(cluster.get(&path).await.expect(404).code(), code, "{path}");
        cluster.send(Method::HEAD, &path, &[], "").await.expect(404);
    }
}

/// end-2, 3, 8a
#[tokio::test]
async fn a_repository_that_does_not_exist_is_not_found() {
    let cluster = Cluster::of(1).await;
    let digest = digest_of(b"x");
    for path in ["manifests/v1".into(), format!("manifests/{digest}"), format!("blobs/{digest}"), "tags/list".into()] {
        let path = format!("/v2/nobody/home/{path}");
        cluster.get(&path).await.expect(404).code();
        cluster.send(Method::HEAD, &path, &[], "").await.expect(404);
    }
}

/// end-3
#[tokio::test]
async fn a_reference_is_a_digest_or_a_tag() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let body = manifest(&[(config, 2)], "");
    let long = "x".repeat(129);
    for (reference, code) in [
        (".v1", "TAG_INVALID"),
        ("-v1", "TAG_INVALID"),
        ("v1+2", "TAG_INVALID"),
        (long.as_str(), "TAG_INVALID"),
        ("sha256:short", "DIGEST_INVALID"),
        ("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", "DIGEST_INVALID"),
        (&format!("sha256:{}", "AB".repeat(32)), "DIGEST_INVALID"),
    ] {
        let path = format!("/v2/a/manifests/{reference}");
        assert_eq!(cluster.put(&path, &[], body.clone()).await.expect(400).code(), code, "{reference}");
        let read = cluster.get(&path).await;
        assert!(matches!(read.status.as_u16(), 400 | 404), "{reference}: {}", read.status);
    }
    for reference in ["_", "V1.0-rc_1", &"x".repeat(128), &digest_of(body.as_bytes()).to_string()] {
        cluster.put(&format!("/v2/a/manifests/{reference}"), &[], body.clone()).await.expect(201);
        cluster.get(&format!("/v2/a/manifests/{reference}")).await.expect(200);
    }
}

/// end-3, 7a
#[tokio::test]
async fn a_manifest_comes_with_the_content_type_it_was_pushed_with() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let image = manifest(&[(config, 2)], "");
    let untyped = image.replace(&format!(r#""mediaType":"{MANIFEST}","#), "");
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
    for (tag, pushed, media_type, body) in [
        ("image", MANIFEST.to_owned(), MANIFEST, image.clone()),
        ("parameters", format!("{MANIFEST}; charset=utf-8"), MANIFEST, image.clone()),
        ("untyped", MANIFEST.to_owned(), MANIFEST, untyped),
        ("docker", docker.to_owned(), docker, image.replace(MANIFEST, docker)),
        ("index", INDEX.to_owned(), INDEX, index),
    ] {
        let path = format!("/v2/a/manifests/{tag}");
        cluster.send(Method::PUT, &path, &[("content-type", &pushed)], body).await.expect(201);
        for method in [Method::GET, Method::HEAD] {
            let answer = cluster.send(method, &path, &[("accept", media_type)], "").await.expect(200);
            assert_eq!(answer.field("content-type"), media_type, "{tag}");
        }
    }
}

/// end-2
#[tokio::test]
async fn a_blob_comes_with_the_digest_of_its_bytes() {
    let cluster = Cluster::of(1).await;
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(b"some bytes");
        let digest = hasher.finish();
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        cluster.send(Method::POST, &path, &[], "some bytes").await.expect(201);
        let blob = cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(200);
        assert_eq!(&blob.body[..], b"some bytes");
        let told: Digest = blob.field("docker-content-digest").parse().unwrap();
        let mut hasher = Hasher::new(told.algorithm());
        hasher.update(&blob.body);
        assert_eq!((hasher.finish(), told), (told, digest));
    }
}

/// end-2, 3
#[tokio::test]
async fn content_is_read_in_any_order() {
    let cluster = Cluster::of(1).await;
    let layer = cluster.push_blob("a", b"layer").await;
    let path = format!("/v2/a/blobs/{layer}");
    assert_eq!(&cluster.get(&path).await.expect(200).body[..], b"layer", "before any manifest names it");
    let (_, body) = cluster.push_image("a", "v1", b"layer").await;
    cluster.get(&path).await.expect(200);
    assert_eq!(cluster.get("/v2/a/manifests/v1").await.expect(200).body, body.as_bytes());
    cluster.get(&path).await.expect(200);
}

/// Registry proxying: this registry is no proxy.
#[tokio::test]
async fn a_namespace_parameter_changes_nothing() {
    let cluster = Cluster::of(1).await;
    let (digest, body) = cluster.push_image("a", "v1", b"layer").await;
    for reference in ["v1", &digest.to_string()] {
        let path = format!("/v2/a/manifests/{reference}?ns=registry.example.com");
        let answer = cluster.get(&path).await.expect(200);
        assert_eq!((&answer.body[..], answer.field("oci-namespace")), (body.as_bytes(), ""));
    }
    let path = format!("/v2/a/blobs/{}?ns=registry.example.com", digest_of(b"layer"));
    assert_eq!(&cluster.get(&path).await.expect(200).body[..], b"layer");
    cluster.get("/v2/a/tags/list?ns=registry.example.com").await.expect(200);
}
