//! Why a node could not take part.

use super::types::DiskId;
use std::{io, path::PathBuf};

/// Why the Raft part of a node did not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process uses the data directory.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The identity file cannot be understood.
    #[error("{} is not a usable identity file: {reason}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The identity is there, the log it has voted in is not: voting again could undo what was acknowledged.
    #[error(
        "the log of node {node_id} is gone from disk {disk_id}: remove the whole data directory to start as a new node"
    )]
    LogLost {
        /// The id it voted under.
        node_id: u64,
        /// The disk.
        disk_id: DiskId,
    },
    /// The cluster port would be open to everyone.
    #[error("cluster.addr {0} is not a loopback address: set cluster.tls")]
    Plaintext(String),
    /// The cluster port could not be opened.
    #[error("cluster.addr {address} could not be opened")]
    Listen {
        /// `cluster.addr`
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `cluster.tls` cannot be used.
    #[error("cluster.tls: {0} could not be used")]
    Tls(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The local disk failed.
    #[error("{0}")]
    Io(&'static str, #[source] io::Error),
    /// openraft stopped for good.
    #[error("raft stopped: {0}")]
    Raft(String),
}
