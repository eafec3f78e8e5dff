use super::{files::Node, *};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn options(data: &std::path::Path) -> Options {
    Options {
        nodes: None,
        listen: "127.0.0.1:0".to_owned(),
        data: data.to_owned(),
        s3_endpoint: None,
        s3_bucket: None,
        s3_region: None,
    }
}

#[test]
fn ports_files_and_the_bucket_are_kept_and_configurations_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut with_bucket = options(folder.path());
    with_bucket.s3_bucket = Some("b".to_owned());
    with_bucket.s3_endpoint = Some("http://127.0.0.1:1".to_owned());
    let first = files::prepare(&with_bucket).unwrap();
    assert_eq!(first.nodes.len(), 3);
    assert!(files::prepare(&with_bucket).err().unwrap().to_string().contains("another `flotilla dev`"));
    first.write_report("127.0.0.1:5000".parse().unwrap(), &[1, 2, 3]).unwrap();
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("dev.json")).unwrap()).unwrap();
    assert_eq!(report["listen"], "127.0.0.1:5000");
    assert_eq!(report["nodes"][2]["pid"], 3);
    assert_eq!(report["nodes"][2]["http"], first.nodes[2].http.to_string());
    let nodes = first.nodes.clone();
    drop(first);

    let second = files::prepare(&options(folder.path())).unwrap();
    assert_eq!(second.nodes, nodes);
    let loaded = crate::config::load(Some(&nodes[1].config), []).unwrap();
    assert!(loaded.notices.is_empty(), "{:?}", loaded.notices);
    assert!(matches!(&loaded.config.storage.driver, crate::config::Driver::S3(s3) if s3.bucket == "b"));
    assert!(loaded.config.storage.delete);
    let cluster = loaded.config.cluster.unwrap();
    assert_eq!((cluster.bootstrap_expect, cluster.peers.len()), (3, 3));
    drop(second);
    let more = Options { nodes: Some(5), ..options(folder.path()) };
    assert!(files::prepare(&more).err().unwrap().to_string().contains("holds 3 nodes"));
}

fn node(http: SocketAddr) -> Node {
    Node { id: 1, http, cluster: http, ops: http, config: PathBuf::new(), log: PathBuf::new() }
}

async fn echo_once_ended(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    }
}

#[tokio::test]
async fn the_front_skips_dead_nodes_and_keeps_half_closed_connections() {
    let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nodes = [node(alive.local_addr().unwrap()), node(dead.local_addr().unwrap())];
    drop(dead);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(echo_once_ended(alive));
    tasks.spawn(async move {
        front::serve(listener, Arc::new(front::Backends::new(&nodes))).await;
    });
    let body = vec![7; 1 << 20];
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer == body);
    }
}

fn script(folder: &std::path::Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("program");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn signals() -> Signals {
    Signals { soft: CancellationToken::new(), hard: CancellationToken::new(), _watcher: tokio::task::JoinSet::new() }
}

#[tokio::test]
async fn a_node_that_fails_to_start_shows_its_log_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "#!/bin/sh\necho it is broken >&2\nexit 3\n");
    let error = run_program(options(&folder.path().join("data")), program, signals()).await.unwrap_err().to_string();
    assert!(error.contains("it is broken") && error.contains("exit status: 3"), "{error}");
}

#[tokio::test]
async fn a_signal_stops_every_process() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "#!/bin/sh\ntrap 'kill $! ; exit 0' TERM\nsleep 1000 &\nwait\n");
    let data = folder.path().join("data");
    let signals = signals();
    let soft = signals.soft.clone();
    let run = run_program(options(&data), program, signals);
    let stop = async {
        let config = loop {
            if let Ok(config) = data.join("node-3/config.yml").canonicalize()
                && nodes::running(&config).is_some()
            {
                break config;
            }
            tokio::task::yield_now().await;
        };
        soft.cancel();
        config
    };
    let (result, config) = tokio::join!(run, stop);
    result.unwrap();
    assert_eq!(nodes::running(&config), None);
}
