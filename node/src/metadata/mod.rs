//! What is true: repositories, manifests, tags, blobs, upload sessions and objects.
//!
//! This room knows the words and the rules; it has never heard of Raft, HTTP or S3. [`state`] is the pure state machine
//! (apply), [`query`] the typed reads over a [`View`], [`inspect`] those that only operators ask, [`local`] a one-process store for tests. `raft` implements
//! [`MetadataStore`] for real. Read `state/apply.rs` next.

pub mod inspect;
pub mod local;
pub mod query;
pub mod state;

use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A change, in the imperative (`PutManifest`).
pub use flotilla_proto::wire::metadata::command::Kind as Command;
/// What became of a change, in the past tense (`ManifestPut`).
pub use flotilla_proto::wire::metadata::outcome::Kind as Outcome;
pub use query::View;

/// Why the metadata could not be read or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No leader could be reached before the deadline. For a change: it may still take effect.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// Too many changes are waiting; nothing was proposed.
    #[error("too many metadata changes in flight")]
    Overloaded,
    /// The change is larger than a log entry may be; nothing was proposed.
    #[error("the metadata change is too large")]
    TooLarge,
    /// The local store failed; the node is about to stop.
    #[error("local metadata store failed")]
    Storage(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The node is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// The one ordered truth, as a node sees it.
#[async_trait]
pub trait MetadataStore: Send + Sync + 'static {
    /// Makes one change exactly once: it is retried under one request id through elections until `deadline`.
    /// When it returns `Ok`, the change is durable on a quorum and visible to every later barrier on any node; it is
    /// applied in this node's [`View`] too. Dropping the future does not undo the change.
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, Error>;

    /// Waits until this node's state contains every change acknowledged before the call, anywhere (linearizable reads).
    async fn barrier(&self, deadline: Instant) -> Result<(), Error>;

    /// How long ago the last successful barrier began: everything acknowledged before then is in [`MetadataStore::view`].
    /// `None` if there has been none since the process started.
    fn fresh_age(&self) -> Option<Duration>;

    /// A consistent view of this node's state now, without a barrier. Never blocks on writers.
    fn view(&self) -> Result<View, Error>;
}
