//! What collection obeys: the delays, the same on all nodes because they are replicated; the mode; and the breaker, which
//! pauses it when much that was committed would go at once.

use super::apply::{Applied, Machine, UNSUPPORTED};
use super::keys::{Table, key};
use super::mutant::Mutant;
use super::tables::TablesError;
use crate::metadata::Outcome;
use flotilla_proto::metadata::{GC_DELAYS, HOUR_MS};
use flotilla_proto::wire::metadata as wire;
use wire::GcMode;

/// Hours over which the breaker sums up.
const BREAKER_HOURS: u64 = 24;
/// Longest reason that is kept, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

impl Machine<'_> {
    pub(super) fn delays(&self) -> wire::GcDelays {
        let configured = self.cluster.gc.as_ref().and_then(|gc| gc.delays);
        let mut delays = configured.unwrap_or(GC_DELAYS);
        if self.broken(Mutant::ShortGrace) {
            delays.grace_ms = delays.promise_ms;
        }
        if self.broken(Mutant::ShortDelete) {
            delays.delete_ms -= 1;
        }
        if self.broken(Mutant::ShortSweep) {
            delays.sweep_ms -= 1;
        }
        delays
    }

    /// When a lease ends that begins now.
    pub(super) fn lease_end(&self) -> u64 {
        self.cluster.mono.saturating_add(self.delays().grace_ms)
    }

    /// Whether a lease that ends at `end` is too short for what a client is told now.
    pub(super) fn must_renew(&self, end: u64) -> bool {
        let promised = self.cluster.mono.saturating_add(self.delays().promise_ms);
        if self.broken(Mutant::RenewLate) { end < promised } else { end <= promised }
    }

    /// Whether what had readers may go.
    pub(super) fn collects(&self) -> bool {
        self.cluster.gc.as_ref().is_none_or(|gc| gc.mode() == GcMode::On)
    }

    /// The promise is kept only if it is shorter than the grace; all other relations between the delays and what nodes do
    /// are checked when a configuration is loaded.
    pub(super) fn configure_gc(&mut self, command: &wire::ConfigureGc) -> Applied {
        let sound = |delays: &wire::GcDelays| {
            let positive = [delays.promise_ms, delays.delete_ms, delays.sweep_ms, delays.hour_ms];
            positive.iter().all(|delay| *delay > 0)
                && delays.promise_ms < delays.grace_ms
                && delays.breaker_permille <= 1_000
        };
        let Some(delays) = command.delays.filter(sound) else { return Ok(UNSUPPORTED) };
        let gc = self.cluster.gc.get_or_insert_default();
        let count = u64::from(gc.delays != Some(delays));
        gc.delays = Some(delays);
        Ok(Outcome::Done(wire::Done { count }))
    }

    pub(super) fn set_gc_mode(&mut self, command: &wire::SetGcMode) -> Applied {
        let known = GcMode::try_from(command.mode).ok();
        let Some(mode) = known.filter(|_| command.reason.len() <= REASON_BYTES_MAX) else { return Ok(UNSUPPORTED) };
        let due = self.cluster.mono.saturating_add(1).saturating_sub(self.delays().delete_ms);
        let wall = self.cluster.wall;
        let gc = self.cluster.gc.get_or_insert_default();
        let resumes = mode == GcMode::On;
        if resumes {
            gc.admitted_mono = gc.admitted_mono.max(due);
        }
        gc.set_mode(mode);
        gc.reason = command.reason.clone();
        gc.breaker = false;
        gc.mode_wall = wall;
        if resumes {
            self.delete(&key(Table::Breaker, &[]))?; // it counts again from here
        }
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }

    /// Whether the bytes of a list that was condemned at `condemned_mono` may go now; too many of them in a day pause
    /// collection.
    pub(super) fn admit(&mut self, condemned_mono: u64, bytes: u64) -> Result<bool, TablesError> {
        if self.cluster.gc.as_ref().is_some_and(|gc| condemned_mono < gc.admitted_mono) {
            return Ok(true); // somebody has looked at it
        }
        let record = key(Table::Breaker, &[]);
        let mut breaker: wire::Breaker = self.get(&record)?.unwrap_or_default();
        let now = self.cluster.mono / HOUR_MS;
        breaker.hours.retain(|hour| hour.hour.saturating_add(BREAKER_HOURS) > now);
        let sum = breaker.hours.iter().fold(bytes, |sum, hour| sum.saturating_add(hour.bytes));
        let delays = self.delays();
        let share = u128::from(self.cluster.blob_bytes) * u128::from(delays.breaker_permille) / 1_000;
        let limit = u64::try_from(share).unwrap_or(u64::MAX).max(delays.breaker_floor);
        if sum > limit {
            let wall = self.cluster.wall;
            let gc = self.cluster.gc.get_or_insert_default();
            gc.set_mode(GcMode::Paused);
            gc.reason = format!("{sum} bytes of blobs would go within a day, more than {limit}");
            gc.breaker = true;
            gc.mode_wall = wall;
            return Ok(false);
        }
        match breaker.hours.last_mut().filter(|hour| hour.hour == now) {
            Some(hour) => hour.bytes = hour.bytes.saturating_add(bytes),
            None => breaker.hours.push(wire::BreakerHour { hour: now, bytes }),
        }
        self.put(&record, &breaker)?;
        Ok(true)
    }
}
