//! Walks over tables that keep little in memory, however large they are.

use super::super::keys::{self, Table, key, prefix_end};
use super::super::records::decode;
use super::super::tables::{Tables, TablesError};
use prost::Message;

/// Pairs read at a time: a few, where one may have megabytes.
fn page(table: Table) -> usize {
    match table {
        Table::ManifestBody | Table::TrashBody => 8,
        Table::Manifest | Table::Trash => 100,
        _ => 1_000,
    }
}

/// Takes every pair of a table below `fields`, ascending; keys without the prefix.
pub(super) fn each_pair(
    tables: &dyn Tables,
    table: Table,
    fields: &[&[u8]],
    mut take: impl FnMut(&[u8], Vec<u8>) -> Result<(), TablesError>,
) -> Result<(), TablesError> {
    let prefix = key(table, fields);
    let end = prefix_end(&prefix);
    let mut start = prefix.clone();
    loop {
        let pairs = tables.scan(&start, &end, page(table))?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        start = keys::after(last.clone());
        for (entry, value) in pairs {
            take(&entry[prefix.len()..], value)?;
        }
    }
}

/// Takes every record of a table below `fields`, ascending; keys without the prefix.
pub(super) fn each<M: Message + Default>(
    tables: &dyn Tables,
    table: Table,
    fields: &[&[u8]],
    mut take: impl FnMut(&[u8], M) -> Result<(), TablesError>,
) -> Result<(), TablesError> {
    each_pair(tables, table, fields, |entry, value| take(entry, decode(&key(table, &[entry]), value)?))
}

/// How many pairs a table has below `fields`.
pub(super) fn count(tables: &dyn Tables, table: Table, fields: &[&[u8]]) -> Result<u64, TablesError> {
    let mut count = 0;
    each_pair(tables, table, fields, |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// How often digests were met. The first bytes of a digest tell it from all others, and sorted they need no tree.
#[derive(Default)]
pub(super) struct Tally(Vec<[u8; Tally::BYTES]>);

impl Tally {
    const BYTES: usize = 17;

    fn short(digest: &[u8]) -> [u8; Self::BYTES] {
        let mut short = [0; Self::BYTES];
        let length = digest.len().min(Self::BYTES);
        short[..length].copy_from_slice(&digest[..length]);
        short
    }

    /// Counts one.
    pub(super) fn add(&mut self, digest: &[u8]) {
        self.0.push(Self::short(digest));
    }

    /// Ready to be asked.
    pub(super) fn counts(mut self) -> Counts {
        self.0.sort_unstable();
        Counts { met: self.0, at: 0, passed: false }
    }
}

/// A tally that is asked in ascending order of the digests.
pub(super) struct Counts {
    met: Vec<[u8; Tally::BYTES]>,
    at: usize,
    passed: bool,
}

impl Counts {
    /// How often this one was met.
    pub(super) fn of(&mut self, digest: &[u8]) -> u64 {
        let asked = Tally::short(digest);
        let before = self.met[self.at..].partition_point(|met| *met < asked);
        let same = self.met[self.at + before..].partition_point(|met| *met == asked);
        self.passed |= before > 0;
        self.at += before + same;
        same as u64
    }

    /// Whether some were met that nobody asked for.
    pub(super) fn has_others(&self) -> bool {
        self.passed || self.at < self.met.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_counted_and_others_are_noticed() {
        let tally = || {
            let mut tally = Tally::default();
            [b"bb".as_slice(), b"dd", b"bb", b"ee"].into_iter().for_each(|digest| tally.add(digest));
            tally.counts()
        };
        let asked = |counts: &mut Counts, digests: &[&[u8]]| digests.iter().map(|it| counts.of(it)).collect::<Vec<_>>();
        let mut counts = tally();
        assert_eq!(asked(&mut counts, &[b"aa", b"bb", b"cc", b"dd"]), [0, 2, 0, 1]);
        assert!(counts.has_others());
        assert_eq!((counts.of(b"ee"), counts.has_others()), (1, false));
        let mut counts = tally();
        assert_eq!(asked(&mut counts, &[b"dd", b"ee"]), [1, 1]);
        assert!(counts.has_others());
    }
}
