//! A node as a whole, in this process.

use super::run;
use crate::{config, lifecycle::Lifecycle};
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Status and body of a page.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned()))
}

/// Name and type of every metric in the tables of the page.
fn documented() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut metrics = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, kind) = (cells[1].trim_matches('`'), cells[2]);
        assert!(metrics.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is documented twice");
    }
    metrics
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docs_list_every_metric_of_a_started_node() {
    let dir = tempfile::tempdir().unwrap();
    let ops = free_address();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    // Everything on that has figures of its own.
    let text = serde_json::json!({
        "storage": {"filesystem": {"rootdirectory": dir.path().join("store")}},
        "http": {
            "addr": "127.0.0.1:0",
            "debug": {"addr": ops.to_string()},
            "tls": {
                "certificate": file("tls.crt", &signed.cert.pem()),
                "key": file("tls.key", &signed.signing_key.serialize_pem()),
            },
        },
        "audit": {"enabled": true, "path": dir.path().join("audit.log")},
    });
    let config = config::from_yaml(&text.to_string(), []).unwrap().config;
    let lifecycle = Lifecycle::new();
    let node = run(config, lifecycle.clone());
    let look = async {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !get(ops, "/readyz").await.is_ok_and(|(status, _)| status == "200") {
            assert!(Instant::now() < deadline, "not ready");
            sleep(Duration::from_millis(20)).await;
        }
        let (_, metrics) = get(ops, "/metrics").await.unwrap();
        lifecycle.leave();
        metrics
    };
    let (ended, metrics) = tokio::join!(node, look);
    ended.unwrap();
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let exported: BTreeMap<String, String> = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    let documented = documented();
    let missing: Vec<_> = exported.iter().filter(|(name, kind)| documented.get(*name) != Some(kind)).collect();
    let gone: Vec<_> = documented.keys().filter(|name| !exported.contains_key(*name)).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/metrics.md lacks {missing:#?} and has {gone:#?}");
}
