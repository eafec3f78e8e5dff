use super::*;

/// end-3, 7
#[tokio::test]
async fn an_image_is_pulled_as_it_was_pushed() {
    let cluster = Cluster::of(2).await;
    let (digest, body) = cluster.push_image("team/app", "v1", b"layer").await;
    for reference in ["v1".to_owned(), digest.to_string()] {
        let path = format!("/v2/team/app/manifests/{reference}");
        let pulled = cluster.send_to(1, Method::GET, &path, &[("accept", "text/plain")], "").await.expect(200);
        assert_eq!(pulled.body, body.as_bytes());
        assert_eq!(pulled.field("content-type"), MANIFEST);
        assert_eq!(pulled.field("docker-content-digest"), digest.to_string());
        assert_eq!(pulled.field("etag"), format!("\"{digest}\""));
        let head = cluster.send(Method::HEAD, &path, &[], "").await.expect(200);
        assert_eq!(head.field("content-length"), body.len().to_string());
        for etag in [format!("\"{digest}\""), digest.to_string()] {
            let fresh = cluster.send(Method::GET, &path, &[("if-none-match", &etag)], "").await.expect(304);
            assert!(fresh.body.is_empty());
        }
        let changed = cluster.send(Method::GET, &path, &[("if-none-match", "\"x\"")], "").await.expect(200);
        assert_eq!(changed.body, body.as_bytes());
    }
    for missing in ["v2".to_owned(), digest_of(b"x").to_string(), ".INVALID".to_owned()] {
        let path = format!("/v2/team/app/manifests/{missing}");
        assert_eq!(cluster.get(&path).await.expect(404).code(), "MANIFEST_UNKNOWN");
        cluster.send(Method::HEAD, &path, &[], "").await.expect(404);
    }
}

#[tokio::test]
async fn a_manifest_must_fit_what_the_repository_holds() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let put = async |reference: &str, body: String| {
        let path = format!("/v2/a/manifests/{reference}");
        cluster.send(Method::PUT, &path, &[("content-type", MANIFEST)], body).await
    };
    let missing = put("v1", manifest(&[(config, 2), (digest_of(b"x"), 1), (digest_of(b"y"), 1)], "")).await.expect(400);
    assert_eq!(missing.code(), "MANIFEST_BLOB_UNKNOWN");
    let errors: serde_json::Value = serde_json::from_slice(&missing.body).unwrap();
    assert_eq!(errors["errors"].as_array().unwrap().len(), 2);
    assert_eq!(put("v1", manifest(&[(config, 3)], "")).await.expect(400).code(), "MANIFEST_INVALID");
    assert_eq!(put("v1", "{}".into()).await.expect(400).code(), "MANIFEST_INVALID");
    assert_eq!(put(".v1", manifest(&[(config, 2)], "")).await.expect(400).code(), "TAG_INVALID");
    let other = digest_of(b"other").to_string();
    assert_eq!(put(&other, manifest(&[(config, 2)], "")).await.expect(400).code(), "DIGEST_INVALID");
    assert_eq!(put("v1", " ".repeat((4 << 20) + 1)).await.expect(413).code(), "MANIFEST_INVALID");

    let subject = format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{other}","size":5}}"#);
    let answer = put("v1", manifest(&[(config, 2)], &subject)).await.expect(201);
    assert_eq!(answer.field("oci-subject"), other);
}

#[tokio::test]
async fn an_index_needs_its_children() {
    let cluster = Cluster::of(1).await;
    let (child, body) = cluster.push_image("a", "v1", b"layer").await;
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = |digest: Digest| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{index_type}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{}}}]}}"#,
            body.len()
        )
    };
    let fields = [("content-type", index_type)];
    let refused = cluster.send(Method::PUT, "/v2/a/manifests/all", &fields, index(digest_of(b"x"))).await.expect(400);
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
    cluster.send(Method::PUT, "/v2/a/manifests/all", &fields, index(child)).await.expect(201);
    let path = format!("/v2/a/manifests/{child}");
    assert_eq!(cluster.send(Method::DELETE, &path, &[], "").await.expect(405).code(), "UNSUPPORTED");
}

