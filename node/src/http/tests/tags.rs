use super::*;
use crate::registry::{LayerUrls, Settings};

async fn tagged(cluster: &Cluster, tag: &str) -> String {
    cluster.get(&format!("/v2/a/manifests/{tag}")).await.field("docker-content-digest").to_owned()
}

/// end-7b
#[tokio::test]
async fn a_push_by_digest_sets_all_its_tags() {
    let cluster = Cluster::of(2).await;
    let config = cluster.push_blob("a", b"{}").await;
    let body = manifest(&[(config, 2)], "");
    let digest = digest_of(body.as_bytes());
    let path = format!("/v2/a/manifests/{digest}");
    let answer =
        cluster.put(&format!("{path}?tag=v1&tag=1.2.3&tag=v1&tag=latest"), &[], body.clone()).await.expect(201);
    let tags: Vec<_> = answer.fields.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
    assert_eq!(tags, ["v1", "1.2.3", "latest"]);
    for tag in tags {
        let read = cluster.send_to(1, Method::HEAD, &format!("/v2/a/manifests/{tag}"), &[], "").await.expect(200);
        assert_eq!(read.field("docker-content-digest"), digest.to_string());
    }
    let bad = cluster.put(&format!("{path}?tag=new&tag=.bad"), &[], body.clone()).await.expect(400);
    assert_eq!(bad.code(), "TAG_INVALID");
    cluster.get("/v2/a/manifests/new").await.expect(404);
    let misplaced = cluster.put("/v2/a/manifests/v1?tag=new", &[], body.clone()).await.expect(400);
    assert_eq!(misplaced.code(), "TAG_INVALID");

    let many = |count: usize| (0..count).map(|n| format!("tag=t{n}")).collect::<Vec<_>>().join("&");
    let answer = cluster.put(&format!("{path}?{}", many(100)), &[], body.clone()).await.expect(201);
    let listed = answer.fields.get_all("oci-tag").iter().flat_map(|tags| tags.to_str().unwrap().split(", "));
    assert_eq!(listed.collect::<Vec<_>>(), (0..100).map(|n| format!("t{n}")).collect::<Vec<_>>());
    cluster.put(&format!("{path}?{}", many(101)), &[], body).await.expect(414);
    assert!(cluster.get("/v2/a/manifests/t100").await.expect(404).code() == "MANIFEST_UNKNOWN");
}

/// end-7b, with the only way to tag what is named by sha512
#[tokio::test]
async fn a_manifest_by_sha512_can_be_tagged() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let body = manifest(&[(config, 2)], "");
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(body.as_bytes());
    let digest = hasher.finish();
    cluster.put(&format!("/v2/a/manifests/{digest}?tag=v1"), &[], body.clone()).await.expect(201);
    assert_eq!(tagged(&cluster, "v1").await, digest.to_string());
    assert_eq!(cluster.get(&format!("/v2/a/manifests/{digest}")).await.expect(200).body, body.as_bytes());
}

