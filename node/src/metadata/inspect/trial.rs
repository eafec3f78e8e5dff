//! What a collection would take now: the state machine itself runs over a copy that is thrown away. Only what it changes is
//! copied.

use super::super::state::apply;
use super::super::state::keys::{Table, key, prefix_end};
use super::super::state::records::{damaged, get};
use super::super::state::tables::{Pair, Tables, TablesError, TablesMut};
use super::super::{Command, Error, Outcome, View};
use bytes::Bytes;
use flotilla_proto::metadata::{WORK_MAX, batch_of, operation};
use flotilla_proto::{oci::Digest, wire::metadata as wire};
use std::{collections::BTreeMap, ops::Bound};
use wire::GcMode;

/// Condemned and garbage lists counted at most.
const LISTS_MAX: usize = 100_000;

/// What would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Manifests, with their repositories.
    pub manifests: Vec<(wire::LinkId, Digest)>,
    /// Blobs, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Links of repositories to blobs.
    pub links: u64,
    /// Whether it stopped at its bound.
    pub more: bool,
}

impl View {
    /// What `SweepManifests` and `Collect` would take now, if collection is on; `rounds` of 1,000 each at most.
    pub fn try_collection(&self, untagged: bool, rounds: usize) -> Result<Trial, Error> {
        let mut copy = Draft { base: self.tables(), changes: BTreeMap::new() };
        if self.gc()?.1.mode() != GcMode::On {
            let on = wire::SetGcMode { mode: GcMode::On.into(), reason: String::new() };
            copy.run(Command::SetGcMode(on))?;
        }
        let limit = u32::try_from(WORK_MAX).unwrap_or(u32::MAX);
        let (mut swept, mut collected) = (false, false);
        for _ in 0..rounds {
            let Outcome::ManifestsSwept(wire::ManifestsSwept { more, .. }) =
                copy.run(Command::SweepManifests(wire::SweepManifests { limit, untagged }))?
            else {
                break;
            };
            swept = !more;
            if swept {
                break;
            }
        }
        let mut links = 0;
        for _ in 0..rounds {
            let Outcome::Collected(round) = copy.run(Command::Collect(wire::Collect { limit, links: vec![] }))? else {
                break;
            };
            links += round.links;
            collected = round.links < u64::from(limit);
            if collected {
                break;
            }
        }
        let (mut manifests, mut blobs) = (Vec::new(), Vec::new());
        for entry in copy.removed(Table::Manifest)? {
            let (repository, digest) = entry.split_at_checked(16).ok_or_else(|| damaged("manifest", entry))?;
            let id = wire::LinkId {
                repository_id: Bytes::copy_from_slice(repository),
                digest: Bytes::copy_from_slice(digest),
            };
            manifests.push((id, Digest::from_bytes(digest).ok_or_else(|| damaged("manifest", entry))?));
        }
        for entry in copy.removed(Table::Blob)? {
            let record = key(Table::Blob, &[entry]);
            let blob: wire::Blob = get(self.tables(), &record)?.unwrap_or_default();
            blobs.push((Digest::from_bytes(entry).ok_or_else(|| damaged("blob", &record))?, blob.size));
        }
        Ok(Trial { manifests, blobs, links, more: !swept || !collected })
    }

    /// Whether a manifest is there.
    pub fn has_manifest(&self, id: &wire::LinkId) -> Result<bool, Error> {
        Ok(self.tables().get(&key(Table::Manifest, &[&id.repository_id, &id.digest]))?.is_some())
    }

    /// How many dead lists `StartDelete` may take off now, how many bytes those that once were blobs have, and whether that is
    /// not all.
    pub fn due_lists(&self) -> Result<(u64, u64, bool), Error> {
        let condemned = self.due_condemned(LISTS_MAX)?;
        let prefix = key(Table::Garbage, &[]);
        let garbage = self.tables().scan(&prefix, &prefix_end(&prefix), LISTS_MAX)?.len();
        let bytes = condemned.iter().fold(0_u64, |sum, list| sum.saturating_add(list.bytes));
        Ok(((condemned.len() + garbage) as u64, bytes, condemned.len().max(garbage) == LISTS_MAX))
    }
}

/// The state with changes that nobody else sees.
struct Draft<'a> {
    base: &'a (dyn Tables + Send + Sync),
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Draft<'_> {
    fn run(&mut self, command: Command) -> Result<Outcome, TablesError> {
        let outcomes = apply(self, 0, &batch_of(operation(Bytes::new(), 0, command)))?;
        let outcome = outcomes.into_iter().next().and_then(|outcome| outcome.kind);
        Ok(outcome.unwrap_or(Outcome::Unsupported(wire::Unsupported {})))
    }

    /// What follows the table in keys that were there and are not any more.
    fn removed(&self, table: Table) -> Result<Vec<&[u8]>, TablesError> {
        let prefix = key(table, &[]);
        let end = prefix_end(&prefix);
        let mut removed = Vec::new();
        for (entry, change) in self.changes.range(prefix..end) {
            if change.is_none() && self.base.get(entry)?.is_some() {
                removed.push(&entry[1..]);
            }
        }
        Ok(removed)
    }
}

impl Tables for Draft<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, TablesError> {
        if start >= end {
            return Ok(Vec::new());
        }
        let changes = || self.changes.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)));
        // Removed ones hide as many of those below.
        let hidden = changes().filter(|(_, change)| change.is_none()).count();
        let below = self.base.scan(start, end, limit.saturating_add(hidden))?;
        let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = below.into_iter().collect();
        for (key, change) in changes() {
            match change {
                Some(value) => drop(pairs.insert(key.clone(), value.clone())),
                None => drop(pairs.remove(key)),
            }
        }
        Ok(pairs.into_iter().take(limit).collect())
    }
}

impl TablesMut for Draft<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        self.changes.insert(key.to_vec(), Some(value.to_vec()));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), TablesError> {
        self.changes.insert(key.to_vec(), None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::state::MemoryTables;
    use proptest::prelude::*;

    fn pairs() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
        prop::collection::vec((0..20_u8, prop::option::of(any::<u8>())), 0..30)
    }

    proptest! {
        #[test]
        fn a_draft_reads_as_tables_that_were_changed(below in pairs(), changes in pairs(), from in 0..20_u8, limit in 0..9_usize) {
            let mut tables = MemoryTables::new();
            let write = |tables: &mut dyn TablesMut, key: u8, value: Option<u8>| match value {
                Some(value) => tables.put(&[key], &[value]).unwrap(),
                None => tables.delete(&[key]).unwrap(),
            };
            below.iter().for_each(|(key, value)| write(&mut tables, *key, *value));
            let base = tables.clone();
            let mut draft = Draft { base: &base, changes: BTreeMap::new() };
            for (key, value) in changes {
                write(&mut tables, key, value);
                write(&mut draft, key, value);
                prop_assert_eq!(draft.get(&[key]).unwrap(), Tables::get(&tables, &[key]).unwrap());
            }
            prop_assert_eq!(draft.scan(&[from], &[18], limit).unwrap(), tables.scan(&[from], &[18], limit).unwrap());
        }
    }
}
