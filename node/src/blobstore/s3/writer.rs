use super::{
    SHORT, Shared, body,
    error::{self, map},
};
use crate::blobstore::{
    Error, Key, ObjectWriter, Operation,
    budget::{BUFFER_MAX, Buffer, Payload},
};
use async_trait::async_trait;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Every part but the last has this length (R2 refuses others).
pub(super) const PART: usize = BUFFER_MAX;
const PARTS_MAX: i32 = 9_000;
const PARTS_IN_FLIGHT: usize = 3;
/// A part or small object, with its attempts.
const TRANSFER: Duration = Duration::from_secs(240);
/// Stores copy or hash behind it; the caller answers its client earlier.
const COMPLETE: Duration = Duration::from_secs(180);

/// Buffers up to one part: an object that ends there is one PutObject, a longer one is a multipart upload.
pub(super) struct Writer {
    shared: Arc<Shared>,
    path: String,
    buffer: Buffer,
    upload: Option<Upload>,
    length: u64,
}

/// A multipart upload. Dropping it before `Complete` was sent aborts it in the background.
struct Upload {
    shared: Arc<Shared>,
    path: String,
    id: Arc<str>,
    running: JoinSet<Result<CompletedPart, Error>>,
    done: Vec<CompletedPart>,
    next: i32,
    /// Parts of an upload that was asked to complete may be part of an object: never aborted.
    completing: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, key: &Key) -> Self {
        let path = shared.path(key);
        let buffer = shared.budget.buffer();
        Self { shared, path, buffer, upload: None, length: 0 }
    }

    /// Sends the full buffer as a part; waits while enough parts are in flight.
    async fn flush(&mut self) -> Result<(), Error> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(Upload::create(self.shared.clone(), self.path.clone()).await?),
        };
        while upload.running.len() >= PARTS_IN_FLIGHT {
            upload.reap().await?;
        }
        let full = std::mem::replace(&mut self.buffer, self.shared.budget.buffer());
        upload.send(full.freeze().await?)
    }

    async fn put(&self, payload: Payload) -> Result<(), Error> {
        let config = &self.shared.config;
        let mut request = self.shared.client.put_object().bucket(&config.bucket).key(&self.path);
        request = request.content_type("application/octet-stream").content_length(payload.len() as i64);
        request = request.set_server_side_encryption(encryption(&self.shared)).set_ssekms_key_id(config.key_id.clone());
        request = request.set_storage_class(config.storage_class.as_deref().map(Into::into));
        request = request.set_acl(config.object_acl.as_deref().map(Into::into)).body(body::stream(&payload));
        let request = request.customize().interceptor(body::Signed::new(&payload)).send();
        let answer = async { request.await.map(drop).map_err(|error| map(error, "PUT", &self.path)) };
        match self.shared.send(Operation::Put, TRANSFER, answer).await {
            Err(error @ Error::Unavailable { .. }) => self.shared.arrived(&self.path, self.length, error).await,
            other => other,
        }
    }
}

fn encryption(shared: &Shared) -> Option<ServerSideEncryption> {
    let kind = if shared.config.key_id.is_some() { ServerSideEncryption::AwsKms } else { ServerSideEncryption::Aes256 };
    shared.config.encrypt.then_some(kind)
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.buffer.len() == PART {
                self.flush().await?;
            }
            let piece = bytes.split_to(bytes.len().min(PART - self.buffer.len()));
            self.buffer.push(piece).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, Error> {
        let length = self.length;
        if length == 0 {
            return Ok(0);
        }
        if self.upload.is_some() {
            self.flush().await?;
        }
        match self.upload.take() {
            Some(upload) => upload.complete(length).await?,
            None => {
                let last = std::mem::replace(&mut self.buffer, self.shared.budget.buffer());
                self.put(last.freeze().await?).await?;
            }
        }
        self.shared.metrics.written.inc_by(length);
        Ok(length)
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(mut upload) = self.upload.take() {
            upload.running.shutdown().await;
            abort(&upload.shared, &upload.path, &upload.id).await;
            // Only now: if this call is dropped while it waits, the upload is still aborted in the background.
            upload.completing = true;
        }
    }
}

