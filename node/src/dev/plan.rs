//! Which nodes there are, on which ports, with which configuration files. Kept in `dev.json` over restarts.

use super::Options;
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::TcpStream;

/// The content of `dev.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The front.
    pub(super) listen: SocketAddr,
    /// The nodes, in the order of their ids here (1, 2, …).
    pub(super) nodes: Vec<Node>,
    #[serde(skip)]
    data: PathBuf,
}

/// One node process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) id: usize,
    pub(super) pid: u32,
    /// Public address.
    pub(super) http: SocketAddr,
    /// Cluster address.
    pub(super) cluster: SocketAddr,
    /// Ops address.
    pub(super) ops: SocketAddr,
    /// Its configuration file.
    pub(super) config: PathBuf,
}

impl Plan {
    /// The plan of an earlier start on the same data, or a new one; configuration files are written.
    pub(super) async fn prepare(options: &Options) -> anyhow::Result<Self> {
        ensure!((1..=9).contains(&options.nodes), "--nodes must be 1 to 9");
        fs::create_dir_all(&options.data).with_context(|| format!("cannot create {}", options.data.display()))?;
        let data = fs::canonicalize(&options.data)?;
        let nodes = match fs::read(data.join("dev.json")) {
            Ok(text) => Self::known_nodes(&text, options).await?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_nodes(options.nodes, &data)?,
            Err(error) => return Err(error).context("dev.json"),
        };
        let plan = Self { listen: options.listen, nodes, data };
        for node in &plan.nodes {
            fs::create_dir_all(plan.node_dir(node.id))?;
            let text = serde_yaml_ng::to_string(&plan.config(node, options)).context("configuration")?;
            fs::write(&node.config, text).with_context(|| format!("cannot write {}", node.config.display()))?;
        }
        Ok(plan)
    }

    async fn known_nodes(text: &[u8], options: &Options) -> anyhow::Result<Vec<Node>> {
        let known: Self =
            serde_json::from_slice(text).context("dev.json is damaged: remove it, or the whole data directory")?;
        ensure!(
            known.nodes.len() == options.nodes,
            "{} was made with --nodes {}: use that, or another --data",
            options.data.display(),
            known.nodes.len()
        );
        for node in &known.nodes {
            let connected = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(node.cluster)).await;
            if matches!(connected, Ok(Ok(_))) {
                bail!(
                    "node {} of {} still runs (port {}): stop it first",
                    node.id,
                    options.data.display(),
                    node.cluster
                );
            }
        }
        Ok(known.nodes)
    }

    /// Writes `dev.json`, so that a reader sees the old or the new one.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let new = self.data.join("dev.json.tmp");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&new, self.data.join("dev.json")).context("dev.json")
    }

    /// Where a node's metadata and log lie.
    pub(super) fn node_dir(&self, id: usize) -> PathBuf {
        self.data.join(format!("node-{id}"))
    }

    /// A node's log.
    pub(super) fn log(&self, id: usize) -> PathBuf {
        self.node_dir(id).join("log")
    }

    fn config(&self, node: &Node, options: &Options) -> Value {
        let mut storage = json!({"delete": {"enabled": true}});
        match &options.s3 {
            None => storage["filesystem"] = json!({"rootdirectory": self.data.join("blobs")}),
            Some(s3) => {
                storage["s3"] = json!({
                    "bucket": s3.bucket, "region": s3.region, "regionendpoint": s3.endpoint, "forcepathstyle": true,
                });
            }
        }
        json!({
            "version": 0.1,
            "log": {"level": "info", "formatter": "json"},
            "http": {
                "addr": node.http.to_string(), "draintimeout": "1s",
                "debug": {"addr": node.ops.to_string(), "prometheus": {"enabled": true}},
            },
            "storage": storage,
            "cluster": {
                "name": "dev", "datadir": self.node_dir(node.id).join("data"),
                "addr": node.cluster.to_string(), "advertise": node.cluster.to_string(),
                "peers": self.nodes.iter().map(|node| node.cluster.to_string()).collect::<Vec<_>>(),
                "bootstrapexpect": self.nodes.len(),
            },
        })
    }
}

fn new_nodes(count: usize, data: &Path) -> anyhow::Result<Vec<Node>> {
    // All are held until all are chosen, so that no port is chosen twice.
    let listeners: Vec<TcpListener> =
        (0..3 * count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().context("no free port")?;
    let addresses: Vec<SocketAddr> = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let nodes = addresses.chunks_exact(3).enumerate().map(|(index, ports)| Node {
        id: index + 1,
        pid: 0,
        http: ports[0],
        cluster: ports[1],
        ops: ports[2],
        config: data.join(format!("node-{}.yml", index + 1)),
    });
    Ok(nodes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(data: &Path, nodes: usize) -> Options {
        Options { nodes, listen: "127.0.0.1:0".parse().expect("address"), data: data.to_owned(), s3: None }
    }

    #[tokio::test]
    async fn ports_are_kept_over_restarts_and_another_count_is_refused() {
        let data = tempfile::tempdir().expect("directory");
        let first = Plan::prepare(&options(data.path(), 3)).await.expect("new");
        first.save().expect("saved");
        assert_eq!(Plan::prepare(&options(data.path(), 3)).await.expect("known"), first);
        let error = Plan::prepare(&options(data.path(), 5)).await.expect_err("another count");
        assert!(error.to_string().contains("--nodes 3"), "{error}");
    }

    #[tokio::test]
    async fn a_node_that_still_runs_is_named() {
        let data = tempfile::tempdir().expect("directory");
        let plan = Plan::prepare(&options(data.path(), 1)).await.expect("new");
        plan.save().expect("saved");
        let _running = TcpListener::bind(plan.nodes[0].cluster).expect("port");
        let error = Plan::prepare(&options(data.path(), 1)).await.expect_err("runs");
        assert!(error.to_string().contains("still runs"), "{error}");
    }
}
