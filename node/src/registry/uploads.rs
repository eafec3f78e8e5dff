//! Upload sessions. A session is recorded before its first byte is written; each request writes its own object; from the
//! last body byte on, the work runs in a task that outlives the connection.

use super::{Body, Error, Registry, blobs::linked, receive::Received};
use crate::auth::{Everything, Grant, Pull, Push};
use crate::blobstore::{Hasher, Key, ObjectWriter};
use crate::metadata::{Command, Outcome};
use bytes::Bytes;
use flotilla_proto::oci::{Algorithm, ContentRange, Digest};
use flotilla_proto::wire::metadata as wire;
use futures_util::{StreamExt, stream};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
use uuid::Uuid;

/// An open upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: Uuid,
    /// Bytes it has; where the next chunk begins.
    pub offset: u64,
}

/// Where a blob is mounted from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A repository that the caller may read.
    Repository(Grant<Pull>),
    /// Whichever has it.
    Any(Everything),
}

/// An upload that became a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// One request body.
pub struct Chunk {
    /// The bytes.
    pub body: Body,
    /// How many, if the client said.
    pub length: Option<u64>,
    /// Where they belong, if the client said.
    pub range: Option<ContentRange>,
}

impl Chunk {
    /// No bytes.
    pub fn empty() -> Self {
        Self { body: stream::empty().boxed(), length: Some(0), range: None }
    }

    /// Checks what the client says before a byte is read; how many bytes must come, if known.
    fn check(&self, session: &Session) -> Result<Option<u64>, Error> {
        let Some(range) = self.range else { return Ok(self.length) };
        if range.first != session.record.offset {
            return Err(Error::OffsetMismatch { id: session.id, offset: session.record.offset });
        }
        match self.length {
            Some(actual) if actual != range.length() => Err(Error::SizeMismatch { expected: range.length(), actual }),
            Some(_) | None => Ok(Some(range.length())),
        }
    }
}

/// An open session as recorded.
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) record: wire::Session,
    pub(super) store: wire::Store,
    /// When it was looked up, right after a barrier.
    pub(super) looked_up: Instant,
}

impl Session {
    fn algorithm(&self) -> Option<Algorithm> {
        u8::try_from(self.record.algorithm).ok().and_then(Algorithm::from_byte)
    }

    /// A hasher that has seen the session's bytes.
    fn hasher(&self) -> Result<Hasher, Error> {
        if self.record.hash_state.is_empty() {
            let algorithm = self.algorithm().ok_or_else(|| Error::Internal("unknown digest algorithm".into()))?;
            return Ok(Hasher::new(algorithm));
        }
        Hasher::from_state(&self.record.hash_state).map_err(|error| Error::Internal(error.to_string()))
    }
}

/// What a session id stands for in a repository.
enum Found {
    Open(Session),
    Committed(Committed),
    Unknown,
}

