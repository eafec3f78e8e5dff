//! What all clients rely on together, over three nodes, each request to another one.
//!
//! The list has twelve entries. Those that are not here: an upload that wanders over the nodes and loses one in mid PATCH
//! (1) and a repeated PUT after a client hung up (part of 4) are in `memory.rs`; tags that move under load (part of 10) in
//! `linearizable.rs`, a leader that dies in `failover.rs`; mirrors (11) in `mirrors.rs`; the conformance suite (12) is a
//! stage of its own.

use crate::{garage, on_garage};
use flotilla_tests::{
    cluster::{Cluster, Storage},
    http::{AnyBody, Client, Noise, OCI_MANIFEST, digest_of, empty, exchange, full, with_digest},
    replay::{
        DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_INDEX, Replay, Step, Table, Wire, delete, get, head, patch, post,
        put,
    },
    seed::seed_tags,
    skip,
    slow_store::SlowStore,
    wait_for,
};
use http::{Method, Request, header};
use rustix::process::Signal;
use sha2::{Digest, Sha512};
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

async fn run(cluster: &Cluster, name: &'static str, steps: Vec<Step>, material: &mut Material) {
    let table = Table::new(name, "tests").then(steps);
    Replay::new(cluster.addresses(), Wire::Http1).run(&table, material).await;
}

/// Entry 2.
#[tokio::test]
async fn twenty_clients_push_one_layer_at_once_and_one_copy_stays() {
    let cluster = Cluster::builder().start().await.unwrap();
    let noise = Noise::new(20, 1_234_567);
    let digest = noise.digest();
    let mut pushes = JoinSet::new();
    for number in 0..20 {
        let mut nodes = cluster.addresses();
        nodes.rotate_left(number % 3);
        let (noise, digest) = (noise.clone(), digest.clone());
        // Ten push into one repository, ten into their own.
        let repository = if number < 10 { "team/same".to_owned() } else { format!("team/own{number}") };
        pushes.spawn(async move {
            // Answers 201, and names the digest.
            Client::new(nodes).push_blob(&repository, &digest, noise.body()).await.map(|()| repository)
        });
    }
    let mut repositories = BTreeSet::new();
    while let Some(pushed) = pushes.join_next().await {
        repositories.insert(pushed.unwrap().unwrap());
    }
    for repository in repositories {
        let answer = cluster.client().get(&format!("/v2/{repository}/blobs/{digest}")).await.unwrap();
        assert_eq!(digest_of(&answer.body), digest);
    }
    let Storage::Directory(dir) = &cluster.storage else { unreachable!("a directory unless told") };
    wait_for("one copy of the layer", Duration::from_secs(40), || async {
        (files_of_size(dir, 1_234_567) == 1).then_some(())
    })
    .await;
    assert_eq!(digest_of(&cluster.client().get(&format!("/v2/team/same/blobs/{digest}")).await.unwrap().body), digest);
}

fn files_of_size(dir: &Path, size: u64) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(data) if data.is_dir() => count += files_of_size(&path, size),
            Ok(data) if data.len() == size => count += 1,
            _ => {}
        }
    }
    count
}

/// Entry 3.
#[tokio::test]
async fn what_head_promised_outlives_a_tight_collector() {
    skip("what_head_promised_outlives_a_tight_collector", "the collector of unreferenced blobs is not built");
}

/// Entry 4: containerd gives up when no header came for 30 s, and sends the PUT again, to whichever node.
#[tokio::test]
async fn a_slow_store_is_answered_in_time_and_the_repeated_put_gets_201() {
    let Some(store) = garage("a_slow_store_is_answered_in_time_and_the_repeated_put_gets_201").await else { return };
    let slow = SlowStore::start(&store.s3).await.unwrap();
    let mut storage = Storage::garage(&store).await.unwrap();
    let Storage::S3 { endpoint, .. } = &mut storage else { unreachable!("Garage is S3") };
    endpoint.clone_from(&slow.listen);
    let cluster = Cluster::builder().storage(storage).start().await.unwrap();
    let client = cluster.client();
    // Two parts, and a store that takes longer to complete them than a client waits.
    let noise = Noise::new(44, 20 << 20);
    let digest = noise.digest();
    let put = with_digest(&client.open_upload("team/slow").await.unwrap(), &digest);
    slow.delays.part(Duration::from_secs(1));
    slow.delays.complete(Duration::from_secs(23));
    let start = Instant::now();
    let mut answers = Vec::new();
    loop {
        let sent = Instant::now();
        let answer = client.send_body(Method::PUT, &put, &[], noise.clone().body()).await.unwrap();
        answers.push((answer.status.as_u16(), sent.elapsed()));
        assert!(sent.elapsed() < Duration::from_secs(30), "the client gave up: {answers:?}");
        if answer.status == 201 {
            assert_eq!(answer.header("docker-content-digest"), digest);
            break;
        }
        // Never that the upload is unknown: that ends the push.
        assert_eq!(answer.status, 503, "{answers:?} {answer:?}");
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        assert!(start.elapsed() < Duration::from_secs(60), "{answers:?}");
        // It has waited for this call once; the next goes at its usual pace.
        slow.delays.complete(Duration::ZERO);
    }
    println!("a store that needs 23 s: {answers:?}");
    let blob = format!("/v2/team/slow/blobs/{digest}");
    assert_eq!(digest_of(&client.get(&blob).await.unwrap().body), digest);
}

