//! A registry in memory whose log entries and requests are counted, and whose store can be told to fail.

use super::super::*;
use crate::{
    auth::{Caller, Grant, Policy, Push},
    blobstore::{ByteStream, Deleted, Error, Hasher, Key, ObjectWriter, Page, Upload, memory::Memory},
    lifecycle::Lifecycle,
    metadata::{self, local::LocalStore},
    registry::{Chunk, Registry, Settings},
    workers::{Report, Worker},
};
use async_trait::async_trait;
use bytes::Bytes;
use flotilla_proto::oci::{Algorithm, Digest};
use futures_util::{StreamExt, stream};
use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use tokio_util::sync::CancellationToken;

/// The marker of the store, as far as workers read it.
pub(super) const MARKER: &str = r#"{"cluster_id":"c","incarnation":"i","token":"t"}"#;

/// Metadata that counts changes, and loses one on demand.
#[derive(Default)]
pub(super) struct Log {
    pub(super) store: LocalStore,
    entries: AtomicU64,
    pub(super) lose_next: AtomicBool,
}

#[async_trait]
impl MetadataStore for Log {
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, metadata::Error> {
        if self.lose_next.swap(false, Relaxed) {
            return Err(metadata::Error::NoQuorum("lost".into()));
        }
        self.entries.fetch_add(1, Relaxed);
        self.store.propose(command, deadline).await
    }

    async fn barrier(&self, deadline: Instant) -> Result<(), metadata::Error> {
        self.store.barrier(deadline).await
    }

    fn fresh_age(&self) -> Option<Duration> {
        self.store.fresh_age()
    }

    fn view(&self) -> Result<View, metadata::Error> {
        self.store.view()
    }
}

/// A store that counts requests.
#[derive(Default)]
pub(super) struct Store {
    pub(super) memory: Memory,
    deletes: AtomicU64,
    lists: AtomicU64,
    /// Keys of deletes, in order.
    pub(super) deleted: Mutex<Vec<Key>>,
    /// Keys that cannot be deleted.
    pub(super) stuck: Mutex<BTreeSet<Key>>,
    /// Looks at objects fail.
    pub(super) blind: AtomicBool,
}

