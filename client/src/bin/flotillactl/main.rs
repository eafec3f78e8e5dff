//! The operator's tool.

mod output;
mod verify;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use flotilla_client::admin;
use flotilla_proto::admin::{Collect, Verify};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode};

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
    /// Garbage collection
    #[command(subcommand)]
    Gc(Gc),
    /// Everything that holds a manifest or a blob, and until when
    Why {
        /// REPOSITORY@DIGEST, DIGEST (a look at every repository), or an object's key in the store
        what: String,
        #[command(flatten)]
        node: Node,
    },
    /// What of a repository can be put back
    Trash {
        /// Its name
        repository: String,
        #[command(flatten)]
        node: Node,
    },
    /// Put back what was deleted less than gc.grace ago
    Undelete {
        /// REPOSITORY:TAG, or REPOSITORY@DIGEST (a manifest and the tags that were deleted with it)
        what: String,
        #[command(flatten)]
        node: Node,
    },
    /// Repositories
    #[command(subcommand)]
    Repository(Repository),
    /// Compare the metadata with itself and with the store
    ///
    /// Exits with 0 if all is well, 1 if anything differs, 2 if it could not be done.
    Verify {
        /// Read every byte and compare it with its digest
        #[arg(long)]
        hash: bool,
        /// Bytes read in a second at most, like 50MiB
        #[arg(long, value_name = "SIZE", value_parser = verify::size, requires = "hash")]
        rate: Option<u64>,
        #[command(flatten)]
        node: Node,
    },
}

#[derive(Subcommand)]
enum Gc {
    /// Mode, delays and queues
    Status(Node),
    /// Collect what is due now, rather than when a worker comes to it
    Run(Run),
    /// Say what would be collected now
    DryRun(Run),
    /// Stop deleting anything that was readable once
    Pause {
        /// Why: shown by `gc status` and to whoever runs into it
        reason: String,
        /// Let workers say what they would do
        #[arg(long)]
        verify: bool,
        #[command(flatten)]
        node: Node,
    },
    /// Go on, and admit what the breaker held back
    Resume(Node),
}

#[derive(Subcommand)]
enum Repository {
    /// Delete a repository with all that is in it; this cannot be undone
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        node: Node,
    },
}

#[derive(Args)]
struct Run {
    /// Manifests without a tag for gc.grace go too, whatever gc.deleteuntagged says
    #[arg(long)]
    untagged: bool,
    #[command(flatten)]
    node: Node,
}

/// Which node is asked, and how it answers.
#[derive(Args)]
struct Node {
    /// The node's data directory (cluster.datadir)
    #[arg(long, value_name = "DIR", default_value = "/var/lib/flotilla")]
    data: PathBuf,
    /// The node's socket, if not flotilla.sock in the data directory
    #[arg(long, value_name = "PATH", conflicts_with = "data")]
    socket: Option<PathBuf>,
    /// The node's cluster port (cluster.advertise), under mutual TLS
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["data", "socket"], requires_all = ["ca", "cert", "key"])]
    address: Option<String>,
    /// The cluster's authority (cluster.tls.ca)
    #[arg(long, value_name = "FILE", requires = "address")]
    ca: Option<PathBuf>,
    /// A certificate that the authority signed
    #[arg(long, value_name = "FILE", requires = "address")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "address")]
    key: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Node {
    fn open(&self) -> anyhow::Result<admin::Node> {
        let (Some(address), Some(ca), Some(cert), Some(key)) = (&self.address, &self.ca, &self.cert, &self.key) else {
            let socket = self.socket.clone().unwrap_or_else(|| self.data.join(admin::SOCKET));
            return Ok(admin::Node::Socket(socket));
        };
        let read = |file: &PathBuf| std::fs::read(file).with_context(|| file.display().to_string());
        Ok(admin::Node::Port(admin::Port::new(address, &read(ca)?, &read(cert)?, &read(key)?)?))
    }

    /// Prints an answer as JSON, or for people.
    fn show<T: Serialize>(&self, answer: &T, people: impl FnOnce(&T) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match self.json {
            true => output::line(&serde_json::to_string_pretty(answer).context("answer")?),
            false => people(answer),
        }
    }
}

#[derive(Args)]
struct Status {
    #[command(flatten)]
    node: Node,
    /// Digest the node's whole state too: equal on all nodes at one index
    #[arg(long)]
    hash: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| output::failed(&error, ExitCode::FAILURE))
}

async fn run() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Status(Status { node, hash }) => {
            node.show(&admin::status(&node.open()?, hash).await?, output::status)?;
        }
        Command::Gc(gc) => return collection(gc).await,
        Command::Why { what, node } => {
            let (repository, what) = match what.split_once('@') {
                Some((repository, digest)) => (Some(repository), digest),
                None => (None, what.as_str()),
            };
            node.show(&admin::why(&node.open()?, repository, what).await?, output::why)?;
        }
        Command::Trash { repository, node } => {
            node.show(&admin::trash(&node.open()?, &repository).await?, |deleted| output::trash(&repository, deleted))?;
        }
        Command::Undelete { what, node } => {
            let asked = node.open()?;
            let undeleted = match (what.split_once('@'), what.split_once(':')) {
                (Some((repository, digest)), _) => admin::undelete_manifest(&asked, repository, digest).await?,
                (None, Some((repository, tag))) => admin::undelete_tag(&asked, repository, tag).await?,
                (None, None) => anyhow::bail!("write REPOSITORY:TAG or REPOSITORY@DIGEST"),
            };
            node.show(&undeleted, |undeleted| {
                let tags = undeleted.tags;
                output::line(&format!(
                    "{what} is back; {tags} {} to it",
                    if tags == 1 { "tag points" } else { "tags point" }
                ))
            })?;
        }
        Command::Repository(Repository::Delete { name, node }) => {
            admin::delete_repository(&node.open()?, &name).await?;
            node.show(&serde_json::json!({ "deleted": name }), |_| {
                output::line(&format!("{name} is deleted; what was in it goes in the background"))
            })?;
        }
        Command::Verify { hash, rate, node } => return Ok(verify::run(&node, Verify { hash, rate }).await),
    }
    Ok(ExitCode::SUCCESS)
}

async fn collection(gc: Gc) -> anyhow::Result<ExitCode> {
    match gc {
        Gc::Status(node) => node.show(&admin::collection(&node.open()?).await?, output::collection)?,
        Gc::Run(run) => return collect(run, false).await,
        Gc::DryRun(run) => return collect(run, true).await,
        Gc::Pause { reason, verify, node } => {
            let mode = if verify { "verify" } else { "paused" };
            node.show(&admin::set_mode(&node.open()?, mode, &reason).await?, output::mode)?;
        }
        Gc::Resume(node) => node.show(&admin::set_mode(&node.open()?, "on", "").await?, output::mode)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn collect(Run { untagged, node }: Run, dry_run: bool) -> anyhow::Result<ExitCode> {
    let collect = Collect { dry_run, delete_untagged: untagged };
    let collected = admin::collect(&node.open()?, collect).await?;
    node.show(&collected, |collected| output::collected(collected, dry_run))?;
    // The breaker ended the run: what is due was not all taken.
    Ok(if collected.breaker.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
