use super::*;
use crate::blobstore::memory::Memory;
use crate::config::{Check, Checked, HttpService};
use bytes::Bytes;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU16, AtomicUsize},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

fn pace(threshold: u32) -> Pace {
    Pace { interval: Duration::from_millis(20), timeout: Duration::from_millis(500), threshold }
}

/// Runs one check, or that of the store.
fn running(check: Option<(&str, Checked, u32)>, store: Option<u32>, blobs: &Memory) -> (Health, Lifecycle) {
    let checks = check.map(|(name, what, threshold)| Check { name: name.into(), what, pace: pace(threshold) });
    let config = config::Health { storage: store.map(pace), checks: checks.into_iter().collect() };
    let blobs: Arc<dyn BlobStore> = Arc::new(blobs.clone());
    let (health, lifecycle) = (Health::default(), Lifecycle::new());
    health.run(Checks::new(&config, "s3", &blobs).unwrap(), &lifecycle);
    (health, lifecycle)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn messages(health: &Health) -> Vec<(String, String)> {
    health.failures(false).into_iter().collect()
}

#[tokio::test]
async fn a_file_takes_the_node_out_while_it_exists() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let (health, lifecycle) = running(Some(("out", Checked::File(path.clone()), 1)), None, &Memory::new());
    assert!(!health.is_out());
    std::fs::write(&path, "").unwrap();
    until("the file to be seen", || health.is_out()).await;
    assert_eq!(messages(&health), [("out".to_owned(), "file exists".to_owned())]);
    std::fs::remove_file(&path).unwrap();
    until("the node to come back", || !health.is_out()).await;
    assert!(health.failures(false).is_empty());
    lifecycle.drain();
    assert!(lifecycle.drained(Duration::from_secs(10)).await, "the check ends with the node");
}

#[tokio::test]
async fn a_path_that_cannot_be_looked_at_is_no_good_sign() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path: PathBuf = file.path().join("below-a-file");
    let (health, _lifecycle) = running(Some(("odd", Checked::File(path), 1)), None, &Memory::new());
    until("a failure", || health.is_out()).await;
    assert_ne!(messages(&health)[0].1, "file exists");
}

#[tokio::test]
async fn a_tcp_check_follows_its_service() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (health, _lifecycle) = running(Some(("tcp", Checked::Tcp(address.to_string()), 3)), None, &Memory::new());
    for _ in 0..3 {
        listener.accept().await.unwrap();
    }
    assert!(!health.is_out());
    drop(listener);
    until("the service to be missed", || health.is_out()).await;
    assert!(messages(&health)[0].1.starts_with("cannot connect"), "{:?}", messages(&health));
    let _again = TcpListener::bind(address).await.unwrap();
    until("the service to be found", || !health.is_out()).await;
}

/// Answers every request with the status, and redirects from `/moved`; counts those with the secret.
async fn service(status: Arc<AtomicU16>, secrets: Arc<AtomicUsize>, lifecycle: &Lifecycle) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = lifecycle.draining().clone();
    let serve = async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("HEAD /"), "{head}");
            if head.contains("x-secret: hush") {
                secrets.fetch_add(1, Relaxed);
            }
            let answer = match head.starts_with("HEAD /moved") {
                true => "HTTP/1.1 302 Found\r\nlocation: /new\r\nconnection: close\r\n\r\n".to_owned(),
                false => format!("HTTP/1.1 {} x\r\nconnection: close\r\n\r\n", status.load(Relaxed)),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    lifecycle.spawn(async move { stop.run_until_cancelled(serve).await });
    address
}

#[tokio::test]
async fn an_http_check_wants_its_status_after_redirects() {
    let (status, secrets, end) = (Arc::new(AtomicU16::new(204)), Arc::new(AtomicUsize::new(0)), Lifecycle::new());
    let address = service(status.clone(), secrets.clone(), &end).await;
    let headers = vec![("X-Secret".to_owned(), "hush".to_owned())];
    let service = HttpService { uri: format!("http://{address}/moved"), headers, status: 204 };
    let (health, _lifecycle) = running(Some(("http", Checked::Http(service), 2)), None, &Memory::new());
    until("two checks", || secrets.load(Relaxed) >= 4).await;
    assert!(!health.is_out());
    status.store(500, Relaxed);
    until("the failure", || health.is_out()).await;
    assert_eq!(messages(&health)[0].1, "answers 500 instead of 204");
    status.store(204, Relaxed);
    until("the recovery", || !health.is_out()).await;
    end.drain();
}

#[tokio::test]
async fn a_service_that_says_nothing_fails_in_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let service = HttpService { uri, headers: Vec::new(), status: 200 };
    let (health, _lifecycle) = running(Some(("mute", Checked::Http(service), 2)), None, &Memory::new());
    until("the failure", || health.is_out()).await;
    assert_eq!(messages(&health)[0].1, "no answer in 0.5 s");
}

#[tokio::test]
async fn the_store_is_shown_and_does_not_take_the_node_out() {
    let blobs = Memory::new();
    let (health, _lifecycle) = running(None, Some(3), &blobs);
    until("the failure", || !health.failures(false).is_empty()).await;
    let found = ("storagedriver_s3".to_owned(), "the marker flotilla.json is missing".to_owned());
    assert_eq!(messages(&health), [found]);
    assert!(!health.is_out() && health.failures(true).is_empty());
    blobs.write_marker(Bytes::from_static(b"{}")).await.unwrap();
    until("the recovery", || health.failures(false).is_empty()).await;
}

/// A store whose every look hangs would never fail if only answers counted.
#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_counts_as_often_as_it_is_waited_for() {
    let health = Health::default();
    let probe = Probe::File("/nowhere".into());
    let watch = Watch { name: "hung".into(), probe, pace: pace(3), health: health.clone() };
    let mut failed = 0;
    let began = Instant::now();
    let hung = watch.pass(&mut failed, std::future::pending());
    assert!(tokio::time::timeout(Duration::from_millis(1_600), hung).await.is_err());
    assert_eq!((failed, health.is_out(), began.elapsed()), (3, true, Duration::from_millis(1_600)));
}

#[test]
fn an_operator_takes_the_node_out_and_back() {
    let health = Health::default();
    health.set_out(true);
    health.set_out(true);
    assert!(health.is_out() && health.failures(true).contains_key("manual_http_status"));
    health.set_out(false);
    assert!(!health.is_out());
}
