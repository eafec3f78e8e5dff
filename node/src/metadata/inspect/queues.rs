//! How long the queues of collection are, and how late.

use super::super::state::keys::{Table, key, prefix_end, split_timed};
use super::super::state::records::{damaged, get, scan};
use super::super::{Error, View};
use flotilla_proto::{admin::Queue, metadata::HOUR_MS, wire::metadata as wire};

/// Hours over which the breaker sums up.
const BREAKER_HOURS: u64 = 24;

impl View {
    /// Every queue of collection, each counted up to `limit` entries.
    pub fn queues(&self, limit: usize) -> Result<Vec<Queue>, Error> {
        let (delays, _) = self.gc()?;
        let untagged = if delays.untagged_ms > 0 { delays.untagged_ms.max(delays.grace_ms) } else { u64::MAX };
        let timed = [
            ("sessions", Table::SessionDue, 0),
            ("links", Table::LinkDue, 0),
            ("manifests", Table::ManifestDue, 0),
            ("untagged", Table::Untagged, untagged),
            ("trash_manifests", Table::TrashDue, 0),
            ("trash_tags", Table::TrashTagDue, 0),
            ("garbage", Table::Garbage, 0),
            ("condemned", Table::Condemned, delays.delete_ms),
        ];
        let mono = self.mono()?;
        let mut queues = Vec::new();
        for (name, table, delay) in timed {
            queues.push(self.timed_queue(name, table, delay, mono, limit)?);
        }
        let untimed = [("deleting", Table::Deleting), ("bereaved", Table::Bereaved), ("repositories", Table::Draining)];
        for (name, table) in untimed {
            let found = scan(self.tables(), table, &[], limit + 1)?.len();
            queues.push(queue(name, found, found, limit));
        }
        let hours = scan(self.tables(), Table::Hour, &[], limit + 1)?.len();
        queues.push(queue("hours", hours, self.due_hours(limit)?.len(), limit));
        Ok(queues)
    }

    /// What is in a queue has been due since its time and `delay`.
    fn timed_queue(&self, name: &str, table: Table, delay: u64, mono: u64, limit: usize) -> Result<Queue, Error> {
        let prefix = key(table, &[]);
        let entries = self.tables().scan(&prefix, &prefix_end(&prefix), limit + 1)?;
        let (mut due, mut oldest) = (0, None);
        for (entry, _) in &entries {
            let (at, _) = split_timed(entry).ok_or_else(|| damaged("queue entry", entry))?;
            let Some(late) = mono.checked_sub(at.saturating_add(delay)) else { break };
            oldest = oldest.or(Some(late));
            due += 1;
        }
        Ok(Queue { oldest_due_ms: oldest, ..queue(name, entries.len(), due, limit) })
    }

    /// The bytes that the breaker counted in the last 24 hours, and how many it lets pass.
    pub fn breaker(&self) -> Result<(u64, u64), Error> {
        let (cluster, (delays, _)) = (self.cluster()?, self.gc()?);
        let breaker: wire::Breaker = get(self.tables(), &key(Table::Breaker, &[]))?.unwrap_or_default();
        let now = cluster.mono / HOUR_MS;
        let hours = breaker.hours.iter().filter(|hour| hour.hour.saturating_add(BREAKER_HOURS) > now);
        let sum = hours.fold(0_u64, |sum, hour| sum.saturating_add(hour.bytes));
        let share = u128::from(cluster.blob_bytes) * u128::from(delays.breaker_permille) / 1_000;
        Ok((sum, u64::try_from(share).unwrap_or(u64::MAX).max(delays.breaker_floor)))
    }
}

fn queue(name: &str, waiting: usize, due: usize, limit: usize) -> Queue {
    let more = waiting > limit;
    let (waiting, due) = (waiting.min(limit) as u64, due.min(limit) as u64);
    Queue { name: name.to_owned(), waiting, due, more, oldest_due_ms: None }
}
