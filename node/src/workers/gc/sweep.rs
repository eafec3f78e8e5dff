//! Looks under the keys of a bucket of sessions, long after the last of them ended, for what is in the store and was never
//! recorded: bytes of writes that reached it late, or whose node died. Then the bucket is forgotten.
//!
//! The state says that a bucket is due only when no session is open in it and none can open: from then on nothing is recorded
//! under it, so whatever this node's state does not name by then never will be.

use super::{STEP, Setup, collects, pace::Pace};
use crate::{
    blobstore::{Key, Listed, Upload},
    metadata::{Command, View},
    workers::{Report, Scope, Worker},
};
use anyhow::Context;
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::object::State;

/// Buckets of one pass.
const HOURS: usize = 24;
/// Times that one pass looks at a bucket in which it finds something.
const ROUNDS: usize = 4;

/// The worker.
pub(super) struct Sweep {
    setup: Setup,
    pace: Pace,
    /// The last bucket that was looked at, so that those that cannot be cleaned do not hold up the others.
    last: Option<u64>,
}

/// The objects of a listing that no record names. What has no key of ours is not touched.
pub(super) fn select(view: &View, listed: &[Listed]) -> anyhow::Result<Vec<Key>> {
    let mut strays = Vec::new();
    for object in listed {
        match object.key.parse::<Key>() {
            Ok(key) if view.object(key.as_str())?.is_none() => strays.push(key),
            Ok(_) => {}
            Err(_) => warn!(object.key, "something that is not ours lies among the objects"),
        }
    }
    Ok(strays)
}

/// Deletes objects that no record names and none will; how many went, and the first error.
pub(super) async fn delete_strays(setup: &Setup, strays: Vec<Key>) -> (usize, Option<anyhow::Error>) {
    let (mut count, mut failure) = (0, None);
    if strays.is_empty() {
        return (count, failure);
    }
    for deleted in setup.blobs.delete(strays).await {
        match deleted.result {
            Ok(()) => count += 1,
            Err(error) => {
                let context = format!("unrecorded object {}", deleted.key);
                failure.get_or_insert_with(|| anyhow::Error::new(error).context(context));
            }
        }
    }
    setup.metrics.strays.inc_by(count as u64);
    (count, failure)
}

/// Aborts uploads that nobody goes on with; how many, and the first error.
pub(super) async fn abort_uploads(setup: &Setup, uploads: Vec<Upload>) -> (usize, Option<anyhow::Error>) {
    let (mut aborted, mut failure) = (0, None);
    for upload in uploads {
        match abort(setup, &upload).await.with_context(|| format!("upload of {}", upload.key)) {
            Ok(done) => aborted += usize::from(done),
            Err(error) => _ = failure.get_or_insert(error),
        }
    }
    setup.metrics.uploads.inc_by(aborted as u64);
    (aborted, failure)
}

async fn abort(setup: &Setup, upload: &Upload) -> anyhow::Result<bool> {
    let object = setup.metadata.view()?.object(upload.key.as_str())?;
    // Where an abort wins over a write that finished, it would take live bytes away. Of a key that is live only an upload
    // without parts goes: the one whose answer was lost, before another one was begun and finished.
    let live = matches!(object, Some(wire::Object { state: Some(State::Live(_)) }));
    if live && !setup.blobs.has_no_parts(upload).await? {
        return Ok(false);
    }
    setup.blobs.abort(upload).await?;
    Ok(true)
}

impl Sweep {
    pub(super) fn new(setup: Setup) -> Self {
        let pace = Pace::new(setup.rate);
        Self { setup, pace, last: None }
    }

    /// Looks once at all that is under a bucket; how much of it had to go. `None`: stopped or paused before the end. What cannot be
    /// deleted does not hold up the rest, but the bucket is not clean.
    async fn round(&mut self, prefix: &str, stop: &CancellationToken) -> anyhow::Result<Option<usize>> {
        let (mut found, mut after, mut failure) = (0, None, None);
        loop {
            if !self.pace.wait(stop).await {
                return Ok(None);
            }
            let page = self.setup.blobs.list(prefix, after.as_deref()).await.context("listing objects")?;
            let view = self.setup.metadata.view()?;
            if !collects(&view)? {
                return Ok(None);
            }
            let strays = select(&view, &page.objects)?;
            drop(view);
            let (count, failed) = delete_strays(&self.setup, strays).await;
            self.pace.spend(count as u64);
            found += count;
            failure = failure.or(failed);
            match page.objects.into_iter().next_back().filter(|_| page.more) {
                Some(last) => after = Some(last.key),
                None => break,
            }
        }
        let uploads = self.setup.blobs.uploads(prefix).await.context("listing uploads")?;
        let (aborted, failed) = abort_uploads(&self.setup, uploads).await;
        found += aborted;
        failure = failure.or(failed);
        failure.map_or(Ok(Some(found)), Err)
    }

    /// Whether the bucket was found clean.
    async fn sweep(&mut self, prefix: &str, stop: &CancellationToken) -> anyhow::Result<bool> {
        for _ in 0..ROUNDS {
            match self.round(prefix, stop).await? {
                None => return Ok(false),
                Some(0) => {
                    self.setup.blobs.tidy(prefix).await.context("tidying")?;
                    return Ok(true);
                }
                Some(count) => info!(count, "swept {count} unrecorded objects and uploads under {prefix}"),
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Worker for Sweep {
    const NAME: &'static str = "gc_sweep";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        let view = self.setup.metadata.view()?;
        let Some(store) = view.cluster()?.store else { return Ok(Report::default()) };
        let mut due = if collects(&view)? { view.due_hours(STEP)? } else { Vec::new() };
        drop(view);
        let next = due.iter().position(|hour| Some(*hour) > self.last).unwrap_or(0);
        due.rotate_left(next);
        due.truncate(HOURS);
        let (mut clean, mut failure, looked) = (Vec::new(), None, due.len());
        for hour in due {
            self.last = Some(hour);
            let prefix = Key::hour_prefix(&store.cluster_id, &store.incarnation, hour);
            match self.sweep(&prefix, stop).await {
                Ok(true) => clean.push(hour),
                Ok(false) => {}
                Err(error) => failure = Some(error.context(format!("sweep of {prefix}"))),
            }
        }
        let mut done = 0;
        if !clean.is_empty() {
            debug_assert!(clean.len() <= STEP);
            done = self.setup.count(Command::HoursSwept(wire::HoursSwept { hours: clean })).await?;
            self.setup.metrics.hours.inc_by(done);
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Report { done, more: looked == HOURS && done > 0 && !stop.is_cancelled() }),
        }
    }
}
