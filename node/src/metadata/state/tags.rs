//! Tags: each points to a manifest of its repository; a reverse index lists the tags of a manifest.

use super::apply::{Applied, Machine, UNSUPPORTED};
use super::keys::{Table, key};
use super::records::{damaged, scan};
use super::tables::TablesError;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use wire::tag_expectation::Kind;

/// Longest tag in bytes (distribution spec).
const TAG_BYTES_MAX: usize = 128;

pub(super) const TAG_UNKNOWN: Outcome = Outcome::TagUnknown(wire::TagUnknown {});

/// A tag that fits a key; its grammar is the proposer's business.
pub(super) fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= TAG_BYTES_MAX
}

/// Whether a tag that points to `actual` is as expected.
pub(super) fn holds(expect: &wire::TagExpectation, actual: Option<&Bytes>) -> bool {
    match &expect.kind {
        Some(Kind::Digest(digest)) => actual == Some(digest),
        Some(Kind::Absent(_)) => actual.is_none(),
        None => false,
    }
}

impl Machine<'_> {
    pub(super) fn tag(&self, repository: &[u8], tag: &str) -> Result<Option<wire::Tag>, TablesError> {
        self.get(&key(Table::Tag, &[repository, tag.as_bytes()]))
    }

    /// Points a tag to `manifest`, whose record and repository the caller writes.
    pub(super) fn move_tag(
        &mut self,
        repository: &mut wire::Repository,
        tag: &str,
        digest: &Bytes,
        manifest: &mut wire::Manifest,
    ) -> Result<(), TablesError> {
        let id = repository.id.clone();
        let before = self.tag(&id, tag)?;
        match &before {
            Some(before) if before.digest == digest => {}
            Some(before) => {
                self.untag(&id, &before.digest, tag.as_bytes())?;
                manifest.tags += 1;
            }
            None => {
                repository.tags += 1;
                manifest.tags += 1;
            }
        }
        self.mark(&key(Table::TagOf, &[&id, digest, tag.as_bytes()]))?;
        let version = before.map_or(0, |before| before.version).saturating_add(1);
        let moved = wire::Tag { digest: digest.clone(), version, at_wall: self.cluster.wall };
        self.put(&key(Table::Tag, &[&id, tag.as_bytes()]), &moved)
    }

    /// Takes a tag off the manifest it pointed to. Without tags that stays where it is, unless something asks for it to go.
    pub(super) fn untag(&mut self, repository: &[u8], digest: &[u8], tag: &[u8]) -> Result<(), TablesError> {
        self.delete(&key(Table::TagOf, &[repository, digest, tag]))?;
        let record = key(Table::Manifest, &[repository, digest]);
        let manifest: Option<wire::Manifest> = self.get(&record)?;
        let mut manifest = manifest.ok_or_else(|| damaged("manifest of a tag", &record))?;
        manifest.tags = manifest.tags.saturating_sub(1);
        if manifest.tags == 0 {
            self.queue_untagged(repository, digest, &mut manifest)?;
        }
        self.put(&record, &manifest)
    }

    /// Removes at most `limit` tags of a manifest that is deleted; the caller writes the records it passed.
    pub(super) fn remove_tags(
        &mut self,
        repository: &mut wire::Repository,
        digest: &[u8],
        manifest: &mut wire::Manifest,
        limit: u32,
    ) -> Result<(), TablesError> {
        let fields: [&[u8]; 2] = [&repository.id, digest];
        let prefix = key(Table::TagOf, &fields).len();
        for (entry, _) in scan(&*self.tables, Table::TagOf, &fields, limit as usize)? {
            let record = key(Table::Tag, &[&repository.id, &entry[prefix..]]);
            let tag: wire::Tag = self.get(&record)?.ok_or_else(|| damaged("tag of a manifest", &record))?;
            self.trash_tag(&repository.id, &entry[prefix..], &tag, true)?;
            self.delete(&record)?;
            self.delete(&entry)?;
            repository.tags = repository.tags.saturating_sub(1);
            manifest.tags = manifest.tags.saturating_sub(1);
        }
        Ok(())
    }

    pub(super) fn delete_tag(&mut self, command: &wire::DeleteTag) -> Applied {
        if command.expect.as_ref().is_some_and(|expect| expect.kind.is_none()) {
            return Ok(UNSUPPORTED);
        }
        let Some(mut repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        let Some(tag) = self.tag(&repository.id, &command.tag)? else {
            return Ok(TAG_UNKNOWN);
        };
        if command.expect.as_ref().is_some_and(|expect| !holds(expect, Some(&tag.digest))) {
            return Ok(Outcome::PreconditionFailed(wire::PreconditionFailed { actual: Some(tag.digest) }));
        }
        self.trash_tag(&repository.id, command.tag.as_bytes(), &tag, false)?;
        self.untag(&repository.id, &tag.digest, command.tag.as_bytes())?;
        self.delete(&key(Table::Tag, &[&repository.id, command.tag.as_bytes()]))?;
        repository.tags = repository.tags.saturating_sub(1);
        self.put_repository(&repository)?;
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }
}
