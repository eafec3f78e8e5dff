//! Verifies the invariants S1 to S5 of a running cluster against its store, beside requests and workers. Metadata is read in
//! consistent views; whatever differs is looked at once more, after a barrier, before it is told.

use super::Refused;
use crate::blobstore::{BlobStore, Hasher, Key};
use crate::lifecycle::Lifecycle;
use crate::metadata::state::tables::{Pair, Tables, TablesError};
use crate::metadata::{MetadataStore, View, query::Blob, state::invariants::violations};
use anyhow::Context;
use flotilla_proto::admin::{Verification, Verify};
use flotilla_proto::oci::Digest;
use futures_util::{StreamExt, stream};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Blobs of one view.
const PAGE: usize = 200;
/// Blobs looked at side by side.
const LOOKS: usize = 8;
/// What is looked at again, or told, at most.
const DIFFERENCES_MAX: usize = 1_000;
/// Blobs that cannot be looked at, after which it is the store that does not work.
const UNREADABLE_MAX: usize = 20;
/// Longest wait for a barrier.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between the first and the second look: requests that were under way have ended by then, or been recorded.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs one verification at a time.
pub struct Verifier {
    run: Arc<Run>,
    lifecycle: Lifecycle,
}

struct Run {
    metadata: Arc<dyn MetadataStore>,
    store: Arc<dyn BlobStore>,
    seen: Mutex<Verification>,
}

impl Verifier {
    /// A verifier of these rooms.
    pub fn new(metadata: Arc<dyn MetadataStore>, store: Arc<dyn BlobStore>, lifecycle: Lifecycle) -> Self {
        Self { run: Arc::new(Run { metadata, store, seen: Mutex::default() }), lifecycle }
    }

    /// How the verification does that runs or ran last.
    pub fn look(&self) -> Verification {
        self.run.seen().clone()
    }

    /// Begins one, unless one runs. It ends by itself, or when the node drains.
    pub fn start(&self, verify: Verify) -> Result<Verification, Refused> {
        let hash = verify.hash;
        let mut seen = self.run.seen();
        if seen.running {
            return Err(Refused("a verification runs already".to_owned()));
        }
        let id = format!("{:016x}", rand::random::<u64>());
        *seen = Verification { run: id, running: true, hash, phase: "metadata".to_owned(), ..Verification::default() };
        let begun = seen.clone();
        drop(seen);
        let (run, draining) = (self.run.clone(), self.lifecycle.draining().clone());
        self.lifecycle.spawn(async move {
            let reading = verify.hash.then(|| Reading::new(verify.rate));
            let ended = draining.run_until_cancelled(run.all(reading.as_ref(), &draining)).await;
            let error = match ended {
                Some(Ok(())) => None,
                Some(Err(error)) => Some(format!("{error:#}")),
                None => Some("the node stops".to_owned()),
            };
            run.end(error);
        });
        Ok(begun)
    }
}

/// How fast bytes are read, by all looks together.
struct Reading {
    per_second: Option<u64>,
    next: Mutex<Instant>,
}

impl Reading {
    fn new(per_second: Option<u64>) -> Self {
        Self { per_second, next: Mutex::new(Instant::now()) }
    }

    /// Waits until what was read is paid for.
    async fn pay(&self, bytes: usize) {
        let Some(per_second) = self.per_second else { return };
        let takes = Duration::from_secs_f64(bytes as f64 / per_second.max(1) as f64);
        let until = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next = (*next).max(Instant::now()) + takes;
            *next
        };
        sleep_until(until).await;
    }
}

/// Tables until the node drains: a walk over them on a thread of its own cannot be dropped.
struct Until<'a> {
    tables: &'a (dyn Tables + Send + Sync),
    stop: CancellationToken,
}

impl Until<'_> {
    fn check(&self) -> Result<(), TablesError> {
        match self.stop.is_cancelled() {
            true => Err(TablesError("the node stops".into())),
            false => Ok(()),
        }
    }
}

impl Tables for Until<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError> {
        self.check()?;
        self.tables.get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, TablesError> {
        self.check()?;
        self.tables.scan(start, end, limit)
    }
}

