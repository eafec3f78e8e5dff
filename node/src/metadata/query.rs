//! Typed reads over one consistent view of the state. Each costs what it answers, whatever the registry's size.

use super::Error;
use super::state::keys::{self, Table, key, prefix_end, segment, split_timed, timed};
use super::state::records::{damaged, decode, get, scan};
use super::state::{self, Tables, TablesError, TokenKeyId};
use bytes::Bytes;
use flotilla_proto::metadata::ENDED_MS;
use flotilla_proto::oci::{Digest, RepositoryName, Tag};
use flotilla_proto::wire::metadata as wire;
use std::sync::Arc;

/// An upload session's id; its segment list has the same.
pub type SessionId = [u8; 16];

/// A repository's id, looked up once by [`View::repository`] and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryId([u8; 16]);

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
        let seen =
            |wire::Blob { size, suspect, segment_list, segments, .. }| Blob { size, suspect, segment_list, segments };
        Ok(blob.map(seen))
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

    /// Whether segments wait for `StartDelete`.
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

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
