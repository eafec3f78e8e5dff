use super::*;
use crate::metadata::{Error, Outcome, View};
use async_trait::async_trait;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// end-2
#[tokio::test]
async fn ranges_reach_over_the_objects_of_a_blob() {
    let cluster = Cluster::of(1).await;
    let bytes: Vec<u8> = (0..100).collect();
    let digest = digest_of(&bytes);
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    for chunk in bytes.chunks(30) {
        cluster.send(Method::PATCH, &opened.location(), &[], chunk.to_vec()).await.expect(202);
    }
    cluster.send(Method::PUT, &format!("{}?digest={digest}", opened.location()), &[], "").await.expect(201);
    let path = format!("/v2/a/blobs/{digest}");
    let whole = cluster.get(&path).await.expect(200);
    assert_eq!(whole.body, bytes);
    for (name, value) in [
        ("content-length", "100"),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
        ("docker-content-digest", &digest.to_string()),
        ("content-encoding", ""),
    ] {
        assert_eq!(whole.field(name), value, "{name}");
    }
    for (range, part) in
        [("bytes=25-64", 25..65), ("bytes=30-59", 30..60), ("bytes=95-", 95..100), ("bytes=-7", 93..100)]
    {
        let answer = cluster.send(Method::GET, &path, &[("range", range)], "").await.expect(206);
        assert_eq!(answer.body, bytes[part.clone()], "{range}");
        assert_eq!(answer.field("content-range"), format!("bytes {}-{}/100", part.start, part.end - 1));
    }
    let outside = cluster.send(Method::GET, &path, &[("range", "bytes=100-")], "").await.expect(416);
    assert_eq!(outside.field("content-range"), "bytes */100");
    let head = cluster.send(Method::HEAD, &path, &[], "").await.expect(200);
    assert_eq!((head.field("content-length"), head.body.len()), ("100", 0));
    let fresh = [("if-none-match", format!("\"{digest}\""))];
    for method in [Method::GET, Method::HEAD] {
        let answer = cluster.send(method, &path, &[(fresh[0].0, &fresh[0].1)], "").await.expect(304);
        assert!(!answer.fields.contains_key("content-length"));
        assert_eq!(answer.field("cache-control"), "max-age=31536000");
    }
    assert_eq!(cluster.get(&format!("/v2/b/blobs/{digest}")).await.expect(404).code(), "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_blob_whose_object_is_missing_is_unavailable() {
    let cluster = Cluster::of(1).await;
    let digest = cluster.push_blob("a", b"abc").await;
    cluster.blobs.delete(cluster.blobs.keys()).await;
    cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(503);
}

/// A store that can lose its leader.
struct Fragile {
    store: Arc<LocalStore>,
    leaderless: AtomicBool,
    age: Duration,
}

#[async_trait]
impl MetadataStore for Fragile {
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, Error> {
        self.barrier(deadline).await?;
        self.store.apply(command)
    }

    async fn barrier(&self, _: Instant) -> Result<(), Error> {
        match self.leaderless.load(Ordering::SeqCst) {
            true => Err(Error::NoQuorum("no leader".into())),
            false => Ok(()),
        }
    }

    fn fresh_age(&self) -> Option<Duration> {
        Some(self.age)
    }

    fn view(&self) -> Result<View, Error> {
        self.store.view()
    }
}

#[tokio::test]
async fn without_a_leader_reads_by_digest_go_on_for_a_while() {
    let cluster = Cluster::of(1).await;
    let (digest, body) = cluster.push_image("a", "v1", b"layer").await;
    for (age, status) in [(90, 200), (5 * 3_600, 503)] {
        let age = Duration::from_secs(age);
        let metadata = Arc::new(Fragile { store: cluster.metadata.clone(), leaderless: true.into(), age });
        let registry = Registry::new(metadata, Arc::new(cluster.blobs.clone()), Lifecycle::new(), Settings::default());
        let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
        let front = Front::new(Setup::new(registry, cluster.readiness.subscribe(), metrics));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut other = Cluster::of(0).await;
        other.nodes.push(listener.local_addr().unwrap());
        let handler = move |request| front.clone().handle(request);
        other.lifecycle.spawn(server::serve(listener, other.lifecycle.clone(), None, handler));

        let manifest = other.get(&format!("/v2/a/manifests/{digest}")).await.expect(status);
        let blob = other.get(&format!("/v2/a/blobs/{}", digest_of(b"layer"))).await.expect(status);
        if status == 200 {
            assert_eq!((&manifest.body[..], &blob.body[..]), (body.as_bytes(), &b"layer"[..]));
            assert_eq!((manifest.field("flotilla-degraded-read"), blob.field("flotilla-degraded-read")), ("90", "90"));
        }
        // What the local state lacks may exist.
        for path in ["/v2/a/manifests/v1".into(), format!("/v2/a/blobs/{}", digest_of(b"x")), "/v2/_catalog".into()] {
            let refused = other.get(&path).await.expect(503);
            assert_eq!((refused.code().as_str(), refused.field("retry-after")), ("UNAVAILABLE", "5"));
        }
        other.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(503);
    }
}
