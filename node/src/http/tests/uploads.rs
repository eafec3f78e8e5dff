use super::*;
use crate::blobstore::{self, ByteStream, Deleted, Key, ObjectWriter, Page, Upload};
use async_trait::async_trait;
use std::{ops::Range, time::Duration};
use tokio::{io::AsyncWriteExt, sync::Semaphore};

async fn open(cluster: &Cluster, name: &str) -> String {
    let opened = cluster.send(Method::POST, &format!("/v2/{name}/blobs/uploads/"), &[], "").await.expect(202);
    assert_eq!((opened.field("range"), opened.field("content-length")), ("0-0", "0"));
    assert!(opened.location().ends_with(opened.field("docker-upload-uuid")));
    opened.location()
}

/// end-4a, 5, 6
#[tokio::test]
async fn a_blob_is_pushed_over_three_nodes() {
    let cluster = Cluster::of(3).await;
    let digest = digest_of(b"hello world");
    let location = open(&cluster, "team/app").await;
    let written = cluster.send_to(1, Method::PATCH, &location, &[("content-range", "0-5")], "hello ").await.expect(202);
    assert_eq!((written.field("range"), written.location()), ("0-5", location.clone()));
    let status = cluster.send_to(2, Method::GET, &location, &[], "").await.expect(204);
    assert_eq!(status.field("range"), "0-5");
    let put = format!("{location}?digest={}", digest.to_string().replace(':', "%3A"));
    let done = cluster.send_to(2, Method::PUT, &put, &[("content-range", "6-10")], "world").await.expect(201);
    assert_eq!(done.location(), format!("/v2/team/app/blobs/{digest}"));
    assert_eq!(done.field("docker-content-digest"), digest.to_string());
    assert_eq!(&cluster.get(&done.location()).await.expect(200).body[..], b"hello world");
    assert_eq!(cluster.blobs.keys().len(), 2);
    // A repeated PUT meets the recorded result, on any node.
    cluster.send_to(0, Method::PUT, &put, &[], "").await.expect(201);
    let other = format!("{location}?digest={}", digest_of(b"x"));
    assert_eq!(cluster.send(Method::PUT, &other, &[], "").await.expect(404).code(), "BLOB_UPLOAD_UNKNOWN");
    // It must not say so of a blob that has gone since.
    cluster.send_to(1, Method::DELETE, &done.location(), &[], "").await.expect(202);
    assert_eq!(cluster.send_to(0, Method::PUT, &put, &[], "").await.expect(404).code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn chunks_out_of_order_are_refused_with_the_true_range() {
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await;
    cluster.send(Method::PATCH, &location, &[], "abc").await.expect(202);
    let put = format!("{location}?digest={}", digest_of(b"abcdef"));
    for (method, path) in [(Method::PATCH, &location), (Method::PUT, &put)] {
        let refused = cluster.send(method, path, &[("content-range", "5-7")], "def").await.expect(416);
        assert_eq!(refused.code(), "RANGE_INVALID");
        assert_eq!((refused.location(), refused.field("range")), (location.clone(), "0-2"));
    }
    let refused = cluster.send(Method::PATCH, &location, &[("content-range", "3-4")], "def").await.expect(400);
    assert_eq!(refused.code(), "SIZE_INVALID");
    let twice = [("content-range", "3-5"), ("content-range", "3-5")];
    for fields in [&[("content-range", "x")][..], &[("content-range", "5-3")], &twice] {
        let refused = cluster.send(Method::PATCH, &location, fields, "def").await.expect(416);
        assert_eq!(refused.code(), "RANGE_INVALID");
        assert_eq!((refused.location(), refused.field("range")), (location.clone(), "0-2"));
    }
    cluster.send(Method::PUT, &put, &[("content-range", "3-5")], "def").await.expect(201);
}

#[tokio::test]
async fn a_zero_length_chunk_and_the_empty_blob_write_nothing() {
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await;
    let written = cluster.send(Method::PATCH, &location, &[], "").await.expect(202);
    assert_eq!(written.field("range"), "0-0");
    let digest = digest_of(b"");
    cluster.send(Method::PUT, &format!("{location}?digest={digest}"), &[], "").await.expect(201);
    assert!(cluster.blobs.keys().is_empty());
    let blob = cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(200);
    assert_eq!((blob.field("content-length"), blob.body.len()), ("0", 0));
}

/// end-4b
#[tokio::test]
async fn a_blob_is_pushed_in_one_request() {
    let cluster = Cluster::of(1).await;
    let digest = digest_of(b"whole");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    cluster.send(Method::POST, &path, &[], "whole").await.expect(201);
    assert_eq!(&cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body[..], b"whole");
    assert_eq!(cluster.send(Method::POST, &path, &[], "other").await.expect(400).code(), "DIGEST_INVALID");
    assert_eq!(cluster.metadata.view().unwrap().cluster().unwrap().sessions, 0);
}

#[tokio::test]
async fn a_wrong_digest_keeps_the_offset_and_drops_the_bytes() {
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await;
    cluster.send(Method::PATCH, &location, &[], "abc").await.expect(202);
    let digest = digest_of(b"abcdef");
    let put = format!("{location}?digest={digest}");
    assert_eq!(cluster.send(Method::PUT, &put, &[], "xyz").await.expect(400).code(), "DIGEST_INVALID");
    assert_eq!(cluster.blobs.keys().len(), 1);
    for bad in [location.clone(), format!("{location}?digest=sha256:AB"), format!("{location}?digest=md5:00")] {
        assert_eq!(cluster.send(Method::PUT, &bad, &[], "def").await.expect(400).code(), "DIGEST_INVALID");
    }
    assert_eq!(cluster.get(&location).await.expect(204).field("range"), "0-2");
    cluster.send(Method::PUT, &put, &[], "def").await.expect(201);
}

#[tokio::test]
async fn another_algorithm_at_the_end_reads_the_bytes_back() {
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await;
    cluster.send(Method::PATCH, &location, &[], "abc").await.expect(202);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"abcdef");
    let digest = hasher.finish();
    cluster.send(Method::PUT, &format!("{location}?digest={digest}"), &[], "def").await.expect(201);
    assert_eq!(&cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body[..], b"abcdef");
}

/// end-11
#[tokio::test]
async fn a_blob_is_mounted_or_an_upload_opened() {
    let cluster = Cluster::of(1).await;
    let digest = cluster.push_blob("a", b"shared").await;
    for path in [format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), format!("/v2/c/blobs/uploads/?mount={digest}")]
    {
        let mounted = cluster.send(Method::POST, &path, &[], "").await.expect(201);
        cluster.get(&mounted.location()).await.expect(200);
    }
    let missing = digest_of(b"missing");
    for path in [
        format!("/v2/b/blobs/uploads/?mount={missing}&from=a"),
        format!("/v2/b/blobs/uploads/?mount={digest}&from=nobody"),
        format!("/v2/d/blobs/uploads/?mount={digest}&from=NoName"),
        "/v2/d/blobs/uploads/?mount=nonsense&from=a".to_owned(),
        "/v2/d/blobs/uploads/?mount=".to_owned(),
    ] {
        let opened = cluster.send(Method::POST, &path, &[], "").await.expect(202);
        cluster.send(Method::DELETE, &opened.location(), &[], "").await.expect(204);
    }
}

