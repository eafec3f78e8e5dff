//! Blobs and the links through which repositories see them.

use super::apply::{Applied, Machine, UNSUPPORTED, is_digest, is_id};
use super::keys::{Table, key};
use super::repositories::is_name;
use super::tables::TablesError;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use wire::ended::Result as End;

const BLOB_UNKNOWN: Outcome = Outcome::BlobUnknown(wire::BlobUnknown {});

impl Machine<'_> {
    pub(super) fn blob(&self, digest: &[u8]) -> Result<Option<wire::Blob>, TablesError> {
        self.get(&key(Table::Blob, &[digest]))
    }

    pub(super) fn put_blob(&mut self, digest: &[u8], blob: &wire::Blob) -> Result<(), TablesError> {
        self.put(&key(Table::Blob, &[digest]), blob)
    }

    pub(super) fn blob_link(&self, repository_id: &[u8], digest: &[u8]) -> Result<Option<wire::Link>, TablesError> {
        self.get(&key(Table::Link, &[repository_id, digest]))
    }

    /// The first commit of a digest wins; a later one only links it, and its bytes become garbage.
    pub(super) fn commit_blob(&mut self, command: &wire::CommitBlob) -> Applied {
        let id = command.session_id.as_ref();
        let segment = command.segment.as_ref();
        if !is_digest(&command.digest) || !is_id(&command.new_repository_id) {
            return self.reject(segment, UNSUPPORTED);
        }
        let Some(mut session) = self.session(id)? else {
            let answer = self.repeated_commit(id, &command.digest)?;
            return self.reject(segment, answer);
        };
        if let Some(refusal) = self.refuse_segment(&session, command.at, segment)? {
            return self.reject(segment, refusal);
        }
        let known = self.blob(&command.digest)?;
        let added = super::objects::carried(segment).map_or(0, |segment| segment.length);
        let sized = session.offset.saturating_add(added) == command.size;
        if !sized || known.as_ref().is_some_and(|blob| blob.size != command.size) {
            return self.reject(segment, UNSUPPORTED);
        }

        self.append_to(id, &mut session, segment)?;
        let existed = known.as_ref().is_some_and(|blob| !blob.suspect);
        let mut blob = match known {
            Some(blob) if existed => {
                self.list_to_garbage(id, session.segments)?;
                blob
            }
            known => self.map(&command.session_id, &session, known)?,
        };
        self.link(&session.repository, &command.new_repository_id, &command.digest, &mut blob)?;
        self.put_blob(&command.digest, &blob)?;
        let committed = wire::BlobCommitted { digest: command.digest.clone(), size: blob.size, existed };
        self.end_session(id, session, End::Committed(committed.clone()))?;
        Ok(Outcome::BlobCommitted(committed))
    }

    /// The answer to the commit of a session that has ended: the same again, if it committed this digest.
    fn repeated_commit(&self, id: &[u8], digest: &[u8]) -> Applied {
        let ended = self.ended(id)?;
        if let Some(wire::Ended { result: Some(End::Committed(committed)), .. }) = &ended
            && committed.digest == digest
        {
            return Ok(Outcome::BlobCommitted(committed.clone()));
        }
        Ok(Outcome::SessionUnknown(wire::SessionUnknown { ended }))
    }

    /// The blob that the session's segments make: a new one, or the `damaged` one healed.
    fn map(
        &mut self,
        list: &Bytes,
        session: &wire::Session,
        damaged: Option<wire::Blob>,
    ) -> Result<wire::Blob, TablesError> {
        let links = damaged.as_ref().map_or(0, |blob| blob.links);
        match damaged {
            Some(blob) => self.condemn_list(&blob.segment_list, blob.segments)?,
            None => {
                self.cluster.blobs += 1;
                self.cluster.blob_bytes = self.cluster.blob_bytes.saturating_add(session.offset);
            }
        }
        let (size, segments) = (session.offset, session.segments);
        Ok(wire::Blob { size, segment_list: list.clone(), segments, links, suspect: false })
    }

    /// Makes the blob visible in a repository; the caller writes `blob`.
    fn link(&mut self, name: &str, new_id: &Bytes, digest: &[u8], blob: &mut wire::Blob) -> Result<(), TablesError> {
        let mut repository = self.repository_or_new(name, new_id)?;
        if self.blob_link(&repository.id, digest)?.is_some() {
            return Ok(());
        }
        self.put(&key(Table::Link, &[&repository.id, digest]), &wire::Link { references: 0 })?;
        blob.links += 1;
        repository.links += 1;
        repository.bytes = repository.bytes.saturating_add(blob.size);
        self.put_repository(&repository)
    }

    pub(super) fn mount_blob(&mut self, command: &wire::MountBlob) -> Applied {
        let digest = command.digest.as_ref();
        if !is_digest(digest) || !is_id(&command.new_repository_id) || !is_name(&command.to) {
            return Ok(UNSUPPORTED);
        }
        if let Some(from) = &command.from {
            let Some(from) = self.repository(from)? else { return Ok(BLOB_UNKNOWN) };
            if self.blob_link(&from.id, digest)?.is_none() {
                return Ok(BLOB_UNKNOWN);
            }
        }
        let Some(mut blob) = self.blob(digest)?.filter(|blob| !blob.suspect) else { return Ok(BLOB_UNKNOWN) };
        let links = blob.links;
        self.link(&command.to, &command.new_repository_id, digest, &mut blob)?;
        if blob.links != links {
            self.put_blob(digest, &blob)?;
        }
        Ok(Outcome::BlobMounted(wire::BlobMounted { size: blob.size }))
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
        self.delete(&key(Table::Link, &[&repository.id, digest]))?;
        let size = self.unlink(digest)?;
        repository.links = repository.links.saturating_sub(1);
        repository.bytes = repository.bytes.saturating_sub(size);
        self.put_repository(&repository)?;
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }

    /// Takes one link off a blob, whose size it returns; the last one takes the blob with it.
    fn unlink(&mut self, digest: &[u8]) -> Result<u64, TablesError> {
        let record = key(Table::Blob, &[digest]);
        let blob: Option<wire::Blob> = self.get(&record)?;
        let mut blob = blob.ok_or_else(|| super::records::damaged("blob of a link", &record))?;
        blob.links = blob.links.saturating_sub(1);
        if blob.links > 0 {
            self.put_blob(digest, &blob)?;
        } else {
            self.delete(&record)?;
            self.condemn_list(&blob.segment_list, blob.segments)?;
            self.cluster.blobs = self.cluster.blobs.saturating_sub(1);
            self.cluster.blob_bytes = self.cluster.blob_bytes.saturating_sub(blob.size);
        }
        Ok(blob.size)
    }
}
