//! Thousands of connections that only hold on, and clients that send and read as slowly as they can.

use flotilla_tests::{
    cluster::Cluster,
    http::{Noise, digest_of, full},
};
use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

const IDLE: usize = 10_000;
/// Of each kind: half a head, half a body, an answer that nobody reads.
const SLOW: usize = 67;
const WORKERS: u32 = 10;
/// Of all workers together.
const RATE: u32 = 100;
const MEASURED: Duration = Duration::from_secs(10);
/// A quieter time than this is noise.
const QUIET_MIN: Duration = Duration::from_millis(2);
const GROWTH_MAX: u64 = 150 << 20;
const REPOSITORY: &str = "team/held";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_idle_connections_do_not_slow_the_others_nor_eat_the_memory() {
    raise_open_files();
    let mut cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let address = cluster.nodes[0].http.clone();
    let client = cluster.client();
    client.push_image(REPOSITORY, "v1", "held").await.unwrap();
    let small = digest_of(&[7; 4096]);
    client.push_blob(REPOSITORY, &small, full(vec![7; 4096].into())).await.unwrap();
    let large = Noise::new(1, 64 << 20);
    let large_digest = large.digest();
    client.push_blob(REPOSITORY, &large_digest, large.body()).await.unwrap();
    let paths = [format!("/v2/{REPOSITORY}/manifests/v1"), format!("/v2/{REPOSITORY}/blobs/{small}")];

    measure(&address, &paths).await; // warms up
    let quiet = measure(&address, &paths).await;
    let before = cluster.nodes[0].process().rss();

    let mut held = Vec::new();
    for _ in 0..IDLE {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        request(&mut stream, &paths[0]).await;
        held.push(stream);
    }
    let idle = cluster.nodes[0].process().rss();

    for number in 0..SLOW {
        held.push(sent(&address, "GET /v2/ HTTP/1.1\r\nhost: tests\r\nx-slow: ").await);
        let location = client.open_upload(REPOSITORY).await.unwrap();
        let upload = format!("PATCH {location} HTTP/1.1\r\nhost: tests\r\ncontent-length: 1000000\r\n\r\n{number}");
        held.push(sent(&address, &upload).await);
        let get = format!("GET /v2/{REPOSITORY}/blobs/{large_digest} HTTP/1.1\r\nhost: tests\r\n\r\n");
        held.push(sent(&address, &get).await);
    }
    let beside = measure(&address, &paths).await;
    let after = cluster.nodes[0].process().peak_rss();
    println!(
        "p99 quiet {quiet:?}, beside {IDLE} idle and {} slow connections {beside:?}; RSS {} MiB, {} MiB with the idle \
         ones ({} bytes each), at most {} MiB",
        3 * SLOW,
        before >> 20,
        idle >> 20,
        idle.saturating_sub(before) / IDLE as u64,
        after >> 20,
    );
    assert!(beside <= quiet.max(QUIET_MIN) * 2, "p99 {beside:?}, quiet {quiet:?}");
    assert!(after - before < GROWTH_MAX, "RSS grew from {} to {} MiB", before >> 20, after >> 20);
    // They were put away, not closed.
    let mut stream = held.swap_remove(0);
    request(&mut stream, &paths[0]).await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_writes_all_before_it_reads() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let piece = vec![0; 1 << 20];
    for round in 0..100 {
        let head = format!("{} /nothing HTTP/1.1\r\nhost: tests\r\ncontent-length: {}\r\n\r\n", Method::PUT, 50 << 20);
        let mut stream = sent(&cluster.nodes[0].http, &head).await;
        for _ in 0..50 {
            stream.write_all(&piece).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("]}"), "round {round}: {answer}");
    }
}

/// The 99th percentile of requests that begin at a fixed rate, each timed from when it should have begun.
async fn measure(address: &str, paths: &[String; 2]) -> Duration {
    let mut workers = JoinSet::new();
    let period = Duration::from_secs(1) * WORKERS / RATE;
    let start = Instant::now() + Duration::from_millis(50);
    for worker in 0..WORKERS {
        let (address, paths) = (address.to_owned(), paths.clone());
        workers.spawn(async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            sleep_until(start + period * worker / WORKERS).await;
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut times = Vec::new();
            while start.elapsed() < MEASURED {
                let due = ticks.tick().await;
                request(&mut stream, &paths[times.len() % 2]).await;
                times.push(due.elapsed());
            }
            times
        });
    }
    let mut times = Vec::new();
    while let Some(more) = workers.join_next().await {
        times.extend(more.unwrap());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

/// A whole GET on an open connection.
async fn request(stream: &mut TcpStream, path: &str) {
    let exchange = async {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: tests\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 16 << 10];
        let mut seen = 0;
        loop {
            let more = stream.read(&mut answer[seen..]).await.unwrap();
            assert!(more > 0, "closed: {}", String::from_utf8_lossy(&answer[..seen]));
            seen += more;
            let Some(head) = answer[..seen].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&answer[..head]).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if seen == head + 4 + length.parse::<usize>().unwrap() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(30), exchange).await.expect("an answer");
}

async fn sent(address: &str, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// The server raises its own limit.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    assert!(limit.maximum.is_none_or(|maximum| maximum > IDLE as u64 + 2_000), "{limit:?} is not enough");
}
