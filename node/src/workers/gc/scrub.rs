//! Walks slowly over all objects and compares the store with the state, a page at a time.
//!
//! A recorded object that the store does not have, by two looks a minute apart, makes its blob suspect: it counts as absent
//! for those who push, until one of them brings it again. An object of a forgotten bucket that no record names is deleted.
//! Where the walk is, and what was missing once, is lost with the process: it begins anywhere, and misses come again.

use super::{
    STEP, Setup, collects,
    sweep::{self, delete_strays},
};
use crate::{
    blobstore::{Key, Listed},
    metadata::{Command, Outcome, View},
    workers::{Report, Scope, Worker},
};
use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use flotilla_proto::{oci::Digest, wire::metadata as wire};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::object::State;

/// Listings of one pass.
const PAGES: usize = 4;
/// Objects that one pass asks for by themselves because no listing shows them.
const LOOKS: usize = 100;
/// Between the two looks at an object that is missing.
const APART: Duration = Duration::from_secs(60);
/// Segments of a list, at most.
const SEGMENTS_MAX: u32 = 10_000;
/// Objects that were missing once and are remembered.
const MISSED_MAX: usize = 1_000;

/// The worker.
pub(super) struct Scrub {
    setup: Setup,
    /// The last key that was compared.
    after: Option<String>,
    /// Objects that were missing, and since when.
    missed: BTreeMap<String, Instant>,
}

/// A recorded object that should be in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    key: String,
    length: u64,
}

/// Objects that should be there and are not, or not with their length, by a listing.
fn select(expected: Vec<Expected>, listed: &BTreeMap<String, u64>) -> Vec<Expected> {
    expected.into_iter().filter(|object| listed.get(&object.key) != Some(&object.length)).collect()
}

/// The object as it should be; `None` if nobody reads it any more.
fn expect(view: &View, key: &str, object: &wire::Object) -> anyhow::Result<Option<Expected>> {
    let Some(State::Live(list)) = &object.state else { return Ok(None) };
    let segments = view.segments(list, SEGMENTS_MAX)?;
    let found = segments.into_iter().find(|segment| segment.key == key);
    Ok(found.map(|segment| Expected { key: key.to_owned(), length: segment.length }))
}

