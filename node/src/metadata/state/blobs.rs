//! Blobs: bytes under a digest, seen through links.

use super::apply::{Applied, Machine, UNSUPPORTED, is_digest, is_id};
use super::keys::{Table, key};
use super::mutant::Mutant;
use super::repositories::is_name;
use super::tables::TablesError;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use wire::ended::Result as End;

pub(super) const BLOB_UNKNOWN: Outcome = Outcome::BlobUnknown(wire::BlobUnknown {});

impl Machine<'_> {
    pub(super) fn blob(&self, digest: &[u8]) -> Result<Option<wire::Blob>, TablesError> {
        self.get(&key(Table::Blob, &[digest]))
    }

    pub(super) fn put_blob(&mut self, digest: &[u8], blob: &wire::Blob) -> Result<(), TablesError> {
        self.put(&key(Table::Blob, &[digest]), blob)
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
        let sized = session.offset.saturating_add(added) == command.size || self.broken(Mutant::IgnoreAt);
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
            known => self.map(&command.digest, &command.session_id, &session, known)?,
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
        digest: &[u8],
        list: &Bytes,
        session: &wire::Session,
        damaged: Option<wire::Blob>,
    ) -> Result<wire::Blob, TablesError> {
        let links = damaged.as_ref().map_or(0, |blob| blob.links);
        match damaged {
            Some(blob) => {
                self.condemn_list(digest, &blob)?;
                self.cluster.suspects = self.cluster.suspects.saturating_sub(1);
            }
            None => {
                self.cluster.blobs += 1;
                self.cluster.blob_bytes = self.cluster.blob_bytes.saturating_add(session.offset);
            }
        }
        let (size, segments) = (session.offset, session.segments);
        Ok(wire::Blob { size, segment_list: list.clone(), segments, links, suspect: false })
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

    /// Says whether a blob's bytes are damaged, unless it has others by now. A suspect blob counts as absent until it is
    /// pushed again; nothing is deleted because of it.
    pub(super) fn set_suspect(&mut self, digest: &[u8], segment_list: &[u8], suspect: bool) -> Applied {
        let Some(mut blob) = self.blob(digest)? else { return Ok(BLOB_UNKNOWN) };
        let applies = blob.segment_list == segment_list && blob.suspect != suspect;
        if applies {
            blob.suspect = suspect;
            self.put_blob(digest, &blob)?;
            self.cluster.suspects = self.cluster.suspects.saturating_add_signed(if suspect { 1 } else { -1 });
        }
        Ok(Outcome::Done(wire::Done { count: u64::from(applies) }))
    }
}
