//! How nodes agree on the metadata: openraft, its stores and its transport, behind `metadata::MetadataStore`.
//!
//! [`RaftStore`] is all that other rooms see. Inside: `host` is what a node is before it has an id, `bootstrap` gives it
//! one, `replica` is what it runs from then on; `propose` and `barrier` are the two ways in, `network` and `service` the two
//! ends of a connection. Only this room names openraft.

pub mod types;

// The stores.
pub mod log;
pub mod snapshot;
pub mod state_machine;
pub mod tables;

// The nodes.
mod barrier;
mod bootstrap;
mod error;
mod host;
mod identity;
mod membership;
mod metrics;
mod network;
pub mod offline;
mod operators;
mod options;
mod peers;
mod private;
mod propose;
mod replica;
mod service;
mod status;
mod store;
mod tls;
mod upkeep;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use operators::{Answerer, Call};
pub use options::Options;
pub use private::make_dir;
pub use status::{Node, Status};
pub use store::RaftStore;

use crate::metadata;
use std::sync::Arc;

/// A failure of the local stores or of openraft itself, in the words of the metadata.
fn storage_error(reason: String) -> metadata::Error {
    metadata::Error::Storage(Arc::new(Error::Raft(reason)))
}