impl Run {
    fn seen(&self) -> MutexGuard<'_, Verification> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn differs(&self, difference: String) {
        let mut seen = self.seen();
        seen.differences_all += 1;
        if seen.differences.len() < DIFFERENCES_MAX {
            seen.differences.push(difference);
        }
    }

    fn end(&self, error: Option<String>) {
        let mut seen = self.seen();
        seen.running = false;
        if error.is_none() {
            seen.phase = "done".to_owned();
        }
        seen.error = error;
        let (blobs, differences) = (seen.blobs, seen.differences_all);
        match &seen.error {
            None if differences == 0 => info!(blobs, "verified {blobs} blobs: no differences"),
            None => warn!(blobs, differences, "verified {blobs} blobs: {differences} differences"),
            Some(error) => warn!("the verification ended early: {error}"),
        }
    }

    async fn barrier(&self) -> anyhow::Result<()> {
        self.metadata.barrier(Instant::now() + PATIENCE).await.context("barrier")
    }

    async fn all(&self, reading: Option<&Reading>, stop: &CancellationToken) -> anyhow::Result<()> {
        self.barrier().await?;
        let view = self.metadata.view()?;
        self.seen().blobs_all = view.cluster()?.blobs;
        // One view is consistent: what does not hold in it did not hold then.
        let until = stop.clone();
        let look = move || violations(&Until { tables: view.tables(), stop: until });
        match tokio::task::spawn_blocking(look).await.context("metadata")? {
            Ok(found) => found.into_iter().for_each(|violation| self.differs(violation)),
            Err(error) if stop.is_cancelled() => return Err(error.into()),
            // A record that is no record is as bad as a wrong one.
            Err(error) => self.differs(format!("unreadable: {:#}", anyhow::Error::new(error))),
        }

        self.seen().phase = "blobs".to_owned();
        let unreadable = self.blobs(reading).await?;

        self.seen().phase = "store".to_owned();
        self.store().await?;
        anyhow::ensure!(unreadable.is_empty(), "what follows could not be looked at: {}", unreadable.join("; "));
        Ok(())
    }

    /// S1: the segments of every blob are in the store and have their lengths; if they are read, they have its digest. Which blobs
    /// could not be looked at, and why.
    async fn blobs(&self, reading: Option<&Reading>) -> anyhow::Result<Vec<String>> {
        let (mut after, mut unreadable): (Option<Digest>, _) = (None, Vec::new());
        loop {
            let page = self.metadata.view()?.blobs(after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(unreadable) };
            after = Some(*last);
            let mut doubtful = Vec::new();
            let mut looks = stream::iter(page)
                .map(|(digest, blob)| async move { (digest, self.blob(&digest, &blob, reading).await) })
                .buffer_unordered(LOOKS);
            while let Some((digest, look)) = looks.next().await {
                self.seen().blobs += 1;
                if !matches!(look, Ok(None)) {
                    doubtful.push(digest);
                }
            }
            drop(looks);
            self.look_again(&doubtful, reading, &mut unreadable).await?;
        }
    }

    /// Tells what is wrong with blobs by a second look, too, and notes those that could not be looked at.
    async fn look_again(
        &self,
        doubtful: &[Digest],
        reading: Option<&Reading>,
        unreadable: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        if doubtful.is_empty() {
            return Ok(());
        }
        sleep(PAUSE).await;
        self.barrier().await?;
        for digest in doubtful {
            let Some(blob) = self.metadata.view()?.blob_anywhere(digest)? else { continue };
            match self.blob(digest, &blob, reading).await {
                Ok(None) => {}
                Ok(Some(difference)) => self.differs(difference),
                Err(error) => {
                    unreadable.push(format!("{digest} ({error:#})"));
                    anyhow::ensure!(
                        unreadable.len() < UNREADABLE_MAX,
                        "too many blobs could not be looked at: {}",
                        unreadable.join("; ")
                    );
                }
            }
        }
        Ok(())
    }

    /// What is wrong with a blob, if anything.
    async fn blob(&self, digest: &Digest, blob: &Blob, reading: Option<&Reading>) -> anyhow::Result<Option<String>> {
        if blob.suspect {
            self.seen().suspects += 1;
            return Ok(None);
        }
        let segments = self.metadata.view()?.segments(&blob.segment_list, blob.segments)?;
        if segments.len() != blob.segments as usize {
            return Ok(Some(format!("S1: {digest} has lost its segment list")));
        }
        let mut hasher = Hasher::new(digest.algorithm());
        for segment in segments {
            let key: Key = segment.key.parse().with_context(|| format!("key {} of {digest}", segment.key))?;
            match self.store.length(&key).await.with_context(|| format!("length of {key}"))? {
                None => return Ok(Some(format!("S1: {digest}: object {key} is missing"))),
                Some(length) if length != segment.length => {
                    return Ok(Some(format!("S1: {digest}: object {key} has {length} bytes, not {}", segment.length)));
                }
                Some(_) => {}
            }
            if let Some(reading) = reading {
                let mut bytes =
                    self.store.read(&key, 0..segment.length).await.with_context(|| format!("read {key}"))?;
                while let Some(part) = bytes.next().await {
                    let part = part.with_context(|| format!("read {key}"))?;
                    hasher.update(&part);
                    self.seen().bytes += part.len() as u64;
                    reading.pay(part.len()).await;
                }
            }
        }
        let actual = hasher.finish();
        Ok((reading.is_some() && actual != *digest)
            .then(|| format!("S1: {digest}: its bytes have the digest {actual}")))
    }

    /// S5: whatever lies in the store under this cluster's prefix is recorded, or is still to be swept.
    async fn store(&self) -> anyhow::Result<()> {
        let identity = self.metadata.view()?.cluster()?.store.context("the store has no marker yet")?;
        let prefix = Key::prefix(&identity.cluster_id, &identity.incarnation);
        let mut after = None;
        loop {
            let page = self.store.list(&prefix, after.as_deref()).await.context("listing of the store")?;
            let keys: Vec<String> = page.objects.into_iter().map(|object| object.key).collect();
            after = keys.last().cloned();
            self.listed(keys, unrecorded, |key| async move { self.is_there(&key).await }).await?;
            if !page.more || after.is_none() {
                break;
            }
        }
        let uploads = async || -> anyhow::Result<Vec<String>> {
            let uploads = self.store.uploads(&prefix).await.context("listing of uploads")?;
            Ok(uploads.into_iter().map(|upload| upload.key.to_string()).collect())
        };
        let begun = uploads().await?;
        self.listed(begun, left_over, |key| async move { Ok(uploads().await?.contains(&key)) }).await
    }

    /// Tells of those keys that are `wrong` by a second look, too, and that are `still` there.
    async fn listed<F>(&self, keys: Vec<String>, wrong: Wrong, still: impl Fn(String) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        self.seen().keys += keys.len() as u64;
        let view = self.metadata.view()?;
        let mut doubtful = Vec::new();
        for key in keys {
            if wrong(&view, &key)?.is_some() {
                doubtful.push(key);
            }
        }
        drop(view);
        if doubtful.is_empty() {
            return Ok(());
        }
        // What a node recorded or deleted meanwhile is known after a barrier.
        sleep(PAUSE).await;
        self.barrier().await?;
        for key in doubtful {
            let difference = wrong(&self.metadata.view()?, &key)?;
            if let Some(difference) = difference
                && still(key).await?
            {
                self.differs(difference);
            }
        }
        Ok(())
    }

    /// Whether an object is still there; of what is no key of ours the listing is believed.
    async fn is_there(&self, key_text: &str) -> anyhow::Result<bool> {
        let Ok(key) = key_text.parse::<Key>() else { return Ok(true) };
        Ok(self.store.length(&key).await.with_context(|| format!("length of {key}"))?.is_some())
    }
}

/// A look at a key of the store.
type Wrong = fn(&View, &str) -> anyhow::Result<Option<String>>;

/// What is wrong with an upload of parts that was begun in the store, if anything: that of a recorded object has ended.
fn left_over(view: &View, key_text: &str) -> anyhow::Result<Option<String>> {
    let over = match key_text.parse::<Key>() {
        Ok(key) => view.hour_is_over(key.hour())?,
        Err(_) => false,
    };
    match view.object(key_text)? {
        Some(_) if over => Ok(Some(format!("S5: an upload of parts to {key_text} was left in the store"))),
        Some(_) => Ok(None),
        None => unrecorded(view, key_text),
    }
}

/// What is wrong with a key that lies in the store, if anything.
fn unrecorded(view: &View, key_text: &str) -> anyhow::Result<Option<String>> {
    if view.object(key_text)?.is_some() {
        return Ok(None);
    }
    match key_text.parse::<Key>() {
        Ok(key) if !view.hour_is_over(key.hour())? => Ok(None),
        Ok(_) => Ok(Some(format!("S5: {key_text} is in the store and not recorded, and its hour is swept"))),
        Err(_) => Ok(Some(format!("S5: {key_text} is in the store and is no key of it"))),
    }
}
