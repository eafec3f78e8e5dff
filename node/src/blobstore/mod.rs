//! Where bytes live: immutable objects under opaque keys that are never reused.
//!
//! A key receives exactly one write, from one handler. This room knows nothing of repositories, digests or metadata.
//! `fs`, `s3` and `memory` implement [`BlobStore`]; `contract` is the suite all three pass. Read `key` next.

mod budget;
#[cfg(test)]
pub mod contract;
pub mod fs;
mod key;
pub mod memory;
mod metrics;
mod open;
pub mod s3;
mod verify;

pub use budget::Budget;
pub use key::{Key, KeyError};
pub use metrics::{Metrics, Operation};
pub use open::open;
pub use verify::{Hasher, StateError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{ops::Range, time::Duration};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No object under the key. For a recorded key this means damage or a wrong store.
    #[error("object {key} does not exist")]
    NotFound {
        /// The object.
        key: String,
    },
    /// The store is unreachable, slow or refuses for now; trying again later may help.
    #[error("blob store is unavailable: {context}")]
    Unavailable {
        /// What was being done.
        context: String,
        /// Cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store is full or over quota.
    #[error("blob store is full: {context}")]
    Full {
        /// What was being done.
        context: String,
    },
    /// The store refuses for a reason that waiting does not mend (credentials, bucket, permissions, damaged object).
    #[error("blob store refused: {context}")]
    Refused {
        /// What was being done, and the store's words.
        context: String,
        /// Cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Bytes of an object, in order. An error ends the stream.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// What became of one key of a delete.
#[derive(Debug)]
pub struct Deleted {
    /// The key.
    pub key: Key,
    /// `Ok`: the store named it as gone (or it never was).
    pub result: Result<(), Error>,
}

/// An object that the store lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key. Not parsed: under a prefix of ours there may be what we did not write.
    pub key: String,
    /// Its length in bytes.
    pub length: u64,
}

/// Objects of one listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most 1,000, in byte order of their keys.
    pub objects: Vec<Listed>,
    /// Whether there are others after them.
    pub more: bool,
}

/// A write that was begun and neither finished nor aborted, as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key that it would have become.
    pub key: Key,
    /// The store's name for it.
    pub id: String,
}

/// Immutable objects under keys that are never reused.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Starts the one write of `key`. Nothing is visible under the key before [`ObjectWriter::finish`] succeeds.
    async fn writer(&self, key: Key) -> Result<Box<dyn ObjectWriter>, Error>;

    /// The bytes `range` of an object; fewer if the object is shorter. Strongly consistent with a finished write.
    async fn read(&self, key: &Key, range: Range<u64>) -> Result<ByteStream, Error>;

    /// The object's length; `None` if there is no such object.
    async fn length(&self, key: &Key) -> Result<Option<u64>, Error>;

    /// Deletes up to 1,000 keys; one result per key, in any order. Idempotent.
    async fn delete(&self, keys: Vec<Key>) -> Vec<Deleted>;

    /// The objects whose keys begin with `prefix` (whole parts of a key, each with its slash) and come after `after`.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error>;

    /// At most 1,000 writes under `prefix` that were begun and left, also by processes that are gone. A store that cannot
    /// list them names none; such a store forgets them by itself.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Error>;

    /// Whether the store says that no byte of a begun write has reached it: then it is not the one that finished under its key.
    async fn has_no_parts(&self, _upload: &Upload) -> Result<bool, Error> {
        Ok(false)
    }

    /// Removes what a write left. Only for keys that no record names: some stores let it win over a write that finished.
    async fn abort(&self, upload: &Upload) -> Result<(), Error>;

    /// Removes what else is left of a prefix under which nothing is and nothing will be written: empty folders.
    async fn tidy(&self, prefix: &str) -> Result<(), Error>;

    /// What in the store's own settings deletes objects behind our back, as sentences for operators.
    async fn hazards(&self) -> Result<Vec<String>, Error>;

    /// A URL that serves the object for `life`, if the store can do that.
    async fn presign(&self, key: &Key, life: Duration) -> Result<Option<String>, Error>;

    /// The store's marker object `flotilla.json` under the root, if there is one.
    async fn read_marker(&self) -> Result<Option<Bytes>, Error>;

    /// Writes the marker (the caller has decided that it may).
    async fn write_marker(&self, marker: Bytes) -> Result<(), Error>;

    /// Whether registry:2's layout (`docker/registry/v2/`) lies under the root.
    async fn holds_distribution_layout(&self) -> Result<bool, Error>;

    /// What operators read in logs: the driver and its place, without secrets.
    fn describe(&self) -> String;
}

/// The one write of one object. Dropping it without [`ObjectWriter::finish`] aborts the write in the background.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Takes the next bytes; waits while buffers are full (back-pressure).
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Makes the object durable and visible; returns its length. `Ok` is definite. After an error the object may or may
    /// not exist under its key; the key is not written again.
    async fn finish(self: Box<Self>) -> Result<u64, Error>;

    /// Gives the write up and removes what it left.
    async fn abort(self: Box<Self>);
}
