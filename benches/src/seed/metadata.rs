//! Through the state machine of a node, past its log: sessions opened and committed, manifests put, as pushes do it.

use super::set::{Image, MEDIA_TYPE, Set, digest};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flotilla_node::{
    blobstore::{self, BlobStore, Key},
    config,
    lifecycle::Lifecycle,
    metadata::{
        Command, Outcome,
        state::{TablesMut, apply},
    },
    raft::offline,
};
use flotilla_proto::{
    metadata::{HOUR_MS, TICK_MAX_MS, WORK_MAX, operation},
    oci::{Algorithm, Digest},
    wire::metadata as wire,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use prometheus_client::registry::Registry;
use sha2::{Digest as _, Sha256};
use std::{io, path::Path};

/// Page cache while the state is written.
const CACHE_BYTES: usize = 1 << 30;
/// Manifests that are pushed within an hour of replicated time.
const IMAGES_PER_HOUR: usize = 100;
/// Dead blobs of one log entry.
const DEAD_AT_ONCE: u64 = 100;
/// Hours that pass after the last push: longer than the default delays, so that nothing of the seed is still under way.
const HOURS_AFTER: u64 = 60;
/// Writes to an object store at once.
const WRITES_AT_ONCE: usize = 32;

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// Live blobs.
    pub set: Set,
    /// Blobs that nothing references and whose grace is over.
    pub dead: u64,
    /// Of the live objects only so many are written to the store: the first in the order of their keys.
    pub objects: usize,
}

/// Writes `seed` into the data directory that `config` names, and objects into its store.
pub async fn write(config: &Path, seed: Seed) -> Result<()> {
    let config = config::load(Some(config), std::env::vars())?.config;
    let written = offline::change(&config, CACHE_BYTES, |tables, applied| {
        let mut writer = Writer::new(tables, applied.index, applied.leader_id.term, seed.set.size).map_err(failed)?;
        writer.all(seed).map_err(failed)?;
        Ok((writer.live, writer.dead))
    });
    let (mut live, dead) = written.context("writing the state")?;
    live.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    live.truncate(seed.objects);
    let keys = live.into_iter().chain(dead);
    match &config.storage.driver {
        // As a finished write leaves them, without blocks on disk.
        config::Driver::Filesystem(driver) => {
            for key in keys {
                sparse(&driver.root_directory.join(key.as_str()), seed.set.size)?;
            }
            Ok(())
        }
        config::Driver::S3(_) => {
            let metrics = blobstore::Metrics::register(&mut Registry::default(), config.storage.driver.metrics_name());
            let spill = config.data_dir.join("spill");
            let store = blobstore::open(&config.storage, Lifecycle::new(), metrics, spill).await?;
            let zeros = Bytes::from(vec![0; usize::try_from(seed.set.size)?]);
            let writes = stream::iter(keys.map(|key| put(store.as_ref(), key, zeros.clone())));
            writes.buffer_unordered(WRITES_AT_ONCE).try_collect().await
        }
    }
}

struct Writer<'a> {
    tables: &'a mut dyn TablesMut,
    index: u64,
    term: u64,
    size: u64,
    store: wire::Store,
    hours: Vec<u64>,
    live: Vec<Key>,
    dead: Vec<Key>,
}

impl<'a> Writer<'a> {
    fn new(tables: &'a mut dyn TablesMut, index: u64, term: u64, size: u64) -> Result<Self> {
        let mut this = Self {
            tables,
            index,
            term,
            size,
            store: wire::Store::default(),
            hours: Vec::new(),
            live: Vec::new(),
            dead: Vec::new(),
        };
        // The answer is the store that is there already; the node has founded it.
        match this.apply(vec![Command::CreateStore(wire::CreateStore::default())])?.pop() {
            Some(Outcome::StoreCreated(store)) if !store.cluster_id.is_empty() => {
                this.store.cluster_id = store.cluster_id;
                this.store.incarnation = store.incarnation;
                Ok(this)
            }
            other => anyhow::bail!("the node has not founded its store, start it once before: {other:?}"),
        }
    }

