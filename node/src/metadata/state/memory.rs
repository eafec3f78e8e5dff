//! What is remembered for a while: outcomes under their request ids, and how sessions ended. What is too old counts as
//! forgotten at once; its records are removed a few at a time.

use super::apply::Machine;
use super::keys::{Table, key, split_timed, timed};
use super::mutant::Mutant;
use super::tables::TablesError;
use flotilla_proto::metadata::{ENDED_MS, REMEMBERED_MS};
use flotilla_proto::wire::metadata as wire;

/// Old records removed with each operation that adds one: more than one, so that the rest shrinks.
const PRUNED_PER_OPERATION: usize = 2;

impl Machine<'_> {
    /// The outcome of an earlier operation under this request id.
    pub(super) fn recall(&self, request_id: &[u8]) -> Result<Option<wire::Outcome>, TablesError> {
        if request_id.is_empty() || self.broken(Mutant::NoDedupe) {
            return Ok(None);
        }
        let remembered: Option<wire::Remembered> = self.get(&key(Table::Remembered, &[request_id]))?;
        let fresh = remembered.filter(|first| !self.older_than(first.at_mono, REMEMBERED_MS));
        Ok(fresh.and_then(|first| first.outcome))
    }

    /// Remembers an outcome, and forgets a few old ones.
    pub(super) fn remember(&mut self, request_id: &[u8], outcome: &wire::Outcome) -> Result<(), TablesError> {
        if request_id.is_empty() {
            return Ok(());
        }
        let record = key(Table::Remembered, &[request_id]);
        if let Some(old) = self.get::<wire::Remembered>(&record)? {
            self.delete(&timed(Table::RememberedAt, old.at_mono, request_id))?;
        }
        let at_mono = self.cluster.mono;
        self.put(&record, &wire::Remembered { outcome: Some(outcome.clone()), at_mono })?;
        self.mark(&timed(Table::RememberedAt, at_mono, request_id))?;
        self.prune(PRUNED_PER_OPERATION)
    }

    /// How a session ended, if that was less than an hour ago.
    pub(super) fn ended(&self, session_id: &[u8]) -> Result<Option<wire::Ended>, TablesError> {
        let ended: Option<wire::Ended> = self.get(&key(Table::Ended, &[session_id]))?;
        let forgotten = self.broken(Mutant::ForgetEnd);
        Ok(ended.filter(|ended| !forgotten && !self.older_than(ended.at_mono, ENDED_MS)))
    }

    /// Removes at most `limit` old records of each kind.
    pub(super) fn prune(&mut self, limit: usize) -> Result<(), TablesError> {
        self.prune_table(Table::RememberedAt, Table::Remembered, REMEMBERED_MS, limit)?;
        self.prune_table(Table::EndedAt, Table::Ended, ENDED_MS, limit)
    }

    fn prune_table(&mut self, index: Table, records: Table, window: u64, limit: usize) -> Result<(), TablesError> {
        let Some(oldest) = self.cluster.mono.checked_sub(window) else { return Ok(()) };
        let due = self.tables.scan(&key(index, &[]), &timed(index, oldest.saturating_add(1), &[]), limit)?;
        for (entry, _) in due {
            if let Some((_, id)) = split_timed(&entry) {
                self.delete(&key(records, &[id]))?;
            }
            self.delete(&entry)?;
        }
        Ok(())
    }

    fn older_than(&self, at: u64, window: u64) -> bool {
        self.cluster.mono >= at.saturating_add(window)
    }
}
