//! Entries 6, 8 and 9: types, redirects and pages.

use super::run;
use crate::{garage, on_garage};
use flotilla_tests::{
    cluster::Cluster,
    http::{AnyBody, Client, Noise, OCI_MANIFEST, digest_of, empty, exchange, full},
    replay::{DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_INDEX, Step, delete, get, head, post, put},
    seed::seed_tags,
};
use http::{Method, Request, header};
use std::time::Instant;

/// Entry 6.
#[tokio::test]
async fn whatever_a_client_accepts_it_gets_the_stored_bytes_and_type() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut material = Material::new("team/accept").image(6, &[1000]);
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [material.descriptor("manifest", OCI_MANIFEST)]});
    material = material.json("index", &index);
    let mut steps = Vec::new();
    for name in ["config", "layer0"] {
        let path = format!("/v2/{{repo}}/blobs/uploads/?digest={{%{name}}}");
        steps.push(post(&path).octets().sized(name).is(201));
    }
    for (tag, name, kind) in [("image", "manifest", OCI_MANIFEST), ("index", "index", OCI_INDEX)] {
        let path = format!("/v2/{{repo}}/manifests/{tag}");
        steps.push(put(&path).with("content-type", kind).sized(name).is(201));
    }
    let list = format!("{DOCKER_LIST}, {DOCKER_MANIFEST}, {OCI_MANIFEST}, {OCI_INDEX}");
    let accepts: [&[&str]; 9] = [
        &[],
        &["*/*"],
        &[&list],
        &[DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX],
        &["application/vnd.oci.image.manifest.v1+json;q=0.5, application/vnd.oci.image.index.v1+json;q=0.9, */*;q=0.1"],
        // Of other types only: lenient, as the stored bytes are all there is.
        &[DOCKER_MANIFEST],
        &["application/json"],
        &["text/html, image/gif;q=0.2, *; q=.2"],
        &["", "not a media type"],
    ];
    for (tag, name, kind) in [("image", "manifest", OCI_MANIFEST), ("index", "index", OCI_INDEX)] {
        for accept in accepts {
            for reference in [tag.to_owned(), format!("{{{name}}}")] {
                let path = format!("/v2/{{repo}}/manifests/{reference}");
                let all = |step: Step| accept.iter().fold(step, |step, value| step.accept(value));
                steps.push(all(get(&path)).is(200).gives(name).names(name).says("content-type", kind));
                steps.push(all(head(&path)).is(200).names(name).says("content-type", kind));
            }
        }
    }
    run(&cluster, "accept", steps, &mut material).await;
}

/// Entry 8.
#[tokio::test]
async fn a_redirect_is_followed_without_credentials_and_keeps_the_range() {
    let Some(store) = garage("a_redirect_is_followed_without_credentials_and_keeps_the_range").await else { return };
    let cluster = on_garage(&store).await.redirects().start().await.unwrap();
    let client = cluster.client();
    let mut noise = Noise::new(8, 300_000);
    let digest = noise.digest();
    client.push_blob("team/app", &digest, noise.clone().body()).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = noise.take() {
        bytes.extend_from_slice(&part);
    }
    let blob = format!("/v2/team/app/blobs/{digest}");
    for _ in &cluster.nodes {
        // HEAD needs no store: a client learns the size from the node, and nothing is signed.
        let answer = client.send(Method::HEAD, &blob).await.unwrap().expect(200).unwrap();
        assert_eq!(answer.header("content-length"), "300000");
        for range in [None, Some("bytes=100-199")] {
            let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
            let answer = client.send_body(Method::GET, &blob, &headers, empty()).await.unwrap().expect(307).unwrap();
            assert_eq!(answer.header("docker-content-digest"), digest);
            let url: http::Uri = answer.header("location").parse().unwrap();
            let host = url.authority().expect("an absolute URL").to_string();
            assert_eq!(host, store.s3);
            let followed = |more: Option<(&'static str, &'static str)>| {
                let path = url.path_and_query().expect("a path").as_str();
                let mut request = Request::builder().uri(path).header(header::HOST, &host);
                for (name, value) in headers.iter().copied().chain(more) {
                    request = request.header(name, value);
                }
                exchange(&host, request.body(empty()).unwrap())
            };
            // The URL is enough; the credentials of the registry are none of the store.
            let answer = followed(None).await.unwrap();
            match range {
                None => assert!(answer.status == 200 && answer.body == bytes, "{:?}", answer.status),
                Some(_) => {
                    assert_eq!(answer.header("content-range"), "bytes 100-199/300000");
                    assert!(answer.status == 206 && answer.body == bytes[100..200], "{:?}", answer.status);
                }
            }
        }
    }
    // Manifests are never redirected, nor is what redirects cannot serve.
    let tagged = client.push_image("team/app", "v1", "redirects").await.unwrap();
    client.get(&format!("/v2/team/app/manifests/{tagged}")).await.unwrap();
    let nothing = digest_of(b"");
    client.push_blob("team/app", &nothing, empty()).await.unwrap();
    assert!(client.get(&format!("/v2/team/app/blobs/{nothing}")).await.unwrap().body.is_empty());

    // Switched off, the node streams it: the same bytes, no URL.
    let streaming = on_garage(&store).await.nodes(1).start().await.unwrap();
    let body: AnyBody = full(bytes.clone().into());
    streaming.client().push_blob("team/app", &digest, body).await.unwrap();
    assert_eq!(streaming.client().get(&blob).await.unwrap().body, bytes);
}

