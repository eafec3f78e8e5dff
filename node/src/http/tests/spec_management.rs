//! What the specification asks of deletes, and that every endpoint of its table answers. `docs/spec-coverage.md` names the
//! test of each row.

use super::*;

async fn delete(cluster: &Cluster, path: &str) -> Answer {
    cluster.send(Method::DELETE, path, &[], "").await
}

/// end-9, 10
#[tokio::test]
async fn a_delete_is_seen_on_every_node_at_once() {
    let cluster = Cluster::of(3).await;
    let (digest, body) = cluster.push_image("a", "v1", b"layer").await;
    cluster.put("/v2/a/manifests/v2", &[], body).await.expect(201);
    let gone = async |path: &str| {
        for node in 0..3 {
            for method in [Method::GET, Method::HEAD] {
                cluster.send_to(node, method, path, &[], "").await.expect(404);
            }
        }
    };
    delete(&cluster, "/v2/a/manifests/v1").await.expect(202);
    gone("/v2/a/manifests/v1").await;
    cluster.get("/v2/a/manifests/v2").await.expect(200);
    let by_digest = format!("/v2/a/manifests/{digest}");
    cluster.get(&by_digest).await.expect(200);

    delete(&cluster, &by_digest).await.expect(202);
    gone(&by_digest).await;
    gone("/v2/a/manifests/v2").await;
    assert_eq!(cluster.get("/v2/a/tags/list").await.expect(200).json()["tags"], serde_json::json!([]));

    let layer = format!("/v2/a/blobs/{}", digest_of(b"layer"));
    delete(&cluster, &layer).await.expect(202);
    gone(&layer).await;
}

/// end-9, 10
#[tokio::test]
async fn what_does_not_exist_cannot_be_deleted() {
    let cluster = Cluster::of(1).await;
    cluster.push_image("a", "v1", b"layer").await;
    let digest = digest_of(b"x");
    for (path, code) in [
        ("/v2/a/manifests/v2".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/a/manifests/{digest}"), "MANIFEST_UNKNOWN"),
        (format!("/v2/a/blobs/{digest}"), "BLOB_UNKNOWN"),
        ("/v2/nobody/manifests/v1".to_owned(), "NAME_UNKNOWN"),
        (format!("/v2/nobody/manifests/{digest}"), "NAME_UNKNOWN"),
        (format!("/v2/nobody/blobs/{digest}"), "NAME_UNKNOWN"),
    ] {
        assert_eq!(delete(&cluster, &path).await.expect(404).code(), code, "{path}");
    }
    cluster.get("/v2/a/manifests/v1").await.expect(200);
}

/// end-9, 10: the answer of a registry without deletes, whether the thing exists or not.
#[tokio::test]
async fn disabled_deletes_are_refused_and_delete_nothing() {
    let cluster = Cluster::with(1, Settings::default()).await;
    let (digest, _) = cluster.push_image("a", "v1", b"layer").await;
    let layer = digest_of(b"layer");
    for path in ["manifests/v1".to_owned(), format!("manifests/{digest}"), format!("blobs/{layer}")] {
        let path = format!("/v2/a/{path}");
        assert_eq!(delete(&cluster, &path).await.expect(405).code(), "UNSUPPORTED");
        cluster.get(&path).await.expect(200);
    }
}

/// A blob deleted in one repository stays in the others.
///
/// end-10
#[tokio::test]
async fn a_blob_is_deleted_from_one_repository_only() {
    let cluster = Cluster::of(1).await;
    let digest = cluster.push_blob("a", b"shared").await;
    cluster.push_blob("b", b"shared").await;
    delete(&cluster, &format!("/v2/a/blobs/{digest}")).await.expect(202);
    cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(404);
    assert_eq!(&cluster.get(&format!("/v2/b/blobs/{digest}")).await.expect(200).body[..], b"shared");
}

/// end-1 to end-14, each with the status of success in the specification's table.
#[tokio::test]
async fn every_endpoint_of_the_table_answers_as_listed() {
    let cluster = Cluster::of(1).await;
    let send = async |method: Method, path: &str, body: &str| cluster.send(method, path, &[], body.to_owned()).await;
    let uploads = "/v2/team/app/blobs/uploads/";
    let (one, two, config) = (digest_of(b"one"), digest_of(b"two"), digest_of(b"{}"));
    send(Method::GET, "/v2/", "").await.expect(200);
    let location = send(Method::POST, uploads, "").await.expect(202).location();
    send(Method::PATCH, &location, "o").await.expect(202);
    send(Method::GET, &location, "").await.expect(204);
    send(Method::PUT, &format!("{location}?digest={one}"), "ne").await.expect(201);
    send(Method::POST, &format!("{uploads}?digest={two}"), "two").await.expect(201);
    send(Method::POST, &format!("{uploads}?digest={config}"), "{}").await.expect(201);
    let location = send(Method::POST, &format!("{uploads}?digest-algorithm=sha512"), "").await.expect(202).location();
    send(Method::DELETE, &location, "").await.expect(204);
    send(Method::POST, &format!("/v2/other/blobs/uploads/?mount={one}&from=team/app"), "").await.expect(201);
    for method in [Method::GET, Method::HEAD] {
        send(method, &format!("/v2/team/app/blobs/{one}"), "").await.expect(200);
    }

    let body = manifest(&[(config, 2), (one, 3)], "");
    let digest = digest_of(body.as_bytes());
    let by_digest = format!("/v2/team/app/manifests/{digest}");
    cluster.put("/v2/team/app/manifests/v1", &[], body.clone()).await.expect(201);
    cluster.put(&format!("{by_digest}?tag=v2&tag=v3"), &[], body).await.expect(201);
    for path in ["/v2/team/app/manifests/v1", &by_digest] {
        for method in [Method::GET, Method::HEAD] {
            send(method, path, "").await.expect(200);
        }
    }
    let referrers = format!("/v2/team/app/referrers/{digest}");
    let lists = ["/v2/team/app/tags/list", "/v2/team/app/tags/list?n=1&last=v1", &referrers];
    for path in lists.into_iter().chain([format!("{referrers}?artifactType=text/x").as_str()]) {
        send(Method::GET, path, "").await.expect(200);
    }

    send(Method::DELETE, "/v2/team/app/manifests/v1", "").await.expect(202);
    send(Method::DELETE, &by_digest, "").await.expect(202);
    send(Method::DELETE, &format!("/v2/team/app/blobs/{two}"), "").await.expect(202);
}
