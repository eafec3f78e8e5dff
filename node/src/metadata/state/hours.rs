//! Buckets of sessions. Keys of objects begin with the bucket in which their session opened, so that one listing finds what
//! is in the store and was never recorded. A bucket is forgotten once nothing can appear under it any more.

use super::apply::{Applied, Machine, UNSUPPORTED};
use super::keys::{Table, key};
use super::tables::TablesError;
use crate::metadata::Outcome;
use flotilla_proto::{metadata::WORK_MAX, wire::metadata as wire};

impl Machine<'_> {
    pub(super) fn hour(&self, hour: u64) -> Result<wire::Hour, TablesError> {
        Ok(self.get(&key(Table::Hour, &[&hour.to_be_bytes()]))?.unwrap_or_default())
    }

    pub(super) fn put_hour(&mut self, number: u64, hour: &wire::Hour) -> Result<(), TablesError> {
        self.put(&key(Table::Hour, &[&number.to_be_bytes()]), hour)
    }

    /// Forgets those in which no session is open or can open, and whose last one ended long enough ago.
    pub(super) fn hours_swept(&mut self, command: &wire::HoursSwept) -> Applied {
        if command.hours.len() > WORK_MAX {
            return Ok(UNSUPPORTED);
        }
        let mut count = 0;
        for number in &command.hours {
            let record = key(Table::Hour, &[&number.to_be_bytes()]);
            let Some(hour) = self.get::<wire::Hour>(&record)? else { continue };
            let quiet = hour.last_end_mono.saturating_add(self.delays().sweep_ms) <= self.cluster.mono;
            if hour.open == 0 && quiet && *number < self.cluster.hour {
                self.delete(&record)?;
                count += 1;
            }
        }
        Ok(Outcome::Done(wire::Done { count }))
    }
}