impl Registry {
    /// Opens an upload whose bytes are hashed with `algorithm`.
    pub async fn open_upload(&self, grant: &Grant<Push>, algorithm: Algorithm) -> Result<Upload, Error> {
        let id = Uuid::new_v4();
        let command = Command::OpenSession(wire::OpenSession {
            session_id: id_bytes(id),
            repository: grant.repository().to_string(),
            algorithm: algorithm as u32,
            idle_ms: self.idle_ms(),
            hard_ms: millis(self.0.settings.upload_age),
        });
        match self.propose(command).await? {
            Outcome::SessionOpened(_) => Ok(Upload { id, offset: 0 }),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// A whole blob in one request.
    pub async fn upload(&self, grant: &Grant<Push>, digest: Digest, chunk: Chunk) -> Result<Committed, Error> {
        let Upload { id, .. } = self.open_upload(grant, digest.algorithm()).await?;
        // The session is in this node's view already: the proposal is applied here.
        let found = self.session_in(&self.0.metadata.view()?, grant, id)?;
        let result = match found {
            Found::Open(session) => self.finish_session(session, digest, chunk).await,
            Found::Committed(_) | Found::Unknown => Err(Error::UploadUnknown(id)),
        };
        if let Err(Error::DigestMismatch { .. } | Error::SizeMismatch { .. } | Error::OffsetMismatch { .. }) = &result
            && let Err(error) = self.cancel_upload(grant, id).await
        {
            info!(upload.id = %id, %error, "left an unused upload to expire");
        }
        result
    }

    /// Makes a blob of another repository visible in `to`; its size, or `None` if there is none.
    pub async fn mount(&self, from: &Source, to: &Grant<Push>, digest: Digest) -> Result<Option<u64>, Error> {
        let view = self.view().await?;
        let there = match from {
            // As if the other repositories were not: the time that an answer takes must not tell what they hold.
            Source::Repository(grant) => linked(&view, grant.repository(), digest)?,
            Source::Any(_) => view.blob_anywhere(&digest)?,
        };
        if there.is_none_or(|blob| blob.suspect) {
            return Ok(None); // no log entry for what cannot succeed
        }
        drop(view);
        let command = Command::MountBlob(wire::MountBlob {
            from: match from {
                Source::Repository(grant) => Some(grant.repository().to_string()),
                Source::Any(_) => None,
            },
            to: to.repository().to_string(),
            digest: digest.to_bytes().into(),
            new_repository_id: new_id(),
        });
        match self.propose(command).await? {
            Outcome::BlobMounted(mounted) => Ok(Some(mounted.size)),
            Outcome::BlobUnknown(_) | Outcome::RepositoryUnknown(_) => Ok(None),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Where an upload stands.
    pub async fn upload_status(&self, grant: &Grant<Push>, id: Uuid) -> Result<Upload, Error> {
        let session = self.open_session(grant, id).await?;
        Ok(Upload { id, offset: session.record.offset })
    }

    /// Appends a chunk. Nothing is recorded of a body that ends early or has a wrong length.
    pub async fn write_chunk(&self, grant: &Grant<Push>, id: Uuid, chunk: Chunk) -> Result<Upload, Error> {
        let session = self.open_session(grant, id).await?;
        let expected = chunk.check(&session)?;
        let received = self.receive(&session, chunk.body, expected, session.hasher()?).await?;
        let from = session.record.offset;
        let Some(object) = received.object else { return Ok(Upload { id, offset: from }) };

        let registry = self.clone();
        self.outlive(id, async move {
            let segment = registry.store(object, received.length).await?;
            let command = Command::RecordChunk(wire::RecordChunk {
                session_id: id_bytes(id),
                from,
                hash_state: received.hasher.state().into(),
                segment: Some(segment),
                idle_ms: registry.idle_ms(),
            });
            match registry.propose_long(command).await? {
                Outcome::ChunkRecorded(recorded) => Ok(Upload { id, offset: recorded.offset }),
                Outcome::SessionUnknown(_) => Err(Error::UploadUnknown(id)),
                Outcome::OffsetMismatch(actual) => Err(Error::OffsetMismatch { id, offset: actual.offset }),
                Outcome::SessionFull(_) => Err(Error::UploadFull(id)),
                other => Err(Error::unexpected(&other)),
            }
        })
        .await
    }

    /// Makes an upload, with a last chunk, the blob `digest`. Repeating it after it succeeded succeeds again.
    pub async fn finish_upload(
        &self,
        grant: &Grant<Push>,
        id: Uuid,
        digest: Digest,
        chunk: Chunk,
    ) -> Result<Committed, Error> {
        if let Some(running) = self.0.commits.running(id) {
            timeout(self.0.settings.patience, running.cancelled()).await.map_err(|_| Error::CommitRunning(id))?;
        }
        // A statement of its own: in the head of the match the view would live as long as the body takes.
        let found = self.session_in(&self.view().await?, grant, id)?;
        match found {
            Found::Open(session) => self.finish_session(session, digest, chunk).await,
            Found::Committed(committed) if committed.digest == digest => self.repeat(grant, id, committed).await,
            Found::Committed(_) | Found::Unknown => Err(Error::UploadUnknown(id)),
        }
    }

    /// A commit that is asked for again is promised anew, like any other; the blob may have gone since.
    async fn repeat(&self, grant: &Grant<Push>, id: Uuid, committed: Committed) -> Result<Committed, Error> {
        let (name, digest) = (grant.repository(), committed.digest);
        let must_renew = {
            // Behind the barrier that found the session.
            let view = self.0.metadata.view()?;
            let repository = view.repository(name)?.ok_or(Error::UploadUnknown(id))?;
            let blob = view.blob(repository.id, &digest)?.filter(|blob| !blob.suspect);
            blob.ok_or(Error::UploadUnknown(id))?;
            view.link_must_renew(repository.id, &digest, Duration::ZERO)?
        };
        match must_renew {
            true => self.touch_link(name, digest).await.map(|()| committed).map_err(|error| match error {
                Error::BlobUnknown(_) => Error::UploadUnknown(id),
                other => other,
            }),
            false => Ok(committed),
        }
    }

    /// Gives an upload up.
    pub async fn cancel_upload(&self, grant: &Grant<Push>, id: Uuid) -> Result<(), Error> {
        let name = grant.repository();
        let command =
            Command::CancelSession(wire::CancelSession { session_id: id_bytes(id), repository: name.to_string() });
        match self.propose(command).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::SessionUnknown(_) => Err(Error::UploadUnknown(id)),
            other => Err(Error::unexpected(&other)),
        }
    }

    async fn finish_session(&self, session: Session, digest: Digest, chunk: Chunk) -> Result<Committed, Error> {
        let expected = chunk.check(&session)?;
        let hasher = self.hasher_for(&session, digest.algorithm()).await?;
        let Received { object, length, hasher } = self.receive(&session, chunk.body, expected, hasher).await?;
        let actual = hasher.finish();
        if actual != digest {
            if let Some((_, writer)) = object {
                writer.abort().await; // the object never came to be
            }
            return Err(Error::DigestMismatch { expected: digest, actual: Box::new(actual) });
        }

        let (id, at) = (session.id, session.record.offset);
        let (registry, running) = (self.clone(), self.0.commits.begin(id));
        self.outlive(id, async move {
            let segment = match object {
                Some(object) => Some(registry.store(object, length).await?),
                None => None,
            };
            let size = at.saturating_add(length);
            let result = registry.commit(id, at, segment, digest, size).await;
            drop(running); // those who wait look at the recorded result
            result
        })
        .await
    }

    async fn commit(
        &self,
        id: Uuid,
        at: u64,
        segment: Option<wire::Segment>,
        digest: Digest,
        size: u64,
    ) -> Result<Committed, Error> {
        let command = Command::CommitBlob(wire::CommitBlob {
            session_id: id_bytes(id),
            at,
            segment,
            digest: digest.to_bytes().into(),
            size,
            new_repository_id: new_id(),
        });
        match self.propose_long(command).await? {
            Outcome::BlobCommitted(blob) => Ok(Committed { digest, size: blob.size }),
            Outcome::SessionUnknown(unknown) => match unknown.ended.as_ref().and_then(committed) {
                Some(committed) if committed.digest == digest => Ok(committed),
                Some(_) | None => Err(Error::UploadUnknown(id)),
            },
            Outcome::OffsetMismatch(actual) => Err(Error::OffsetMismatch { id, offset: actual.offset }),
            Outcome::SessionFull(_) => Err(Error::UploadFull(id)),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Makes a received object durable. After a failure the object may exist, and is recorded as garbage.
    async fn store(&self, (key, writer): (Key, Box<dyn ObjectWriter>), length: u64) -> Result<wire::Segment, Error> {
        let segment = wire::Segment { key: key.to_string(), length };
        let error = match writer.finish().await {
            Ok(written) if written == length => return Ok(segment),
            Ok(written) => Error::Internal(format!("object {key} has {written} bytes instead of {length}")),
            Err(error) => error.into(),
        };
        let discard = Command::DiscardObject(wire::DiscardObject { segment: Some(segment) });
        if let Err(error) = self.propose(discard).await {
            warn!(object.key = %key, %error, "could not record a failed object as garbage; the sweep will find it");
        }
        Err(error)
    }

    /// Runs what follows the last body byte in a task of its own, and waits for it as long as a client does.
    async fn outlive<T: Send + 'static>(
        &self,
        id: Uuid,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let task = self.0.lifecycle.spawn(task);
        match timeout(self.0.settings.patience, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Error::Internal(format!("commit task: {error}"))),
            Err(_) => Err(Error::CommitRunning(id)),
        }
    }

    async fn open_session(&self, grant: &Grant<Push>, id: Uuid) -> Result<Session, Error> {
        match self.session_in(&self.view().await?, grant, id)? {
            Found::Open(session) => Ok(session),
            Found::Committed(_) | Found::Unknown => Err(Error::UploadUnknown(id)),
        }
    }

    fn session_in(&self, view: &crate::metadata::View, grant: &Grant<Push>, id: Uuid) -> Result<Found, Error> {
        let name = grant.repository();
        if let Some(record) = view.session(id.as_bytes())? {
            if record.repository != name.as_str() {
                return Ok(Found::Unknown);
            }
            let store = view.cluster()?.store;
            let store = store.ok_or_else(|| Error::Internal("the cluster has no blob store yet".into()))?;
            return Ok(Found::Open(Session { id, record, store, looked_up: Instant::now() }));
        }
        let ended = view.ended(id.as_bytes())?.filter(|ended| ended.repository == name.as_str());
        Ok(ended.as_ref().and_then(committed).map_or(Found::Unknown, Found::Committed))
    }

    /// A hasher of `algorithm` that has seen the session's bytes; reads them back if the session computed another digest.
    async fn hasher_for(&self, session: &Session, algorithm: Algorithm) -> Result<Hasher, Error> {
        if session.algorithm() == Some(algorithm) {
            return session.hasher();
        }
        let mut hasher = Hasher::new(algorithm);
        if session.record.offset == 0 {
            return Ok(hasher);
        }
        let segments = self.0.metadata.view()?.segments(session.id.as_bytes(), session.record.segments)?;
        for segment in segments {
            let key = segment.key.parse().map_err(|_| Error::Internal(format!("damaged key {:?}", segment.key)))?;
            let mut bytes = self.0.blobs.read(&key, 0..segment.length).await?;
            while let Some(bytes) = bytes.next().await {
                hasher.update(&bytes?);
            }
        }
        if hasher.bytes() != session.record.offset {
            return Err(Error::Internal(format!("upload {} read back short", session.id)));
        }
        Ok(hasher)
    }

    /// Proposes for a waiting client.
    pub(super) async fn propose(&self, command: Command) -> Result<Outcome, Error> {
        Ok(self.0.metadata.propose(command, Instant::now() + self.0.settings.patience).await?)
    }

    /// Proposes from a task that no client's patience limits.
    async fn propose_long(&self, command: Command) -> Result<Outcome, Error> {
        Ok(self.0.metadata.propose(command, Instant::now() + self.0.settings.commit_limit).await?)
    }

    pub(super) fn idle_ms(&self) -> u64 {
        millis(self.0.settings.upload_idle)
    }
}

/// What an ended session became, if a blob.
fn committed(ended: &wire::Ended) -> Option<Committed> {
    match ended.result.as_ref()? {
        wire::ended::Result::Committed(blob) => {
            Some(Committed { digest: Digest::from_bytes(&blob.digest)?, size: blob.size })
        }
        wire::ended::Result::Cancelled(_) | wire::ended::Result::Expired(_) => None,
    }
}

fn id_bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

/// An id for a repository that a command may have to create.
pub(super) fn new_id() -> Bytes {
    id_bytes(Uuid::new_v4())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
