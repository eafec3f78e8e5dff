//! The registry's use cases in the distribution specification's words: blobs, uploads, manifests, tags, the catalog.
//!
//! On the way in, bytes first, truth second; on the way out, truth first, bytes second. Each takes a `Grant` of `auth`. This
//! room knows nothing of HTTP, S3 or Raft: it calls [`MetadataStore`] and [`BlobStore`]. Read `read` (consistency) and `uploads` next.

mod blobs;
mod catalog;
mod commits;
mod error;
mod manifests;
mod read;
mod receive;
mod referrers;
mod tags;
mod uploads;

pub use blobs::Blob;
pub use catalog::Page;
pub use error::{Body, BodyError, Error};
pub use manifests::{Condition, LayerUrls, Manifest, ManifestPut, NewManifest, StoredManifest};
pub use read::Served;
pub use referrers::{Referrer, Referrers};
pub use uploads::{Chunk, Committed, Source, Upload};

use crate::{blobstore::BlobStore, lifecycle::Lifecycle, metadata::MetadataStore};
use commits::Commits;
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use uuid::Uuid;

/// What an operator may choose, and the delays of the design.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether manifests, tags and blobs may be deleted.
    pub delete: bool,
    /// Whether blob reads may be answered by a URL of the store.
    pub redirect: bool,
    /// Whether an index may list manifests that the repository does not hold.
    pub sparse_indexes: bool,
    /// Where layers that are not stored here may live.
    pub layer_urls: LayerUrls,
    /// An upload session ends at the latest this long after it was opened.
    pub upload_age: Duration,
    /// An upload session without a writer ends after this long.
    pub upload_idle: Duration,
    /// The longest pause inside a request body; then it counts as ended early.
    pub body_idle: Duration,
    /// Bytes are written to the store only for a session that was seen open so recently.
    pub freshness: Duration,
    /// How long a request waits for a leader, and for its answer after the last body byte.
    pub patience: Duration,
    /// How long a read by digest waits for a leader before it is answered from local state.
    pub degraded_patience: Duration,
    /// The oldest local state that reads by digest are answered from.
    pub degraded_age: Duration,
    /// How long a commit is retried after its request was answered.
    pub commit_limit: Duration,
    /// Life of a URL of the store.
    pub url_life: Duration,
    /// Repositories on one page, at most.
    pub catalog_page: usize,
    /// Tags on one page of a client that asks for pages, at most.
    pub tags_page: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self {
            delete: false,
            redirect: true,
            sparse_indexes: false,
            layer_urls: LayerUrls::default(),
            upload_age: hours(7 * 24),
            upload_idle: hours(6),
            body_idle: Duration::from_secs(300),
            freshness: Duration::from_secs(15),
            patience: Duration::from_secs(20),
            degraded_patience: Duration::from_secs(2),
            degraded_age: hours(4),
            commit_limit: Duration::from_secs(60),
            url_life: Duration::from_secs(15 * 60),
            catalog_page: 1_000,
            tags_page: 100_000,
        }
    }
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    metadata: Arc<dyn MetadataStore>,
    blobs: Arc<dyn BlobStore>,
    lifecycle: Lifecycle,
    settings: Settings,
    /// Names this process in object keys, so that two processes never mint the same one.
    boot_id: String,
    objects: AtomicU64,
    commits: Commits,
}

impl Registry {
    /// A registry over one metadata store and one blob store. Commits run as tasks of `lifecycle`.
    pub fn new(
        metadata: Arc<dyn MetadataStore>,
        blobs: Arc<dyn BlobStore>,
        lifecycle: Lifecycle,
        settings: Settings,
    ) -> Self {
        let boot_id = Uuid::new_v4().as_simple().to_string();
        let (objects, commits) = (AtomicU64::new(0), Commits::default());
        Self(Arc::new(Inner { metadata, blobs, lifecycle, settings, boot_id, objects, commits }))
    }

    /// What the operator chose.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }
}
