//! `flotilla dev`: a whole cluster on this machine, to try things and to test with.
//!
//! N node processes on loopback ports share a directory or a bucket; a plain round-robin TCP front spreads connections over
//! those that listen. Everything is found again when it is started on the same data directory.

mod children;
mod front;
mod plan;

use crate::lifecycle::Lifecycle;
use anyhow::Context;
use children::Children;
use plan::Plan;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::net::TcpSocket;

/// Longest wait for all nodes to be ready.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest wait for the nodes to stop before they are killed.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes.
    pub nodes: usize,
    /// Where the front listens.
    pub listen: SocketAddr,
    /// Where data, configurations and logs go.
    pub data: PathBuf,
    /// A bucket instead of a shared directory.
    pub s3: Option<S3>,
}

/// A bucket; its keys come from the usual `AWS_*` variables.
#[derive(Clone, Debug)]
pub struct S3 {
    /// URL of the service.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
}

/// Runs until the soft stop begins, then stops all nodes.
pub async fn run(options: Options, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let socket = if options.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(options.listen)
        .with_context(|| format!("cannot listen on {}: choose another --listen", options.listen))?;

    let mut plan = Plan::prepare(&options).await?;
    let mut children = Children::spawn(&mut plan)?;
    plan.save()?;
    let ready = tokio::select! {
        ready = tokio::time::timeout(START_MAX, children.ready(&plan)) => {
            ready.unwrap_or_else(|_| Err(anyhow::anyhow!("not all nodes were ready after {} s", START_MAX.as_secs())))
        }
        () = lifecycle.leaving().cancelled() => Ok(()),
    };
    if let Err(error) = ready {
        children.stop(STOP_MAX).await;
        return Err(error);
    }

    if !lifecycle.leaving().is_cancelled() {
        let listener = socket.listen(BACKLOG)?;
        let nodes = plan.nodes.iter().map(|node| node.http).collect();
        let front = front::run(listener, nodes, lifecycle.leaving().clone());
        lifecycle.spawn(front);
        announce(&plan);
        children.watch(&plan, lifecycle.leaving()).await;
    }
    children.stop(STOP_MAX).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's answer to a person")]
fn announce(plan: &Plan) {
    let listen = plan.listen;
    for node in &plan.nodes {
        println!("node {} · pid {} · http://{}", node.id, node.pid, node.http);
    }
    println!(
        "\nready on {listen}; try:\n  docker pull debian:12\n  docker tag debian:12 {listen}/library/debian:12\n  \
         docker push {listen}/library/debian:12\n  docker pull {listen}/library/debian:12\n\nKill a node (kill -9 PID) and push \
         again; restart it with: flotilla serve {}\nCtrl-C stops all.",
        plan.nodes.last().map(|node| node.config.display().to_string()).unwrap_or_default()
    );
}
