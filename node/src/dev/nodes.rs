//! The node processes: started, watched, stopped.

use super::files::{Cluster, Node};
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Settings that each node has of its own; from our environment they would be the same on all.
const OWN: [&str; 6] = [
    "REGISTRY_CONFIGURATION_PATH",
    "REGISTRY_HTTP_ADDR",
    "REGISTRY_HTTP_DEBUG_ADDR",
    "REGISTRY_CLUSTER_ADDR",
    "REGISTRY_CLUSTER_ADVERTISE",
    "REGISTRY_CLUSTER_DATADIR",
];
/// A node's soft stop takes at most 10 s (its configuration), then some for its own ending.
const STOP_MAX: Duration = Duration::from_secs(15);
const TAIL_BYTES: usize = 3000;

/// The processes of a cluster.
pub(super) struct Nodes {
    waiting: JoinSet<(usize, std::io::Result<ExitStatus>)>,
    nodes: Vec<Node>,
    pids: Vec<u32>,
}

impl Nodes {
    /// Starts a process per node: `program serve <its configuration>`. If one cannot be started, none stays.
    pub(super) fn start(program: &Path, cluster: &Cluster) -> anyhow::Result<Self> {
        let mut children = Vec::new();
        for node in &cluster.nodes {
            children.push(spawn(program, node)?);
        }
        let pids = children.iter().map(|child| child.id().unwrap_or_default()).collect();
        let mut waiting = JoinSet::new();
        for (index, mut child) in children.into_iter().enumerate() {
            waiting.spawn(async move { (index, child.wait().await) });
        }
        Ok(Self { waiting, nodes: cluster.nodes.clone(), pids })
    }

    /// Process ids, in the order of the nodes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.pids.clone()
    }

    /// Waits until a process ends and tells which and how; for ever if none is left. Safe to cancel.
    pub(super) async fn ended(&mut self) -> String {
        loop {
            match self.waiting.join_next().await {
                Some(Ok((index, status))) => {
                    let (node, pid) = (&self.nodes[index], self.pids[index]);
                    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    let again = format!("again: flotilla serve {}", node.config.display());
                    return format!("node {} (pid {pid}) ended: {how}; {again}", node.id);
                }
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Asks every process to stop, those restarted by hand too; kills what is left after a while or when `hard` is cancelled.
    pub(super) async fn stop(mut self, hard: &CancellationToken) {
        let deadline = Instant::now() + STOP_MAX;
        self.signal(Signal::TERM);
        let mut poll = tokio::time::interval(Duration::from_millis(50));
        while self.nodes.iter().any(|node| running(&node.config).is_some()) {
            tokio::select! {
                _ = poll.tick() => {}
                Some(_) = self.waiting.join_next() => {}
                () = hard.cancelled() => break,
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.signal(Signal::KILL);
        while self.waiting.join_next().await.is_some() {}
    }

    fn signal(&self, signal: Signal) {
        for pid in self.nodes.iter().filter_map(|node| running(&node.config)) {
            if let Some(pid) = Pid::from_raw(pid) {
                // Gone meanwhile is as good.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

fn spawn(program: &Path, node: &Node) -> anyhow::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&node.log);
    let log = log.with_context(|| format!("cannot write {}", node.log.display()))?;
    let mut command = Command::new(program);
    command.arg("serve").arg(&node.config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    for name in OWN {
        command.env_remove(name);
    }
    // A group of its own: Ctrl-C reaches us alone, and we stop the nodes in order. Killed if we fail half-way.
    command.process_group(0).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}

/// The process that runs on this configuration file, started by us or by hand.
pub(super) fn running(config: &Path) -> Option<i32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let mut arguments = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let serves = arguments.find(|word| word == "serve").is_some();
        let here = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let named = |word: String| !word.is_empty() && (Path::new(&word) == config || is(&here.join(&word), config));
        (serves && arguments.any(named)).then_some(pid)
    })
}

fn is(path: &Path, config: &Path) -> bool {
    path.file_name() == config.file_name() && path.canonicalize().is_ok_and(|path: PathBuf| path == config)
}

/// The last lines of every node's log.
pub(super) fn tails(nodes: &[Node]) -> String {
    let mut text = String::new();
    for node in nodes {
        let log = fs::read(&node.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(TAIL_BYTES)..];
        text.push_str(&format!("--- {}\n{}\n", node.log.display(), String::from_utf8_lossy(tail).trim_end()));
    }
    text
}
