//! The operator's tool: talks to a node over the unix socket in its data directory.

mod output;

use anyhow::Context as _;
use clap::{ArgAction, Args, Parser, Subcommand};
use flotilla_client::admin::{Admin, SOCKET};
use std::{path::PathBuf, process::ExitCode};

/// Where nodes keep their data unless told otherwise.
const DATA_DIRS: [&str; 2] = ["/var/lib/flotilla", "/var/lib/registry/flotilla"];

/// Operate a Flotilla node.
#[derive(Parser)]
#[command(name = "flotillactl", version, disable_version_flag = true, arg_required_else_help = true)]
struct Arguments {
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show how a node sees itself and its cluster
    Status {
        #[command(flatten)]
        node: Node,
        /// Also hash the whole state: equal on all nodes at one index
        #[arg(long)]
        hash: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which node.
#[derive(Args)]
struct Node {
    /// Socket of the node
    #[arg(long, value_name = "PATH", conflicts_with = "data")]
    socket: Option<PathBuf>,
    /// Data directory of the node [default: /var/lib/flotilla, /var/lib/registry/flotilla]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Node {
    fn admin(self) -> Admin {
        match (self.socket, self.data) {
            (Some(socket), _) => Admin::new(socket),
            (None, Some(data)) => Admin::of_data_dir(&data),
            (None, None) => {
                let found = DATA_DIRS.iter().map(PathBuf::from).find(|data| data.join(SOCKET).exists());
                Admin::of_data_dir(&found.unwrap_or_else(|| DATA_DIRS[0].into()))
            }
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("flotillactl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    match arguments.command {
        Command::Status { node, hash, json } => {
            let status = runtime.block_on(node.admin().status(hash))?;
            Ok(if json { serde_json::to_string_pretty(&status)? } else { output::status(&status) })
        }
    }
}