    fn all(&mut self, seed: Seed) -> Result<()> {
        for (number, image) in seed.set.images().enumerate() {
            if number > 0 && number % IMAGES_PER_HOUR == 0 {
                self.pass(1)?;
            }
            self.image(&image)?;
        }
        for first in (0..seed.dead).step_by(usize::try_from(DEAD_AT_ONCE)?) {
            let blobs: Vec<u64> =
                (first..seed.dead.min(first + DEAD_AT_ONCE)).map(|number| u64::MAX - number).collect();
            let keys = self.blobs("seed/dead", &blobs)?;
            self.dead.extend(keys);
        }
        if seed.dead > 0 {
            let reason = "seeded".to_owned();
            self.apply(vec![Command::SetGcMode(wire::SetGcMode { mode: wire::GcMode::Paused.into(), reason })])?;
        }
        self.pass(HOURS_AFTER)?;
        // Nothing lies in the store that is not recorded.
        let hours = std::mem::take(&mut self.hours);
        for hours in hours.chunks(WORK_MAX) {
            let swept = self.apply(vec![Command::HoursSwept(wire::HoursSwept { hours: hours.to_vec() })])?;
            ensure!(swept == [done(hours.len() as u64)], "the delays in the state are too long: {swept:?}");
        }
        Ok(())
    }

    fn image(&mut self, image: &Image) -> Result<()> {
        let numbers: Vec<u64> = image.blobs.clone().collect();
        let keys = self.blobs(&image.repository, &numbers)?;
        self.live.extend(keys);
        let mut blobs: Vec<Bytes> = numbers.into_iter().map(stored_digest).collect();
        blobs.sort();
        let body = Bytes::from(image.body.clone());
        let put = Command::PutManifest(wire::PutManifest {
            repository: image.repository.clone(),
            digest: stored(Sha256::digest(&body).into()),
            media_type: MEDIA_TYPE.to_owned(),
            body,
            blobs,
            tags: vec![image.tag.clone()],
            new_repository_id: repository_id(&image.repository),
            ..Default::default()
        });
        let outcomes = self.apply(vec![put])?;
        ensure!(matches!(outcomes[..], [Outcome::ManifestPut(_)]), "{} was not put: {outcomes:?}", image.tag);
        Ok(())
    }

    /// Pushes blobs; the keys of their objects.
    fn blobs(&mut self, repository: &str, blobs: &[u64]) -> Result<Vec<Key>> {
        let open = |blob: &u64| {
            Command::OpenSession(wire::OpenSession {
                session_id: session_id(*blob),
                repository: repository.to_owned(),
                algorithm: Algorithm::Sha256 as u32,
                idle_ms: HOUR_MS,
                hard_ms: HOUR_MS,
            })
        };
        let opened = self.apply(blobs.iter().map(open).collect())?;
        let mut keys = Vec::with_capacity(blobs.len());
        let mut commits = Vec::with_capacity(blobs.len());
        for (blob, outcome) in blobs.iter().zip(opened) {
            let Outcome::SessionOpened(wire::SessionOpened { hour }) = outcome else {
                anyhow::bail!("no session for blob {blob}: {outcome:?}");
            };
            if self.hours.last() != Some(&hour) {
                self.hours.push(hour);
            }
            let session_id = session_id(*blob);
            let (cluster, incarnation) = (&self.store.cluster_id, &self.store.incarnation);
            let key = Key::new(cluster, incarnation, hour, &hex::encode(&session_id), "seed", *blob)?;
            commits.push(Command::CommitBlob(wire::CommitBlob {
                session_id,
                at: 0,
                segment: Some(wire::Segment { key: key.as_str().to_owned(), length: self.size }),
                digest: stored_digest(*blob),
                size: self.size,
                new_repository_id: repository_id(repository),
            }));
            keys.push(key);
        }
        let committed = self.apply(commits)?;
        let refused = committed.iter().find(|outcome| !matches!(outcome, Outcome::BlobCommitted(_)));
        ensure!(refused.is_none(), "a blob was not committed: {refused:?}");
        Ok(keys)
    }

    /// Lets replicated time pass.
    fn pass(&mut self, hours: u64) -> Result<()> {
        for _ in 0..(hours * HOUR_MS).div_ceil(TICK_MAX_MS) {
            let tick = Command::Tick(wire::Tick { elapsed_ms: TICK_MAX_MS, term: self.term });
            let ticked = self.apply(vec![tick])?;
            ensure!(ticked == [done(TICK_MAX_MS)], "time does not pass: {ticked:?}");
        }
        Ok(())
    }

