//! What the workers of collection ask beside what is due.

use super::{Blob, Error, Table, View, get, key, keys, prefix_end, text};
use crate::metadata::state::records::{damaged, decode};
use flotilla_proto::{oci::Digest, wire::metadata as wire};

impl View {
    /// Since when, in mono, the longest due link is due; `None` if none is due now.
    pub fn links_due_since(&self) -> Result<Option<u64>, Error> {
        let due = self.due(Table::LinkDue, self.mono()?, 1)?;
        let Some(entry) = due.first() else { return Ok(None) };
        let (at, ..) = keys::split_queued(entry).ok_or_else(|| damaged("due link", entry))?;
        Ok(Some(at))
    }

    /// At most `limit` recorded object keys that begin with `prefix` and come after `after`, in byte order.
    pub fn objects(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, wire::Object)>, Error> {
        let prefix = key(Table::Object, &[prefix.as_bytes()]);
        let first = after.map(|after| keys::after(key(Table::Object, &[after.as_bytes()])));
        let start = first.unwrap_or_default().max(prefix.clone());
        let found = self.tables.scan(&start, &prefix_end(&prefix), limit)?;
        let parsed = found.into_iter().map(|(entry, value)| {
            let name = text(&entry[1..]).ok_or_else(|| damaged("object key", &entry))?.to_owned();
            Ok((name, decode(&entry, value)?))
        });
        parsed.collect()
    }

    /// At most `limit` blobs after `after`, in digest order.
    pub fn blobs(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Blob)>, Error> {
        let prefix = key(Table::Blob, &[]);
        let first = after.map(|after| keys::after(key(Table::Blob, &[&after.to_bytes()])));
        let found = self.tables.scan(&first.unwrap_or_else(|| prefix.clone()), &prefix_end(&prefix), limit)?;
        let parsed = found.into_iter().map(|(entry, value)| {
            let digest = Digest::from_bytes(&entry[1..]).ok_or_else(|| damaged("digest of a blob", &entry))?;
            Ok((digest, decode::<wire::Blob>(&entry, value)?.into()))
        });
        parsed.collect()
    }

    /// Whether nothing can be recorded under a bucket of sessions ever again: it was swept, or no session opened in it.
    pub fn hour_is_over(&self, hour: u64) -> Result<bool, Error> {
        let record: Option<wire::Hour> = get(self.tables(), &key(Table::Hour, &[&hour.to_be_bytes()]))?;
        Ok(record.is_none() && hour < self.cluster()?.hour)
    }

    /// Whether a bucket is over for longer than what was written late into it may take (`sweep_ms`): no session opened after
    /// it for that long. A state that was put back to an older copy does not know what opened since; this leaves time to notice.
    pub fn hour_is_long_over(&self, hour: u64) -> Result<bool, Error> {
        let (delays, now) = (self.gc()?.0, self.cluster()?.hour);
        let buckets = delays.sweep_ms.div_ceil(delays.hour_ms.max(1));
        Ok(hour.saturating_add(buckets).saturating_add(1) < now && self.hour_is_over(hour)?)
    }
}
