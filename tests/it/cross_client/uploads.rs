//! Entries 2 to 5: what is uploaded at once, slowly, again, or hardly at all.

use super::run;
use crate::garage;
use flotilla_tests::{
    cluster::{Cluster, Storage},
    http::{Client, Noise, digest_of, full, manifest, with_digest},
    replay::{Material, delete, get, head, patch, post, put},
    slow_store::SlowStore,
    wait_for,
};
use http::Method;
use sha2::{Digest, Sha512};
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

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

/// Entry 3: a client that was told of a blob does not push it, and pushes the manifest when it has pushed the others.
#[tokio::test]
async fn what_head_promised_outlives_a_tight_collector() {
    const PROMISE: Duration = Duration::from_secs(18);
    const GRACE: Duration = Duration::from_secs(20);
    let tight = "gc:\n  unsafedelays: true\n  grace: 20s\n  promise: 18s\n  deletedelay: 1s\n  sweepdelay: 10s\n  breaker: off\n";
    let cluster = Cluster::builder().sections(tight).start().await.unwrap();
    let client = cluster.client();
    let configs = [r#"{"label":"asked for"}"#, r#"{"label":"forgotten"}"#];
    let [asked, forgotten] = configs.map(|config| digest_of(config.as_bytes()));
    for (digest, config) in [(&asked, configs[0]), (&forgotten, configs[1])] {
        client.push_blob("team/tight", digest, full(config.into())).await.unwrap();
    }
    let pushed = Instant::now();
    let path = |digest: &str| format!("/v2/team/tight/blobs/{digest}");
    // Close to the end of their leases.
    tokio::time::sleep_until((pushed + GRACE - Duration::from_secs(2)).into()).await;
    let told = Instant::now();
    let answer = client.send(Method::HEAD, &path(&asked)).await.unwrap();
    assert_eq!(answer.status, 200, "asked {:?} after the push", told - pushed);
    // The other layers take nearly as long as the promise.
    tokio::time::sleep_until((told + PROMISE - Duration::from_secs(2)).into()).await;
    let image = manifest(&asked, configs[0].len() as u64, &[]);
    let put = client.put_manifest("team/tight", "v1", image.as_bytes()).await;
    put.unwrap_or_else(|error| panic!("{:?} after it was told: {error:#}", told.elapsed()));
    wait_for("the blob that nobody asked for to be collected", Duration::from_secs(60), || async {
        (client.get(&path(&forgotten)).await.is_err()).then_some(())
    })
    .await;
    println!("the other blob was gone {:?} after its push", pushed.elapsed());
    assert_eq!(client.send(Method::HEAD, &path(&forgotten)).await.unwrap().status, 404);
    assert_eq!(client.get(&path(&asked)).await.unwrap().body, configs[0]);
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