/// Entry 4 too: the client repeats the whole blob, and must be able to read the answer that was ready at once.
#[tokio::test]
async fn a_large_put_repeated_after_its_answer_was_lost_is_answered_201_on_every_node() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    let noise = Noise::new(45, 48 << 20);
    let digest = noise.digest();
    let put = with_digest(&client.open_upload("team/lost").await.unwrap(), &digest);
    for _ in 0..4 {
        let answer = client.send_body(Method::PUT, &put, &[], noise.clone().body()).await.unwrap().expect(201).unwrap();
        assert_eq!(answer.header("docker-content-digest"), digest);
    }
}

/// Entry 5.
#[tokio::test]
async fn the_smallest_uploads_and_odd_digests_are_taken_as_the_specification_says() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut material = Material::new("team/edges").bytes("nothing", "").bytes("empty", "{}").noise("some", 5, 50_000);
    let long = format!("sha512:{}", hex::encode(Sha512::digest(material.of("some"))));
    let capital = material.digest("some").to_uppercase().replace("SHA256", "sha256");
    material.remember("long", &long);
    material.remember("capital", &capital);
    let open = || post("/v2/{repo}/blobs/uploads/").is(202).location("upload").says("content-length", "0");
    let steps = vec![
        // The empty blob: in one POST, by a PUT without a body, and after PATCHes of nothing.
        post("/v2/{repo}/blobs/uploads/?digest={%nothing}").octets().sized("nothing").is(201).names("nothing"),
        open().received(0),
        put("{upload}").digest("nothing").is(201).names("nothing"),
        open(),
        patch("{upload}").octets().sized("nothing").is(202).location("upload").received(0),
        patch("{upload}").octets().stream("nothing").is(202).location("upload").received(0),
        put("{upload}").digest("nothing").is(201),
        get("/v2/{repo}/blobs/{nothing}").is(200).gives("nothing").says("content-length", "0"),
        head("/v2/{repo}/blobs/{nothing}").is(200).says("content-length", "0"),
        // The empty JSON.
        open(),
        put("{upload}").digest("empty").octets().sized("empty").is(201),
        get("/v2/{repo}/blobs/{empty}").is(200).gives("empty"),
        // The last chunk in the body of PUT.
        open(),
        patch("{upload}").octets().part("some", 0, 20_000).is(202).location("upload").received(20_000),
        put("{upload}").digest("some").octets().part("some", 20_000, 50_000).is(201),
        get("/v2/{repo}/blobs/{some}").is(200).gives("some"),
        // Capitals are no hexadecimal digits of a digest.
        open(),
        put("{upload}").digest("capital").octets().sized("some").is(400).code("DIGEST_INVALID"),
        head("/v2/{repo}/blobs/{capital}").is(400),
        get("/v2/{repo}/manifests/{capital}").is(400).code("DIGEST_INVALID"),
        delete("{upload}").is(204),
        // sha512, told at once and at the end.
        post("/v2/{repo}/blobs/uploads/?digest-algorithm=sha512").is(202).location("upload"),
        patch("{upload}").octets().stream("some").is(202).location("upload"),
        put("{upload}").digest("long").is(201).says("docker-content-digest", "{long}"),
        get("/v2/{repo}/blobs/{long}").is(200).gives("some"),
        open(),
        patch("{upload}").octets().stream("some").is(202).location("upload"),
        put("{upload}").digest("long").is(201),
        // A wrong digest keeps the upload.
        open(),
        patch("{upload}").octets().sized("some").is(202).location("upload"),
        put("{upload}").digest("empty").is(400).code("DIGEST_INVALID"),
        put("{upload}").digest("some").is(201),
    ];
    run(&cluster, "edges", steps, &mut material).await;
}

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

/// Entry 7.
#[tokio::test]
async fn tokens_and_challenges() {
    skip("tokens_and_challenges", "authentication is not built");
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

/// Entry 10, the part about a minority; the rest is in `linearizable.rs`.
#[tokio::test]
async fn a_minority_refuses_writes_with_a_time_to_retry_and_serves_blobs_by_digest() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    let manifest = client.push_image("team/app", "v1", "first").await.unwrap();
    let layer = vec![3; 100_000];
    client.push_blob("team/app", &digest_of(&layer), full(layer.clone().into())).await.unwrap();
    // The other two hang, as behind a cable that was pulled: nothing is refused, nothing is answered.
    let alone = (cluster.leader().await + 1) % 3;
    for number in (0..3).filter(|number| *number != alone) {
        cluster.nodes[number].process().signal(Signal::STOP);
    }
    let mut client = cluster.nodes[alone].client();
    client.limit = Duration::from_secs(30);
    let path = "/v2/team/app/manifests/v2";
    let body = client.get(&format!("/v2/team/app/manifests/{manifest}")).await.unwrap().body;
    let refused = client.send_body(Method::PUT, path, &[("content-type", OCI_MANIFEST)], full(body.clone())).await;
    let refused = refused.unwrap().expect(503).unwrap();
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    let blob = client.get(&format!("/v2/team/app/blobs/{}", digest_of(&layer))).await.unwrap();
    assert_eq!(blob.body, layer);
    let read = client.send(Method::GET, "/v2/team/app/manifests/v1").await.unwrap().expect(503).unwrap();
    assert!(!read.header("retry-after").is_empty(), "{read:?}");

    for number in (0..3).filter(|number| *number != alone) {
        cluster.nodes[number].process().signal(Signal::CONT);
    }
    wait_for("writes to go on", Duration::from_secs(20), || async {
        let headers = [("content-type", OCI_MANIFEST)];
        let answer = client.send_body(Method::PUT, path, &headers, full(body.clone())).await.ok()?;
        (answer.status == 201).then_some(())
    })
    .await;
    for node in &cluster.nodes {
        let answer = node.client().send(Method::HEAD, path).await.unwrap().expect(200).unwrap();
        assert_eq!(answer.header("docker-content-digest"), manifest);
    }
}
