//! What must hold between any two entries, as far as the metadata alone can tell. Each violation begins with the name of its
//! invariant: S2 every reference has its target; S3 counts equal what they count, and indexes mirror records; S4 a key of the
//! store has one owner and one state; L3 a manifest that nothing holds is in a queue. A full scan: for tests and
//! `flotillactl verify`.

mod sum;
mod walk;

use super::keys::{Table, key, segment};
use super::records::decode;
use super::tables::{Tables, TablesError};
use flotilla_proto::metadata::{TOKEN_KEYS_MAX, TOKEN_SECRET_BYTES};
use flotilla_proto::wire::metadata as wire;
use std::collections::{BTreeMap, BTreeSet};
use sum::Sum;
use walk::{Tally, count, each, each_pair};
use wire::{manifest::Waits, object::State};

/// Sentences at most: somebody reads them.
const FOUND_MAX: usize = 10_000;

/// Scans the whole state and says, one sentence each, what does not hold; empty if all is well. Keeps little in memory: the
/// repositories and open sessions, and 17 bytes for each link. Fails if the tables fail or a record does not decode.
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

/// An index: it has the entries that records want, each by one of them, and no others.
struct Index {
    table: Table,
    wanted: Sum,
}

impl Index {
    fn of(table: Table) -> Self {
        Self { table, wanted: Sum::default() }
    }
}

type Checked = Result<(), TablesError>;

