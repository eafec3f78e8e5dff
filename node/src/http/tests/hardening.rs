//! What strange, slow and greedy clients get: raw bytes over real connections.

use super::*;
use crate::http::server::Settings as Listener;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: Duration = Duration::from_secs(20);

/// Short ones, so that no test waits for long.
fn short() -> Limits {
    let (head, idle) = (Duration::from_millis(300), Duration::from_millis(900));
    Limits { head, idle, progress: Duration::from_millis(300), ..Limits::default() }
}

async fn limited(limits: Limits) -> Cluster {
    let mut cluster = Cluster::of(0).await;
    let shared: Arc<dyn MetadataStore> = cluster.metadata.clone();
    let blobs = Arc::new(cluster.blobs.clone());
    let registry = Registry::new(shared, blobs, cluster.lifecycle.clone(), Settings::default());
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let front = Front::new(Setup { limits, ..Setup::new(registry, cluster.readiness.subscribe(), metrics) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster.nodes.push(listener.local_addr().unwrap());
    let settings = Listener { limits, ..Listener::default() };
    let handler = move |request| front.clone().handle(request);
    cluster.lifecycle.spawn(server::serve_with(listener, cluster.lifecycle.clone(), settings, handler));
    cluster
}

async fn connect(cluster: &Cluster) -> TcpStream {
    TcpStream::connect(cluster.nodes[0]).await.unwrap()
}

/// Sends bytes and reads until the server closes; the time limit tells of one that does not.
async fn exchange(cluster: &Cluster, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(cluster).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    to_end(&mut stream).await
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("it closes").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// One answer with a length, from a connection that may stay open.
async fn one(stream: &mut TcpStream) -> String {
    let read = async {
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some(head) = text.find("\r\n\r\n") {
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                if answer.len() >= head + 4 + length {
                    return text;
                }
            }
            let before = answer.len();
            answer.resize(before + 1, 0);
            stream.read_exact(&mut answer[before..]).await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, read).await.expect("an answer")
}

#[track_caller]
fn refused(answer: &str, status: &str, what: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect(what);
    assert!(head.contains("connection: close"), "{what}: {head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{what}: {answer}");
    let body: serde_json::Value = serde_json::from_str(body).expect(what);
    assert!(body["errors"][0]["code"].is_string() && body["errors"][0]["message"].is_string(), "{what}: {body}");
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let cluster = super::outside::configured("http2: {disabled: true}").await;
    let answer = exchange(&cluster, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    refused(&answer, "505", "prior knowledge");
    cluster.get("/v2/").await.expect(200);
}

/// RFC 9112, 6.1 and 6.3; each is followed by what a smuggler would like to be read as a second request.
#[tokio::test]
async fn a_body_whose_end_is_in_doubt_is_refused_and_the_connection_closed() {
    let cluster = Cluster::of(1).await;
    let forms = [
        "content-length: 4\r\ncontent-length: 5",
        "content-length: 4, 5",
        "content-length: 4,4",
        "content-length: +4",
        "content-length: -1",
        "content-length: 0x4",
        "content-length: 4 4",
        "content-length: ",
        "content-length: 99999999999999999999",
        "content-length : 4",
        "transfer-encoding: gzip",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;a=b",
        "transfer-encoding:\x0bchunked",
        "transfer-encoding : chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        " transfer-encoding: chunked",
        "x: y\r\n transfer-encoding: chunked",
    ];
    for form in forms {
        let bytes = format!(
            "PUT /v2/a/manifests/t HTTP/1.1\r\nhost: r\r\n{form}\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nhost: r\r\n\r\n"
        );
        let answer = exchange(&cluster, bytes).await;
        refused(&answer, "400", form);
        assert!(answer.contains("not well-formed HTTP"), "{form}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{form}: {answer}");
    }
}

/// RFC 9112, 6.1: such a request may be refused or read as chunked, but the connection must be closed after it.
#[tokio::test]
async fn nothing_is_read_after_a_request_with_a_length_and_an_encoding() {
    let cluster = Cluster::of(1).await;
    let forms = [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: nonsense",
    ];
    for form in forms {
        let bytes = format!(
            "PUT /v2/a/manifests/t HTTP/1.1\r\nhost: r\r\n{form}\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nhost: r\r\n\r\n"
        );
        let answer = exchange(&cluster, bytes).await;
        refused(&answer, "400", form);
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{form}: {answer}");
    }
    // HTTP/1.0 has no encodings.
    let answer = exchange(&cluster, "PUT /v2/ HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(answer.contains(" 400 "), "{answer}");
}

#[tokio::test]
async fn bad_chunks_end_the_connection() {
    let cluster = Cluster::of(1).await;
    for chunk in
        ["x\r\nabc\r\n", "-1\r\na\r\n", "3\r\nabcX\r\n", "fffffffffffffffff\r\na\r\n", "1 1\r\na\r\n", "1\na\r\n"]
    {
        let head = "PUT /v2/a/manifests/t HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = exchange(&cluster, format!("{head}{chunk}0\r\n\r\nGET /livez HTTP/1.1\r\nhost: r\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{chunk:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{chunk:?}: {answer}");
    }
}

/// RFC 9112, 3.2
#[tokio::test]
async fn a_request_has_one_host() {
    let cluster = Cluster::of(1).await;
    for hosts in [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nhost: b\r\n",
        "host: a b\r\n",
        "host: a/b\r\n",
        "host: a@b\r\n",
        "host: a:port\r\n",
        "host: [::1\r\n",
    ] {
        refused(&exchange(&cluster, format!("GET /v2/ HTTP/1.1\r\n{hosts}\r\n")).await, "400", hosts);
    }
    for host in ["r", "r:5000", "[::1]:5000", "127.0.0.1", ""] {
        let answer =
            exchange(&cluster, format!("GET /v2/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    assert!(exchange(&cluster, "GET /v2/ HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 "));
}

/// RFC 9112, 3.2
#[tokio::test]
async fn targets_are_paths_or_urls() {
    let cluster = Cluster::of(1).await;
    let answer = exchange(&cluster, "GET http://x/v2/ HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{}"), "{answer}");
    let cases = [
        ("OPTIONS *", "400"),
        ("GET *", "400"),
        ("GET r:443", "400"),
        ("CONNECT r:443", "405"),
        ("CONNECT /v2/", "405"),
        ("TRACE /v2/", "405"),
        ("GET v2/", "400"),
        ("GET /v2/\u{7f}", "400"),
        ("GET  /v2/", "400"),
    ];
    for (line, status) in cases {
        refused(&exchange(&cluster, format!("{line} HTTP/1.1\r\nhost: r\r\n\r\n")).await, status, line);
    }
    for line in ["get /v2/", "BREW /v2/", "POST /v2/", "OPTIONS /v2/", "Get /v2/a/tags/list"] {
        let answer = exchange(&cluster, format!("{line} HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n")).await;
        refused(&answer, "405", line);
        assert!(answer.contains("\r\nallow: GET"), "{line}: {answer}");
    }
}

#[tokio::test]
async fn large_heads_are_refused_with_a_reason() {
    let cluster = Cluster::of(1).await;
    let long = "x".repeat(9 << 10);
    let huge = "x".repeat(70 << 10);
    let many: String = (0..120).map(|n| format!("x-{n}: y\r\n")).collect();
    let cases = [
        (format!("GET /{long} HTTP/1.1\r\nhost: r\r\n\r\n"), "414"),
        (format!("GET /{huge} HTTP/1.1\r\nhost: r\r\n\r\n"), "414"),
        (format!("GET /v2/ HTTP/1.1\r\nhost: r\r\nx: {huge}\r\n\r\n"), "431"),
        (format!("GET /v2/ HTTP/1.1\r\nhost: r\r\n{many}\r\n"), "431"),
    ];
    for (bytes, status) in cases {
        refused(&exchange(&cluster, &bytes).await, status, &bytes[..60]);
    }
    let enough: String = (0..98).map(|n| format!("x-{n}: {}\r\n", "y".repeat(200))).collect();
    let answer = exchange(&cluster, format!("GET /v2/ HTTP/1.1\r\nhost: r\r\n{enough}connection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// RFC 9110, 9.3.2
#[tokio::test]
async fn the_answer_to_a_head_has_no_body() {
    let cluster = Cluster::of(1).await;
    let many: String = (0..120).map(|n| format!("x-{n}: y\r\n")).collect();
    for rest in
        ["/v2/a<b>/ HTTP/1.1\r\nhost: r\r\n\r\n", "/v2/ HTTP/1.1\r\n\r\n", &format!("/v2/ HTTP/1.1\r\n{many}\r\n")]
    {
        let answer = exchange(&cluster, format!("HEAD {rest}")).await;
        assert!(answer.starts_with("HTTP/1.1 4") && answer.ends_with("\r\n\r\n"), "{answer}");
        let mut stream = connect(&cluster).await;
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: r\r\n\r\n").await.unwrap();
        one(&mut stream).await;
        stream.write_all(format!("HEAD {rest}").as_bytes()).await.unwrap();
        let answer = to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 4") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_is_answered() {
    let cluster = Cluster::of(1).await;
    let digest = digest_of(b"abc");
    for request in [
        "GET /v2/ HTTP/1.1\r\nhost: r\r\n\r\n".to_owned(),
        format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: r\r\ncontent-length: 3\r\n\r\nabc"),
    ] {
        let mut stream = connect(&cluster).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(to_end(&mut stream).await.starts_with("HTTP/1.1 20"), "{request}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_http_get_an_answer_in_http() {
    let cluster = Cluster::of(1).await;
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.resize(517, b'x');
    refused(&exchange(&cluster, hello).await, "400", "a TLS hello");
    for bytes in
        ["\0\0\0\0", "nonsense\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n: x\r\n\r\n"]
    {
        refused(&exchange(&cluster, bytes).await, "400", bytes);
    }
    // Also after a good request.
    let mut stream = connect(&cluster).await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: r\r\n\r\n").await.unwrap();
    assert!(one(&mut stream).await.ends_with("{}"));
    stream.write_all(b"\0\0\0\0").await.unwrap();
    refused(&to_end(&mut stream).await, "400", "second request");
}

/// Such content must not be taken for an answer of the HTTP library.
#[tokio::test]
async fn content_may_look_like_an_answer() {
    let cluster = Cluster::of(1).await;
    let content = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for filler in [0, 1 << 10, 300 << 10] {
        let bytes = [&vec![b'x'; filler][..], content].concat();
        let digest = digest_of(&bytes);
        let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
        for piece in [&bytes[..filler], &content[..]] {
            cluster.send(Method::PATCH, &opened.location(), &[], piece.to_vec()).await.expect(202);
        }
        cluster.send(Method::PUT, &format!("{}?digest={digest}", opened.location()), &[], "").await.expect(201);
        assert_eq!(cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body, bytes);
    }
}

#[tokio::test]
async fn http_1_0_gets_whole_answers_of_its_version() {
    let cluster = Cluster::of(1).await;
    let digest = cluster.push_blob("a", &[b'x'; 70_000]).await;
    for path in ["/v2/".to_owned(), format!("/v2/a/blobs/{digest}"), "/nothing".to_owned()] {
        let answer = exchange(&cluster, format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.0 ") && !answer.contains("chunked"), "{answer:.300}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
    let mut stream = connect(&cluster).await;
    for _ in 0..3 {
        stream.write_all(b"GET /v2/ HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await.unwrap();
        let answer = one(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.0 200 ") && answer.contains("connection: keep-alive"), "{answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let cluster = Cluster::of(1).await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: r\r\n\r\n");
    let last = "GET /livez HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n";
    let answer = exchange(&cluster, request("/v2/") + &request("/nothing") + last).await;
    let statuses: Vec<_> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "404", "200"], "{answer}");
}

#[tokio::test]
async fn a_head_must_come_in_time() {
    let cluster = limited(short()).await;
    refused(&exchange(&cluster, "GET /v2/ HTTP/1.1\r\nhos").await, "408", "half a head");
    // Byte by byte, faster than any pause but never done.
    let mut stream = connect(&cluster).await;
    let began = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        let _ = writer.write_all(b"GET /v2/ HTTP/1.1\r\n").await;
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        result = reader.read_to_end(&mut answer) => drop(result.unwrap()),
        () = drip => {}
    }
    assert!(began.elapsed() < LIMIT);
    refused(&String::from_utf8_lossy(&answer), "408", "byte by byte");
    // Also on a connection that had requests.
    let mut stream = connect(&cluster).await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: r\r\n\r\n").await.unwrap();
    one(&mut stream).await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\n").await.unwrap();
    refused(&to_end(&mut stream).await, "408", "second head");
    // One that says nothing is closed without a word.
    assert_eq!(exchange(&cluster, "").await, "");
}

#[tokio::test]
async fn a_connection_that_rested_goes_on_and_an_idle_one_is_closed() {
    let cluster = limited(short()).await;
    let mut stream = connect(&cluster).await;
    for rest in [0, 250, 0, 400] {
        tokio::time::sleep(Duration::from_millis(rest)).await;
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: r\r\n\r\n").await.unwrap();
        assert!(one(&mut stream).await.starts_with("HTTP/1.1 200 "));
    }
    let began = Instant::now();
    assert_eq!(to_end(&mut stream).await, "");
    assert!(began.elapsed() >= Duration::from_millis(850), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_trickling_body_is_answered_408() {
    let cluster = limited(short()).await;
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    let location = opened.location();
    for line in [format!("PATCH {location}"), "PUT /v2/a/manifests/t".to_owned()] {
        let mut stream = connect(&cluster).await;
        let head = format!("{line} HTTP/1.1\r\nhost: r\r\ncontent-length: 100000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let drip = async {
            while writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let read = tokio::time::timeout(LIMIT, reader.read_to_end(&mut answer));
        tokio::select! {
            result = read => drop(result.unwrap().unwrap()),
            () = drip => {}
        }
        refused(&String::from_utf8_lossy(&answer), "408", &line);
    }
    // 1 KiB in each time is enough for an upload, but a manifest must be there in twice the time.
    let slow = |line: String| {
        let cluster = &cluster;
        async move {
            let mut stream = connect(cluster).await;
            let head = format!("{line} HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: 20000\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let drip = async {
                for _ in 0..20 {
                    if writer.write_all(&[b'x'; 1000]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }
                std::future::pending::<()>().await;
            };
            let mut answer = Vec::new();
            tokio::select! {
                result = reader.read_to_end(&mut answer) => drop(result.unwrap()),
                () = drip => {}
            }
            String::from_utf8_lossy(&answer).into_owned()
        }
    };
    refused(&slow("PUT /v2/a/manifests/t".to_owned()).await, "408", "a slow manifest");
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    let answer = slow(format!("PATCH {}", opened.location())).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_given_up() {
    let cluster = limited(short()).await;
    let bytes = vec![7; 32 << 20];
    let digest = cluster.push_blob("a", &bytes).await;
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: r\r\n\r\n");
    let mut stream = connect(&cluster).await;
    stream.write_all(get.as_bytes()).await.unwrap();
    // It learns of it when it reads at last: what the sockets held, then the end.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut read = Vec::new();
    let end = tokio::time::timeout(LIMIT, stream.read_to_end(&mut read)).await.expect("the connection ended");
    assert!(end.is_err() || read.len() < bytes.len(), "{} bytes", read.len());
    // One that reads, with pauses, is not.
    let mut stream = connect(&cluster).await;
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut piece = vec![0; 8 << 20];
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        stream.read_exact(&mut piece).await.unwrap();
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let cluster = limited(Limits { connections: 2, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&cluster).await;
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: r\r\n\r\n").await.unwrap();
        one(&mut stream).await;
        held.push(stream);
    }
    let answer = exchange(&cluster, "GET /v2/ HTTP/1.1\r\nhost: r\r\n\r\n").await;
    refused(&answer, "503", "a third");
    assert!(answer.contains("\r\nretry-after: ") && answer.contains("\"UNAVAILABLE\""), "{answer}");
    held.clear();
    let began = Instant::now();
    while !exchange(&cluster, "GET /v2/ HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n").await.contains(" 200 ") {
        assert!(began.elapsed() < LIMIT);
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_so_but_probes_are_answered() {
    let cluster = limited(Limits { requests: 1, ..Limits::default() }).await;
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    let mut stream = connect(&cluster).await;
    let head =
        format!("PATCH {} HTTP/1.1\r\nhost: r\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n", opened.location());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    let refused = cluster.get("/v2/").await.expect(503);
    assert_eq!(refused.field("retry-after"), "5");
    assert_eq!(refused.code(), "UNAVAILABLE");
    cluster.get("/readyz").await.expect(200);
    stream.write_all(b"123456789").await.unwrap();
    assert!(one(&mut stream).await.starts_with("HTTP/1.1 202 "));
    cluster.get("/v2/").await.expect(200);
}

/// A client that writes all before it reads.
#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let cluster = Cluster::of(1).await;
    let body = vec![0; 1 << 20];
    for round in 0..20 {
        let mut stream = connect(&cluster).await;
        let head = format!("PUT /nothing HTTP/1.1\r\nhost: r\r\ncontent-length: {}\r\n\r\n", 50 << 20);
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..50 {
            stream.write_all(&body).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        refused(&to_end(&mut stream).await, "404", "50 MiB");
    }
    // A short rest is read, and the connection goes on.
    let mut stream = connect(&cluster).await;
    for _ in 0..3 {
        stream.write_all(b"PUT /nothing HTTP/1.1\r\nhost: r\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        stream.write_all(&body[..100_000]).await.unwrap();
        assert!(one(&mut stream).await.starts_with("HTTP/1.1 404 "));
    }
}

#[tokio::test]
async fn an_unknown_expectation_does_no_harm() {
    let cluster = Cluster::of(1).await;
    let request = "GET /v2/ HTTP/1.1\r\nhost: r\r\nexpect: the-unexpected\r\nconnection: close\r\n\r\n";
    assert!(exchange(&cluster, request).await.starts_with("HTTP/1.1 200 "));
}