/// Entry 9.
#[tokio::test]
async fn a_hundred_thousand_tags_are_listed_page_by_page() {
    let cluster = Cluster::builder().start().await.unwrap();
    let tags: Vec<_> = (0..100_000).map(|number| format!("t{number:05}")).collect();
    let start = Instant::now();
    seed_tags(&cluster.addresses(), "team/nested/many", &tags).await.unwrap();
    println!("100,000 tags made in {:?}", start.elapsed());
    let start = Instant::now();
    let client = cluster.client();
    let list = "/v2/team/nested/many/tags/list";
    let (found, pages) = walk(&client, &format!("{list}?n=9000"), "tags").await;
    assert_eq!((found == tags, pages), (true, 12), "{} tags", found.len());
    // Without `n`, old clients read one page: all.
    assert_eq!(walk(&client, list, "tags").await, (tags.clone(), 1));
    // More than is ever given: the pages that there are.
    assert!(walk(&client, &format!("{list}?n=5000000"), "tags").await.0 == tags);
    println!("listed three times in {:?}", start.elapsed());

    let mut material = Material::new("team/nested/many").bytes("empty", "{}");
    let tagged = |tag: &str| format!("/v2/{{repo}}/manifests/{tag}");
    let steps = vec![
        get(&format!("{list}?n=0")).is(200).json("/tags", "[]").last(),
        get(&format!("{list}?n=-1")).is(400).code("PAGINATION_NUMBER_INVALID"),
        get(&format!("{list}?n=many")).is(400).code("PAGINATION_NUMBER_INVALID"),
        get(&format!("{list}?n=1")).is(200).json("/tags", r#"["t00000"]"#).next("more"),
        // `last` may have gone, or never have been: the list goes on after its place.
        delete(&tagged("t00000")).is(202),
        get("{more}").is(200).json("/tags", r#"["t00001"]"#).next("more"),
        get(&format!("{list}?n=2&last=t00001x")).is(200).json("/tags", r#"["t00002","t00003"]"#).next("more"),
        get(&format!("{list}?n=2&last=t99998")).is(200).json("/tags", r#"["t99999"]"#).last(),
        get(&format!("{list}?n=2&last=zzz")).is(200).json("/tags", "[]").last(),
        // Names with slashes are escaped in links.
        post("/v2/team/nested/other/blobs/uploads/?digest={%empty}").octets().sized("empty").is(201),
        get("/v2/_catalog?n=1").is(200).json("/repositories", r#"["team/nested/many"]"#).next("more"),
        get("{more}").is(200).json("/repositories", r#"["team/nested/other"]"#).last(),
    ];
    run(&cluster, "pages", steps, &mut material).await;
}

/// All names and the number of pages.
async fn walk(client: &Client, first: &str, key: &str) -> (Vec<String>, usize) {
    let (mut names, mut pages, mut next) = (Vec::new(), 0, Some(first.to_owned()));
    while let Some(path) = next {
        let answer = client.get(&path).await.unwrap();
        let mut page: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let page: Vec<String> = serde_json::from_value(page[key].take()).unwrap();
        names.extend(page);
        pages += 1;
        let link = answer.header("link").strip_prefix('<').and_then(|link| link.split_once(">; rel=\"next\""));
        next = link.map(|(target, _)| target.to_owned());
    }
    (names, pages)
}
