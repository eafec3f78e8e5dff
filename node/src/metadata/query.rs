//! Typed reads over one consistent view of the state. Each costs what it answers, whatever the registry's size.

mod space;

use super::Error;
use super::state::keys::{self, Table, key, prefix_end, queued, segment, split_timed, timed};
use super::state::records::{damaged, decode, get, scan};
use super::state::{self, Tables, TablesError, TokenKeyId};
use bytes::Bytes;
use flotilla_proto::metadata::{ENDED_MS, GC_DELAYS};
use flotilla_proto::oci::{Digest, RepositoryName, Tag};
use flotilla_proto::wire::metadata as wire;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use wire::manifest::Waits;

/// Manifests that one question about suspect blobs looks at, at most.
const LOOKS_MAX: usize = 10_000;
/// Buckets of sessions read at a time.
const HOURS_PAGE: usize = 100;

/// An upload session's id; its segment list has the same.
pub type SessionId = [u8; 16];

/// A repository's id, looked up once by [`View::repository`] and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryId([u8; 16]);

impl RepositoryId {
    /// As commands name it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Stays the same for the repository's life.
    pub id: RepositoryId,
    /// When it was made, in Unix milliseconds.
    pub created_wall: u64,
    /// Tags in it.
    pub tags: u64,
    /// Manifests in it.
    pub manifests: u64,
    /// Blobs visible in it.
    pub links: u64,
    /// Bytes of those blobs and of the manifest bodies.
    pub bytes: u64,
}

/// A blob, as seen through a repository or in the whole registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Bytes.
    pub size: u64,
    /// Its object is missing or damaged: as good as absent until it is pushed again.
    pub suspect: bool,
    /// For [`View::segments`].
    pub segment_list: Bytes,
    /// Length of that list; 0 for the empty blob.
    pub segments: u32,
}

impl From<wire::Blob> for Blob {
    fn from(wire::Blob { size, suspect, segment_list, segments, .. }: wire::Blob) -> Self {
        Self { size, suspect, segment_list, segments }
    }
}

/// What a tag points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The manifest.
    pub digest: Digest,
    /// Counts the moves of the tag, from 1.
    pub version: u64,
    /// When it was last moved, in Unix milliseconds.
    pub at_wall: u64,
}

/// A segment list that is condemned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condemned {
    /// For [`View::segments`].
    pub segment_list: Bytes,
    /// Since when, in mono.
    pub since: u64,
    /// Bytes of all its segments.
    pub bytes: u64,
}

/// A manifest or tag that can be undeleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted<T> {
    /// Which.
    pub item: T,
    /// What it is, or pointed to.
    pub digest: Digest,
    /// Until when, in mono.
    pub until: u64,
    /// When it was deleted, in Unix milliseconds.
    pub at_wall: u64,
}