/// end-14
#[tokio::test]
async fn an_upload_belongs_to_its_repository_until_it_is_cancelled() {
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await;
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        assert_eq!(cluster.send(method, &elsewhere, &[], "").await.status, 404);
    }
    let cancelled = cluster.send(Method::DELETE, &location, &[], "").await.expect(204);
    assert!(
        location.ends_with(cancelled.field("docker-upload-uuid"))
            && cancelled.fields.contains_key("docker-upload-uuid")
    );
    assert_eq!(cluster.send(Method::DELETE, &location, &[], "").await.expect(404).code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(cluster.get(&location).await.expect(404).code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(cluster.get("/v2/a/blobs/uploads/none").await.expect(404).code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_body_that_ends_early_records_nothing() {
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await;
    let mut stream = TcpStream::connect(cluster.nodes[0]).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(cluster.get(&location).await.expect(204).field("range"), "0-0");
    cluster.send(Method::PATCH, &location, &[("content-range", "0-2")], "abc").await.expect(202);
    assert_eq!(cluster.blobs.keys().len(), 1);
}

/// Holds the end of every write until it is let go.
struct Slow {
    store: Memory,
    reached: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

struct SlowWriter {
    writer: Box<dyn ObjectWriter>,
    reached: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

#[async_trait]
impl ObjectWriter for SlowWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), blobstore::Error> {
        self.writer.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<u64, blobstore::Error> {
        self.reached.add_permits(1);
        self.go.acquire().await.unwrap().forget();
        self.writer.finish().await
    }

    async fn abort(self: Box<Self>) {
        self.writer.abort().await;
    }
}

#[async_trait]
impl BlobStore for Slow {
    async fn writer(&self, key: Key) -> Result<Box<dyn ObjectWriter>, blobstore::Error> {
        let writer = self.store.writer(key).await?;
        Ok(Box::new(SlowWriter { writer, reached: self.reached.clone(), go: self.go.clone() }))
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<ByteStream, blobstore::Error> {
        self.store.read(key, range).await
    }

    async fn length(&self, key: &Key) -> Result<Option<u64>, blobstore::Error> {
        self.store.length(key).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Vec<Deleted> {
        self.store.delete(keys).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, blobstore::Error> {
        self.store.list(prefix, after).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, blobstore::Error> {
        self.store.uploads(prefix).await
    }

    async fn abort(&self, upload: &Upload) -> Result<(), blobstore::Error> {
        self.store.abort(upload).await
    }

    async fn tidy(&self, prefix: &str) -> Result<(), blobstore::Error> {
        self.store.tidy(prefix).await
    }

    async fn hazards(&self) -> Result<Vec<String>, blobstore::Error> {
        self.store.hazards().await
    }

    async fn presign(&self, _: &Key, _: Duration) -> Result<Option<String>, blobstore::Error> {
        Ok(Some("https://store.example/object".into()))
    }

    async fn read_marker(&self) -> Result<Option<Bytes>, blobstore::Error> {
        self.store.read_marker().await
    }

    async fn write_marker(&self, marker: Bytes) -> Result<(), blobstore::Error> {
        self.store.write_marker(marker).await
    }

    async fn holds_distribution_layout(&self) -> Result<bool, blobstore::Error> {
        Ok(false)
    }

    fn describe(&self) -> String {
        "slow".into()
    }
}

async fn slow(nodes: usize, settings: Settings) -> (Cluster, Arc<Semaphore>, Arc<Semaphore>) {
    let (reached, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let store = Memory::new();
    let slow = Slow { store: store.clone(), reached: reached.clone(), go: go.clone() };
    (Cluster::over(nodes, settings, store, Arc::new(slow)).await, reached, go)
}

#[tokio::test]
async fn a_client_that_hangs_up_after_the_last_byte_finds_its_blob() {
    let (cluster, reached, go) = slow(1, Settings::default()).await;
    let location = open(&cluster, "a").await;
    let put = format!("{location}?digest={}", digest_of(b"abc"));
    let mut stream = TcpStream::connect(cluster.nodes[0]).await.unwrap();
    let request = format!("PUT {put} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc");
    stream.write_all(request.as_bytes()).await.unwrap();
    reached.acquire().await.unwrap().forget();
    drop(stream);
    // The repeated request joins the commit that still runs.
    let repeated = cluster.send(Method::PUT, &put, &[], "abc");
    let ((), repeated) = tokio::join!(async { go.add_permits(1) }, repeated);
    repeated.expect(201);
    assert_eq!(cluster.blobs.keys().len(), 1);
}

#[tokio::test]
async fn a_slow_commit_is_answered_503_and_goes_on() {
    let settings = Settings { patience: Duration::from_millis(200), ..Settings::default() };
    let (cluster, reached, go) = slow(2, settings).await;
    let location = open(&cluster, "a").await;
    let put = format!("{location}?digest={}", digest_of(b"abc"));
    let waiting = cluster.send(Method::PUT, &put, &[], "abc").await.expect(503);
    assert!(!waiting.field("retry-after").is_empty());
    assert_eq!(waiting.code(), "UNAVAILABLE");
    reached.acquire().await.unwrap().forget();
    go.add_permits(1);
    cluster.lifecycle.drain();
    assert!(cluster.lifecycle.drained(Duration::from_secs(10)).await, "a soft stop waits for the commit");
    assert_eq!(cluster.metadata.view().unwrap().cluster().unwrap().blobs, 1);
}

#[tokio::test]
async fn a_blob_of_one_object_is_redirected_to_the_store() {
    let (cluster, _, go) = slow(1, Settings::default()).await;
    go.add_permits(100);
    let digest = cluster.push_blob("a", b"abc").await;
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(cluster.get(&path).await.expect(307).location(), "https://store.example/object");
    // The URL is signed for GET: clients that followed it with a HEAD would be refused by the store.
    let head = cluster.send(Method::HEAD, &path, &[], "").await.expect(200);
    assert_eq!(head.field("content-length"), "3");
}

#[tokio::test]
async fn a_large_body_after_an_early_answer_does_not_break_the_client() {
    let cluster = Cluster::of(1).await;
    let unknown = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let answer = cluster.send(Method::PATCH, unknown, &[], vec![7; 200_000]).await.expect(404);
    assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_connection_carries_on_after_a_chunked_body() {
    use tokio::io::AsyncReadExt as _;
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await;
    let mut stream = TcpStream::connect(cluster.nodes[0]).await.unwrap();
    let chunk = "3\r\nabc\r\n0\r\n\r\n";
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).to_lowercase();
    assert!(answer.starts_with("http/1.1 202") && !answer.contains("connection: close"), "{answer}");
}
