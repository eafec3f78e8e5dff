//! `seed` makes a large registry quickly, so that costs can be measured beside it: `seed metadata` in the data directory of a
//! single node that is stopped, through its state machine; `seed layout` as the files of registry:2.
//!
//! Blobs are live: manifests of a hundred blobs each name them. Objects hold nothing but zeros, and most live ones are not
//! there at all: nothing reads them but a scrub, which begins with the first keys, a thousand a minute. So the first ones are
//! there, and a measurement must be over before the scrub comes to the others.

use anyhow::Result;
use clap::{Parser, Subcommand};
use flotilla_benches::seed::{
    layout,
    metadata::{self, Seed},
    set::Set,
};
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
        /// Blobs that nothing references and that are due; collection is left paused then. Their objects are written.
        #[arg(long, default_value_t = 0)]
        dead: u64,
        /// Bytes that each blob claims to have.
        #[arg(long, default_value_t = 4096)]
        size: u64,
        /// Objects of live blobs to write, the first in the order of their keys.
        #[arg(long, default_value_t = 10_000)]
        objects: usize,
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
        Command::Metadata { config, live, dead, size, objects } => {
            metadata::write(&config, Seed { set: Set { live, size }, dead, objects }).await?;
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
