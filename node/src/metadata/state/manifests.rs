//! Manifests: one step puts the manifest, its references and its tags; counts follow the sets stored in the record.

use super::apply::{Applied, Machine, UNSUPPORTED, is_digest, is_id};
use super::keys::{Table, key};
use super::mutant::Mutant;
use super::records::scan;
use super::repositories::is_name;
use super::tables::TablesError;
use super::tags::is_tag;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::metadata::{ITEMS_MAX, TAGS_DELETED_MAX};
use flotilla_proto::wire::metadata as wire;

pub(super) const MANIFEST_UNKNOWN: Outcome = Outcome::ManifestUnknown(wire::ManifestUnknown {});

/// Parents named by `ManifestReferenced`, at most.
const PARENTS_NAMED: usize = 16;

impl Machine<'_> {
    pub(super) fn manifest(&self, repository: &[u8], digest: &[u8]) -> Result<Option<wire::Manifest>, TablesError> {
        self.get(&key(Table::Manifest, &[repository, digest]))
    }

    pub(super) fn put_manifest(&mut self, command: &wire::PutManifest) -> Applied {
        if !is_well_formed(command) {
            return Ok(UNSUPPORTED);
        }
        let (mut blobs, children) = (set(&command.blobs), set(&command.children));
        if self.broken(Mutant::CountOccurrences) {
            blobs = command.blobs.clone();
        }
        let existing = self.repository(&command.repository)?;
        let existing_id = existing.as_ref().map(|repository| repository.id.as_ref());
        if let Some(rejected) = self.missing(existing_id, &blobs, &children, command.allow_missing_children)? {
            return Ok(Outcome::ManifestRejected(rejected));
        }
        if let (Some(expect), [tag]) = (&command.expect, command.tags.as_slice()) {
            let actual = match existing_id {
                Some(id) => self.tag(id, tag)?.map(|tag| tag.digest),
                None => None,
            };
            if !super::tags::holds(expect, actual.as_ref()) {
                return Ok(Outcome::PreconditionFailed(wire::PreconditionFailed { actual }));
            }
        }

        let mut repository = self.repository_or_new(&command.repository, &command.new_repository_id)?;
        let digest = &command.digest;
        let known = self.manifest(&repository.id, digest)?;
        let created = known.is_none();
        let mut manifest = match known {
            Some(manifest) => manifest,
            None => {
                let manifest = self.new_manifest(command, blobs, children);
                self.create(&mut repository, digest, &manifest, &command.body)?;
                manifest
            }
        };
        for tag in &command.tags {
            self.move_tag(&mut repository, tag, digest, &mut manifest)?;
        }
        self.settle(&repository.id, digest, &mut manifest)?;
        self.put(&key(Table::Manifest, &[&repository.id, digest]), &manifest)?;
        self.put_repository(&repository)?;
        Ok(Outcome::ManifestPut(wire::ManifestPut { digest: digest.clone(), created }))
    }

    /// What the repository lacks of the manifest's content, if anything.
    pub(super) fn missing(
        &self,
        repository: Option<&[u8]>,
        blobs: &[Bytes],
        children: &[Bytes],
        allow_missing_children: bool,
    ) -> Result<Option<wire::ManifestRejected>, TablesError> {
        let mut rejected = wire::ManifestRejected::default();
        for digest in blobs {
            let linked = match repository {
                Some(id) => self.blob_link(id, digest)?.is_some(),
                None => false,
            };
            if !linked || self.blob(digest)?.is_none_or(|blob| blob.suspect) {
                rejected.missing_blobs.push(digest.clone());
            }
        }
        for digest in children.iter().filter(|_| !allow_missing_children) {
            let present = match repository {
                Some(id) => self.tables.get(&key(Table::Manifest, &[id, digest]))?.is_some(),
                None => false,
            };
            if !present {
                rejected.missing_children.push(digest.clone());
            }
        }
        let complete = rejected.missing_blobs.is_empty() && rejected.missing_children.is_empty();
        Ok((!complete).then_some(rejected))
    }

    fn new_manifest(&self, command: &wire::PutManifest, blobs: Vec<Bytes>, children: Vec<Bytes>) -> wire::Manifest {
        let size = command.body.len() as u64;
        wire::Manifest {
            media_type: command.media_type.clone(),
            size,
            blobs,
            children,
            subject: command.subject.clone(),
            artifact_type: command.artifact_type.clone(),
            tags: 0,
            created_wall: self.cluster.wall,
            waits: None,
        }
    }

    /// Writes the body, the references and the indexes of a new manifest; the caller writes the record and the repository.
    pub(super) fn create(
        &mut self,
        repository: &mut wire::Repository,
        digest: &[u8],
        manifest: &wire::Manifest,
        body: &[u8],
    ) -> Result<(), TablesError> {
        let id = repository.id.clone();
        for blob in &manifest.blobs {
            self.count_reference(&id, blob, 1)?;
        }
        for child in &manifest.children {
            self.mark(&key(Table::Parent, &[&id, child, digest]))?;
            self.hold(&id, child)?;
        }
        if let Some(subject) = &manifest.subject {
            self.mark(&key(Table::Referrer, &[&id, subject, digest]))?;
        }
        self.tables.put(&key(Table::ManifestBody, &[&id, digest]), body)?;
        repository.manifests += 1;
        repository.bytes = repository.bytes.saturating_add(manifest.size);
        Ok(())
    }

    pub(super) fn delete_manifest(&mut self, command: &wire::DeleteManifest) -> Applied {
        let Some(mut repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        let digest = command.digest.as_ref();
        let Some(mut manifest) = self.manifest(&repository.id, digest)? else {
            return Ok(MANIFEST_UNKNOWN);
        };
        let prefix = key(Table::Parent, &[&repository.id, digest]);
        let parents = scan(&*self.tables, Table::Parent, &[&repository.id, digest], PARENTS_NAMED)?;
        if !parents.is_empty() {
            let parents = parents.iter().map(|(entry, _)| Bytes::copy_from_slice(&entry[prefix.len()..])).collect();
            return Ok(Outcome::ManifestReferenced(wire::ManifestReferenced { parents }));
        }
        self.remove_tags(&mut repository, digest, &mut manifest, command.tags_max.clamp(1, TAGS_DELETED_MAX))?;
        let shrunk = manifest.tags > 0;
        if shrunk {
            self.put(&key(Table::Manifest, &[&repository.id, digest]), &manifest)?;
        } else {
            self.trash_manifest(&repository.id, digest, &manifest)?;
            self.drop_manifest(&mut repository, digest, &mut manifest)?;
            self.bereave(&repository.id, digest, &manifest)?;
        }
        self.put_repository(&repository)?;
        let whole = Outcome::Done(wire::Done { count: 1 });
        Ok(if shrunk { Outcome::ManifestShrunk(wire::ManifestShrunk {}) } else { whole })
    }

    /// Undoes [`Machine::create`]; the caller writes the repository.
    pub(super) fn drop_manifest(
        &mut self,
        repository: &mut wire::Repository,
        digest: &[u8],
        manifest: &mut wire::Manifest,
    ) -> Result<(), TablesError> {
        let id = repository.id.clone();
        self.unqueue(&id, digest, manifest)?;
        for blob in &manifest.blobs {
            self.count_reference(&id, blob, -1)?;
        }
        for child in &manifest.children {
            self.delete(&key(Table::Parent, &[&id, child, digest]))?;
        }
        if let Some(subject) = &manifest.subject {
            self.delete(&key(Table::Referrer, &[&id, subject, digest]))?;
        }
        self.delete(&key(Table::ManifestBody, &[&id, digest]))?;
        self.delete(&key(Table::Manifest, &[&id, digest]))?;
        repository.manifests = repository.manifests.saturating_sub(1);
        repository.bytes = repository.bytes.saturating_sub(manifest.size);
        Ok(())
    }
}

fn is_well_formed(command: &wire::PutManifest) -> bool {
    let items = command.blobs.len() + command.children.len() + command.tags.len();
    let expectation = command.expect.as_ref().is_none_or(|expect| expect.kind.is_some() && command.tags.len() == 1);
    is_name(&command.repository)
        && is_id(&command.new_repository_id)
        && items <= ITEMS_MAX
        && expectation
        && command.tags.iter().all(|tag| is_tag(tag))
        && [&command.digest].into_iter().chain(&command.subject).all(|digest| is_digest(digest))
        && command.blobs.iter().chain(&command.children).all(|digest| is_digest(digest))
}

/// Sorted, without repetitions: counting needs a set whatever the proposer sent.
fn set(digests: &[Bytes]) -> Vec<Bytes> {
    let mut set = digests.to_vec();
    set.sort_unstable();
    set.dedup();
    set
}
