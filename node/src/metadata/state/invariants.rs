//! What must hold between any two entries, as far as the metadata alone can tell. Each violation begins with the name of its
//! invariant: S2 every reference has its target; S3 counts equal what they count, and indexes mirror records; S4 a key of the
//! store has one owner and one state; L3 a manifest that nothing holds is in a queue. A full scan: for tests and
//! `flotillactl verify`.

use super::keys::{Table, key, prefix_end};
use super::records::decode;
use super::tables::{Pair, Tables, TablesError};
use bytes::Bytes;
use flotilla_proto::metadata::{TOKEN_KEYS_MAX, TOKEN_SECRET_BYTES};
use flotilla_proto::wire::metadata as wire;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use wire::{manifest::Waits, object::State};

/// Pairs read at a time.
const PAGE: usize = 1_000;

/// Scans the whole state and says, one sentence each, what does not hold; empty if all is well. Reads record heads into
/// memory; fails if the tables fail or a record does not decode.
pub fn violations(tables: &dyn Tables) -> Result<Vec<String>, TablesError> {
    let mut check = Check { tables, found: Vec::new() };
    check.sessions()?;
    check.blobs()?;
    check.manifests()?;
    check.tags()?;
    check.trash()?;
    check.objects()?;
    check.memory()?;
    check.token_keys()?;
    check.totals()?;
    Ok(check.found)
}

struct Check<'a> {
    tables: &'a dyn Tables,
    found: Vec<String>,
}

type Checked = Result<(), TablesError>;