#[tokio::test]
async fn a_tag_moves_only_if_it_is_where_the_client_expects_it() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let [one, two] = ["1", "2"].map(|n| manifest(&[(config, 2)], &format!(r#","annotations":{{"n":"{n}"}}"#)));
    let [first, second] = [&one, &two].map(|body| format!("\"{}\"", digest_of(body.as_bytes())));
    let put =
        async |body: &String, field: (&str, &str)| cluster.put("/v2/a/manifests/v1", &[field], body.clone()).await;

    assert_eq!(put(&one, ("if-match", &first)).await.expect(412).code(), "MANIFEST_INVALID");
    put(&one, ("if-match", "*")).await.expect(412);
    cluster.get("/v2/a/manifests/v1").await.expect(404);
    put(&one, ("if-none-match", "*")).await.expect(201);
    put(&two, ("if-none-match", "*")).await.expect(412);
    put(&two, ("if-match", &second)).await.expect(412);
    assert_eq!(format!("\"{}\"", tagged(&cluster, "v1").await), first);
    put(&two, ("if-match", &format!("{second}, {first}"))).await.expect(201);
    put(&two, ("if-match", "*")).await.expect(201);
    assert_eq!(format!("\"{}\"", tagged(&cluster, "v1").await), second);

    let delete = async |field: (&str, &str)| cluster.send(Method::DELETE, "/v2/a/manifests/v1", &[field], "").await;
    delete(("if-match", &first)).await.expect(412);
    delete(("if-match", &second)).await.expect(202);
    let by_digest = format!("/v2/a/manifests/{}", second.trim_matches('"'));
    cluster.put(&by_digest, &[("if-none-match", "*")], two.clone()).await.expect(412);
    cluster.put(&by_digest, &[("if-match", &second)], two.clone()).await.expect(201);
    cluster.send(Method::DELETE, &by_digest, &[("if-match", &first)], "").await.expect(412);
    cluster.get(&by_digest).await.expect(200);
}

/// Of many writers who expect the same, exactly one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditional_writes_exclude_each_other() {
    let cluster = Arc::new(Cluster::of(2).await);
    let config = cluster.push_blob("a", b"{}").await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let cluster = cluster.clone();
        writers.spawn(async move {
            let body = manifest(&[(config, 2)], &format!(r#","annotations":{{"n":"{n}"}}"#));
            let fields = [("content-type", MANIFEST), ("if-none-match", "*")];
            let put = cluster.send_to(n % 2, Method::PUT, "/v2/a/manifests/v1", &fields, body.clone());
            (put.await.status.as_u16(), digest_of(body.as_bytes()).to_string())
        });
    }
    let results = writers.join_all().await;
    let won: Vec<_> = results.iter().filter(|(status, _)| *status == 201).collect();
    assert_eq!(won.len(), 1, "{results:?}");
    assert!(results.iter().all(|(status, _)| matches!(status, 201 | 412)), "{results:?}");
    assert_eq!(tagged(&cluster, "v1").await, won[0].1);
}

/// end-7
#[tokio::test]
async fn layers_may_live_elsewhere_where_the_operator_allows_it() {
    let layer = |url: &str| {
        let media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        let digest = digest_of(b"elsewhere");
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":9,"urls":["{url}"]}}"#)
    };
    let some = |pattern: &str| vec![regex::Regex::new(pattern).unwrap()];
    let only = LayerUrls { allow: some("^https://store\\.example\\.com/"), deny: some("/private/") };
    for (layer_urls, url, status) in [
        (LayerUrls::default(), "https://anywhere.example.com/x", 201),
        (LayerUrls::default(), "file:///etc/passwd", 400),
        (LayerUrls::default(), "https://", 400),
        (LayerUrls::default(), "https://h/x#fragment", 400),
        (only.clone(), "https://store.example.com/x", 201),
        (only.clone(), "https://store.example.com/private/x", 400),
        (only.clone(), "https://anywhere.example.com/x", 400),
    ] {
        let cluster = Cluster::with(1, Settings { layer_urls, ..Settings::default() }).await;
        let config = cluster.push_blob("a", b"{}").await;
        let body = manifest(&[(config, 2)], "").replace("\"layers\":[]", &format!("\"layers\":[{}]", layer(url)));
        let answer = cluster.put("/v2/a/manifests/v1", &[], body).await.expect(status);
        match status {
            201 => assert!(answer.field("warning").starts_with("299 - \""), "{url}"),
            _ => assert_eq!(answer.code(), "MANIFEST_INVALID", "{url}"),
        }
    }
}

/// end-7
#[tokio::test]
async fn an_index_may_lack_manifests_where_the_operator_allows_it() {
    let missing = digest_of(b"x");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{missing}","size":1}}]}}"#
    );
    for (sparse_indexes, status) in [(false, 400), (true, 201)] {
        let cluster = Cluster::with(1, Settings { sparse_indexes, ..Settings::default() }).await;
        let fields = [("content-type", INDEX)];
        cluster.send(Method::PUT, "/v2/a/manifests/v1", &fields, index.clone()).await.expect(status);
    }
}

#[tokio::test]
async fn pages_have_at_most_the_names_that_the_operator_allows() {
    let settings = Settings { delete: true, catalog_page: 2, tags_page: 2, ..Settings::default() };
    let cluster = Cluster::with(1, settings).await;
    for name in ["a", "b", "c"] {
        let config = cluster.push_blob(name, b"{}").await;
        let body = manifest(&[(config, 2)], "");
        for tag in ["v1", "v2", "v3"] {
            cluster.put(&format!("/v2/{name}/manifests/{tag}"), &[], body.clone()).await.expect(201);
        }
    }
    for path in ["/v2/_catalog", "/v2/_catalog?n=1000"] {
        let page = cluster.get(path).await.expect(200);
        assert_eq!(page.json()["repositories"], serde_json::json!(["a", "b"]), "{path}");
        assert_eq!(page.field("link"), "</v2/_catalog?last=b&n=2>; rel=\"next\"");
    }
    let page = cluster.get("/v2/a/tags/list?n=1000").await.expect(200);
    assert_eq!(page.json()["tags"], serde_json::json!(["v1", "v2"]));
    assert_eq!(page.field("link"), "</v2/a/tags/list?last=v2&n=2>; rel=\"next\"");
    // Who does not ask for pages reads no second one.
    let all = cluster.get("/v2/a/tags/list").await.expect(200);
    assert_eq!(all.json()["tags"], serde_json::json!(["v1", "v2", "v3"]));
}