    /// Applies commands as one log entry would. Without request ids: nothing repeats them.
    fn apply(&mut self, commands: Vec<Command>) -> Result<Vec<Outcome>> {
        let operations = commands.into_iter().map(|command| operation(Bytes::new(), 0, command)).collect();
        let outcomes = apply(self.tables, self.index, &wire::Batch { operations })?;
        Ok(outcomes.into_iter().filter_map(|outcome| outcome.kind).collect())
    }
}

fn done(count: u64) -> Outcome {
    Outcome::Done(wire::Done { count })
}

fn failed(error: anyhow::Error) -> io::Error {
    io::Error::other(error)
}

/// A file of that length without blocks on disk.
fn sparse(path: &Path, size: u64) -> Result<()> {
    let file = std::fs::File::create(path).or_else(|_| {
        std::fs::create_dir_all(path.parent().unwrap_or(path))?;
        std::fs::File::create(path)
    });
    file.and_then(|file| file.set_len(size)).with_context(|| path.display().to_string())
}

async fn put(store: &dyn BlobStore, key: Key, bytes: Bytes) -> Result<()> {
    let mut writer = store.writer(key).await?;
    writer.write(bytes).await?;
    writer.finish().await?;
    Ok(())
}

/// Of no session that a node ever minted.
fn session_id(blob: u64) -> Bytes {
    Bytes::from([*b"seedblob", blob.to_be_bytes()].concat())
}

fn repository_id(name: &str) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(name)[..16])
}

fn stored_digest(blob: u64) -> Bytes {
    stored(digest(blob))
}

fn stored(raw: [u8; 32]) -> Bytes {
    let digest = Digest::new(Algorithm::Sha256, &raw).expect("32 bytes");
    digest.to_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_node::{
        metadata::{MetadataStore, state::invariants},
        raft::RaftStore,
    };
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_node_goes_on_with_what_was_seeded() {
        let dir = tempfile::TempDir::new().expect("a folder");
        let file = dir.path().join("config.yml");
        let (data, objects) = (dir.path().join("node"), dir.path().join("store"));
        let yaml = format!(
            "version: 0.1\ncluster: {{name: t, datadir: {}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n",
            data.display(),
            objects.display()
        );
        std::fs::write(&file, yaml).expect("written");
        let config = config::load(Some(&file), std::env::vars()).expect("loaded").config;
        let seed = Seed { set: Set { live: 250, size: 5 }, dead: 120, objects: 10 };
        assert!(write(&file, seed).await.is_err(), "it has never run");
        let start = async || {
            let lifecycle = Lifecycle::new();
            let raft = RaftStore::start(&config, &lifecycle, &mut Registry::default()).await.expect("started");
            raft.barrier(Instant::now() + Duration::from_secs(10)).await.expect("a leader");
            raft
        };
        let by = || Instant::now() + Duration::from_secs(10);
        let raft = start().await;
        let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
        let found = wire::CreateStore { cluster_id, incarnation, token };
        raft.propose(Command::CreateStore(found), by()).await.expect("founded");
        assert!(write(&file, seed).await.is_err(), "it runs");
        raft.shutdown().await;
        drop(raft);
        write(&file, seed).await.expect("seeded");

        let raft = start().await;
        let view = raft.view().expect("a view");
        assert_eq!(invariants::violations(view.tables()).expect("read"), [""; 0]);
        assert_eq!(view.cluster().expect("read").blobs, 370);
        assert_eq!(view.due_links(1_000).expect("read").len(), 120);
        assert_eq!(view.due_hours(10).expect("read"), [0; 0]);
        drop(view);
        raft.shutdown().await;
        let files = walk(&objects);
        assert_eq!((files.len(), files.iter().all(|length| *length == 5)), (130, true));
    }

    fn walk(folder: &Path) -> Vec<u64> {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
        entries
            .flat_map(|entry| match entry.metadata().expect("metadata") {
                file if file.is_file() => vec![file.len()],
                _ => walk(&entry.path()),
            })
            .collect()
    }
}
