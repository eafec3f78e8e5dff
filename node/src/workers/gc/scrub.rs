//! Walks slowly over all objects and compares the store with the state, a page at a time.
//!
//! A recorded object that the store does not have, by two looks a minute apart, makes its blob suspect: it counts as absent
//! for those who push, until one of them brings it again. An object of a forgotten bucket that no record names is deleted.
//! Where the walk is, and what was missing once, is lost with the process: it begins anywhere, and misses come again. It takes
//! `gc.scrub` objects a minute: a million in 17 hours, by default.

use super::{
    STEP, STEP_LIMIT, Setup, collects,
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
    /// Whether the walk has a place: it begins anywhere.
    begun: bool,
    /// The last key that was compared; `None`: the walk begins with the first.
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
fn select(expected: &[Expected], listed: &BTreeMap<String, u64>) -> Vec<Expected> {
    expected.iter().filter(|object| listed.get(&object.key) != Some(&object.length)).cloned().collect()
}

/// The recorded objects as they should be, without those that nobody reads any more. A list is read once for all its objects.
fn expect_all(view: &View, recorded: Vec<(String, wire::Object)>) -> anyhow::Result<Vec<Expected>> {
    let mut of_list: BTreeMap<Bytes, Vec<String>> = BTreeMap::new();
    for (key, object) in recorded {
        if let Some(State::Live(list)) = object.state {
            of_list.entry(list).or_default().push(key);
        }
    }
    let mut expected = Vec::new();
    for (list, keys) in of_list {
        let segments = view.segments(&list, SEGMENTS_MAX)?.into_iter();
        let asked = segments.filter(|segment| keys.binary_search(&segment.key).is_ok());
        expected.extend(asked.map(|segment| Expected { key: segment.key, length: segment.length }));
    }
    expected.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(expected)
}

/// Somewhere among the keys, so that restarts do not always begin with the same ones. The walk comes round to those before.
fn anywhere(prefix: &str, hours: u64) -> String {
    let (hour, shard) = (rand::random::<u64>() % (hours + 1), rand::random::<u8>());
    format!("{prefix}{hour}/{shard:02x}")
}

/// How often a page is compared, at `rate` objects a minute.
pub(super) fn interval(rate: usize) -> Duration {
    APART * STEP_LIMIT / u32::try_from(rate).unwrap_or(u32::MAX).max(1)
}

impl Scrub {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, begun: false, after: None, missed: BTreeMap::new() }
    }

    /// Compares the next page; how many objects of the state it had. What fails for one object does not hold up the others.
    async fn compare(&mut self, prefix: &str, failure: &mut Option<anyhow::Error>) -> anyhow::Result<usize> {
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
        let recorded: Vec<_> = recorded.into_iter().filter(|(key, _)| within(key)).collect();
        if let Err(error) = self.delete_strays(&view, &listed).await {
            failure.get_or_insert(error);
        }
        let mut expected = tokio::task::spawn_blocking(move || expect_all(&view, recorded)).await??;
        let listed = listed.into_iter().map(|object| (object.key, object.length)).collect();
        let absent = select(&expected, &listed);
        // The walk goes on after the last one that there was time and room for.
        let room = LOOKS.min(MISSED_MAX.saturating_sub(self.missed.len()));
        if absent.len() > room {
            end = if room == 0 { self.after.clone() } else { Some(absent[room - 1].key.clone()) };
            expected.retain(|object| Some(&object.key) <= end.as_ref());
        }
        for object in absent.into_iter().take(room) {
            match self.is_missing(&object).await {
                Ok(true) => _ = self.missed.entry(object.key).or_insert_with(Instant::now),
                Ok(false) => {}
                Err(error) => _ = failure.get_or_insert(error),
            }
        }
        if end.is_none()
            && let Err(error) = self.abort_late_uploads(prefix).await
        {
            failure.get_or_insert(error);
        }
        self.after = end;
        Ok(expected.len())
    }

    /// What came under a bucket after it was swept and forgotten. The view may be old: a bucket that was over once is over.
    async fn delete_strays(&self, view: &View, listed: &[Listed]) -> anyhow::Result<()> {
        if !collects(view)? {
            return Ok(());
        }
        let mut late = Vec::new();
        for key in sweep::select(view, listed)? {
            if view.hour_is_long_over(key.hour())? {
                late.push(key);
            }
        }
        for keys in late.chunks(STEP) {
            let (count, failure) = delete_strays(&self.setup, keys.to_vec()).await;
            warn!(count, "deleted {count} objects that came after their bucket was swept");
            failure.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Uploads that began under a bucket after it was swept and forgotten, as those of a process that was stopped meanwhile.
    async fn abort_late_uploads(&self, prefix: &str) -> anyhow::Result<()> {
        let view = self.setup.metadata.view()?;
        if !collects(&view)? {
            return Ok(());
        }
        let mut late = Vec::new();
        for upload in self.setup.blobs.uploads(prefix).await.context("listing uploads")? {
            if view.hour_is_long_over(upload.key.hour())? {
                late.push(upload);
            }
        }
        drop(view);
        let (_, failure) = sweep::abort_uploads(&self.setup, late).await;
        failure.map_or(Ok(()), Err)
    }

    /// Asks for one object. Any error, a missing bucket too, is no answer.
    async fn is_missing(&self, object: &Expected) -> anyhow::Result<bool> {
        let key: Key = object.key.parse().context("recorded key")?;
        let found = self.setup.blobs.length(&key).await.with_context(|| format!("look at {key}"))?;
        let missing = found != Some(object.length);
        self.setup.metrics.missing.inc_by(u64::from(missing));
        Ok(missing)
    }

    /// Looks again at what was missing long enough ago, and marks the blobs of what still is.
    async fn look_again(&mut self, failure: &mut Option<anyhow::Error>) -> anyhow::Result<u64> {
        let now = Instant::now();
        let again: Vec<String> =
            self.missed.iter().filter(|(_, at)| now - **at >= APART).map(|(key, _)| key.clone()).take(LOOKS).collect();
        let mut lost = BTreeMap::new();
        for key in again {
            match self.list_of_missing(&key).await {
                Ok(Some(list)) => {
                    warn!(object.key = %key, "an object is missing from the store, or has a wrong length");
                    lost.insert(key, list);
                }
                Ok(None) => _ = self.missed.remove(&key),
                Err(error) => {
                    failure.get_or_insert(error);
                    self.missed.insert(key, now); // after the others
                }
            }
        }
        if lost.is_empty() {
            return Ok(0);
        }
        let marked = self.mark(lost.values().cloned().collect()).await?;
        self.missed.retain(|key, _| !lost.contains_key(key));
        Ok(marked)
    }

    /// The segment list of an object that is recorded and not in the store.
    async fn list_of_missing(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        let view = self.setup.metadata.view()?;
        let Some(object) = view.object(key)? else { return Ok(None) };
        let Some(expected) = expect_all(&view, vec![(key.to_owned(), object.clone())])?.pop() else { return Ok(None) };
        drop(view);
        let missing = self.is_missing(&expected).await?;
        Ok(match object.state {
            Some(State::Live(list)) if missing => Some(list),
            _ => None,
        })
    }

    async fn mark(&self, lists: BTreeSet<Bytes>) -> anyhow::Result<u64> {
        self.setup.ensure_ours().await?;
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
        let cluster = self.setup.metadata.view()?.cluster()?;
        let Some(store) = cluster.store else { return Ok(Report::default()) };
        let prefix = Key::prefix(&store.cluster_id, &store.incarnation);
        let mut failure = None;
        let done = match self.look_again(&mut failure).await {
            Ok(done) => done,
            Err(error) => {
                failure.get_or_insert(error);
                0
            }
        };
        let first = !std::mem::replace(&mut self.begun, true);
        if first {
            self.after = Some(anywhere(&prefix, cluster.hour));
        }
        let count = self.compare(&prefix, &mut failure).await?;
        self.setup.metrics.scrubbed.inc_by(count as u64);
        match failure {
            Some(error) => Err(error),
            // Where the walk began may have been close to the end.
            None => Ok(Report { done, more: first && self.after.is_none() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_of_a_million_objects_takes_most_of_a_day() {
        assert_eq!(interval(1_000), Duration::from_secs(60));
        assert_eq!(interval(60_000), Duration::from_secs(1));
        assert_eq!(interval(1), Duration::from_secs(60_000));
    }

    #[test]
    fn a_walk_begins_anywhere_under_the_prefix() {
        let starts: BTreeSet<String> = (0..200).map(|_| anywhere("c/i/", 9)).collect();
        assert!(starts.len() > 100 && starts.iter().all(|start| start.starts_with("c/i/")), "{starts:?}");
        assert!(
            starts.iter().any(|start| start.starts_with("c/i/9/"))
                && starts.iter().any(|start| start < &"c/i/2".to_owned())
        );
    }
}
