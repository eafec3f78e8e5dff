//! The operator's tool.

mod output;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use flotilla_client::admin;
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "flotillactl", version, about = "Looks after Flotilla nodes")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a node knows of itself and its cluster
    Status(Status),
}

#[derive(Args)]
struct Status {
    /// The node's data directory (cluster.datadir)
    #[arg(long, value_name = "DIR", default_value = "/var/lib/flotilla")]
    data: PathBuf,
    /// The node's socket, if not flotilla.sock in the data directory
    #[arg(long, value_name = "PATH", conflicts_with = "data")]
    socket: Option<PathBuf>,
    /// Digest the node's whole state too: equal on all nodes at one index
    #[arg(long)]
    hash: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Status(Status { data, socket, hash, json }) => {
            let socket = socket.unwrap_or_else(|| data.join(admin::SOCKET));
            let status = admin::status(&socket, hash).await?;
            if json {
                output::line(&serde_json::to_string_pretty(&status).context("status")?)
            } else {
                output::status(&status)
            }
        }
    }
}
