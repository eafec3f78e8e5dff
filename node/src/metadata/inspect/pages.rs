//! Pages of records for those who look at all of them, a view a page.

use super::super::query::Blob;
use super::super::state::keys::{self, Table, key, prefix_end};
use super::super::state::records::{damaged, decode};
use super::super::{Error, View};
use flotilla_proto::{oci::Digest, wire::metadata as wire};

impl View {
    /// At most `limit` blobs after `after`, in digest order.
    pub fn blob_page(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Blob)>, Error> {
        let prefix = key(Table::Blob, &[]);
        let start = after.map_or_else(|| prefix.clone(), |after| keys::after(key(Table::Blob, &[&after.to_bytes()])));
        let pairs = self.tables().scan(&start, &prefix_end(&prefix), limit)?;
        pairs
            .into_iter()
            .map(|(entry, value)| {
                let digest = Digest::from_bytes(&entry[1..]).ok_or_else(|| damaged("digest of a blob", &entry))?;
                let wire::Blob { size, suspect, segment_list, segments, .. } = decode(&entry, value)?;
                Ok((digest, Blob { size, suspect, segment_list, segments }))
            })
            .collect()
    }

    /// Whether objects that nobody recorded may lie in the store under a bucket of sessions: it is not swept yet.
    pub fn hour_is_unswept(&self, hour: u64) -> Result<bool, Error> {
        Ok(hour >= self.cluster()?.hour || self.tables().get(&key(Table::Hour, &[&hour.to_be_bytes()]))?.is_some())
    }
}
