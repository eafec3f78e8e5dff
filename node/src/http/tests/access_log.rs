//! Lines of the access log, of real requests.

use super::outside::noted;
use super::*;
use crate::telemetry::LogWriter;
use std::{io::Write, sync::Mutex, time::Duration};
use tokio::io::AsyncWriteExt;

/// Lines end here.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Logged {
    cluster: Cluster,
    sink: Sink,
    log: AccessLog,
}

/// A registry with the user `ann` that believes what comes from this machine.
async fn logged() -> Logged {
    let hash = bcrypt::hash("se:cret", 4).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "ann:{hash}").unwrap();
    let users = crate::auth::Htpasswd::open(file.path(), 2).unwrap();
    let access = Access::users(crate::auth::Passwords { realm: "r".into(), users });
    let sink = Sink::default();
    let log = AccessLog::Combined(LogWriter::start(sink.clone()).unwrap());
    let cluster = noted("trustedproxies: [127.0.0.1]", access, log.clone()).await;
    Logged { cluster, sink, log }
}

impl Logged {
    /// The lines so far.
    fn lines(&self) -> Vec<String> {
        self.log.flush(Duration::from_secs(10));
        String::from_utf8(self.sink.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The first line in which all of `words` are.
    async fn line_with(&self, words: &[&str]) -> String {
        let find = async {
            loop {
                let lines = self.lines();
                if let Some(line) = lines.iter().find(|line| words.iter().all(|word| line.contains(word))) {
                    return line.clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), find)
            .await
            .unwrap_or_else(|_| panic!("{words:?} in {:?}", self.lines()))
    }
}

const ANN: (&str, &str) = ("authorization", "Basic YW5uOnNlOmNyZXQ=");

#[tokio::test]
async fn a_line_has_the_client_the_user_and_no_secret() {
    let logged = logged().await;
    let upload = "/v2/a/blobs/uploads/?digest=sha256:zz&_state=hush1&token=hush2";
    let fields = [ANN, ("x-forwarded-for", "9.9.9.9, 192.0.2.7"), ("user-agent", "docker/27.0"), ("cookie", "hush3")];
    logged.cluster.send(Method::POST, upload, &fields, "").await.expect(400);
    logged.cluster.send(Method::GET, "/v2/", &[("authorization", "Bearer hush4")], "").await.expect(401);
    logged.cluster.send(Method::GET, "/v2/", &[ANN, ("referer", "https://ui/?hush5")], "").await.expect(200);
    let lines = logged.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("192.0.2.7 - ann [")
            && lines[0].contains("+0000] \"POST /v2/a/blobs/uploads/ HTTP/1.1\" 400 "),
        "{lines:?}"
    );
    assert!(lines[0].ends_with(" \"-\" \"docker/27.0\""), "{lines:?}");
    assert!(lines[1].starts_with("127.0.0.1 - - [") && lines[1].contains("\"GET /v2/ HTTP/1.1\" 401 "), "{lines:?}");
    assert!(lines[2].ends_with("\"GET /v2/ HTTP/1.1\" 200 2 \"https://ui/\" \"-\""), "{lines:?}");
    let all = lines.join("\n");
    assert!(
        !all.contains("hush") && !all.contains("se:cret") && !all.contains("YW5uOn") && !all.contains("9.9.9.9"),
        "{all}"
    );
}

#[tokio::test]
async fn no_request_forges_a_line() {
    let logged = logged().await;
    let forged = "x\" 200 1 \"-\" \"-\"";
    let fields = [ANN, ("user-agent", forged), ("referer", forged), ("x-forwarded-for", "[::1], 1.1.1.1\" x\t")];
    logged.cluster.send(Method::GET, "/v2/%0a127.0.0.1%20-%20-/tags/list", &fields, "").await.expect(400);
    for bytes in [
        &b"GET /v2/a\"b/x HTTP/1.1\r\nhost: r\r\nuser-agent: a\x80\xff\tb\r\nconnection: close\r\n\r\n"[..],
        b"GE\"T /v2/ HTTP/1.1\r\nhost: r\r\nuser-agent: \\\r\nconnection: close\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(logged.cluster.nodes[0]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
    }
    let lines = logged.lines();
    for line in &lines {
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
        // Three quoted texts, whatever was in them.
        let bare = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(bare.matches('"').count(), 6, "{line}");
    }
    let expected = "\"GET /v2/%0a127.0.0.1%20-%20-/tags/list HTTP/1.1\" 400 ";
    assert!(lines[0].starts_with("127.0.0.1 - ") && lines[0].contains(expected), "{lines:?}");
    let escaped = "\"x\\\" 200 1 \\\"-\\\" \\\"-\\\"\"";
    assert!(lines[0].ends_with(&format!("{escaped} {escaped}")), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("\"a\\x80\\xff\\x09b\"")), "{lines:?}");
}

#[tokio::test]
async fn a_client_that_went_away_is_logged_as_such() {
    let logged = logged().await;
    let opened = logged.cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[ANN], "").await.expect(202);
    let mut stream = TcpStream::connect(logged.cluster.nodes[0]).await.unwrap();
    let head = format!(
        "PATCH {} HTTP/1.1\r\nhost: r\r\nauthorization: {}\r\ncontent-length: 1000\r\n\r\nonly this",
        opened.location(),
        ANN.1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    let line = logged.line_with(&["\"PATCH "]).await;
    assert!(line.contains(" HTTP/1.1\" 499 "), "{line}");
}
