//! The directory of a development cluster: a configuration per node, which also keeps its ports, and `dev.json`.

use super::{Options, nodes};
use anyhow::{Context as _, bail};
use rand::Rng as _;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// Ports are chosen here: below those that systems hand out to outgoing connections.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A node's place and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// From 1.
    pub(super) id: usize,
    /// Public address.
    pub(super) http: SocketAddr,
    /// Cluster address.
    pub(super) cluster: SocketAddr,
    /// Ops address.
    pub(super) ops: SocketAddr,
    /// Its configuration file.
    pub(super) config: PathBuf,
    /// Receives its stdout and stderr.
    pub(super) log: PathBuf,
}

/// A prepared directory. Holds its lock.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    data: PathBuf,
    _lock: File,
}

/// Locks the directory, chooses ports or finds the old ones again, and writes the configurations.
pub(super) fn prepare(options: &Options) -> anyhow::Result<Cluster> {
    fs::create_dir_all(&options.data).with_context(|| format!("cannot make --data {}", options.data.display()))?;
    let data = options.data.canonicalize()?;
    let lock = File::create(data.join("dev.lock"))?;
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another `flotilla dev` runs on {}; stop it first", data.display());
    }
    let old = existing(&data)?;
    let count = match options.nodes.map(usize::from) {
        Some(count) if !old.is_empty() && count != old.len() => {
            bail!("{} holds {} nodes, not {count}; choose another --data", data.display(), old.len())
        }
        Some(count) => count,
        None if old.is_empty() => 3,
        None => old.len(),
    };
    for node in &old {
        if let Some(pid) = nodes::running(&node.config) {
            bail!("node {} of {} runs already, pid {pid}; stop it first", node.id, data.display());
        }
        for address in [node.http, node.cluster, node.ops] {
            TcpListener::bind(address)
                .with_context(|| format!("node {} needs {address}, which another program holds; stop that", node.id))?;
        }
    }
    let storage = storage(options, &data)?;
    let nodes = if old.is_empty() { fresh(&data, count)? } else { old };
    for node in &nodes {
        let folder = node.config.parent().context("a configuration lies in a folder")?;
        fs::create_dir_all(folder)?;
        write_whole(&node.config, &configuration(node, &nodes, folder, &storage)?)?;
    }
    Ok(Cluster { nodes, data, _lock: lock })
}

impl Cluster {
    /// Writes `dev.json`.
    pub(super) fn write_report(&self, listen: SocketAddr, pids: &[u32]) -> anyhow::Result<()> {
        let nodes = self.nodes.iter().zip(pids).map(|(node, pid)| {
            json!({"id": node.id, "pid": pid, "http": node.http, "cluster": node.cluster, "ops": node.ops, "config": node.config})
        });
        let report = json!({"listen": listen, "nodes": nodes.collect::<Vec<_>>()});
        write_whole(&self.data.join("dev.json"), &format!("{report:#}\n"))
    }
}

fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn node(data: &Path, id: usize, [http, cluster, ops]: [SocketAddr; 3]) -> Node {
    let folder = data.join(format!("node-{id}"));
    Node { id, http, cluster, ops, config: folder.join("config.yml"), log: folder.join("log") }
}

/// The nodes whose configurations are there.
fn existing(data: &Path) -> anyhow::Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for id in 1.. {
        let path = data.join(format!("node-{id}/config.yml"));
        if !path.exists() {
            break;
        }
        let file = read(&path)?;
        let address = |keys: &str| -> anyhow::Result<SocketAddr> {
            let text = file.pointer(keys).and_then(Value::as_str);
            text.and_then(|text| text.parse().ok())
                .with_context(|| format!("no address at {keys} in {}", path.display()))
        };
        nodes.push(node(data, id, [address("/http/addr")?, address("/cluster/addr")?, address("/http/debug/addr")?]));
    }
    Ok(nodes)
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
}

fn fresh(data: &Path, count: usize) -> anyhow::Result<Vec<Node>> {
    let mut random = rand::rng();
    let mut chosen = BTreeSet::new();
    let mut addresses = Vec::new();
    for _ in 0..10_000 {
        let address = SocketAddr::from(([127, 0, 0, 1], random.random_range(PORTS)));
        if TcpListener::bind(address).is_ok() && chosen.insert(address) {
            addresses.push(address);
        }
        if addresses.len() == count * 3 {
            let triples = addresses.chunks_exact(3).enumerate();
            return Ok(triples.map(|(i, three)| node(data, i + 1, [three[0], three[1], three[2]])).collect());
        }
    }
    bail!("no free ports from {} to {}", PORTS.start, PORTS.end)
}

/// The section `storage`: the bucket that is asked for, the bucket of the last start, or a directory.
fn storage(options: &Options, data: &Path) -> anyhow::Result<Value> {
    let driver = if let Some(bucket) = &options.s3_bucket {
        let mut s3 = json!({"bucket": bucket});
        if let Some(endpoint) = &options.s3_endpoint {
            s3["regionendpoint"] = json!(endpoint);
        }
        if let Some(region) = &options.s3_region {
            s3["region"] = json!(region);
        }
        ("s3", s3)
    } else if options.s3_endpoint.is_some() || options.s3_region.is_some() {
        bail!("--s3-endpoint and --s3-region need --s3-bucket")
    } else {
        let first = data.join("node-1/config.yml");
        match first.exists().then(|| read(&first)).transpose()?.and_then(|file| file.pointer("/storage/s3").cloned()) {
            Some(s3) => ("s3", s3),
            None => ("filesystem", json!({"rootdirectory": data.join("blobs")})),
        }
    };
    Ok(json!({driver.0: driver.1, "delete": {"enabled": true}}))
}

fn configuration(node: &Node, nodes: &[Node], folder: &Path, storage: &Value) -> anyhow::Result<String> {
    let file = json!({
        "version": 0.1,
        "log": {"level": "info", "formatter": "text"},
        "http": {"addr": node.http, "debug": {"addr": node.ops}, "draintimeout": "10s"},
        "storage": storage,
        "cluster": {
            "name": "dev",
            "datadir": folder.join("data"),
            "addr": node.cluster,
            "advertise": node.cluster,
            "peers": nodes.iter().map(|node| node.cluster).collect::<Vec<_>>(),
            "bootstrapexpect": nodes.len(),
        },
    });
    let yaml = serde_yaml_ng::to_string(&file).context("a configuration is YAML")?;
    Ok(format!("# Written by `flotilla dev` at each start; the ports are kept.\n{yaml}"))
}
