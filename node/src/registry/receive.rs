//! Taking the bytes of one request body: hashed and written while they stream, in an object of their own.

use super::{Body, Error, Registry, uploads::Session};
use crate::blobstore::{Hasher, Key, ObjectWriter};
use crate::metadata::Command;
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use futures_util::StreamExt;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// Longest request in seconds (some stores drop multipart uploads after 24 h).
const REQUEST_SECONDS_MAX: u64 = 20 * 3_600;

/// A body received to its last byte. Dropping it drops the bytes.
pub(super) struct Received {
    /// The one object with the bytes; `None` if there were none.
    pub(super) object: Option<(Key, Box<dyn ObjectWriter>)>,
    /// Bytes received.
    pub(super) length: u64,
    /// Has seen the session's bytes and these.
    pub(super) hasher: Hasher,
}

impl Registry {
    /// Receives `body`, which must have `expected` bytes if that is known.
    pub(super) async fn receive(
        &self,
        session: &Session,
        mut body: Body,
        expected: Option<u64>,
        hasher: Hasher,
    ) -> Result<Received, Error> {
        let mut received = Received { object: None, length: 0, hasher };
        match self.stream(session, &mut body, expected, &mut received).await {
            Ok(()) => Ok(received),
            Err(error) => {
                if let Some((_, writer)) = received.object.take() {
                    writer.abort().await;
                }
                Err(error)
            }
        }
    }

    async fn stream(
        &self,
        session: &Session,
        body: &mut Body,
        expected: Option<u64>,
        received: &mut Received,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let mut touched = began;
        let mut seen = session.looked_up; // bytes may have been read back since
        while let Some(bytes) = self.next(body).await? {
            received.length += bytes.len() as u64;
            if let Some(expected) = expected.filter(|expected| received.length > *expected) {
                return Err(Error::SizeMismatch { expected, actual: received.length });
            }
            received.hasher.update(&bytes);
            self.still_open(session, &mut seen).await?;
            if received.object.is_none() {
                let key = self.mint(session)?;
                let writer = self.0.blobs.writer(key.clone()).await?;
                received.object = Some((key, writer));
            }
            if let Some((_, writer)) = &mut received.object {
                writer.write(bytes).await?;
            }
            if touched.elapsed() >= self.0.settings.upload_idle / 4 {
                touched = Instant::now();
                self.touch(session).await;
            }
            if began.elapsed().as_secs() > REQUEST_SECONDS_MAX {
                return Err(Error::BodyIncomplete("the request took more than 20 hours".into()));
            }
        }
        self.still_open(session, &mut seen).await?;
        match expected {
            Some(expected) if expected != received.length => {
                Err(Error::SizeMismatch { expected, actual: received.length })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing is written to the store for a session that may have ended long ago, as after a pause of this process: the
    /// sweep has looked for its objects by then, and nobody would ever delete what came later.
    async fn still_open(&self, session: &Session, seen: &mut Instant) -> Result<(), Error> {
        if seen.elapsed() < self.0.settings.freshness {
            return Ok(());
        }
        let began = Instant::now();
        if self.view().await?.session(session.id.as_bytes())?.is_none() {
            return Err(Error::UploadUnknown(session.id));
        }
        *seen = began;
        Ok(())
    }

    /// The next bytes, never none of them.
    async fn next(&self, body: &mut Body) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = timeout(self.0.settings.body_idle, body.next()).await;
            match frame.map_err(|_| Error::BodyIncomplete("the client stopped sending".into()))? {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                Some(Err(error)) => return Err(Error::BodyIncomplete(error)),
                None => return Ok(None),
            }
        }
    }

    /// A key that nobody has ever used.
    fn mint(&self, session: &Session) -> Result<Key, Error> {
        let n = self.0.objects.fetch_add(1, Ordering::Relaxed);
        let id = session.id.as_simple().to_string();
        let (cluster_id, incarnation) = (&session.store.cluster_id, &session.store.incarnation);
        Key::new(cluster_id, incarnation, session.record.hour, &id, &self.0.boot_id, n)
            .map_err(|error| Error::Internal(error.to_string()))
    }

    /// Keeps the session open while bytes arrive. A failure is no reason to stop: the next one comes in time.
    async fn touch(&self, session: &Session) {
        let idle_ms = self.idle_ms();
        let session_id = Bytes::copy_from_slice(session.id.as_bytes());
        let command = Command::TouchSession(wire::TouchSession { session_id, idle_ms });
        let deadline = Instant::now() + self.0.settings.degraded_patience;
        if let Err(error) = self.0.metadata.propose(command, deadline).await {
            debug!(upload.id = %session.id, %error, "could not renew the upload's lease");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{Caller, Policy},
        blobstore::memory::Memory,
        lifecycle::Lifecycle,
        metadata::local::LocalStore,
        registry::{Chunk, Settings},
    };
    use flotilla_proto::oci::Algorithm;
    use futures_util::stream;
    use std::{sync::Arc, time::Duration};

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_nothing_is_written_for_a_session_that_ended_meanwhile() {
        for ends in [false, true] {
            let (metadata, blobs) = (Arc::new(LocalStore::new()), Arc::new(Memory::new()));
            let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
            let store = wire::CreateStore { cluster_id, incarnation, token };
            metadata.apply(Command::CreateStore(store)).unwrap();
            let registry = Registry::new(metadata, blobs.clone(), Lifecycle::new(), Settings::default());
            let name = "team/app".parse().unwrap();
            let grant = || Policy::open().grant(&Caller::Anonymous, &name).unwrap();
            let upload = registry.open_upload(&grant(), Algorithm::Sha256).await.unwrap();
            let pause = {
                let (registry, grant) = (registry.clone(), grant());
                async move {
                    tokio::time::advance(Duration::from_secs(3_600)).await;
                    if ends {
                        registry.cancel_upload(&grant, upload.id).await.unwrap();
                    }
                    Ok(Bytes::from_static(b"after"))
                }
            };
            let before = stream::iter([Ok(Bytes::from_static(b"before"))]);
            let body = before.chain(stream::once(pause)).boxed();
            let written = registry.write_chunk(&grant(), upload.id, Chunk { body, length: None, range: None }).await;
            match ends {
                true => assert!(matches!(written, Err(Error::UploadUnknown(id)) if id == upload.id)),
                false => assert_eq!(written.unwrap().offset, 11),
            }
            assert_eq!(blobs.keys().len(), usize::from(!ends));
        }
    }
}
