//! `flotilla dev`: a whole cluster on one machine, for trying and testing. Node *processes* (so that one can be killed) and
//! a TCP front. Knows the nodes only by their configuration files and addresses.
//!
//! `files` makes the configurations and keeps the ports; `nodes` starts, watches and stops the processes; `front` shares
//! connections out.

mod files;
mod front;
mod nodes;
mod probe;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, bail};
use clap::Args;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpSocket,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Longest wait for all nodes to be ready; a large log to catch up with takes its time.
const READY_MAX: Duration = Duration::from_secs(120);

/// Arguments of `flotilla dev`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Number of nodes, 1 to 7 [default: those of --data, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=7))]
    pub nodes: Option<u16>,
    /// Address that docker talks to
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    pub listen: String,
    /// Directory of everything
    #[arg(long, value_name = "DIR", default_value = "./flotilla-data")]
    pub data: PathBuf,
    /// S3 service, as URL; keys come from the AWS_* variables
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Bucket for the bytes, instead of a directory
    #[arg(long, value_name = "NAME")]
    pub s3_bucket: Option<String>,
    /// Region of the bucket
    #[arg(long, value_name = "NAME")]
    pub s3_region: Option<String>,
}

/// Runs until Ctrl-C or SIGTERM, then stops every node.
///
/// # Errors
/// If the data directory is in use, an address is taken, or a node does not become ready (its log's tail is in the text).
pub async fn run(options: Options) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    run_program(options, program, stop_signals()?).await
}

/// A token that the first signal cancels, and one that the second does.
struct Signals {
    soft: CancellationToken,
    hard: CancellationToken,
    /// Ends the watcher with its owner.
    _watcher: tokio::task::JoinSet<()>,
}

fn stop_signals() -> anyhow::Result<Signals> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let mut watcher = tokio::task::JoinSet::new();
    let tokens = [soft.clone(), hard.clone()];
    watcher.spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(Signals { soft, hard, _watcher: watcher })
}

async fn run_program(options: Options, program: PathBuf, signals: Signals) -> anyhow::Result<()> {
    let socket = bind(&options.listen).await?;
    let listen = socket.local_addr()?;
    let cluster = files::prepare(&options)?;
    let mut nodes = nodes::Nodes::start(&program, &cluster)?;
    let result = serve(&cluster, &mut nodes, socket, listen, &signals).await;
    nodes.stop(&signals.hard).await;
    result
}

async fn serve(
    cluster: &files::Cluster,
    nodes: &mut nodes::Nodes,
    socket: TcpSocket,
    listen: SocketAddr,
    signals: &Signals,
) -> anyhow::Result<()> {
    cluster.write_report(listen, &nodes.pids())?;
    tokio::select! {
        ready = tokio::time::timeout(READY_MAX, probe::all_ready(&cluster.nodes)) => {
            if ready.is_err() {
                bail!("not ready after {} s\n{}", READY_MAX.as_secs(), nodes::tails(&cluster.nodes));
            }
        }
        ended = nodes.ended() => bail!("{ended} before it was ready\n{}", nodes::tails(&cluster.nodes)),
        () = signals.soft.cancelled() => return Ok(()),
    }
    for (node, pid) in cluster.nodes.iter().zip(nodes.pids()) {
        println!("node {}  pid {pid}  http://{}", node.id, node.http);
    }
    let listener = socket.listen(4096)?;
    print_hints(listen, cluster.nodes.len());
    let backends = Arc::new(front::Backends::new(&cluster.nodes));
    let watch = probe::watch(backends.clone());
    let front = front::serve(listener, backends);
    tokio::pin!(watch, front);
    loop {
        tokio::select! {
            () = signals.soft.cancelled() => {
                println!("stopping");
                return Ok(());
            }
            ended = nodes.ended() => println!("{ended}"),
            () = &mut watch => {}
            error = &mut front => return Err(error).context("the front cannot accept connections"),
        }
    }
}

async fn bind(listen: &str) -> anyhow::Result<TcpSocket> {
    let addresses = crate::config::address::to_bind(listen)
        .await
        .with_context(|| format!("--listen {listen} is no address; write host:port"))?;
    let mut error = None;
    for address in addresses {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => return Ok(socket),
            Err(cause) => error = Some(cause),
        }
    }
    Err(error.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()))
        .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))
}

fn print_hints(listen: SocketAddr, count: usize) {
    let host = if listen.ip().is_unspecified() { "127.0.0.1".to_owned() } else { listen.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let registry = format!("{host}:{}", listen.port());
    println!("ready: {registry} shares connections over {count} node{}; try", if count == 1 { "" } else { "s" });
    println!("  docker pull alpine && docker tag alpine {registry}/alpine");
    println!("  docker push {registry}/alpine");
    println!("  docker pull {registry}/alpine");
}