impl Scrub {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, after: None, missed: BTreeMap::new() }
    }

    /// Compares the next page; how many objects of the state it had.
    async fn compare(&mut self, prefix: &str) -> anyhow::Result<usize> {
        // The state first: what is recorded after this is not asked for, and its bucket is not forgotten.
        let view = self.setup.metadata.view()?;
        let recorded = view.objects(prefix, self.after.as_deref(), STEP)?;
        let mut end = recorded.last().filter(|_| recorded.len() == STEP).map(|(key, _)| key.clone());
        let (mut listed, mut after) = (Vec::new(), self.after.clone());
        for pages in 1.. {
            let page = self.setup.blobs.list(prefix, after.as_deref()).await.context("listing objects")?;
            listed.extend(page.objects);
            after = listed.last().map(|last: &Listed| last.key.clone());
            if !page.more || end.is_some() && after >= end {
                break;
            }
            if pages == PAGES {
                end = after;
                break;
            }
        }
        let within = |key: &str| end.as_deref().is_none_or(|end| key <= end);
        listed.retain(|object| within(&object.key));
        let mut expected = Vec::new();
        for (key, object) in recorded.iter().filter(|(key, _)| within(key)) {
            expected.extend(expect(&view, key, object)?);
        }
        let count = expected.len();
        self.delete_strays(&view, &listed).await?;
        drop(view);
        let listed = listed.into_iter().map(|object| (object.key, object.length)).collect();
        for object in select(expected, &listed).into_iter().take(LOOKS) {
            if self.is_missing(&object).await? && self.missed.len() < MISSED_MAX {
                self.missed.entry(object.key).or_insert_with(Instant::now);
            }
        }
        self.after = end;
        Ok(count)
    }

    /// What came under a bucket after it was swept and forgotten.
    async fn delete_strays(&self, view: &View, listed: &[Listed]) -> anyhow::Result<()> {
        if !collects(view)? {
            return Ok(());
        }
        let mut late = Vec::new();
        for key in sweep::select(view, listed)? {
            if view.hour_is_over(key.hour())? {
                late.push(key);
            }
        }
        for keys in late.chunks(STEP) {
            let count = delete_strays(&self.setup, keys.to_vec()).await?;
            warn!(count, "deleted {count} objects that came after their bucket was swept");
        }
        Ok(())
    }

    /// Asks for one object. Any error, a missing bucket too, is no answer.
    async fn is_missing(&self, object: &Expected) -> anyhow::Result<bool> {
        let key: Key = object.key.parse().context("recorded key")?;
        let found = self.setup.blobs.length(&key).await.with_context(|| format!("look at {key}"))?;
        let missing = found != Some(object.length);
        self.setup.metrics.missing.inc_by(u64::from(missing));
        Ok(missing)
    }

    /// Looks again at what was missing long enough ago; the segment lists of what still is.
    async fn look_again(&mut self) -> anyhow::Result<BTreeSet<Bytes>> {
        let now = Instant::now();
        let again: Vec<String> =
            self.missed.iter().filter(|(_, at)| now - **at >= APART).map(|(key, _)| key.clone()).take(LOOKS).collect();
        let mut lists = BTreeSet::new();
        for key in again {
            let view = self.setup.metadata.view()?;
            let object = view.object(&key)?;
            let expected = object.as_ref().map(|object| expect(&view, &key, object)).transpose()?.flatten();
            drop(view);
            if let Some(expected) = expected
                && self.is_missing(&expected).await?
                && let Some(wire::Object { state: Some(State::Live(list)) }) = object
            {
                warn!(object.key = %key, "an object is missing from the store, or has a wrong length");
                lists.insert(list);
            }
            self.missed.remove(&key);
        }
        Ok(lists)
    }

    async fn mark(&self, lists: BTreeSet<Bytes>) -> anyhow::Result<u64> {
        // A store that is not ours, or not mounted, has none of the objects.
        let marker = self.setup.blobs.read_marker().await.context("marker")?;
        anyhow::ensure!(marker.is_some(), "objects are missing, and the store's marker too: nothing is marked");
        let view = self.setup.metadata.view()?;
        // Rare enough for a walk over all blobs, which asks the store nothing.
        let blobs = tokio::task::spawn_blocking(move || blobs_of(&view, &lists)).await??;
        let mut marked = 0;
        for (digest, segment_list) in blobs {
            warn!(oci.digest = %digest, "a blob is suspect: it counts as absent until it is pushed again");
            let digest = digest.to_bytes().into();
            let command = Command::MarkSuspect(wire::MarkSuspect { digest, segment_list });
            // It may have gone or been healed meanwhile.
            if let Outcome::Done(done) = self.setup.propose(command).await? {
                marked += done.count;
            }
        }
        self.setup.metrics.suspects.inc_by(marked);
        Ok(marked)
    }
}

/// The blobs that have one of these segment lists and are not suspect yet.
fn blobs_of(view: &View, lists: &BTreeSet<Bytes>) -> anyhow::Result<Vec<(Digest, Bytes)>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = view.blobs(after.as_ref(), STEP)?;
        let whole = page.len() == STEP;
        for (digest, blob) in page {
            if lists.contains(&blob.segment_list) && !blob.suspect {
                found.push((digest, blob.segment_list));
            }
            after = Some(digest);
        }
        if !whole {
            return Ok(found);
        }
    }
}

#[async_trait]
impl Worker for Scrub {
    const NAME: &'static str = "gc_scrub";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, _stop: &CancellationToken) -> anyhow::Result<Report> {
        let Some(store) = self.setup.metadata.view()?.cluster()?.store else { return Ok(Report::default()) };
        let lists = self.look_again().await?;
        let done = if lists.is_empty() { 0 } else { self.mark(lists).await? };
        let prefix = Key::prefix(&store.cluster_id, &store.incarnation);
        let count = self.compare(&prefix).await?;
        self.setup.metrics.scrubbed.inc_by(count as u64);
        Ok(Report { done, more: false })
    }
}
