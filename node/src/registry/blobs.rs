//! Reading and unlinking blobs.

use super::{Error, Inner, Registry, Served};
use crate::auth::{Delete, Grant, Pull};
use crate::blobstore::{self, ByteStream, Key};
use crate::metadata::{self, Command, Outcome, View};
use bytes::Bytes;
use flotilla_proto::oci::{Digest, RepositoryName};
use flotilla_proto::wire::metadata as wire;
use futures_util::{StreamExt, stream};
use std::{ops::Range, sync::Arc};
use tracing::error;

/// A blob that a repository holds.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes are, in order; empty if it was only asked for.
    segments: Vec<wire::Segment>,
}

impl Registry {
    /// Whether a repository holds a blob, and its size. A damaged blob counts as absent, so that it is pushed again. The client
    /// may not push what it is told of, so that must stay: the lease of a link that nothing references is renewed first,
    /// at most once in half its length.
    pub async fn stat_blob(&self, grant: &Grant<Pull>, digest: Digest) -> Result<Served<Blob>, Error> {
        let name = grant.repository();
        let find = |view: &View, age| {
            let Some(repository) = view.repository(name)? else { return Ok(None) };
            let Some(blob) = view.blob(repository.id, &digest)? else { return Ok(None) };
            Ok(Some((blob, view.link_must_renew(repository.id, &digest, age)?)))
        };
        let found = self.find(find).await?;
        let found = found.filter(|found| !found.value.0.suspect).ok_or(Error::BlobUnknown(digest))?;
        let (blob, must_renew) = found.value;
        if must_renew {
            self.touch_link(name, digest).await?;
        }
        let blob = Blob { digest, size: blob.size, segments: Vec::new() };
        Ok(Served { value: blob, degraded: found.degraded })
    }

