//! Deletes the objects that the state gave to be deleted. Every node has a share of the keys, by a hash of them; the leader
//! takes what others leave lying. A key is reported once the store named it as gone, and only then.

use super::{STEP, Setup, pace::Pace, share::Share};
use crate::{
    blobstore::Key,
    metadata::{Command, View},
    workers::{Report, Scope, Worker},
};
use anyhow::Context;
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Pages of keys that one pass looks at for its own.
const PAGES: usize = 16;
/// The leader takes other nodes' keys when it has seen them for so long.
const ORPHANED: Duration = Duration::from_secs(30);
/// Wait before a key that could not be deleted is tried again; doubles each time.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// Keys of each kind that are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// The worker.
pub(super) struct Delete {
    setup: Setup,
    pace: Pace,
    /// Where the next pass goes on, so that keys that cannot be deleted do not hold up the rest.
    after: Option<String>,
    memory: Memory,
}

/// What only spares work: lost when the process ends.
#[derive(Debug, Default)]
struct Memory {
    /// Keys that could not be deleted: when to try again, and after what wait.
    failed: BTreeMap<String, (Instant, Duration)>,
    /// Keys of other nodes, and since when they are seen.
    others: BTreeMap<String, Instant>,
}

/// Whether a key is to be deleted now.
fn select(key: &str, share: Share, now: Instant, memory: &mut Memory) -> bool {
    if memory.failed.get(key).is_some_and(|(next, _)| *next > now) {
        return false;
    }
    if share.holds(key) {
        return true;
    }
    if !share.leads {
        return false;
    }
    if let Some(seen) = memory.others.get(key) {
        return now.saturating_duration_since(*seen) >= ORPHANED;
    }
    if memory.others.len() < REMEMBERED_MAX {
        memory.others.insert(key.to_owned(), now);
    }
    false
}

impl Memory {
    fn fail(&mut self, key: &str, now: Instant) {
        let wait = self.failed.get(key).map_or(RETRY, |(_, wait)| (*wait * 2).min(RETRY_MAX));
        if self.failed.len() < REMEMBERED_MAX || self.failed.contains_key(key) {
            self.failed.insert(key.to_owned(), (now + wait, wait));
        }
    }

    fn forget(&mut self, key: &str) {
        self.failed.remove(key);
        self.others.remove(key);
    }

    /// Others may have deleted what is remembered.
    fn prune(&mut self, now: Instant) {
        self.failed.retain(|_, (next, wait)| *next + *wait * 2 > now);
        self.others.retain(|_, seen| now.saturating_duration_since(*seen) < ORPHANED * 4);
    }
}

impl Delete {
    pub(super) fn new(setup: Setup) -> Self {
        let pace = Pace::new(setup.rate);
        Self { setup, pace, after: None, memory: Memory::default() }
    }

    /// Keys to delete now, at most a step; whether there may be others.
    fn look(&mut self, view: &View, share: Share, now: Instant) -> anyhow::Result<(Vec<String>, bool)> {
        let mut mine = Vec::new();
        for _ in 0..PAGES {
            let page = view.deleting(self.after.as_deref(), STEP)?;
            let whole = page.len() == STEP;
            for key in page {
                if mine.len() == STEP {
                    return Ok((mine, true));
                }
                if select(&key, share, now, &mut self.memory) {
                    mine.push(key.clone());
                }
                self.after = Some(key);
            }
            if !whole {
                self.after = None;
                self.memory.prune(now);
                return Ok((mine, false));
            }
        }
        Ok((mine, true))
    }

    /// Deletes keys; those that the store named as gone, and the first error.
    async fn delete(&mut self, keys: &[String]) -> (Vec<String>, Option<anyhow::Error>) {
        let (mut gone, mut failure, mut parsed) =
            (Vec::with_capacity(keys.len()), None, Vec::with_capacity(keys.len()));
        for text in keys {
            match text.parse::<Key>().with_context(|| format!("recorded key {text}")) {
                Ok(key) => parsed.push(key),
                Err(error) => {
                    self.memory.fail(text, Instant::now());
                    failure.get_or_insert(error);
                }
            }
        }
        let deleted = self.setup.blobs.delete(parsed).await;
        let now = Instant::now();
        for one in deleted {
            match one.result {
                Ok(()) => {
                    self.memory.forget(one.key.as_str());
                    gone.push(one.key.to_string());
                }
                Err(error) => {
                    self.memory.fail(one.key.as_str(), now);
                    self.setup.metrics.delete_failures.inc();
                    failure.get_or_insert_with(|| anyhow::Error::new(error).context(format!("object {}", one.key)));
                }
            }
        }
        (gone, failure)
    }
}

#[async_trait]
impl Worker for Delete {
    const NAME: &'static str = "gc_delete";
    const SCOPE: Scope = Scope::EveryNode;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        let Some(share) = (self.setup.share)() else { return Ok(Report::default()) };
        if !self.pace.wait(stop).await {
            return Ok(Report::default());
        }
        let view = self.setup.metadata.view()?;
        let (keys, more) = self.look(&view, share, Instant::now())?;
        drop(view);
        if keys.is_empty() {
            return Ok(Report { done: 0, more });
        }
        let (gone, failure) = self.delete(&keys).await;
        let count = gone.len() as u64;
        // Each node keeps its part of the rate.
        self.pace.spend(count * share.of as u64);
        if count > 0 {
            self.setup.metrics.deleted.inc_by(count);
            self.setup.propose(Command::DeletesDone(wire::DeletesDone { keys: gone })).await?;
        }
        match failure {
            // The store itself does not work: the supervisor waits longer each time.
            Some(error) if count == 0 => Err(error.context("no object could be deleted")),
            Some(error) => {
                warn!("some objects could not be deleted, will try again: {error:#}");
                Ok(Report { done: count, more })
            }
            None => Ok(Report { done: count, more }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_leader_takes_what_others_leave_lying() {
        let key = "c/i/1/00/s-b-1";
        let shares = [0, 1].map(|index| Share { index, of: 2, leads: false });
        let other = shares.into_iter().find(|share| !share.holds(key)).expect("one of two");
        let (now, mut memory) = (Instant::now(), Memory::default());
        assert!(!select(key, other, now + ORPHANED * 2, &mut memory));
        let leader = Share { leads: true, ..other };
        assert!(!select(key, leader, now, &mut memory));
        assert!(!select(key, leader, now + ORPHANED / 2, &mut memory));
        assert!(select(key, leader, now + ORPHANED, &mut memory));
        memory.prune(now + ORPHANED * 4);
        assert!(memory.others.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_fails_is_tried_less_and_less_often() {
        let (key, share) = ("c/i/1/00/s-b-1", Share { index: 0, of: 1, leads: true });
        let (mut now, mut memory, mut waits) = (Instant::now(), Memory::default(), Vec::new());
        for _ in 0..9 {
            assert!(select(key, share, now, &mut memory));
            memory.fail(key, now);
            let (next, _) = memory.failed[key];
            assert!(!select(key, share, next - Duration::from_millis(1), &mut memory));
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        memory.forget(key);
        assert!(memory.failed.is_empty());
    }
}
