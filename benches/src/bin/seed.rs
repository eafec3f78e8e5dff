//! `seed` makes a large registry quickly, so that costs can be measured beside it: `seed metadata` in the data directory of a
//! single node that is stopped, through the node's own log and state machine; `seed layout` as the files of registry:2.
//!
//! Blobs are live: manifests of a hundred blobs each name them. Their objects are written on demand, and hold nothing but
//! zeros: their bytes do not matter to what is measured, but a scrub would miss objects that are not there.

use anyhow::Result;
use clap::{Parser, Subcommand};
use flotilla_benches::seed::{layout, metadata, set::Set};
use std::{path::PathBuf, time::Instant};

/// Makes large registries.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Into a node's metadata. It must have founded its store (started once) and be stopped.
    Metadata {
        /// The node's configuration file; the node is alone in its cluster.
        #[arg(long)]
        config: PathBuf,
        /// Live blobs.
        #[arg(long)]
        live: u64,
        /// Bytes that each blob claims to have.
        #[arg(long, default_value_t = 4096)]
        size: u64,
        /// `storage.filesystem.rootdirectory`, to write the objects too (without blocks on disk).
        #[arg(long)]
        objects: Option<PathBuf>,
    },
    /// Into an empty directory of registry:2: live blobs, and blobs that nothing names.
    Layout {
        /// `storage.filesystem.rootdirectory`
        #[arg(long)]
        root: PathBuf,
        /// Live blobs.
        #[arg(long)]
        live: u64,
        /// Dead blobs.
        #[arg(long, default_value_t = 0)]
        dead: u64,
        /// Bytes of each blob.
        #[arg(long, default_value_t = 4096)]
        size: u64,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let begun = Instant::now();
    let live = match Cli::parse().command {
        Command::Metadata { config, live, size, objects } => {
            metadata::write(&config, Set { live, size }, objects).await?;
            live
        }
        Command::Layout { root, live, dead, size } => {
            layout::write(&root, Set { live, size }, dead)?;
            live
        }
    };
    println!("{live} live blobs in {:?}", begun.elapsed());
    Ok(())
}
