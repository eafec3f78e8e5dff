//! What was deleted can be put back for the grace: manifests with their bodies, and tags. Its blobs stay as long: the links of
//! a deleted manifest wait for the same grace.

use super::apply::{Applied, Machine};
use super::keys::{Table, key, queued, split_queued};
use super::manifests::MANIFEST_UNKNOWN;
use super::mutant::Mutant;
use super::records::{damaged, scan};
use super::tables::TablesError;
use super::tags::TAG_UNKNOWN;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::metadata::{TAGS_DELETED_MAX, WORK_MAX};
use flotilla_proto::wire::metadata as wire;

impl Machine<'_> {
    /// Keeps a manifest that is about to be deleted.
    pub(super) fn trash_manifest(
        &mut self,
        id: &[u8],
        digest: &[u8],
        manifest: &wire::Manifest,
    ) -> Result<(), TablesError> {
        if let Some(older) = self.get::<wire::Trashed>(&key(Table::Trash, &[id, digest]))? {
            self.forget_manifest(id, digest, older.until_mono)?;
        }
        let sparse = !self.has_all(id, &manifest.children)?;
        let until_mono = self.lease_end();
        let manifest = wire::Manifest { tags: 0, waits: None, ..manifest.clone() };
        let trashed = wire::Trashed { manifest: Some(manifest), until_mono, at_wall: self.cluster.wall, sparse };
        if let Some(body) = self.tables.get(&key(Table::ManifestBody, &[id, digest]))? {
            self.tables.put(&key(Table::TrashBody, &[id, digest]), &body)?;
        }
        self.put(&key(Table::Trash, &[id, digest]), &trashed)?;
        self.mark(&queued(Table::TrashDue, until_mono, id, digest))
    }

    /// Keeps a tag that is about to be deleted.
    pub(super) fn trash_tag(
        &mut self,
        id: &[u8],
        name: &[u8],
        tag: &wire::Tag,
        with_manifest: bool,
    ) -> Result<(), TablesError> {
        let record = key(Table::TrashTag, &[id, name]);
        if let Some(older) = self.get::<wire::TrashedTag>(&record)? {
            self.forget_tag(id, name, &older)?;
        }
        let (until_mono, at_wall) = (self.lease_end(), self.cluster.wall);
        let wire::Tag { digest, version, .. } = tag.clone();
        self.put(&record, &wire::TrashedTag { digest, version, until_mono, at_wall, with_manifest })?;
        self.mark(&queued(Table::TrashTagDue, until_mono, id, name))?;
        if with_manifest {
            self.mark(&key(Table::TrashTagOf, &[id, &tag.digest, name]))?;
        }
        Ok(())
    }

    /// Whether what can be undeleted until then still can be: for as long as collection is paused, too, since nothing of it
    /// has gone.
    fn can_return(&self, until_mono: u64) -> bool {
        until_mono > self.cluster.mono || !self.collects() && !self.broken(Mutant::ReturnNotInPause)
    }

    pub(super) fn undelete_manifest(&mut self, command: &wire::UndeleteManifest) -> Applied {
        let Some(mut repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        let (id, digest) = (repository.id.clone(), command.digest.as_ref());
        let trashed: Option<wire::Trashed> = self.get(&key(Table::Trash, &[&id, digest]))?;
        let Some(trashed) = trashed.filter(|trashed| self.can_return(trashed.until_mono)) else {
            return Ok(MANIFEST_UNKNOWN);
        };
        let mut manifest = match self.manifest(&id, digest)? {
            Some(live) => live,
            None => {
                let kept = trashed.manifest.unwrap_or_default();
                if let Some(rejected) = self.missing(Some(&id), &kept.blobs, &kept.children, trashed.sparse)? {
                    return Ok(Outcome::ManifestRejected(rejected));
                }
                let body = key(Table::TrashBody, &[&id, digest]);
                let body = self.tables.get(&body)?.ok_or_else(|| damaged("body of a deleted manifest", &body))?;
                self.create(&mut repository, digest, &kept, &body)?;
                kept
            }
        };
        let limit = command.tags_max.clamp(1, TAGS_DELETED_MAX);
        let (tags, more) = self.restore_tags(&mut repository, digest, &mut manifest, limit)?;
        if !more {
            self.forget_manifest(&id, digest, trashed.until_mono)?;
        }
        self.settle(&id, digest, &mut manifest)?;
        self.put(&key(Table::Manifest, &[&id, digest]), &manifest)?;
        self.put_repository(&repository)?;
        Ok(Outcome::Undeleted(wire::Undeleted { tags, more }))
    }

    /// Puts back tags that were deleted with a manifest, but none over a tag that exists.
    fn restore_tags(
        &mut self,
        repository: &mut wire::Repository,
        digest: &[u8],
        manifest: &mut wire::Manifest,
        limit: u32,
    ) -> Result<(u64, bool), TablesError> {
        let id = repository.id.clone();
        let prefix = key(Table::TrashTagOf, &[&id, digest]).len();
        let mut restored = 0;
        let found = scan(&*self.tables, Table::TrashTagOf, &[&id, digest], limit as usize)?;
        for (entry, _) in &found {
            let name = &entry[prefix..];
            let record = key(Table::TrashTag, &[&id, name]);
            let trashed: Option<wire::TrashedTag> = self.get(&record)?;
            let trashed = trashed.ok_or_else(|| damaged("deleted tag of a manifest", &record))?;
            self.forget_tag(&id, name, &trashed)?;
            let free = self.tables.get(&key(Table::Tag, &[&id, name]))?.is_none();
            if free && self.can_return(trashed.until_mono) {
                self.restore_tag(repository, name, &trashed, manifest)?;
                restored += 1;
            }
        }
        let more = !scan(&*self.tables, Table::TrashTagOf, &[&id, digest], 1)?.is_empty();
        Ok((restored, more))
    }

    fn restore_tag(
        &mut self,
        repository: &mut wire::Repository,
        name: &[u8],
        trashed: &wire::TrashedTag,
        manifest: &mut wire::Manifest,
    ) -> Result<(), TablesError> {
        let version = trashed.version.saturating_add(1);
        let tag = wire::Tag { digest: trashed.digest.clone(), version, at_wall: self.cluster.wall };
        self.put(&key(Table::Tag, &[&repository.id, name]), &tag)?;
        self.mark(&key(Table::TagOf, &[&repository.id, &trashed.digest, name]))?;
        repository.tags += 1;
        manifest.tags += 1;
        Ok(())
    }

    pub(super) fn undelete_tag(&mut self, command: &wire::UndeleteTag) -> Applied {
        let Some(mut repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        let (id, name) = (repository.id.clone(), command.tag.as_bytes());
        let trashed: Option<wire::TrashedTag> = self.get(&key(Table::TrashTag, &[&id, name]))?;
        let Some(trashed) = trashed.filter(|trashed| self.can_return(trashed.until_mono)) else {
            return Ok(TAG_UNKNOWN);
        };
        if let Some(tag) = self.tag(&id, &command.tag)? {
            return Ok(Outcome::TagTaken(wire::TagTaken { digest: tag.digest }));
        }
        let Some(mut manifest) = self.manifest(&id, &trashed.digest)? else { return Ok(MANIFEST_UNKNOWN) };
        self.forget_tag(&id, name, &trashed)?;
        self.restore_tag(&mut repository, name, &trashed, &mut manifest)?;
        self.unqueue(&id, &trashed.digest, &mut manifest)?;
        self.put(&key(Table::Manifest, &[&id, &trashed.digest]), &manifest)?;
        self.put_repository(&repository)?;
        Ok(Outcome::Undeleted(wire::Undeleted { tags: 1, more: false }))
    }

    pub(super) fn purge_trash(&mut self, command: &wire::PurgeTrash) -> Applied {
        if !self.collects() {
            return Ok(Outcome::Done(wire::Done { count: 0 }));
        }
        let limit = usize::try_from(command.limit).unwrap_or(WORK_MAX).min(WORK_MAX);
        let manifests = self.due(Table::TrashDue, self.cluster.mono, limit)?;
        for entry in &manifests {
            let (until, id, digest) = split_queued(entry).ok_or_else(|| damaged("due deleted manifest", entry))?;
            self.forget_manifest(id, digest, until)?;
        }
        let tags = self.due(Table::TrashTagDue, self.cluster.mono, limit)?;
        for entry in &tags {
            let (_, id, name) = split_queued(entry).ok_or_else(|| damaged("due deleted tag", entry))?;
            let trashed: Option<wire::TrashedTag> = self.get(&key(Table::TrashTag, &[id, name]))?;
            self.forget_tag(id, name, &trashed.ok_or_else(|| damaged("deleted tag", entry))?)?;
        }
        Ok(Outcome::Done(wire::Done { count: (manifests.len() + tags.len()) as u64 }))
    }

    fn has_all(&self, id: &[u8], manifests: &[Bytes]) -> Result<bool, TablesError> {
        for digest in manifests {
            if self.tables.get(&key(Table::Manifest, &[id, digest]))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes a deleted manifest for good.
    pub(super) fn forget_manifest(&mut self, id: &[u8], digest: &[u8], until: u64) -> Result<(), TablesError> {
        self.delete(&key(Table::Trash, &[id, digest]))?;
        self.delete(&key(Table::TrashBody, &[id, digest]))?;
        self.delete(&queued(Table::TrashDue, until, id, digest))
    }

    /// Removes a deleted tag for good.
    pub(super) fn forget_tag(&mut self, id: &[u8], tag: &[u8], trashed: &wire::TrashedTag) -> Result<(), TablesError> {
        self.delete(&key(Table::TrashTag, &[id, tag]))?;
        self.delete(&key(Table::TrashTagOf, &[id, &trashed.digest, tag]))?;
        self.delete(&queued(Table::TrashTagDue, trashed.until_mono, id, tag))
    }
}
