//! A cluster of `flotilla serve` processes on loopback ports.

use crate::{
    garage::Garage,
    http::Client,
    ports,
    process::{Process, output},
    wait_for,
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// The server's program: `FLOTILLA_BIN`, else the release build of this workspace.
pub fn server() -> PathBuf {
    std::env::var_os("FLOTILLA_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
        target.join("release/flotilla")
    })
}

/// The operator's program, beside the server's.
pub fn operator() -> PathBuf {
    server().with_file_name("flotillactl")
}

/// Asks the node of a data directory through `flotillactl`; the exit code is part of the answer.
pub async fn operate(data: &Path, arguments: &[&str], limit: Duration) -> Result<Output> {
    output(Command::new(operator()).args(arguments).arg("--data").arg(data), limit).await
}

/// Where the bytes go.
#[derive(Clone, Debug)]
pub enum Storage {
    /// A directory that all nodes share.
    Directory(PathBuf),
    /// A bucket.
    S3 {
        /// `host:port`
        endpoint: String,
        /// Bucket
        bucket: String,
        /// Access key
        access_key: String,
        /// Secret key
        secret_key: String,
    },
}

impl Storage {
    /// A new bucket of `garage`.
    pub async fn garage(garage: &Garage) -> Result<Self> {
        Ok(Self::S3 {
            endpoint: garage.s3.clone(),
            bucket: garage.bucket().await?,
            access_key: garage.access_key.clone(),
            secret_key: garage.secret_key.clone(),
        })
    }

    /// Section `storage`; blobs are streamed through the node.
    pub fn yaml(&self) -> String {
        self.yaml_with(false)
    }

    fn yaml_with(&self, redirects: bool) -> String {
        let driver = match self {
            Self::Directory(dir) => format!("  filesystem:\n    rootdirectory: {}\n", dir.display()),
            Self::S3 { endpoint, bucket, access_key, secret_key } => format!(
                "  s3:\n    bucket: {bucket}\n    region: garage\n    regionendpoint: http://{endpoint}\n    \
                 accesskey: {access_key}\n    secretkey: {secret_key}\n    forcepathstyle: true\n    \
                 rootdirectory: /registry\n"
            ),
        };
        format!("storage:\n{driver}  delete:\n    enabled: true\n  redirect:\n    disable: {}\n", !redirects)
    }
}

/// What a node says about itself (`flotillactl status --hash --json`).
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Status {
    /// Its id.
    pub node_id: serde_json::Value,
    /// `leader`, `follower` or `learner`
    pub role: String,
    /// The leader's id, when known.
    pub leader: Option<serde_json::Value>,
    /// Term
    pub term: u64,
    /// Index of the last entry it applied.
    pub applied_index: u64,
    /// The members, each with `id` and `voter`.
    pub members: Vec<serde_json::Value>,
    /// Hash of its state.
    pub state_hash: Option<StateHash>,
}

/// The state's hash at an index.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct StateHash {
    /// Index of the last entry in it.
    pub index: u64,
    /// Hexadecimal.
    pub sha256: String,
}

/// Describes a cluster to start.
pub struct Builder {
    nodes: usize,
    storage: Option<Storage>,
    redirects: bool,
    http_extra: String,
    cluster_extra: String,
    extra: String,
}

impl Builder {
    /// How many nodes; 3 unless told.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Where the bytes go; a directory of the cluster's own unless told.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Whether blobs are read by a redirect to the store; not so unless told.
    #[must_use]
    pub fn redirects(mut self) -> Self {
        self.redirects = true;
        self
    }

    /// Lines for the section `http`, indented by two.
    #[must_use]
    pub fn http_section(mut self, lines: &str) -> Self {
        self.http_extra = lines.to_owned();
        self
    }

    /// Lines for the section `cluster`, indented by two.
    #[must_use]
    pub fn cluster_section(mut self, lines: &str) -> Self {
        self.cluster_extra = lines.to_owned();
        self
    }

    /// Further sections.
    #[must_use]
    pub fn sections(mut self, lines: &str) -> Self {
        self.extra = lines.to_owned();
        self
    }

    /// Writes the configurations, starts no process.
    pub fn prepare(self) -> Result<Cluster> {
        let dir = TempDir::new()?;
        let storage = self.storage.unwrap_or_else(|| Storage::Directory(dir.path().join("store")));
        let mut nodes: Vec<Node> = (0..self.nodes).map(|number| Node::new(dir.path(), number)).collect();
        let peers: Vec<_> = nodes.iter().map(|node| format!("\"{}\"", node.cluster)).collect();
        for node in &mut nodes {
            std::fs::create_dir_all(&node.data)?;
            let text = format!(
                "version: 0.1\nlog:\n  level: info\n  formatter: json\nhttp:\n  addr: {http}\n  debug:\n    addr: {ops}\n\
                 {http_extra}{storage}cluster:\n  name: tests\n  datadir: {data}\n  addr: {cluster}\n  advertise: {cluster}\n  \
                 peers: [{peers}]\n  bootstrapexpect: {count}\n{cluster_extra}{extra}",
                http = node.http,
                ops = node.ops,
                storage = storage.yaml_with(self.redirects),
                data = node.data.display(),
                cluster = node.cluster,
                peers = peers.join(", "),
                count = self.nodes,
                http_extra = self.http_extra,
                cluster_extra = self.cluster_extra,
                extra = self.extra,
            );
            std::fs::write(&node.config, text)?;
        }
        Ok(Cluster { nodes, storage, dir })
    }