impl Check<'_> {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.named("S3", holds, what);
    }

    fn named(&mut self, invariant: &str, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.found.len() < FOUND_MAX {
            self.found.push(format!("{invariant}: {}", what()));
        }
    }

    /// Those with a name and those that are drained.
    fn repositories(&self) -> Result<Vec<wire::Repository>, TablesError> {
        let mut all = Vec::new();
        for table in [Table::Repository, Table::Draining] {
            each(self.tables, table, &[], |_, repository| {
                all.push(repository);
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// A record wants an entry in an index.
    fn wants(&mut self, index: &mut Index, entry: &[&[u8]]) -> Checked {
        let entry = key(index.table, entry);
        index.wanted.add(&entry[1..]);
        let there = self.tables.get(&entry)?.is_some();
        self.expect(there, || format!("index {:?} lacks {}", index.table, hex::encode(&entry[1..])));
        Ok(())
    }

    /// All records have said what they want.
    fn mirrors(&mut self, index: &Index) -> Checked {
        let (wanted, entries) = (index.wanted, self.sum(index.table)?);
        self.expect(entries == wanted, || {
            let (entries, wanted) = (entries.count, wanted.count);
            format!("index {:?} has {entries} entries, and its records want {wanted}, or others", index.table)
        });
        Ok(())
    }

    fn sum(&self, table: Table) -> Result<Sum, TablesError> {
        let mut sum = Sum::default();
        each_pair(self.tables, table, &[], |entry, _| {
            sum.add(entry);
            Ok(())
        })?;
        Ok(sum)
    }

    fn sessions(&mut self) -> Checked {
        let mut due = Index::of(Table::SessionDue);
        let mut open: BTreeMap<u64, u64> = BTreeMap::new();
        each(self.tables, Table::Session, &[], |id, session: wire::Session| {
            let at = session.idle_by_mono.min(session.hard_by_mono);
            self.wants(&mut due, &[&at.to_be_bytes(), id])?;
            *open.entry(session.hour).or_default() += 1;
            let (segments, length) = self.list(id)?;
            self.expect(segments == u64::from(session.segments) && length == session.offset, || {
                format!("session {} counts other segments than it has", hex::encode(id))
            });
            let ended = self.tables.get(&key(Table::Ended, &[id]))?.is_some();
            self.expect(!ended, || format!("session {} is open and ended", hex::encode(id)));
            Ok(())
        })?;
        self.mirrors(&due)?;
        let mut same = true;
        each(self.tables, Table::Hour, &[], |hour, record: wire::Hour| {
            let hour = hour.try_into().map_or(u64::MAX, u64::from_be_bytes);
            same &= open.remove(&hour).unwrap_or(0) == record.open;
            Ok(())
        })?;
        self.expect(same && open.is_empty(), || "hours count other sessions than are open".to_owned());
        Ok(())
    }

    /// Number and total length of the segments of a list.
    fn list(&self, list: &[u8]) -> Result<(u64, u64), TablesError> {
        let (mut count, mut length) = (0, 0);
        each(self.tables, Table::Segment, &[list], |_, segment: wire::Segment| {
            (count, length) = (count + 1, length + segment.length);
            Ok(())
        })?;
        Ok((count, length))
    }

    fn blobs(&mut self) -> Checked {
        let (mut links, mut due, mut stored) = (Tally::default(), Index::of(Table::LinkDue), 0);
        for repository in self.repositories()? {
            let (mut referenced, mut bodies) = (Tally::default(), 0);
            each(self.tables, Table::Manifest, &[&repository.id], |_, manifest: wire::Manifest| {
                bodies += manifest.size;
                let set: BTreeSet<_> = manifest.blobs.iter().collect();
                set.into_iter().for_each(|blob| referenced.add(blob));
                Ok(())
            })?;
            let mut referenced = referenced.counts();
            let (mut count, mut bytes) = (0, 0);
            each(self.tables, Table::Link, &[&repository.id], |digest, link: wire::Link| {
                count += 1;
                if link.references == 0 {
                    self.wants(&mut due, &[&link.eligible_mono.to_be_bytes(), &repository.id, digest])?;
                }
                links.add(digest);
                let blob = self.tables.get(&key(Table::Blob, &[digest]))?;
                self.named("S2", blob.is_some(), || format!("{} links no blob", repository.name));
                if let Some(blob) = blob {
                    bytes += decode::<wire::Blob>(digest, blob)?.size;
                }
                let references = referenced.of(digest);
                self.expect(references == link.references, || format!("{} counts other references", repository.name));
                Ok(())
            })?;
            self.named("S2", !referenced.has_others(), || {
                format!("{} has a manifest with an unlinked blob", repository.name)
            });
            stored += count;
            self.expect(repository.links == count, || format!("{} counts other links", repository.name));
            self.expect(repository.bytes == bytes + bodies, || format!("{} counts other bytes", repository.name));
        }
        self.mirrors(&due)?;
        let all = count(self.tables, Table::Link, &[])?;
        self.named("S2", all == stored, || "links of no repository".to_owned());
        let mut links = links.counts();
        each(self.tables, Table::Blob, &[], |digest, blob: wire::Blob| {
            let linked = links.of(digest);
            self.expect(blob.links == linked && linked > 0, || {
                format!("blob {} counts other links", hex::encode(digest))
            });
            let same = self.list(&blob.segment_list)? == (u64::from(blob.segments), blob.size);
            self.expect(same || blob.segments == 0 && blob.size == 0, || {
                format!("blob {} has other segments than it says", hex::encode(digest))
            });
            Ok(())
        })
    }

    fn manifests(&mut self) -> Checked {
        let (mut bodies, mut parents) = (Index::of(Table::ManifestBody), Index::of(Table::Parent));
        let mut referrers = Index::of(Table::Referrer);
        let (mut lost, mut untagged) = (Index::of(Table::ManifestDue), Index::of(Table::Untagged));
        let mut seen = 0;
        for repository in self.repositories()? {
            let id = &repository.id;
            let mut manifests = 0;
            each(self.tables, Table::Manifest, &[id], |digest, manifest: wire::Manifest| {
                manifests += 1;
                self.wants(&mut bodies, &[id, digest])?;
                let body = self.tables.get(&key(Table::ManifestBody, &[id, digest]))?;
                let size = body.map(|body| body.len() as u64);
                self.expect(size == Some(manifest.size), || format!("{} has a body of another size", repository.name));
                for child in manifest.children.iter().collect::<BTreeSet<_>>() {
                    self.wants(&mut parents, &[id, child, digest])?;
                }
                if let Some(subject) = &manifest.subject {
                    self.wants(&mut referrers, &[id, subject, digest])?;
                }
                self.queues(&repository, digest, &manifest, &mut lost, &mut untagged)?;
                let tags = count(self.tables, Table::TagOf, &[id, digest])?;
                self.expect(manifest.tags == tags, || format!("a manifest of {} counts other tags", repository.name));
                Ok(())
            })?;
            seen += manifests;
            self.expect(repository.manifests == manifests, || format!("{} counts other manifests", repository.name));
        }
        let stored = count(self.tables, Table::Manifest, &[])?;
        self.named("S2", stored == seen, || "manifests of no repository".to_owned());
        self.mirrors(&lost)?;
        self.mirrors(&untagged)?;
        self.mirrors(&bodies)?;
        self.mirrors(&parents)?;
        self.mirrors(&referrers)
    }

    /// A manifest waits in a queue, or something holds it.
    fn queues(
        &mut self,
        repository: &wire::Repository,
        digest: &[u8],
        manifest: &wire::Manifest,
        lost: &mut Index,
        untagged: &mut Index,
    ) -> Checked {
        let id = repository.id.as_ref();
        match manifest.waits {
            Some(Waits::LostMono(at)) => self.wants(lost, &[&at.to_be_bytes(), id, digest])?,
            Some(Waits::UntaggedMono(since)) => self.wants(untagged, &[&since.to_be_bytes(), id, digest])?,
            None => {}
        }
        let waits = manifest.waits.is_some();
        self.expect(!waits || manifest.tags == 0, || format!("a tagged manifest of {} is queued", repository.name));
        let mut held = waits || manifest.tags > 0 || repository.draining;
        held = held || count(self.tables, Table::Parent, &[id, digest])? > 0;
        if let Some(subject) = &manifest.subject {
            // What is bereaved will be queued.
            for table in [Table::Manifest, Table::Bereaved] {
                held = held || self.tables.get(&key(table, &[id, subject]))?.is_some();
            }
        }
        self.named("L3", held, || format!("nothing holds a manifest of {}, and it is not queued", repository.name));
        Ok(())
    }

    fn trash(&mut self) -> Checked {
        let (mut bodies, mut due) = (Index::of(Table::TrashBody), Index::of(Table::TrashDue));
        each(self.tables, Table::Trash, &[], |entry, trashed: wire::Trashed| {
            self.wants(&mut due, &[&trashed.until_mono.to_be_bytes(), entry])?;
            self.wants(&mut bodies, &[entry])
        })?;
        self.mirrors(&bodies)?;
        self.mirrors(&due)?;
        let (mut of, mut tags_due) = (Index::of(Table::TrashTagOf), Index::of(Table::TrashTagDue));
        each(self.tables, Table::TrashTag, &[], |entry, trashed: wire::TrashedTag| {
            self.wants(&mut tags_due, &[&trashed.until_mono.to_be_bytes(), entry])?;
            if trashed.with_manifest {
                let (repository, tag) = entry.split_at_checked(16).unwrap_or_default();
                self.wants(&mut of, &[repository, &trashed.digest, tag])?;
            }
            Ok(())
        })?;
        self.mirrors(&of)?;
        self.mirrors(&tags_due)?;
        let ids: BTreeSet<_> = self.repositories()?.into_iter().map(|repository| repository.id).collect();
        for table in [Table::Trash, Table::TrashTag, Table::Bereaved] {
            let mut known = true;
            each_pair(self.tables, table, &[], |entry, _| {
                known &= entry.get(..16).is_some_and(|id| ids.contains(id));
                Ok(())
            })?;
            self.named("S2", known, || format!("{table:?} of no repository"));
        }
        Ok(())
    }

    fn tags(&mut self) -> Checked {
        let mut index = Index::of(Table::TagOf);
        for repository in self.repositories()? {
            let mut tags = 0;
            each(self.tables, Table::Tag, &[&repository.id], |name, tag: wire::Tag| {
                tags += 1;
                self.wants(&mut index, &[&repository.id, &tag.digest, name])?;
                let manifest = self.tables.get(&key(Table::Manifest, &[&repository.id, &tag.digest]))?;
                self.named("S2", manifest.is_some(), || format!("a tag of {} points to no manifest", repository.name));
                Ok(())
            })?;
            self.expect(repository.tags == tags, || format!("{} counts other tags", repository.name));
        }
        self.mirrors(&index)
    }

    /// Every segment list has exactly one owner, every segment a live object of its own, and the other way round.
    fn objects(&mut self) -> Checked {
        let mut segments = Index::of(Table::Segment);
        each(self.tables, Table::Session, &[], |list, session: wire::Session| {
            self.owns(&mut segments, list, 0..session.segments)
        })?;
        each(self.tables, Table::Blob, &[], |_, blob: wire::Blob| {
            self.owns(&mut segments, &blob.segment_list, 0..blob.segments)
        })?;
        each(self.tables, Table::Garbage, &[], |entry, list: wire::GarbageList| {
            self.owns(&mut segments, &entry[8..], list.next..list.segments)
        })?;
        each(self.tables, Table::Condemned, &[], |entry, list: wire::CondemnedList| {
            self.owns(&mut segments, &entry[8..], list.next..list.segments)
        })?;
        // Every segment that is wanted is there, or was told of: what is wanted beyond those that are there is wanted twice.
        // So is one that is wanted instead of another.
        let (wanted, stored) = (segments.wanted, self.sum(Table::Segment)?);
        let once = wanted == stored || wanted.count < stored.count;
        self.named("S4", once, || "a segment list has two owners".to_owned());
        self.mirrors(&segments)?;

        let (mut live, mut deleting) = (0, Index::of(Table::Deleting));
        each(self.tables, Table::Object, &[], |name, object: wire::Object| {
            match object.state {
                Some(State::Live(_)) => live += 1,
                Some(State::Deleting(_)) => self.wants(&mut deleting, &[name])?,
                None => self.named("S4", false, || "an object has no state".to_owned()),
            }
            Ok(())
        })?;
        self.mirrors(&deleting)?;
        let mut own = 0;
        each(self.tables, Table::Segment, &[], |entry, segment: wire::Segment| {
            let list = entry.get(..16).unwrap_or_default();
            let record = key(Table::Object, &[segment.key.as_bytes()]);
            let object = match self.tables.get(&record)? {
                Some(object) => decode::<wire::Object>(&record, object)?.state,
                None => None,
            };
            let is_own = matches!(&object, Some(State::Live(of)) if of == list);
            own += u64::from(is_own);
            self.named("S4", is_own, || format!("the object of segment {} is not its own", segment.key));
            Ok(())
        })?;
        self.named("S4", live == own, || format!("{live} objects are live, and {own} segments have one"));
        Ok(())
    }

    fn owns(&mut self, segments: &mut Index, list: &[u8], range: std::ops::Range<u32>) -> Checked {
        for n in range {
            self.wants(segments, &[&segment(list, n)[1..]])?;
        }
        Ok(())
    }

    fn memory(&mut self) -> Checked {
        let mut at = Index::of(Table::RememberedAt);
        each(self.tables, Table::Remembered, &[], |id, record: wire::Remembered| {
            self.wants(&mut at, &[&record.at_mono.to_be_bytes(), id])
        })?;
        self.mirrors(&at)?;
        let mut at = Index::of(Table::EndedAt);
        each(self.tables, Table::Ended, &[], |id, record: wire::Ended| {
            self.wants(&mut at, &[&record.at_mono.to_be_bytes(), id])
        })?;
        self.mirrors(&at)
    }

    /// One key signs, the newest; the others were replaced after they were made.
    fn token_keys(&mut self) -> Checked {
        let mut keys = Vec::new();
        each(self.tables, Table::TokenKey, &[], |id, key: wire::TokenKey| {
            keys.push((id.to_vec(), key));
            Ok(())
        })?;
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
        let (mut blobs, mut bytes, mut suspects) = (0, 0, 0);
        each(self.tables, Table::Blob, &[], |_, blob: wire::Blob| {
            blobs += 1;
            bytes += blob.size;
            suspects += u64::from(blob.suspect);
            Ok(())
        })?;
        let sessions = count(self.tables, Table::Session, &[])?;
        let repositories = self.repositories()?;
        let ids: BTreeSet<_> = repositories.iter().map(|repository| &repository.id).collect();
        self.expect(ids.len() == repositories.len(), || "two repositories share an id".to_owned());
        let (mut names, mut draining) = (Index::of(Table::RepositoryName), Index::of(Table::Draining));
        for repository in &repositories {
            let index = if repository.draining { &mut draining } else { &mut names };
            self.wants(index, &[&repository.id])?;
        }
        self.mirrors(&names)?;
        self.mirrors(&draining)?;
        self.expect(cluster.repositories == names.wanted.count, || "repositories are miscounted".to_owned());
        self.expect(cluster.suspects == suspects, || "suspect blobs are miscounted".to_owned());
        self.expect(cluster.blobs == blobs, || "blobs are miscounted".to_owned());
        self.expect(cluster.blob_bytes == bytes, || "bytes of blobs are miscounted".to_owned());
        self.expect(cluster.sessions == sessions, || "sessions are miscounted".to_owned());
        Ok(())
    }
}
