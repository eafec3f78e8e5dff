//! Links, through which repositories see blobs. A link that no manifest references waits in a queue for the end of its lease;
//! then it may be collected. The last link of a blob takes the blob with it.

use super::apply::{Applied, Machine, UNSUPPORTED};
use super::blobs::BLOB_UNKNOWN;
use super::keys::{Table, key, queued, split_queued};
use super::mutant::Mutant;
use super::records::damaged;
use super::tables::TablesError;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::{metadata::WORK_MAX, wire::metadata as wire};

impl Machine<'_> {
    pub(super) fn blob_link(&self, repository_id: &[u8], digest: &[u8]) -> Result<Option<wire::Link>, TablesError> {
        self.get(&key(Table::Link, &[repository_id, digest]))
    }

    /// Makes the blob visible in a repository, or renews the lease; the caller writes `blob`.
    pub(super) fn link(
        &mut self,
        name: &str,
        new_id: &Bytes,
        digest: &[u8],
        blob: &mut wire::Blob,
    ) -> Result<(), TablesError> {
        let mut repository = self.repository_or_new(name, new_id)?;
        if let Some(link) = self.blob_link(&repository.id, digest)? {
            self.renew(&repository.id, digest, link)?;
            return Ok(());
        }
        let eligible_mono = self.lease_end();
        self.put(&key(Table::Link, &[&repository.id, digest]), &wire::Link { references: 0, eligible_mono })?;
        self.mark(&queued(Table::LinkDue, eligible_mono, &repository.id, digest))?;
        blob.links += 1;
        repository.links += 1;
        repository.bytes = repository.bytes.saturating_add(blob.size);
        self.put_repository(&repository)
    }

    /// Renews the lease of a link that has no references, if it ends within the promise.
    fn renew(&mut self, repository: &[u8], digest: &[u8], link: wire::Link) -> Result<bool, TablesError> {
        if link.references > 0 || !self.must_renew(link.eligible_mono) {
            return Ok(false);
        }
        self.delete(&queued(Table::LinkDue, link.eligible_mono, repository, digest))?;
        let eligible_mono = self.lease_end();
        self.mark(&queued(Table::LinkDue, eligible_mono, repository, digest))?;
        self.put(&key(Table::Link, &[repository, digest]), &wire::Link { references: 0, eligible_mono })?;
        Ok(true)
    }

    /// Counts a manifest's reference: the first takes the link off the queue, with the last it waits for the grace.
    pub(super) fn count_reference(&mut self, repository: &[u8], digest: &[u8], change: i64) -> Result<(), TablesError> {
        let record = key(Table::Link, &[repository, digest]);
        let link: Option<wire::Link> = self.get(&record)?;
        let mut link = link.ok_or_else(|| damaged("link of a manifest's blob", &record))?;
        let before = link.references;
        link.references = before.saturating_add_signed(change);
        if before == 0 && link.references > 0 {
            self.delete(&queued(Table::LinkDue, link.eligible_mono, repository, digest))?;
            link.eligible_mono = 0;
        } else if before > 0 && link.references == 0 {
            link.eligible_mono = self.lease_end();
            self.mark(&queued(Table::LinkDue, link.eligible_mono, repository, digest))?;
        }
        self.put(&record, &link)
    }

    pub(super) fn touch_links(&mut self, command: &wire::TouchLinks) -> Applied {
        if command.digests.len() > WORK_MAX {
            return Ok(UNSUPPORTED);
        }
        let Some(repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        let mut touched = wire::LinksTouched::default();
        for digest in &command.digests {
            match self.blob_link(&repository.id, digest)? {
                Some(link) if self.blob(digest)?.is_some_and(|blob| !blob.suspect) => {
                    touched.renewed += u64::from(self.renew(&repository.id, digest, link)?);
                }
                Some(_) | None => touched.missing.push(digest.clone()),
            }
        }
        Ok(Outcome::LinksTouched(touched))
    }

    pub(super) fn delete_blob_link(&mut self, command: &wire::DeleteBlobLink) -> Applied {
        let digest = command.digest.as_ref();
        let Some(mut repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        let Some(link) = self.blob_link(&repository.id, digest)? else { return Ok(BLOB_UNKNOWN) };
        if link.references > 0 {
            return Ok(Outcome::BlobReferenced(wire::BlobReferenced { references: link.references }));
        }
        self.drop_link(&mut repository, digest, link)?;
        self.put_repository(&repository)?;
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }

    /// Drops those without references whose leases have ended, whatever the proposer saw.
    pub(super) fn collect(&mut self, command: &wire::Collect) -> Applied {
        if command.links.len() > WORK_MAX {
            return Ok(UNSUPPORTED);
        }
        let before = (self.cluster.blobs, self.cluster.blob_bytes);
        let mut links = 0;
        if self.collects() {
            for (repository, digest) in self.to_collect(command)? {
                let Some(link) = self.blob_link(&repository, &digest)? else { continue };
                let referenced = link.references > 0 && !self.broken(Mutant::CollectReferenced);
                if referenced || link.eligible_mono > self.cluster.mono {
                    continue;
                }
                let mut repository = self.repository_by_id(&repository)?;
                self.drop_link(&mut repository, &digest, link)?;
                self.put_repository(&repository)?;
                links += 1;
            }
        }
        let (blobs, bytes) = (before.0 - self.cluster.blobs, before.1 - self.cluster.blob_bytes);
        Ok(Outcome::Collected(wire::Collected { links, blobs, bytes }))
    }

    /// The links to look at: those named, else the longest due.
    fn to_collect(&self, command: &wire::Collect) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        if !command.links.is_empty() {
            return Ok(command.links.iter().map(|link| (link.repository_id.clone(), link.digest.clone())).collect());
        }
        let limit = usize::try_from(command.limit).unwrap_or(WORK_MAX).min(WORK_MAX);
        let mut links = Vec::new();
        for entry in self.due(Table::LinkDue, self.cluster.mono, limit)? {
            let (_, repository, digest) = split_queued(&entry).ok_or_else(|| damaged("due link", &entry))?;
            links.push((Bytes::copy_from_slice(repository), Bytes::copy_from_slice(digest)));
        }
        Ok(links)
    }

    /// At most `limit` entries of a queue that are due at `until`, the longest due first.
    pub(super) fn due(&self, queue: Table, until: u64, limit: usize) -> Result<Vec<Vec<u8>>, TablesError> {
        let end = queued(queue, until.saturating_add(1), &[], &[]);
        let due = self.tables.scan(&key(queue, &[]), &end, limit)?;
        Ok(due.into_iter().map(|(entry, _)| entry).collect())
    }

    /// Takes a link away; the caller writes the repository.
    pub(super) fn drop_link(
        &mut self,
        repository: &mut wire::Repository,
        digest: &[u8],
        link: wire::Link,
    ) -> Result<(), TablesError> {
        self.delete(&key(Table::Link, &[&repository.id, digest]))?;
        self.delete(&queued(Table::LinkDue, link.eligible_mono, &repository.id, digest))?;
        let size = self.unlink(digest)?;
        repository.links = repository.links.saturating_sub(1);
        repository.bytes = repository.bytes.saturating_sub(size);
        Ok(())
    }

    /// Takes one link off a blob, whose size it returns; the last one takes the blob with it.
    fn unlink(&mut self, digest: &[u8]) -> Result<u64, TablesError> {
        let record = key(Table::Blob, &[digest]);
        let blob: Option<wire::Blob> = self.get(&record)?;
        let mut blob = blob.ok_or_else(|| damaged("blob of a link", &record))?;
        blob.links = blob.links.saturating_sub(1);
        if blob.links > 0 {
            self.put_blob(digest, &blob)?;
        } else {
            self.delete(&record)?;
            self.condemn_list(digest, &blob)?;
            self.cluster.blobs = self.cluster.blobs.saturating_sub(1);
            self.cluster.blob_bytes = self.cluster.blob_bytes.saturating_sub(blob.size);
            self.cluster.suspects = self.cluster.suspects.saturating_sub(u64::from(blob.suspect));
        }
        Ok(blob.size)
    }
}