#[async_trait]
impl BlobStore for Store {
    async fn writer(&self, key: Key) -> Result<Box<dyn ObjectWriter>, Error> {
        self.memory.writer(key).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<ByteStream, Error> {
        self.memory.read(key, range).await
    }

    async fn length(&self, key: &Key) -> Result<Option<u64>, Error> {
        match self.blind.load(Relaxed) {
            true => Err(Error::Refused { context: "403".into(), source: None }),
            false => self.memory.length(key).await,
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Vec<Deleted> {
        assert!(keys.len() <= STEP, "more than a request takes");
        self.deletes.fetch_add(1, Relaxed);
        self.deleted.lock().unwrap().extend(keys.iter().cloned());
        let stuck = self.stuck.lock().unwrap().clone();
        let (bad, good): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| stuck.contains(key));
        let mut deleted = self.memory.delete(good).await;
        let refused = || Err(Error::Unavailable { context: "SlowDown".into(), source: None });
        deleted.extend(bad.into_iter().map(|key| Deleted { key, result: refused() }));
        deleted
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        self.lists.fetch_add(1, Relaxed);
        self.memory.list(prefix, after).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Error> {
        self.memory.uploads(prefix).await
    }

    async fn abort(&self, upload: &Upload) -> Result<(), Error> {
        self.memory.abort(upload).await
    }

    async fn tidy(&self, prefix: &str) -> Result<(), Error> {
        self.memory.tidy(prefix).await
    }

    async fn hazards(&self) -> Result<Vec<String>, Error> {
        self.memory.hazards().await
    }

    async fn presign(&self, key: &Key, life: Duration) -> Result<Option<String>, Error> {
        self.memory.presign(key, life).await
    }

    async fn read_marker(&self) -> Result<Option<Bytes>, Error> {
        self.memory.read_marker().await
    }

    async fn write_marker(&self, marker: Bytes) -> Result<(), Error> {
        self.memory.write_marker(marker).await
    }

    async fn holds_distribution_layout(&self) -> Result<bool, Error> {
        Ok(false)
    }

    fn describe(&self) -> String {
        "a store that counts".to_owned()
    }
}

/// Everything, with one worker of each kind.
pub(super) struct World {
    pub(super) log: Arc<Log>,
    pub(super) store: Arc<Store>,
    pub(super) registry: Registry,
    pub(super) grant: Grant<Push>,
    pub(super) setup: Setup,
    pub(super) workers: Workers,
}

pub(super) struct Workers {
    pub(super) collect: collect::Collect,
    pub(super) manifests: manifests::Manifests,
    pub(super) trash: trash::Trash,
    pub(super) drain: drain::Drain,
    pub(super) start: start_deletes::StartDeletes,
    pub(super) delete: delete::Delete,
    pub(super) sweep: sweep::Sweep,
    pub(super) scrub: scrub::Scrub,
}

impl Workers {
    fn new(setup: &Setup) -> Self {
        Self {
            collect: collect::Collect::new(setup.clone()),
            manifests: manifests::Manifests::new(setup.clone()),
            trash: trash::Trash::new(setup.clone()),
            drain: drain::Drain::new(setup.clone()),
            start: start_deletes::StartDeletes::new(setup.clone()),
            delete: delete::Delete::new(setup.clone()),
            sweep: sweep::Sweep::new(setup.clone()),
            scrub: scrub::Scrub::new(setup.clone()),
        }
    }
}

/// Passes until one does not ask for another; what they did together.
pub(super) async fn passes<W: Worker>(worker: &mut W) -> u64 {
    let (stop, mut done) = (CancellationToken::new(), 0);
    for _ in 0..1_000 {
        let Report { done: now, more } = worker.pass(&stop).await.expect("pass");
        done += now;
        if !more {
            return done;
        }
    }
    panic!("{} does not end", W::NAME);
}

/// Deletes what may go now.
pub(crate) async fn settle(metadata: Arc<dyn MetadataStore>, blobs: Arc<dyn BlobStore>) {
    let setup = setup(metadata, blobs, 0, 1);
    passes(&mut start_deletes::StartDeletes::new(setup.clone())).await;
    passes(&mut delete::Delete::new(setup)).await;
}

pub(super) fn setup(metadata: Arc<dyn MetadataStore>, blobs: Arc<dyn BlobStore>, index: usize, of: usize) -> Setup {
    let share: ShareOf = Arc::new(move || Some(Share { index, of, leads: index == 0 }));
    Setup {
        metadata,
        blobs,
        rate: usize::MAX,
        rehash: None,
        recount: None,
        scrub: 1_000,
        share,
        metrics: Metrics::default(),
    }
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

impl World {
    pub(super) async fn new() -> Self {
        let (log, store) = (Arc::new(Log::default()), Arc::new(Store::default()));
        let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
        let create = wire::CreateStore { cluster_id, incarnation, token };
        log.store.apply(Command::CreateStore(create)).expect("applied");
        store.memory.write_marker(MARKER.into()).await.expect("written");
        let registry = Registry::new(log.clone(), store.clone(), Lifecycle::new(), Settings::default());
        let name = "team/app".parse().expect("name");
        let grant = Policy::open().grant(&Caller::Anonymous, &name).expect("open to all");
        let setup = setup(log.clone(), store.clone(), 0, 1);
        let workers = Workers::new(&setup);
        Self { log, store, registry, grant, setup, workers }
    }

    pub(super) fn apply(&self, command: Command) -> Outcome {
        self.log.store.apply(command).expect("applied")
    }

    pub(super) async fn push(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        let body = stream::iter([Ok(bytes)]).boxed();
        self.registry.upload(&self.grant, digest, Chunk { body, length: None, range: None }).await.expect("pushed");
        digest
    }

    /// A manifest that needs blobs, under a tag.
    pub(super) fn put_manifest(&self, tag: &str, blobs: &[Digest]) -> Digest {
        let manifest = digest(tag.as_bytes());
        let mut blobs: Vec<Bytes> = blobs.iter().map(|blob| blob.to_bytes().into()).collect();
        blobs.sort();
        let outcome = self.apply(Command::PutManifest(wire::PutManifest {
            repository: "team/app".to_owned(),
            digest: manifest.to_bytes().into(),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            body: Bytes::from_static(b"{}"),
            blobs,
            tags: vec![tag.to_owned()],
            new_repository_id: Bytes::copy_from_slice(&[9; 16]),
            ..Default::default()
        }));
        assert!(matches!(outcome, Outcome::ManifestPut(_)), "{outcome:?}");
        manifest
    }

    /// The first segment of a blob.
    pub(super) fn key_of(&self, digest: &Digest) -> Key {
        let view = self.view();
        let list = view.blob_anywhere(digest).expect("read").expect("a blob").segment_list;
        view.segments(&list, 1).expect("read")[0].key.parse().expect("a key")
    }

    pub(super) fn is_suspect(&self, digest: &Digest) -> bool {
        self.view().blob_anywhere(digest).expect("read").expect("a blob").suspect
    }

    pub(super) fn advance(&self, time: Duration) {
        self.log.store.advance(time).expect("applied");
    }

    pub(super) fn view(&self) -> View {
        self.log.view().expect("view")
    }

    /// All workers but the walk, until nothing is left to do now.
    pub(super) async fn collect(&mut self) -> u64 {
        let all = &mut self.workers;
        let mut done = passes(&mut all.trash).await + passes(&mut all.manifests).await;
        done += passes(&mut all.drain).await + passes(&mut all.collect).await;
        done += passes(&mut all.start).await + passes(&mut all.delete).await;
        done + passes(&mut all.sweep).await
    }

    /// Log entries, deletes and listings since the last call.
    pub(super) fn spent(&self) -> (u64, u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Relaxed);
        (take(&self.log.entries), take(&self.store.deletes), take(&self.store.lists))
    }

    /// Keys of the store's objects.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.store.memory.keys()
    }
}