impl Check<'_> {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.named("S3", holds, what);
    }

    fn named(&mut self, invariant: &str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.found.push(format!("{invariant}: {}", what()));
        }
    }

    /// Takes every key of a table below `fields`, without the prefix, with its value.
    fn each(&self, table: Table, fields: &[&[u8]], mut take: impl FnMut(&[u8], Vec<u8>)) -> Checked {
        let prefix = key(table, fields);
        let end = prefix_end(&prefix);
        let mut start = prefix.clone();
        loop {
            let page = self.tables.scan(&start, &end, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            start = super::keys::after(last.clone());
            page.into_iter().for_each(|(entry, value)| take(&entry[prefix.len()..], value));
        }
    }

    fn pairs(&self, table: Table, fields: &[&[u8]]) -> Result<Vec<Pair>, TablesError> {
        let mut all = Vec::new();
        self.each(table, fields, |rest, value| all.push((rest.to_vec(), value)))?;
        Ok(all)
    }

    fn records<M: Message + Default>(&self, table: Table, fields: &[&[u8]]) -> Result<Vec<(Vec<u8>, M)>, TablesError> {
        let pairs = self.pairs(table, fields)?.into_iter();
        pairs.map(|(rest, value)| Ok((rest.clone(), decode(&key(table, &[&rest]), value)?))).collect()
    }

    fn keys(&self, table: Table) -> Result<BTreeSet<Vec<u8>>, TablesError> {
        let mut keys = BTreeSet::new();
        self.each(table, &[], |rest, _| {
            keys.insert(rest.to_vec());
        })?;
        Ok(keys)
    }

    /// Those with a name and those that are drained.
    fn repositories(&self) -> Result<Vec<wire::Repository>, TablesError> {
        let named = self.records(Table::Repository, &[])?.into_iter();
        Ok(named.chain(self.records(Table::Draining, &[])?).map(|(_, repository)| repository).collect())
    }

    fn mirrors(&mut self, index: Table, expected: &BTreeSet<Vec<u8>>) -> Checked {
        let actual = self.keys(index)?;
        self.expect(actual == *expected, || {
            let differ: Vec<_> = actual.symmetric_difference(expected).take(4).map(hex::encode).collect();
            format!("index {index:?} does not mirror its records: {differ:?}")
        });
        Ok(())
    }

    fn sessions(&mut self) -> Checked {
        let mut due = BTreeSet::new();
        let mut open: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (id, session) in self.records::<wire::Session>(Table::Session, &[])? {
            let at = session.idle_by_mono.min(session.hard_by_mono);
            due.insert([&at.to_be_bytes(), id.as_slice()].concat());
            *open.entry(session.hour.to_be_bytes().to_vec()).or_default() += 1;
            let (segments, length) = self.list(&id)?;
            self.expect(segments == u64::from(session.segments) && length == session.offset, || {
                format!("session {} counts other segments than it has", hex::encode(&id))
            });
            let ended = self.tables.get(&key(Table::Ended, &[&id]))?.is_some();
            self.expect(!ended, || format!("session {} is open and ended", hex::encode(&id)));
        }
        self.mirrors(Table::SessionDue, &due)?;
        let hours = self.records::<wire::Hour>(Table::Hour, &[])?;
        let counted: BTreeMap<_, _> = hours.into_iter().map(|(hour, record)| (hour, record.open)).collect();
        let same = counted.iter().all(|(hour, count)| open.get(hour).copied().unwrap_or(0) == *count);
        let known = open.keys().all(|hour| counted.contains_key(hour));
        self.expect(same && known, || "hours count other sessions than are open".to_owned());
        Ok(())
    }

    /// Number and total length of the segments of a list.
    fn list(&self, list: &[u8]) -> Result<(u64, u64), TablesError> {
        let segments = self.records::<wire::Segment>(Table::Segment, &[list])?;
        Ok((segments.len() as u64, segments.iter().map(|(_, segment)| segment.length).sum()))
    }

    fn blobs(&mut self) -> Checked {
        let mut links: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let mut due = BTreeSet::new();
        for repository in self.repositories()? {
            let mut referenced: BTreeMap<Bytes, u64> = BTreeMap::new();
            for (_, manifest) in self.records::<wire::Manifest>(Table::Manifest, &[&repository.id])? {
                let set: BTreeSet<_> = manifest.blobs.into_iter().collect();
                set.into_iter().for_each(|blob| *referenced.entry(blob).or_default() += 1);
            }
            let (mut count, mut bytes) = (0, 0);
            for (digest, link) in self.records::<wire::Link>(Table::Link, &[&repository.id])? {
                count += 1;
                if link.references == 0 {
                    due.insert([&link.eligible_mono.to_be_bytes(), repository.id.as_ref(), &digest].concat());
                }
                *links.entry(digest.clone()).or_default() += 1;
                let blob = self.tables.get(&key(Table::Blob, &[&digest]))?;
                self.named("S2", blob.is_some(), || format!("{} links no blob", repository.name));
                if let Some(blob) = blob {
                    bytes += decode::<wire::Blob>(&digest, blob)?.size;
                }
                let references = referenced.remove(digest.as_slice()).unwrap_or(0);
                self.expect(references == link.references, || format!("{} counts other references", repository.name));
            }
            self.named("S2", referenced.is_empty(), || {
                format!("{} has a manifest with an unlinked blob", repository.name)
            });
            let mut bodies = 0;
            self.each(Table::ManifestBody, &[&repository.id], |_, body| bodies += body.len() as u64)?;
            self.expect(repository.links == count, || format!("{} counts other links", repository.name));
            self.expect(repository.bytes == bytes + bodies, || format!("{} counts other bytes", repository.name));
        }
        self.mirrors(Table::LinkDue, &due)?;
        let all: u64 = links.values().sum();
        let stored = self.pairs(Table::Link, &[])?.len() as u64;
        self.named("S2", all == stored, || "links of no repository".to_owned());
        for (digest, blob) in self.records::<wire::Blob>(Table::Blob, &[])? {
            let linked = links.get(&digest).copied().unwrap_or(0);
            self.expect(blob.links == linked && linked > 0, || {
                format!("blob {} counts other links", hex::encode(&digest))
            });
            let same = self.list(&blob.segment_list)? == (u64::from(blob.segments), blob.size);
            self.expect(same || blob.segments == 0 && blob.size == 0, || {
                format!("blob {} has other segments than it says", hex::encode(&digest))
            });
        }
        Ok(())
    }

    fn manifests(&mut self) -> Checked {
        let (mut bodies, mut parents, mut referrers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut lost, mut untagged) = (BTreeSet::new(), BTreeSet::new());
        let mut seen = 0;
        for repository in self.repositories()? {
            let id = &repository.id;
            let manifests = self.records::<wire::Manifest>(Table::Manifest, &[id])?;
            seen += manifests.len();
            self.expect(repository.manifests == manifests.len() as u64, || {
                format!("{} counts other manifests", repository.name)
            });
            for (digest, manifest) in manifests {
                bodies.insert([id, digest.as_slice()].concat());
                let body = self.tables.get(&key(Table::ManifestBody, &[id, &digest]))?;
                let size = body.map(|body| body.len() as u64);
                self.expect(size == Some(manifest.size), || format!("{} has a body of another size", repository.name));
                parents.extend(manifest.children.iter().map(|child| [id, child.as_ref(), &digest].concat()));
                referrers.extend(manifest.subject.iter().map(|subject| [id, subject.as_ref(), &digest].concat()));
                self.queues(&repository, &digest, &manifest, &mut lost, &mut untagged)?;
                let tags = self.pairs(Table::TagOf, &[id, &digest])?.len() as u64;
                self.expect(manifest.tags == tags, || format!("a manifest of {} counts other tags", repository.name));
            }
        }
        let mut stored = 0;
        self.each(Table::Manifest, &[], |_, _| stored += 1)?;
        self.named("S2", stored == seen, || "manifests of no repository".to_owned());
        self.mirrors(Table::ManifestDue, &lost)?;
        self.mirrors(Table::Untagged, &untagged)?;
        self.mirrors(Table::ManifestBody, &bodies)?;
        self.mirrors(Table::Parent, &parents)?;
        self.mirrors(Table::Referrer, &referrers)
    }

    /// A manifest waits in a queue, or something holds it.
    fn queues(
        &mut self,
        repository: &wire::Repository,
        digest: &[u8],
        manifest: &wire::Manifest,
        lost: &mut BTreeSet<Vec<u8>>,
        untagged: &mut BTreeSet<Vec<u8>>,
    ) -> Checked {
        let id = repository.id.as_ref();
        let entry = |at: u64| [&at.to_be_bytes(), id, digest].concat();
        match manifest.waits {
            Some(Waits::LostMono(at)) => drop(lost.insert(entry(at))),
            Some(Waits::UntaggedMono(since)) => drop(untagged.insert(entry(since))),
            None => {}
        }
        let waits = manifest.waits.is_some();
        self.expect(!waits || manifest.tags == 0, || format!("a tagged manifest of {} is queued", repository.name));
        let mut holders = self.pairs(Table::Parent, &[id, digest])?.len();
        if let Some(subject) = &manifest.subject {
            // What is bereaved will be queued.
            for table in [Table::Manifest, Table::Bereaved] {
                holders += usize::from(self.tables.get(&key(table, &[id, subject]))?.is_some());
            }
        }
        let found = waits || manifest.tags > 0 || holders > 0 || repository.draining;
        self.named("L3", found, || format!("nothing holds a manifest of {}, and it is not queued", repository.name));
        Ok(())
    }

    fn trash(&mut self) -> Checked {
        let (mut bodies, mut due) = (BTreeSet::new(), BTreeSet::new());
        for (entry, trashed) in self.records::<wire::Trashed>(Table::Trash, &[])? {
            due.insert([trashed.until_mono.to_be_bytes().as_slice(), &entry].concat());
            bodies.insert(entry);
        }
        self.mirrors(Table::TrashBody, &bodies)?;
        self.mirrors(Table::TrashDue, &due)?;
        let (mut of, mut tags_due) = (BTreeSet::new(), BTreeSet::new());
        for (entry, trashed) in self.records::<wire::TrashedTag>(Table::TrashTag, &[])? {
            tags_due.insert([trashed.until_mono.to_be_bytes().as_slice(), &entry].concat());
            if trashed.with_manifest {
                let (repository, tag) = entry.split_at_checked(16).unwrap_or_default();
                of.insert([repository, &trashed.digest, tag].concat());
            }
        }
        self.mirrors(Table::TrashTagOf, &of)?;
        self.mirrors(Table::TrashTagDue, &tags_due)?;
        let ids: BTreeSet<_> = self.repositories()?.into_iter().map(|repository| repository.id).collect();
        for table in [Table::Trash, Table::TrashTag, Table::Bereaved] {
            let known = self.keys(table)?.iter().all(|entry| entry.get(..16).is_some_and(|id| ids.contains(id)));
            self.named("S2", known, || format!("{table:?} of no repository"));
        }
        Ok(())
    }

    fn tags(&mut self) -> Checked {
        let mut index = BTreeSet::new();
        for repository in self.repositories()? {
            let tags = self.records::<wire::Tag>(Table::Tag, &[&repository.id])?;
            self.expect(repository.tags == tags.len() as u64, || format!("{} counts other tags", repository.name));
            for (name, tag) in tags {
                index.insert([repository.id.as_ref(), &tag.digest, &name].concat());
                let manifest = self.tables.get(&key(Table::Manifest, &[&repository.id, &tag.digest]))?;
                self.named("S2", manifest.is_some(), || format!("a tag of {} points to no manifest", repository.name));
            }
        }
        self.mirrors(Table::TagOf, &index)
    }

    /// Every segment list has exactly one owner, every segment a live object of its own, and the other way round.
    fn objects(&mut self) -> Checked {
        let mut expected: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut owned = 0_u64;
        let mut own = |list: &[u8], from: u32, to: u32| {
            owned += u64::from(to.saturating_sub(from));
            expected.extend((from..to).map(|n| [list, &n.to_be_bytes()].concat()));
        };
        for (id, session) in self.records::<wire::Session>(Table::Session, &[])? {
            own(&id, 0, session.segments);
        }
        for (_, blob) in self.records::<wire::Blob>(Table::Blob, &[])? {
            own(&blob.segment_list, 0, blob.segments);
        }
        for (entry, list) in self.records::<wire::GarbageList>(Table::Garbage, &[])? {
            own(&entry[8..], list.next, list.segments);
        }
        for (entry, list) in self.records::<wire::CondemnedList>(Table::Condemned, &[])? {
            own(&entry[8..], list.next, list.segments);
        }
        self.named("S4", owned == expected.len() as u64, || "a segment list has two owners".to_owned());
        self.mirrors(Table::Segment, &expected)?;

        let mut live = BTreeMap::new();
        let mut deleting = BTreeSet::new();
        for (name, object) in self.records::<wire::Object>(Table::Object, &[])? {
            match object.state {
                Some(State::Live(list)) => drop(live.insert(name, list)),
                Some(State::Deleting(_)) => drop(deleting.insert(name)),
                None => self.found.push("S4: an object has no state".to_owned()),
            }
        }
        self.mirrors(Table::Deleting, &deleting)?;
        for (entry, segment) in self.records::<wire::Segment>(Table::Segment, &[])? {
            let named = live.remove(segment.key.as_bytes());
            let list = entry.get(..16).unwrap_or_default();
            self.named("S4", named.as_deref() == Some(list), || {
                format!("the object of segment {} is not its own", segment.key)
            });
        }
        self.named("S4", live.is_empty(), || format!("{} live objects have no segment", live.len()));
        Ok(())
    }

    fn memory(&mut self) -> Checked {
        let timed = |at: u64, id: &[u8]| [&at.to_be_bytes(), id].concat();
        let remembered = self.records::<wire::Remembered>(Table::Remembered, &[])?;
        let expected = remembered.iter().map(|(id, record)| timed(record.at_mono, id)).collect();
        self.mirrors(Table::RememberedAt, &expected)?;
        let ended = self.records::<wire::Ended>(Table::Ended, &[])?;
        let expected = ended.iter().map(|(id, record)| timed(record.at_mono, id)).collect();
        self.mirrors(Table::EndedAt, &expected)
    }

    /// One key signs, the newest; the others were replaced after they were made.
    fn token_keys(&mut self) -> Checked {
        let keys = self.records::<wire::TokenKey>(Table::TokenKey, &[])?;
        let signing: Vec<_> = keys.iter().filter(|(_, key)| key.replaced_mono.is_none()).collect();
        self.expect(keys.len() <= TOKEN_KEYS_MAX, || format!("there are {} token keys", keys.len()));
        self.expect(signing.len() == keys.len().min(1), || format!("{} token keys sign", signing.len()));
        for (id, key) in &keys {
            let replaced = key.replaced_mono.unwrap_or(u64::MAX);
            let newer = signing.iter().any(|(_, newest)| newest.made_mono < replaced.min(key.made_mono));
            let sound = id.len() == 16 && key.secret.len() == TOKEN_SECRET_BYTES;
            self.expect(sound && key.made_mono <= replaced && !newer, || "a token key is not sound".to_owned());
        }
        Ok(())
    }

    fn totals(&mut self) -> Checked {
        let cluster: wire::Cluster = match self.tables.get(&key(Table::Cluster, &[]))? {
            Some(value) => decode(&key(Table::Cluster, &[]), value)?,
            None => wire::Cluster::default(),
        };
        let blobs = self.records::<wire::Blob>(Table::Blob, &[])?;
        let bytes: u64 = blobs.iter().map(|(_, blob)| blob.size).sum();
        let sessions = self.keys(Table::Session)?.len() as u64;
        let repositories = self.repositories()?;
        let ids: BTreeSet<_> = repositories.iter().map(|repository| &repository.id).collect();
        self.expect(ids.len() == repositories.len(), || "two repositories share an id".to_owned());
        let (draining, named): (Vec<_>, Vec<_>) = repositories.iter().partition(|repository| repository.draining);
        let names = named.iter().map(|repository| repository.id.to_vec()).collect();
        self.mirrors(Table::RepositoryName, &names)?;
        let drained = draining.iter().map(|repository| repository.id.to_vec()).collect();
        self.mirrors(Table::Draining, &drained)?;
        self.expect(cluster.repositories == named.len() as u64, || "repositories are miscounted".to_owned());
        let suspects = blobs.iter().filter(|(_, blob)| blob.suspect).count() as u64;
        self.expect(cluster.suspects == suspects, || "suspect blobs are miscounted".to_owned());
        self.expect(cluster.blobs == blobs.len() as u64, || "blobs are miscounted".to_owned());
        self.expect(cluster.blob_bytes == bytes, || "bytes of blobs are miscounted".to_owned());
        self.expect(cluster.sessions == sessions, || "sessions are miscounted".to_owned());
        Ok(())
    }
}
