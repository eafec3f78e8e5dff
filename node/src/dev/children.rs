//! The node processes: started, waited for, watched, stopped.

use super::plan::{Node, Plan};
use anyhow::{Context, bail};
use futures_util::{StreamExt, stream::FuturesUnordered};
use rustix::process::{Pid, Signal};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

/// Between two looks at a node that is not ready yet.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of a log that are shown when its node fails.
const TAIL: u64 = 2_000;

/// The processes, in the order of the plan's nodes.
pub(super) struct Children(Vec<Child>);

impl Children {
    /// Starts `flotilla serve <config>` for every node, each in a process group of its own so that Ctrl-C reaches only us,
    /// and notes the pids in the plan.
    pub(super) fn spawn(plan: &mut Plan) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("own executable")?;
        let mut children = Vec::new();
        for at in 0..plan.nodes.len() {
            let log_path = plan.log(plan.nodes[at].id);
            let log = OpenOptions::new().create(true).append(true).open(&log_path).context("node's log")?;
            let child = Command::new(&program)
                .arg("serve")
                .arg(&plan.nodes[at].config)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            plan.nodes[at].pid = child.id().unwrap_or_default();
            children.push(child);
        }
        Ok(Self(children))
    }

    /// Returns once every node is ready; fails as soon as one ends.
    pub(super) async fn ready(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut waiting: FuturesUnordered<_> =
            self.0.iter_mut().zip(&plan.nodes).map(|(child, node)| ready(child, node, plan)).collect();
        while let Some(result) = waiting.next().await {
            result?;
        }
        Ok(())
    }

    /// Reports nodes that end, until `stop`.
    #[expect(clippy::print_stderr, reason = "tells the person who runs it")]
    pub(super) async fn watch(&mut self, plan: &Plan, stop: &CancellationToken) {
        let mut running: FuturesUnordered<_> =
            self.0.iter_mut().zip(&plan.nodes).map(async |(child, node)| (node, child.wait().await)).collect();
        while let Some(Some((node, status))) = stop.run_until_cancelled(running.next()).await {
            let status = status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
            eprintln!("node {} ended ({status}); restart it with: flotilla serve {}", node.id, node.config.display());
        }
        stop.cancelled().await;
    }

    /// Asks all to stop, and kills those that still run after `limit`.
    pub(super) async fn stop(mut self, limit: Duration) {
        for child in &self.0 {
            let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(pid) = pid {
                // It may have ended just now.
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            }
        }
        let all = async {
            for child in &mut self.0 {
                let _ = child.wait().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            for child in &mut self.0 {
                let _ = child.kill().await;
            }
        }
    }
}

async fn ready(child: &mut Child, node: &Node, plan: &Plan) -> anyhow::Result<()> {
    tokio::select! {
        status = child.wait() => {
            let log = plan.log(node.id);
            bail!("node {} ended ({}); the end of {}:\n{}", node.id, status?, log.display(), tail(&log).unwrap_or_default());
        }
        () = async { while !answers_ready(node.ops).await.unwrap_or(false) { tokio::time::sleep(POLL).await } } => Ok(()),
    }
}

async fn answers_ready(ops: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(ops).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"HTTP/1.1 200")
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
