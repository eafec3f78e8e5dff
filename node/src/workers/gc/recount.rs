//! Counts again, slowly, what the state counts as it goes, and pauses collection on any difference: a count that is too low
//! would take live bytes away.
//!
//! Every node looks at its own state, so that a damaged replica is found before it leads; the leader has other work and leaves
//! it to the others, unless it is alone. A view is consistent, so there is nothing to look at twice. Somebody has to look at
//! what is wrong: the worker never lets collection go on by itself.

use super::Setup;
use crate::{
    metadata::{
        Command, View,
        state::{Tables, TablesError, invariants::violations},
    },
    workers::{Report, Scope, Worker},
};
use anyhow::Context;
use async_trait::async_trait;
use flotilla_proto::wire::metadata as wire;
use std::{cell::Cell, io, thread, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use wire::GcMode;

/// Of the interval, how much passes between the start and the first count, and while a node leads.
const FIRST: u32 = 24;
/// Bytes of a violation that the reason quotes.
const QUOTED: usize = 500;
/// Works for so long, then rests three times as long: a quarter of a core, however large the state.
const WORK: Duration = Duration::from_millis(10);
const REST: Duration = Duration::from_millis(30);

/// The worker.
pub(super) struct Recount {
    setup: Setup,
    every: Duration,
    next: Instant,
    /// Damage that the cluster was not told of yet.
    untold: Option<String>,
}

/// A state that is read slowly, and no further once `stop` is cancelled: nothing else ends a blocking thread.
struct Slow<'a> {
    tables: &'a dyn Tables,
    stop: &'a CancellationToken,
    began: Cell<std::time::Instant>,
}

impl Slow<'_> {
    fn rest(&self) -> Result<(), TablesError> {
        if self.began.get().elapsed() >= WORK {
            if self.stop.is_cancelled() {
                return Err(TablesError(Box::new(io::Error::from(io::ErrorKind::Interrupted))));
            }
            thread::sleep(REST);
            self.began.set(std::time::Instant::now());
        }
        Ok(())
    }
}

impl Tables for Slow<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError> {
        self.rest()?;
        self.tables.get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, TablesError> {
        self.rest()?;
        self.tables.scan(start, end, limit)
    }
}

/// What does not hold in a view.
fn count(view: &View, stop: &CancellationToken) -> Result<Vec<String>, TablesError> {
    violations(&Slow { tables: view.tables(), stop, began: Cell::new(std::time::Instant::now()) })
}

/// Why collection is paused, from what was found; `None` if all is well.
fn select(found: &[String]) -> Option<String> {
    let first = found.first()?;
    let quoted: String = first.chars().take(QUOTED).collect();
    Some(match found.len() {
        1 => format!("recount: {quoted}"),
        all => format!("recount: {quoted} (and {} more)", all - 1),
    })
}

impl Recount {
    pub(super) fn new(setup: Setup, every: Duration) -> Self {
        Self { setup, every, next: Instant::now() + every / FIRST, untold: None }
    }

    /// Counts that were made, and differences they found.
    #[cfg(test)]
    pub(super) fn metrics(&self) -> (u64, u64) {
        (self.setup.metrics.recounts.get(), self.setup.metrics.miscounts.get())
    }

    /// How often to look whether it is time.
    pub(super) fn interval(every: Duration) -> Duration {
        (every / FIRST).min(Duration::from_secs(60)).max(Duration::from_millis(10))
    }

    /// Pauses collection over damage that was found, however many tries that takes.
    async fn pause(&mut self) -> anyhow::Result<()> {
        let Some(reason) = self.untold.clone() else { return Ok(()) };
        error!("the state is damaged, collection must not go on: {reason}");
        // An operator who paused it has a reason of their own, and is told by the log and the figures. The breaker has none that
        // matters beside this one: its pause would be resumed by somebody who meant to delete much.
        let (_, gc) = self.setup.metadata.view()?.gc()?;
        if gc.mode() != GcMode::Paused || gc.breaker {
            let mode = GcMode::Paused.into();
            self.setup.propose(Command::SetGcMode(wire::SetGcMode { mode, reason })).await?;
        }
        self.untold = None;
        Ok(())
    }
}

#[async_trait]
impl Worker for Recount {
    const NAME: &'static str = "gc_recount";
    const SCOPE: Scope = Scope::EveryNode;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        self.pause().await?;
        if Instant::now() < self.next {
            return Ok(Report::default());
        }
        if !(self.setup.share)().is_some_and(|share| !share.leads || share.of == 1) {
            self.next = Instant::now() + self.every / FIRST;
            return Ok(Report::default());
        }
        let (view, stopped) = (self.setup.metadata.view()?, stop.clone());
        let counted = tokio::task::spawn_blocking(move || count(&view, &stopped)).await.context("recount")?;
        if stop.is_cancelled() {
            return Ok(Report::default());
        }
        self.next = Instant::now() + self.every;
        // A record that is no record is as bad as a wrong one.
        let found = counted.unwrap_or_else(|error| vec![format!("unreadable: {:#}", anyhow::Error::new(error))]);
        let metrics = &self.setup.metrics;
        metrics.recounts.inc();
        metrics.miscounts.inc_by(found.len() as u64);
        if found.is_empty() {
            info!("counted everything again: all counts are right");
        }
        self.untold = select(&found);
        self.pause().await?;
        Ok(Report { done: found.len() as u64, more: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_the_first_difference() {
        let found: Vec<String> = ["S3: a counts other tags", "S2: x"].map(str::to_owned).into();
        assert_eq!(select(&[]), None);
        assert_eq!(select(&found[..1]).as_deref(), Some("recount: S3: a counts other tags"));
        assert_eq!(select(&found).as_deref(), Some("recount: S3: a counts other tags (and 1 more)"));
        let long = select(&["ä".repeat(10_000)]).expect("a reason");
        assert!(long.len() < 1_024, "longer than the state keeps");
    }
}