/// end-7
#[tokio::test]
async fn a_manifest_has_one_media_type() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let stated = manifest(&[(config, 2)], "");
    let bare = stated.replacen(&format!(r#""mediaType":"{MANIFEST}","#), "", 1);
    let docker = ("content-type", "application/vnd.docker.distribution.manifest.v2+json");
    let put = async |fields: &[(&str, &str)], body: &String| {
        cluster.send(Method::PUT, "/v2/a/manifests/v1", fields, body.clone()).await
    };
    put(&[("content-type", MANIFEST), docker], &bare).await.expect(400);
    put(&[docker], &stated).await.expect(400);
    put(&[docker], &bare).await.expect(201);
    put(&[("content-type", MANIFEST)], &bare).await.expect(400);
    assert_eq!(cluster.get("/v2/a/manifests/v1").await.expect(200).field("content-type"), docker.1);
}

/// end-9
#[tokio::test]
async fn deletes_take_a_tag_or_a_manifest_with_its_tags() {
    let cluster = Cluster::of(1).await;
    let (digest, body) = cluster.push_image("a", "v1", b"layer").await;
    for tag in ["v2", "v3"] {
        let path = format!("/v2/a/manifests/{tag}");
        cluster.send(Method::PUT, &path, &[("content-type", MANIFEST)], body.clone()).await.expect(201);
    }
    cluster.send(Method::DELETE, "/v2/a/manifests/v1", &[], "").await.expect(202);
    assert_eq!(
        cluster.send(Method::DELETE, "/v2/a/manifests/v1", &[], "").await.expect(404).code(),
        "MANIFEST_UNKNOWN"
    );
    cluster.get("/v2/a/manifests/v2").await.expect(200);
    let layer = format!("/v2/a/blobs/{}", digest_of(b"layer"));
    assert_eq!(cluster.send(Method::DELETE, &layer, &[], "").await.expect(405).code(), "UNSUPPORTED");
    cluster.send(Method::DELETE, &format!("/v2/a/manifests/{digest}"), &[], "").await.expect(202);
    cluster.get("/v2/a/manifests/v2").await.expect(404);
    cluster.get("/v2/a/manifests/v3").await.expect(404);
    cluster.send(Method::DELETE, &layer, &[], "").await.expect(202);
    assert_eq!(cluster.get(&layer).await.expect(404).code(), "BLOB_UNKNOWN");
}

#[tokio::test]
async fn deletes_may_be_disabled_but_uploads_can_be_cancelled() {
    let cluster = Cluster::with(1, Settings::default()).await;
    let (digest, _) = cluster.push_image("a", "v1", b"layer").await;
    for path in ["/v2/a/manifests/v1".to_owned(), format!("/v2/a/manifests/{digest}"), format!("/v2/a/blobs/{digest}")]
    {
        assert_eq!(cluster.send(Method::DELETE, &path, &[], "").await.expect(405).code(), "UNSUPPORTED");
    }
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    cluster.send(Method::DELETE, &opened.location(), &[], "").await.expect(204);
}

/// end-8
#[tokio::test]
async fn listings_come_in_pages() {
    let cluster = Cluster::of(1).await;
    let (_, body) = cluster.push_image("team/app", "a", b"layer").await;
    for tag in ["c", "b", "B"] {
        let path = format!("/v2/team/app/manifests/{tag}");
        cluster.send(Method::PUT, &path, &[("content-type", MANIFEST)], body.clone()).await.expect(201);
    }
    let tags = |answer: &Answer| -> serde_json::Value { serde_json::from_slice(&answer.body).unwrap() };
    let all = cluster.get("/v2/team/app/tags/list").await.expect(200);
    assert_eq!(tags(&all), serde_json::json!({ "name": "team/app", "tags": ["B", "a", "b", "c"] }));
    assert!(all.field("link").is_empty());
    let page = cluster.get("/v2/team/app/tags/list?n=2").await.expect(200);
    assert_eq!(page.field("link"), "</v2/team/app/tags/list?last=a&n=2>; rel=\"next\"");
    let page = cluster.get("/v2/team/app/tags/list?last=a&n=2").await.expect(200);
    assert_eq!(tags(&page)["tags"], serde_json::json!(["b", "c"]));
    assert!(page.field("link").is_empty());
    let none = cluster.get("/v2/team/app/tags/list?n=0").await.expect(200);
    assert_eq!((tags(&none)["tags"].clone(), none.field("link")), (serde_json::json!([]), ""));
    assert_eq!(cluster.get("/v2/team/app/tags/list?n=x").await.expect(400).code(), "PAGINATION_NUMBER_INVALID");
    assert_eq!(cluster.get("/v2/nobody/tags/list").await.expect(404).code(), "NAME_UNKNOWN");

    cluster.push_blob("zoo", b"x").await;
    let page = cluster.get("/v2/_catalog?n=1").await.expect(200);
    assert_eq!(tags(&page), serde_json::json!({ "repositories": ["team/app"] }));
    assert_eq!(page.field("link"), "</v2/_catalog?last=team%2Fapp&n=1>; rel=\"next\"");
    let page = cluster.get("/v2/_catalog?last=team%2Fapp&n=1").await.expect(200);
    assert_eq!(tags(&page), serde_json::json!({ "repositories": ["zoo"] }));
}