impl Upload {
    async fn create(shared: Arc<Shared>, path: String) -> Result<Self, Error> {
        let config = &shared.config;
        let mut request = shared.client.create_multipart_upload().bucket(&config.bucket).key(&path);
        request = request.content_type("application/octet-stream").set_ssekms_key_id(config.key_id.clone());
        request = request.set_server_side_encryption(encryption(&shared));
        request = request.set_storage_class(config.storage_class.as_deref().map(Into::into));
        let request = request.set_acl(config.object_acl.as_deref().map(Into::into)).send();
        let answer = async { request.await.map_err(|error| map(error, "CreateMultipartUpload", &path)) };
        let created = shared.send(Operation::Create, SHORT, answer).await?;
        let id = created.upload_id().ok_or_else(|| error::refused(format!("CreateMultipartUpload {path}: no id")))?;
        let (id, running, done) = (id.into(), JoinSet::new(), Vec::new());
        Ok(Self { id, shared, path, running, done, next: 1, completing: false })
    }

    fn send(&mut self, payload: Payload) -> Result<(), Error> {
        if self.next > PARTS_MAX {
            return Err(error::refused(format!("{}: an object has at most {PARTS_MAX} parts of 16 MiB", self.path)));
        }
        let number = self.next;
        self.next += 1;
        let (shared, path, id) = (self.shared.clone(), self.path.clone(), self.id.clone());
        self.running.spawn(async move {
            let request = shared.client.upload_part().bucket(&shared.config.bucket).key(&path).upload_id(&*id);
            let request = request.part_number(number).content_length(payload.len() as i64).body(body::stream(&payload));
            let request = request.customize().interceptor(body::Signed::new(&payload)).send();
            let answer = async { request.await.map_err(|error| map(error, "UploadPart", &path)) };
            let sent = shared.send(Operation::Part, TRANSFER, answer).await?;
            Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
        });
        Ok(())
    }

    /// Waits for one part.
    async fn reap(&mut self) -> Result<(), Error> {
        match self.running.join_next().await {
            Some(Ok(part)) => self.done.push(part?),
            Some(Err(error)) => {
                let context = format!("{}: sending a part was cut short", self.path);
                return Err(Error::Unavailable { context, source: Some(error.into()) });
            }
            None => {}
        }
        Ok(())
    }

    async fn complete(mut self, length: u64) -> Result<(), Error> {
        while !self.running.is_empty() {
            self.reap().await?;
        }
        let mut parts = std::mem::take(&mut self.done);
        parts.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        self.completing = true;
        let request = self.shared.client.complete_multipart_upload().bucket(&self.shared.config.bucket);
        let request = request.key(&self.path).upload_id(&*self.id).multipart_upload(parts).send();
        let answer =
            async { request.await.map(drop).map_err(|error| map(error, "CompleteMultipartUpload", &self.path)) };
        match self.shared.send(Operation::Complete, COMPLETE, answer).await {
            Ok(()) => Ok(()),
            // Also NoSuchUpload: most stores forget an upload that an earlier attempt completed.
            Err(error) => self.shared.arrived(&self.path, length, error).await,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.completing || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (shared, path, id) = (self.shared.clone(), std::mem::take(&mut self.path), self.id.clone());
        let mut running = std::mem::take(&mut self.running);
        self.shared.lifecycle.spawn(async move {
            running.shutdown().await;
            abort(&shared, &path, &id).await;
        });
    }
}

async fn abort(shared: &Shared, path: &str, id: &str) {
    let request = shared.client.abort_multipart_upload().bucket(&shared.config.bucket).key(path).upload_id(id).send();
    let answer = async { request.await.map(drop).map_err(|error| map(error, "AbortMultipartUpload", path)) };
    if let Err(error) = shared.send(Operation::Abort, SHORT, answer).await {
        tracing::warn!(key = path, %error, "could not abort an upload; the sweep will");
    }
}
