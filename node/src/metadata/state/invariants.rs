//! What must hold between any two entries, as far as the metadata alone can tell. Each violation begins with the name of its
//! invariant: S2 every reference has its target; S3 counts equal what they count, and indexes mirror records; S4 a key of the
//! store has one owner and one state; L3 a manifest that nothing holds is in a queue. A full scan: for tests, the recount and
//! `flotillactl verify`.
//!
//! Records are read a page at a time and nothing of them is kept: sets and counts are compared by [`Sum`]s, so the scan takes
//! the same memory however large the state is.

mod blobs;
mod repositories;
mod scan;
mod sum;

use super::keys::{Table, key};
use super::records::{damaged, decode};
use super::tables::{Tables, TablesError};
use flotilla_proto::metadata::{TOKEN_KEYS_MAX, TOKEN_SECRET_BYTES};
use flotilla_proto::wire::metadata as wire;
use scan::{each_record, sum_of};
use std::collections::BTreeMap;
use sum::Sum;

/// Violations that are told.
const FOUND_MAX: usize = 1_000;

/// Scans the whole state and says, one sentence each, what does not hold; empty if all is well. Takes the memory of a page of
/// records; fails if the tables fail or a record does not decode.
pub fn violations(tables: &dyn Tables) -> Result<Vec<String>, TablesError> {
    let mut check = Check { tables, found: Vec::new(), sums: Sums::default() };
    check.sessions()?;
    check.repositories()?;
    check.blobs()?;
    check.trash()?;
    check.objects()?;
    check.memory()?;
    check.token_keys()?;
    check.totals()?;
    Ok(check.found)
}

type Checked = Result<(), TablesError>;

/// What is summed up over all repositories and compared at the end.
#[derive(Default)]
struct Sums {
    named: Sum,
    sessions: u64,
    links: Sum,
    link_due: Sum,
    manifest_due: Sum,
    untagged: Sum,
    parents: Sum,
    referrers: Sum,
    tag_of: Sum,
}

struct Check<'a> {
    tables: &'a dyn Tables,
    found: Vec<String>,
    sums: Sums,
}

impl Check<'_> {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.named("S3", holds, what);
    }

    fn named(&mut self, invariant: &str, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.found.len() < FOUND_MAX {
            self.found.push(format!("{invariant}: {}", what()));
        }
    }

    fn has(&self, table: Table, fields: &[&[u8]]) -> Result<bool, TablesError> {
        Ok(self.tables.get(&key(table, fields))?.is_some())
    }

    fn mirrors(&mut self, index: Table, expected: Sum) -> Checked {
        let actual = sum_of(self.tables, index)?;
        self.expect(actual == expected, || {
            let (actual, expected) = (actual.count, expected.count);
            format!("index {index:?} does not mirror its records: it has {actual} entries for {expected}")
        });
        Ok(())
    }

    fn sessions(&mut self) -> Checked {
        let tables = self.tables;
        let mut due = Sum::default();
        // Sessions end within days, so they are in few buckets.
        let mut open: BTreeMap<u64, u64> = BTreeMap::new();
        each_record::<wire::Session>(tables, Table::Session, &[], |id, session| {
            self.sums.sessions += 1;
            let at = session.idle_by_mono.min(session.hard_by_mono);
            due.add(&[&at.to_be_bytes(), id]);
            *open.entry(session.hour).or_default() += 1;
            let same = self.list(id)? == (u64::from(session.segments), session.offset);
            self.expect(same, || format!("session {} counts other segments than it has", hex::encode(id)));
            let ended = self.has(Table::Ended, &[id])?;
            self.expect(!ended, || format!("session {} is open and ended", hex::encode(id)));
            Ok(())
        })?;
        self.mirrors(Table::SessionDue, due)?;
        let mut same = true;
        each_record::<wire::Hour>(tables, Table::Hour, &[], |hour, record| {
            let hour = u64::from_be_bytes(hour.try_into().map_err(|_| damaged("hour", hour))?);
            same &= open.remove(&hour).unwrap_or(0) == record.open;
            Ok(())
        })?;
        self.expect(same && open.is_empty(), || "hours count other sessions than are open".to_owned());
        Ok(())
    }

    fn trash(&mut self) -> Checked {
        let (mut bodies, mut due) = (Sum::default(), Sum::default());
        each_record::<wire::Trashed>(self.tables, Table::Trash, &[], |entry, trashed| {
            due.add(&[&trashed.until_mono.to_be_bytes(), entry]);
            bodies.add(&[entry]);
            Ok(())
        })?;
        self.mirrors(Table::TrashBody, bodies)?;
        self.mirrors(Table::TrashDue, due)?;
        let (mut of, mut due) = (Sum::default(), Sum::default());
        each_record::<wire::TrashedTag>(self.tables, Table::TrashTag, &[], |entry, trashed| {
            due.add(&[&trashed.until_mono.to_be_bytes(), entry]);
            if trashed.with_manifest {
                let (repository, tag) = entry.split_at_checked(16).unwrap_or_default();
                of.add(&[repository, &trashed.digest, tag]);
            }
            Ok(())
        })?;
        self.mirrors(Table::TrashTagOf, of)?;
        self.mirrors(Table::TrashTagDue, due)
    }

    fn memory(&mut self) -> Checked {
        let mut expected = Sum::default();
        each_record::<wire::Remembered>(self.tables, Table::Remembered, &[], |id, record| {
            expected.add(&[&record.at_mono.to_be_bytes(), id]);
            Ok(())
        })?;
        self.mirrors(Table::RememberedAt, expected)?;
        let mut expected = Sum::default();
        each_record::<wire::Ended>(self.tables, Table::Ended, &[], |id, record| {
            expected.add(&[&record.at_mono.to_be_bytes(), id]);
            Ok(())
        })?;
        self.mirrors(Table::EndedAt, expected)
    }

    /// One key signs, the newest; the others were replaced after they were made.
    fn token_keys(&mut self) -> Checked {
        let mut keys = Vec::new();
        each_record::<wire::TokenKey>(self.tables, Table::TokenKey, &[], |id, key| {
            keys.push((id.len(), key));
            Ok(())
        })?;
        let signing: Vec<_> = keys.iter().filter(|(_, key)| key.replaced_mono.is_none()).collect();
        self.expect(keys.len() <= TOKEN_KEYS_MAX, || format!("there are {} token keys", keys.len()));
        self.expect(signing.len() == keys.len().min(1), || format!("{} token keys sign", signing.len()));
        for (id_length, key) in &keys {
            let replaced = key.replaced_mono.unwrap_or(u64::MAX);
            let newer = signing.iter().any(|(_, newest)| newest.made_mono < replaced.min(key.made_mono));
            let sound = *id_length == 16 && key.secret.len() == TOKEN_SECRET_BYTES;
            self.expect(sound && key.made_mono <= replaced && !newer, || "a token key is not sound".to_owned());
        }
        Ok(())
    }

    fn cluster(&self) -> Result<wire::Cluster, TablesError> {
        let record = key(Table::Cluster, &[]);
        Ok(self.tables.get(&record)?.map(|value| decode(&record, value)).transpose()?.unwrap_or_default())
    }

    fn totals(&mut self) -> Checked {
        let cluster = self.cluster()?;
        let Sums { named, sessions, .. } = self.sums;
        self.expect(cluster.repositories == named.count, || "repositories are miscounted".to_owned());
        self.expect(cluster.sessions == sessions, || "sessions are miscounted".to_owned());
        Ok(())
    }
}