impl From<TablesError> for Error {
    fn from(error: TablesError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// A consistent view of the state at one log index. Cheap to clone; holding one pins old pages, so keep it short.
///
/// Every getter fails with [`Error::Storage`] alone: the tables failed or hold a record that does not decode.
#[derive(Clone)]
pub struct View {
    tables: Arc<dyn Tables + Send + Sync>,
}

impl View {
    /// Wraps a snapshot of the tables.
    pub fn new(tables: Arc<dyn Tables + Send + Sync>) -> Self {
        Self { tables }
    }

    /// The tables below.
    pub fn tables(&self) -> &(dyn Tables + Send + Sync) {
        &*self.tables
    }

    // ------------------------------------------------------------ cluster

    /// Replicated time, the store's identity and the counts of the whole registry.
    pub fn cluster(&self) -> Result<wire::Cluster, Error> {
        Ok(get(self.tables(), &key(Table::Cluster, &[]))?.unwrap_or_default())
    }

    /// Replicated monotonic time in milliseconds.
    pub fn mono(&self) -> Result<u64, Error> {
        Ok(self.cluster()?.mono)
    }

    /// The keys of tokens, by id; at most 8. Never show them.
    pub fn token_keys(&self) -> Result<Vec<(TokenKeyId, wire::TokenKey)>, Error> {
        Ok(state::token_keys(self.tables())?)
    }

    /// The delays, mode and reason of collection.
    pub fn gc(&self) -> Result<(wire::GcDelays, wire::Gc), Error> {
        let gc = self.cluster()?.gc.unwrap_or_default();
        Ok((gc.delays.unwrap_or(GC_DELAYS), gc))
    }

    // ------------------------------------------------------------ leases

    /// A link of a repository, with the end of its lease if nothing references it.
    pub fn link(&self, repository: RepositoryId, digest: &Digest) -> Result<Option<wire::Link>, Error> {
        Ok(get(self.tables(), &key(Table::Link, &[&repository.0, &digest.to_bytes()]))?)
    }

    /// Whether a lease must be renewed (`TouchLinks`) before a client is told of the blob: so that it stays as long as is
    /// promised. `ahead` is how much further mono may be elsewhere.
    pub fn link_must_renew(&self, repository: RepositoryId, digest: &Digest, ahead: Duration) -> Result<bool, Error> {
        match self.link(repository, digest)?.filter(|link| link.references == 0) {
            Some(link) => self.must_renew(ahead, |_| link.eligible_mono),
            None => Ok(false),
        }
    }

    /// As [`View::link_must_renew`], for a manifest (`TouchManifest`).
    pub fn manifest_must_renew(&self, manifest: &wire::Manifest, ahead: Duration) -> Result<bool, Error> {
        match manifest.waits {
            Some(Waits::LostMono(at)) => self.must_renew(ahead, |_| at),
            Some(Waits::UntaggedMono(since)) => self.must_renew(ahead, |delays| since.saturating_add(delays.grace_ms)),
            None => Ok(false),
        }
    }

    fn must_renew(&self, ahead: Duration, end: impl Fn(&wire::GcDelays) -> u64) -> Result<bool, Error> {
        let cluster = self.cluster()?;
        let delays = cluster.gc.and_then(|gc| gc.delays).unwrap_or(GC_DELAYS);
        let ahead = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        Ok(end(&delays) <= cluster.mono.saturating_add(delays.promise_ms).saturating_add(ahead))
    }

    /// Whether a manifest, or one that it lists, needs a blob that is suspect. Costs one look while no blob is.
    pub fn needs_suspect(&self, repository: RepositoryId, digest: &Digest) -> Result<bool, Error> {
        if self.cluster()?.suspects == 0 {
            return Ok(false);
        }
        let mut seen = BTreeSet::new();
        let mut below = vec![Bytes::from(digest.to_bytes())];
        while let Some(next) = below.pop().filter(|_| seen.len() < LOOKS_MAX) {
            let manifest: Option<wire::Manifest> = get(self.tables(), &key(Table::Manifest, &[&repository.0, &next]))?;
            let Some(manifest) = manifest.filter(|_| seen.insert(next)) else { continue };
            for blob in &manifest.blobs {
                let blob: Option<wire::Blob> = get(self.tables(), &key(Table::Blob, &[blob]))?;
                if blob.is_some_and(|blob| blob.suspect) {
                    return Ok(true);
                }
            }
            below.extend(manifest.children);
        }
        Ok(false)
    }

    // ------------------------------------------------------------ what collection would do now

    /// At most `limit` links that `Collect` would drop now, the longest due first.
    pub fn due_links(&self, limit: usize) -> Result<Vec<wire::LinkId>, Error> {
        let due = self.due(Table::LinkDue, self.mono()?, limit)?;
        due.iter().map(|entry| Ok(link_id(entry).ok_or_else(|| damaged("due link", entry))?)).collect()
    }

    /// At most `limit` manifests that `SweepManifests` would review now.
    pub fn due_manifests(&self, limit: usize) -> Result<Vec<wire::LinkId>, Error> {
        let (mono, (delays, _)) = (self.mono()?, self.gc()?);
        let mut due = self.due(Table::ManifestDue, mono, limit)?;
        let age = delays.untagged_ms.max(delays.grace_ms);
        if let Some(until) = mono.checked_sub(age).filter(|_| delays.untagged_ms > 0) {
            due.extend(self.due(Table::Untagged, until, limit - due.len())?);
        }
        due.iter().map(|entry| Ok(link_id(entry).ok_or_else(|| damaged("due manifest", entry))?)).collect()
    }

    /// Whether `SweepManifests` has anything to do.
    pub fn manifests_wait(&self) -> Result<bool, Error> {
        let bereaved = !scan(self.tables(), Table::Bereaved, &[], 1)?.is_empty();
        Ok(bereaved || !self.due_manifests(1)?.is_empty())
    }

    /// At most `limit` condemned lists that are old enough for `StartDelete`, the oldest first.
    pub fn due_condemned(&self, limit: usize) -> Result<Vec<Condemned>, Error> {
        let (mono, (delays, _)) = (self.mono()?, self.gc()?);
        let Some(until) = mono.checked_sub(delays.delete_ms) else { return Ok(Vec::new()) };
        let end = timed(Table::Condemned, until.saturating_add(1), &[]);
        let due = self.tables.scan(&key(Table::Condemned, &[]), &end, limit)?;
        due.into_iter()
            .map(|(entry, value)| {
                let (since, list) = split_timed(&entry).ok_or_else(|| damaged("condemned list", &entry))?;
                let segment_list = Bytes::copy_from_slice(list);
                let list: wire::CondemnedList = decode(&entry, value)?;
                Ok(Condemned { segment_list, since, bytes: list.bytes })
            })
            .collect()
    }

    /// Whether `StartDelete` may take condemned lists.
    pub fn condemned_waits(&self) -> Result<bool, Error> {
        Ok(self.gc()?.1.mode() == wire::GcMode::On && !self.due_condemned(1)?.is_empty())
    }

    /// Whether `PurgeTrash` has anything to do.
    pub fn trash_waits(&self) -> Result<bool, Error> {
        let mono = self.mono()?;
        Ok(!self.due(Table::TrashDue, mono, 1)?.is_empty() || !self.due(Table::TrashTagDue, mono, 1)?.is_empty())
    }

    /// At most `limit` deleted repositories that are not drained yet.
    pub fn draining(&self, limit: usize) -> Result<Vec<RepositoryId>, Error> {
        self.page(Table::Draining, &[], None, limit, |id| id.try_into().ok().map(RepositoryId))
    }

    /// At most `limit` buckets of sessions that `HoursSwept` would forget now; their part of the store is to be swept first.
    pub fn due_hours(&self, limit: usize) -> Result<Vec<u64>, Error> {
        let (cluster, (delays, _)) = (self.cluster()?, self.gc()?);
        let end = key(Table::Hour, &[&cluster.hour.to_be_bytes()]);
        let mut hours = Vec::new();
        let mut start = key(Table::Hour, &[]);
        while hours.len() < limit {
            let page = self.tables.scan(&start, &end, HOURS_PAGE)?;
            let Some((last, _)) = page.last() else { break };
            start = keys::after(last.clone());
            for (entry, value) in page {
                let number = entry.get(1..).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
                let number = number.ok_or_else(|| damaged("hour", &entry))?;
                let hour: wire::Hour = decode(&entry, value)?;
                if hour.open == 0 && hour.last_end_mono.saturating_add(delays.sweep_ms) <= cluster.mono {
                    hours.push(number);
                }
            }
        }
        hours.truncate(limit);
        Ok(hours)
    }

    /// At most `limit` entries of a queue that are due at `until`.
    fn due(&self, queue: Table, until: u64, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        let end = queued(queue, until.saturating_add(1), &[], &[]);
        Ok(self.tables.scan(&key(queue, &[]), &end, limit)?.into_iter().map(|(entry, _)| entry).collect())
    }

    // ------------------------------------------------------------ what can be undeleted

    /// At most `limit` deleted manifests after `after`, in digest order.
    pub fn deleted_manifests(
        &self,
        repository: RepositoryId,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<Deleted<Digest>>, Error> {
        let after = after.map(Digest::to_bytes);
        let digests = self.page(Table::Trash, &[&repository.0], after.as_deref(), limit, Digest::from_bytes)?;
        let mut deleted = Vec::new();
        for digest in digests {
            let record = key(Table::Trash, &[&repository.0, &digest.to_bytes()]);
            let wire::Trashed { until_mono, at_wall, .. } = get(self.tables(), &record)?.unwrap_or_default();
            deleted.push(Deleted { item: digest, digest, until: until_mono, at_wall });
        }
        Ok(deleted)
    }

    /// At most `limit` deleted tags after `after`, in byte order.
    pub fn deleted_tags(
        &self,
        repository: RepositoryId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Deleted<Tag>>, Error> {
        let parse = |tag: &[u8]| text(tag)?.parse::<Tag>().ok();
        let tags = self.page(Table::TrashTag, &[&repository.0], after.map(str::as_bytes), limit, parse)?;
        let mut deleted = Vec::new();
        for tag in tags {
            let record = key(Table::TrashTag, &[&repository.0, tag.as_str().as_bytes()]);
            let trashed: wire::TrashedTag = get(self.tables(), &record)?.unwrap_or_default();
            let digest = Digest::from_bytes(&trashed.digest).ok_or_else(|| damaged("deleted tag", &record))?;
            deleted.push(Deleted { item: tag, digest, until: trashed.until_mono, at_wall: trashed.at_wall });
        }
        Ok(deleted)
    }

    // ------------------------------------------------------------ repositories

    /// The repository, if anything was ever pushed to it.
    pub fn repository(&self, name: &RepositoryName) -> Result<Option<Repository>, Error> {
        let record = key(Table::Repository, &[name.as_str().as_bytes()]);
        let Some(stored) = get::<wire::Repository>(self.tables(), &record)? else { return Ok(None) };
        let id = stored.id.as_ref().try_into().map_err(|_| damaged("repository id", &record))?;
        let wire::Repository { created_wall, tags, manifests, links, bytes, .. } = stored;
        Ok(Some(Repository { id: RepositoryId(id), created_wall, tags, manifests, links, bytes }))
    }

    /// At most `limit` names after `after` (which need not exist), in byte order.
    pub fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<RepositoryName>, Error> {
        self.page(Table::Repository, &[], after.map(str::as_bytes), limit, |name| text(name)?.parse().ok())
    }

    // ------------------------------------------------------------ upload sessions

    /// An open session.
    pub fn session(&self, id: &SessionId) -> Result<Option<wire::Session>, Error> {
        Ok(get(self.tables(), &key(Table::Session, &[id]))?)
    }

    /// How a session ended, if that was less than an hour of mono ago.
    pub fn ended(&self, id: &SessionId) -> Result<Option<wire::Ended>, Error> {
        let Some(ended) = get::<wire::Ended>(self.tables(), &key(Table::Ended, &[id]))? else { return Ok(None) };
        let remembered = self.mono()? < ended.at_mono.saturating_add(ENDED_MS);
        Ok(remembered.then_some(ended))
    }

    /// At most `limit` sessions that `ExpireSessions` would end now, the longest due first.
    pub fn due_sessions(&self, limit: usize) -> Result<Vec<SessionId>, Error> {
        let end = timed(Table::SessionDue, self.mono()?.saturating_add(1), &[]);
        let due = self.tables.scan(&key(Table::SessionDue, &[]), &end, limit)?;
        due.iter()
            .map(|(entry, _)| {
                let id = split_timed(entry).and_then(|(_, id)| id.try_into().ok());
                Ok(id.ok_or_else(|| damaged("due session", entry))?)
            })
            .collect()
    }

    // ------------------------------------------------------------ blobs and objects

    /// A blob through a repository's link; `None` if the repository has none, whoever else has.
    pub fn blob(&self, repository: RepositoryId, digest: &Digest) -> Result<Option<Blob>, Error> {
        let stored = digest.to_bytes();
        if self.tables.get(&key(Table::Link, &[&repository.0, &stored]))?.is_none() {
            return Ok(None);
        }
        self.blob_anywhere(digest)
    }

    /// A blob, whichever repository has it. Never show it to a client without a check of its own.
    pub fn blob_anywhere(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let blob: Option<wire::Blob> = get(self.tables(), &key(Table::Blob, &[&digest.to_bytes()]))?;
        Ok(blob.map(Blob::from))
    }

    /// How many manifests of a repository reference a blob; `None` without a link.
    pub fn references(&self, repository: RepositoryId, digest: &Digest) -> Result<Option<u64>, Error> {
        let link: Option<wire::Link> = get(self.tables(), &key(Table::Link, &[&repository.0, &digest.to_bytes()]))?;
        Ok(link.map(|link| link.references))
    }

    /// The first `count` segments of a list, in order; fewer if the list has gone meanwhile.
    pub fn segments(&self, list: &[u8], count: u32) -> Result<Vec<wire::Segment>, Error> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let pairs = self.tables.scan(&segment(list, 0), &segment(list, count), count as usize)?;
        pairs.into_iter().map(|(record, value)| Ok(decode(&record, value)?)).collect()
    }

    /// Whether segments that no reader ever had wait for `StartDelete`.
    pub fn garbage_waits(&self) -> Result<bool, Error> {
        Ok(!scan(self.tables(), Table::Garbage, &[], 1)?.is_empty())
    }

    /// At most `limit` object keys after `after` that must be deleted from the store, in byte order.
    pub fn deleting(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        self.page(Table::Deleting, &[], after.map(str::as_bytes), limit, |key| text(key).map(str::to_owned))
    }

    /// What is recorded about an object key.
    pub fn object(&self, key_text: &str) -> Result<Option<wire::Object>, Error> {
        Ok(get(self.tables(), &key(Table::Object, &[key_text.as_bytes()]))?)
    }

    // ------------------------------------------------------------ manifests and tags

    /// A manifest without its body.
    pub fn manifest(&self, repository: RepositoryId, digest: &Digest) -> Result<Option<wire::Manifest>, Error> {
        Ok(get(self.tables(), &key(Table::Manifest, &[&repository.0, &digest.to_bytes()]))?)
    }

    /// The bytes of a manifest.
    pub fn manifest_body(&self, repository: RepositoryId, digest: &Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.tables.get(&key(Table::ManifestBody, &[&repository.0, &digest.to_bytes()]))?.map(Bytes::from))
    }

    /// What a tag points to.
    pub fn tag(&self, repository: RepositoryId, tag: &Tag) -> Result<Option<Tagged>, Error> {
        let record = key(Table::Tag, &[&repository.0, tag.as_str().as_bytes()]);
        let Some(stored) = get::<wire::Tag>(self.tables(), &record)? else { return Ok(None) };
        let digest = Digest::from_bytes(&stored.digest).ok_or_else(|| damaged("digest of a tag", &record))?;
        Ok(Some(Tagged { digest, version: stored.version, at_wall: stored.at_wall }))
    }

    /// At most `limit` tags after `after` (which need not exist), in byte order.
    pub fn tags(&self, repository: RepositoryId, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
        self.page(Table::Tag, &[&repository.0], after.map(str::as_bytes), limit, |tag| text(tag)?.parse().ok())
    }

    /// At most `limit` manifests after `after` whose subject is `subject` (which need not exist), in digest order.
    pub fn referrers(
        &self,
        repository: RepositoryId,
        subject: &Digest,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<Digest>, Error> {
        let after = after.map(Digest::to_bytes);
        let fields: [&[u8]; 2] = [&repository.0, &subject.to_bytes()];
        self.page(Table::Referrer, &fields, after.as_deref(), limit, Digest::from_bytes)
    }

    /// At most `limit` indexes that list a manifest, in digest order.
    pub fn parents(&self, repository: RepositoryId, child: &Digest, limit: usize) -> Result<Vec<Digest>, Error> {
        self.page(Table::Parent, &[&repository.0, &child.to_bytes()], None, limit, Digest::from_bytes)
    }

    /// At most `limit` keys below a table and `fields`, read by `parse` from what follows those.
    fn page<T>(
        &self,
        table: Table,
        fields: &[&[u8]],
        after: Option<&[u8]>,
        limit: usize,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let prefix = key(table, fields);
        let start = match after {
            Some(after) => keys::after([prefix.as_slice(), after].concat()),
            None => prefix.clone(),
        };
        let pairs = self.tables.scan(&start, &prefix_end(&prefix), limit)?;
        let parsed = pairs.iter().map(|(entry, _)| {
            let item = entry.get(prefix.len()..).and_then(&parse);
            Ok(item.ok_or_else(|| damaged("listed key", entry))?)
        });
        parsed.collect()
    }
}

fn link_id(entry: &[u8]) -> Option<wire::LinkId> {
    let (_, repository, digest) = keys::split_queued(entry)?;
    let (repository_id, digest) = (Bytes::copy_from_slice(repository), Bytes::copy_from_slice(digest));
    Some(wire::LinkId { repository_id, digest })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