    /// Starts all nodes and waits until each is ready.
    pub async fn start(self) -> Result<Cluster> {
        let mut cluster = self.prepare()?;
        for number in 0..cluster.nodes.len() {
            cluster.nodes[number].start()?;
        }
        cluster.wait_ready().await;
        Ok(cluster)
    }
}

/// One node: its addresses, its files and its process.
pub struct Node {
    /// Configuration file.
    pub config: PathBuf,
    /// Data directory.
    pub data: PathBuf,
    /// Public address.
    pub http: String,
    /// Ops address.
    pub ops: String,
    /// Cluster address.
    pub cluster: String,
    /// Environment variables for its process.
    pub environment: Vec<(String, String)>,
    log: PathBuf,
    process: Option<Process>,
}

impl Node {
    fn new(dir: &Path, number: usize) -> Self {
        Self {
            config: dir.join(format!("node{number}.yml")),
            data: dir.join(format!("node{number}")),
            log: dir.join(format!("node{number}.log")),
            http: ports::address(),
            ops: ports::address(),
            cluster: ports::address(),
            environment: Vec::new(),
            process: None,
        }
    }

    /// Starts the process, which must not run.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(server());
        command.arg("serve").arg(&self.config).envs(self.environment.iter().cloned());
        self.process = Some(Process::start(&self.http, &mut command, &self.log)?);
        Ok(())
    }

    /// Its process.
    ///
    /// # Panics
    /// When it was not started.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the node was started")
    }

    /// What it wrote into its log, in all its lives.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM; fails when it does not end with code 0 within a minute.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.terminate(Duration::from_secs(60)).await?;
        anyhow::ensure!(status.success(), "{status}; {}", process.log_tail());
        Ok(())
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Whether its ops address says ready.
    pub async fn is_ready(&self) -> bool {
        let answer = Client::new([self.ops.clone()]).get("/readyz").await;
        answer.is_ok()
    }

    /// A client of this node alone.
    pub fn client(&self) -> Client {
        Client::new([self.http.clone()])
    }

    /// Asks it through `flotillactl`.
    pub async fn operate(&self, arguments: &[&str], limit: Duration) -> Result<Output> {
        operate(&self.data, arguments, limit).await
    }

    /// What it says about itself.
    pub async fn status(&self) -> Result<Status> {
        let answer = self.operate(&["status", "--hash", "--json"], LIMIT).await?;
        let text = String::from_utf8_lossy(&answer.stdout);
        anyhow::ensure!(answer.status.success(), "{}: {}", answer.status, String::from_utf8_lossy(&answer.stderr));
        serde_json::from_str(&text).with_context(|| format!("status: {text}"))
    }
}

/// Several nodes.
pub struct Cluster {
    /// The nodes, in the order of their configuration.
    pub nodes: Vec<Node>,
    /// Where the bytes go.
    pub storage: Storage,
    dir: TempDir,
}

impl Cluster {
    /// Describes one.
    pub fn builder() -> Builder {
        Builder {
            nodes: 3,
            storage: None,
            redirects: false,
            http_extra: String::new(),
            cluster_extra: String::new(),
            extra: String::new(),
        }
    }

    /// A folder that lives as long as the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The public addresses.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.http.clone()).collect()
    }

    /// A client that sprays its requests over all nodes.
    pub fn client(&self) -> Client {
        Client::new(self.addresses())
    }

    /// Waits until every node that runs is ready.
    pub async fn wait_ready(&mut self) {
        for node in &mut self.nodes {
            if node.process.is_none() {
                continue;
            }
            let start = std::time::Instant::now();
            while !node.is_ready().await {
                let process = node.process();
                assert!(process.is_running(), "a node ended: {}", process.log_tail());
                assert!(start.elapsed() < Duration::from_secs(60), "not ready: {}", process.log_tail());
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }

    /// Waits until a node leads, and gives its number.
    pub async fn leader(&self) -> usize {
        wait_for("a leader", LIMIT, || async {
            for (number, node) in self.nodes.iter().enumerate() {
                if node.process.is_some() && node.status().await.is_ok_and(|status| status.role == "leader") {
                    return Some(number);
                }
            }
            None
        })
        .await
    }

    /// Starts a node again and waits until it is ready.
    pub async fn restart(&mut self, number: usize) -> Result<()> {
        self.nodes[number].start()?;
        self.wait_ready().await;
        Ok(())
    }

    /// Empties the data directory of a node that does not run.
    pub fn wipe(&mut self, number: usize) -> Result<()> {
        assert!(self.nodes[number].process.is_none(), "a running node is not wiped");
        std::fs::remove_dir_all(&self.nodes[number].data)?;
        std::fs::create_dir_all(&self.nodes[number].data)?;
        Ok(())
    }

    /// Waits until all nodes report the same state hash at the same index, and gives it.
    pub async fn wait_equal_hash(&self) -> StateHash {
        wait_for("equal state hashes at one index", Duration::from_secs(60), || async {
            let mut hashes = Vec::new();
            for node in &self.nodes {
                hashes.push(node.status().await.ok()?.state_hash?);
            }
            for hash in &hashes {
                if hash.index == hashes[0].index {
                    assert_eq!(hash.sha256, hashes[0].sha256, "states differ at index {}", hash.index);
                }
            }
            hashes.iter().all(|hash| *hash == hashes[0]).then(|| hashes[0].clone())
        })
        .await
    }
}