    pub(super) async fn touch_link(&self, name: &RepositoryName, digest: Digest) -> Result<(), Error> {
        let stored = Bytes::from(digest.to_bytes());
        let command = wire::TouchLinks { repository: name.to_string(), digests: vec![stored] };
        match self.propose(Command::TouchLinks(command)).await? {
            Outcome::LinksTouched(touched) if touched.missing.is_empty() => Ok(()),
            Outcome::LinksTouched(_) | Outcome::RepositoryUnknown(_) => Err(Error::BlobUnknown(digest)),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// A blob to be read.
    pub async fn blob(&self, grant: &Grant<Pull>, digest: Digest) -> Result<Served<Blob>, Error> {
        let find = |view: &View, _| match linked(view, grant.repository(), digest)? {
            Some(blob) => Ok(Some((view.segments(&blob.segment_list, blob.segments)?, blob))),
            None => Ok(None),
        };
        let found = self.find(find).await?.ok_or(Error::BlobUnknown(digest))?;
        let (segments, blob) = found.value;
        if blob.suspect {
            return Err(Error::BlobDamaged(digest));
        }
        Ok(Served { value: Blob { digest, size: blob.size, segments }, degraded: found.degraded })
    }

    /// A URL from which the client can read the whole blob itself, if the operator allows it and the store can do that.
    pub async fn blob_url(&self, blob: &Blob) -> Result<Option<String>, Error> {
        match blob.segments.as_slice() {
            [segment] if self.0.settings.redirect => {
                Ok(self.0.blobs.presign(&key(segment)?, self.0.settings.url_life).await?)
            }
            _ => Ok(None),
        }
    }

    /// The bytes `range` of a blob; the range lies within its size. The first object is opened before this returns.
    pub async fn read_blob(&self, blob: Blob, range: Range<u64>) -> Result<ByteStream, Error> {
        let Blob { digest, segments, .. } = blob;
        let mut reader = Reader {
            registry: self.0.clone(),
            digest,
            segments,
            at: range.start,
            end: range.end,
            current: None,
            reread: false,
        };
        if reader.at < reader.end {
            reader.open().await?;
        }
        Ok(stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    /// Takes a blob out of a repository.
    pub async fn delete_blob(&self, grant: &Grant<Delete>, digest: Digest) -> Result<(), Error> {
        let name = grant.repository();
        if !self.0.settings.delete {
            return Err(Error::DeletesDisabled);
        }
        let command = wire::DeleteBlobLink { repository: name.to_string(), digest: digest.to_bytes().into() };
        match self.propose(Command::DeleteBlobLink(command)).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::RepositoryUnknown(_) => Err(Error::NameUnknown(name.clone())),
            Outcome::BlobUnknown(_) => Err(Error::BlobUnknown(digest)),
            Outcome::BlobReferenced(by) => Err(Error::BlobReferenced { digest, references: by.references }),
            other => Err(Error::unexpected(&other)),
        }
    }
}

/// The blob, if the repository holds it.
pub(super) fn linked(
    view: &View,
    name: &RepositoryName,
    digest: Digest,
) -> Result<Option<metadata::query::Blob>, metadata::Error> {
    match view.repository(name)? {
        Some(repository) => view.blob(repository.id, &digest),
        None => Ok(None),
    }
}

fn key(segment: &wire::Segment) -> Result<Key, Error> {
    segment.key.parse().map_err(|_| Error::Internal(format!("damaged key {:?}", segment.key)))
}

/// Reads a range of a blob over its segments.
struct Reader {
    registry: Arc<Inner>,
    digest: Digest,
    segments: Vec<wire::Segment>,
    /// Offset of the next byte in the blob.
    at: u64,
    end: u64,
    /// The open object and how many of its bytes are still wanted.
    current: Option<(ByteStream, u64)>,
    /// Whether the record was read again already.
    reread: bool,
}

impl Reader {
    /// Opens the object that holds the next byte. If it is gone, the blob may have moved: the record is read again, once.
    async fn open(&mut self) -> Result<(), blobstore::Error> {
        loop {
            let (key, range) = self.place()?;
            let wanted = range.end - range.start;
            match self.registry.blobs.read(&key, range).await {
                Ok(bytes) => {
                    self.current = Some((bytes, wanted));
                    return Ok(());
                }
                Err(error @ blobstore::Error::NotFound { .. }) => self.move_on(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, blobstore::Error> {
        while self.at < self.end {
            let Some((stream, wanted)) = &mut self.current else {
                self.open().await?;
                continue;
            };
            match stream.next().await {
                Some(Ok(mut bytes)) => {
                    bytes.truncate(usize::try_from(*wanted).unwrap_or(usize::MAX));
                    let length = bytes.len() as u64;
                    *wanted -= length;
                    self.at += length;
                    if *wanted == 0 {
                        self.current = None;
                    }
                    return Ok(Some(bytes));
                }
                Some(Err(error @ blobstore::Error::NotFound { .. })) => {
                    self.current = None;
                    self.move_on(error)?;
                }
                Some(Err(error)) => return Err(error),
                None => return Err(self.damaged("the object is shorter than recorded")),
            }
        }
        Ok(None)
    }

    /// The object with the byte `at`, and which of its bytes are wanted.
    fn place(&self) -> Result<(Key, Range<u64>), blobstore::Error> {
        let mut begin = 0;
        for segment in &self.segments {
            let end = begin + segment.length;
            if self.at < end {
                let key = segment.key.parse().map_err(|_| self.damaged("a recorded key is damaged"))?;
                return Ok((key, self.at - begin..self.end.min(end) - begin));
            }
            begin = end;
        }
        Err(self.damaged("the segments are shorter than the blob"))
    }

    /// Reads the record again; an error if that changes nothing.
    fn move_on(&mut self, gone: blobstore::Error) -> Result<(), blobstore::Error> {
        let again = || -> Result<Option<Vec<wire::Segment>>, metadata::Error> {
            let view = self.registry.metadata.view()?;
            let blob = view.blob_anywhere(&self.digest)?;
            blob.map(|blob| view.segments(&blob.segment_list, blob.segments)).transpose()
        };
        let fresh = again().ok().flatten().filter(|fresh| !self.reread && *fresh != self.segments);
        let Some(fresh) = fresh else {
            error!(oci.digest = %self.digest, error = %gone, "a blob's object is missing");
            return Err(gone);
        };
        self.reread = true;
        self.segments = fresh;
        Ok(())
    }

    fn damaged(&self, what: &str) -> blobstore::Error {
        error!(oci.digest = %self.digest, "blob is damaged: {what}");
        blobstore::Error::Refused { context: format!("reading blob {}: {what}", self.digest), source: None }
    }
}
