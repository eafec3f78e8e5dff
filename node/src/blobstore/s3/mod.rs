//! Objects in an S3-compatible bucket.
//!
//! Relies only on: strong read-after-write of one key, complete-multipart that checks ETags, idempotent deletes, ranged and
//! presigned GET. Never on conditional writes, a repeatable complete or a final abort. Lists are in byte order: that is checked.
//! Read `writer` next.

mod body;
mod client;
mod error;
mod list;
mod reader;
mod writer;

use super::{BlobStore, Budget, ByteStream, Deleted, Error, Key, Metrics, ObjectWriter, Operation, Page, Upload};
use crate::{config, lifecycle::Lifecycle};
use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    presigning::PresigningConfig,
    primitives::SdkBody,
    types::{Delete, ObjectIdentifier},
};
use bytes::Bytes;
use error::map;
use futures_util::future::join_all;
use rand::seq::SliceRandom as _;
use std::{collections::HashMap, future::Future, ops::Range, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

const MARKER: &str = "flotilla.json";
/// Requests of a node that the store works on at once.
const REQUESTS_MAX: usize = 128;
/// Uploads of bytes at a time; a queue of their own, so that slow ones do not hold up reads.
const TRANSFERS_MAX: usize = 96;
/// A request without a long body, attempts and queueing included.
const SHORT: Duration = Duration::from_secs(15);
/// A delete of a thousand keys.
const DELETE: Duration = Duration::from_secs(60);
/// Keys of one DeleteObjects.
const DELETE_MAX: usize = 1000;
/// Single deletes side by side, where there is no DeleteObjects.
const SINGLY: usize = 16;

/// The S3 store.
#[derive(Clone)]
pub struct S3(Arc<Shared>);

struct Shared {
    client: Client,
    /// Signs the URLs that clients are redirected to.
    signer: Client,
    config: config::S3,
    /// Empty, or ends with a slash.
    prefix: String,
    budget: Budget,
    requests: Semaphore,
    transfers: Semaphore,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

impl S3 {
    /// A store on `config.bucket`. Sends nothing yet.
    pub async fn open(
        config: config::S3,
        budget: Budget,
        lifecycle: Lifecycle,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let client = client::client(&config, metrics.clone()).await?;
        let signer = match &config.redirect_endpoint {
            Some(url) => client::leading_to(&client, url, config.secure),
            None => client.clone(),
        };
        let root = config.root_directory.trim_matches('/');
        let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
        let (requests, transfers) = (Semaphore::new(REQUESTS_MAX), Semaphore::new(TRANSFERS_MAX));
        Ok(Self(Arc::new(Shared { client, signer, config, prefix, budget, requests, transfers, lifecycle, metrics })))
    }
}

impl Shared {
    fn path(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Sends a request when it is its turn, with a limit on everything together.
    async fn send<T>(
        &self,
        operation: Operation,
        limit: Duration,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limited = async {
            let all = async {
                let queue = match operation {
                    Operation::Put | Operation::Part => &self.transfers,
                    _ => &self.requests,
                };
                let _turn = queue.acquire().await.expect("never closed");
                request.await
            };
            tokio::time::timeout(limit, all).await.unwrap_or_else(|_| {
                let context = format!("{operation:?} took longer than {} s", limit.as_secs());
                Err(Error::Unavailable { context, source: None })
            })
        };
        self.metrics.time(operation, limited).await
    }

    /// HEAD of a full key.
    async fn head(&self, path: &str) -> Result<Option<u64>, Error> {
        let request = self.client.head_object().bucket(&self.config.bucket).key(path);
        let answer = async { request.send().await.map_err(|error| map(error, "HEAD", path)) };
        match self.send(Operation::Length, SHORT, answer).await {
            Ok(found) => {
                let length = found.content_length().and_then(|length| u64::try_from(length).ok());
                length.map(Some).ok_or_else(|| error::refused(format!("HEAD {path}: no length in the answer")))
            }
            // A HEAD has no body that tells a missing object from a missing bucket.
            Err(Error::NotFound { .. }) => {
                let bucket = self.client.head_bucket().bucket(&self.config.bucket).send();
                let answer = async { bucket.await.map_err(|error| map(error, "HEAD bucket of", path)) };
                match self.send(Operation::Length, SHORT, answer).await {
                    Err(Error::NotFound { .. }) => {
                        Err(error::refused(format!("bucket {} does not exist", self.config.bucket)))
                    }
                    // Some keys may read objects only: that says nothing against the first answer.
                    Ok(_) | Err(Error::Refused { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the object is there in full although a write of it was answered by `error`.
    async fn arrived(&self, path: &str, length: u64, error: Error) -> Result<(), Error> {
        match self.head(path).await {
            Ok(Some(found)) if found == length => {
                tracing::info!(key = path, %error, "a write arrived although its answer did not");
                Ok(())
            }
            _ => Err(error),
        }
    }

    async fn delete_batch(&self, keys: Vec<Key>) -> Vec<Deleted> {
        let identify = |key| ObjectIdentifier::builder().key(self.path(key)).build();
        let request = async {
            let objects = keys.iter().map(identify).collect::<Result<Vec<_>, _>>();
            let delete = objects.and_then(|objects| Delete::builder().set_objects(Some(objects)).build());
            let delete = delete.map_err(|error| error::refused(format!("DeleteObjects: {error}")))?;
            let request = self.client.delete_objects().bucket(&self.config.bucket).delete(delete);
            request.send().await.map_err(|error| map(error, "DeleteObjects in", &self.prefix))
        };
        let answer = match self.send(Operation::Delete, DELETE, request).await {
            Ok(answer) => answer,
            // Some stores do not have it, or want another checksum than the SDK's.
            Err(Error::Refused { .. } | Error::NotFound { .. }) => return self.delete_singly(keys).await,
            Err(error) => {
                let result = |key| Deleted { key, result: Err(error::unavailable(error.to_string())) };
                return keys.into_iter().map(result).collect();
            }
        };
        let mut results: HashMap<&str, Result<(), Error>> = HashMap::new();
        results.extend(answer.deleted().iter().filter_map(|one| Some((one.key()?, Ok(())))));
        for one in answer.errors() {
            let (code, message) = (one.code().unwrap_or_default(), one.message().unwrap_or_default());
            let Some(path) = one.key() else { continue };
            let result = if code == "NoSuchKey" {
                Ok(())
            } else {
                Err(error::by_code(code, None, format!("DELETE {path}: {code} {message}")))
            };
            results.insert(path, result);
        }
        let unnamed = |path: &str| Err(error::unavailable(format!("DELETE {path}: the store did not name it")));
        let named = |key: Key| {
            let path = self.path(&key);
            Deleted { result: results.remove(path.as_str()).unwrap_or_else(|| unnamed(&path)), key }
        };
        keys.into_iter().map(named).collect()
    }

    /// A store that refuses the first ones all alike would refuse the others too: these are not asked for.
    async fn delete_singly(&self, mut keys: Vec<Key>) -> Vec<Deleted> {
        // In any order: some that are refused for ever must not be the first ones every time.
        keys.shuffle(&mut rand::rng());
        let mut deleted: Vec<Deleted> = Vec::with_capacity(keys.len());
        for part in keys.chunks(SINGLY) {
            let refused = |one: &Deleted| matches!(one.result, Err(Error::Refused { .. }));
            if !deleted.is_empty() && deleted.iter().all(refused) {
                let result = |key: &Key| Err(error::refused(format!("DELETE {key}: the store refuses to delete")));
                deleted.extend(part.iter().map(|key| Deleted { key: key.clone(), result: result(key) }));
                continue;
            }
            deleted.extend(join_all(part.iter().map(|key| self.delete_one(key.clone()))).await);
        }
        deleted
    }

    async fn delete_one(&self, key: Key) -> Deleted {
        let path = self.path(&key);
        let request = self.client.delete_object().bucket(&self.config.bucket).key(&path).send();
        let answer = async { request.await.map(drop).map_err(|error| map(error, "DELETE", &path)) };
        let result = match self.send(Operation::Delete, SHORT, answer).await {
            // A store says 204. It may be somebody on the way who knows of no key at all.
            Err(Error::NotFound { .. }) => match self.head(&path).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(error::unavailable(format!("DELETE {path}: not found, but there"))),
                Err(error) => Err(error),
            },
            other => other,
        };
        Deleted { key, result }
    }
}

#[async_trait]
impl BlobStore for S3 {
    async fn writer(&self, key: Key) -> Result<Box<dyn ObjectWriter>, Error> {
        Ok(Box::new(writer::Writer::new(self.0.clone(), &key)))
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<ByteStream, Error> {
        reader::read(self.0.clone(), self.0.path(key), key.to_string(), range).await
    }

    async fn length(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.0.head(&self.0.path(key)).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Vec<Deleted> {
        let mut deleted = Vec::with_capacity(keys.len());
        for batch in keys.chunks(DELETE_MAX) {
            deleted.extend(self.0.delete_batch(batch.to_vec()).await);
        }
        deleted
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        self.0.list(prefix, after).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Error> {
        self.0.uploads(prefix).await
    }

    async fn has_no_parts(&self, upload: &Upload) -> Result<bool, Error> {
        self.0.has_no_parts(upload).await
    }

    async fn abort(&self, upload: &Upload) -> Result<(), Error> {
        self.0.abort(upload).await
    }

    async fn tidy(&self, _prefix: &str) -> Result<(), Error> {
        Ok(()) // a bucket has no folders
    }

    async fn hazards(&self) -> Result<Vec<String>, Error> {
        self.0.hazards().await
    }

    async fn presign(&self, key: &Key, life: Duration) -> Result<Option<String>, Error> {
        let terms = PresigningConfig::expires_in(life).map_err(|error| error::refused(format!("presign: {error}")))?;
        let path = self.0.path(key);
        let request = self.0.signer.get_object().bucket(&self.0.config.bucket).key(&path);
        let signed = async { request.presigned(terms).await.map_err(|error| map(error, "presign", &path)) };
        Ok(Some(self.0.metrics.time(Operation::Presign, signed).await?.uri().to_owned()))
    }

    async fn read_marker(&self) -> Result<Option<Bytes>, Error> {
        let path = format!("{}{MARKER}", self.0.prefix);
        let request = self.0.client.get_object().bucket(&self.0.config.bucket).key(&path).send();
        let answer = async {
            let found = request.await.map_err(|error| map(error, "GET", &path))?;
            let bytes = found.body.collect().await;
            Ok(bytes.map_err(|error| error::unavailable(format!("GET {path}: {error}")))?.into_bytes())
        };
        match self.0.send(Operation::Read, SHORT, answer).await {
            Ok(marker) => Ok(Some(marker)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write_marker(&self, marker: Bytes) -> Result<(), Error> {
        let path = format!("{}{MARKER}", self.0.prefix);
        let request = self.0.client.put_object().bucket(&self.0.config.bucket).key(&path);
        let request = request.content_type("application/json").body(SdkBody::from(marker).into()).send();
        let answer = async { request.await.map(drop).map_err(|error| map(error, "PUT", &path)) };
        self.0.send(Operation::Put, SHORT, answer).await
    }

    async fn holds_distribution_layout(&self) -> Result<bool, Error> {
        let prefix = format!("{}docker/registry/v2/", self.0.prefix);
        let request = self.0.client.list_objects_v2().bucket(&self.0.config.bucket).prefix(&prefix).max_keys(1).send();
        let answer = async { request.await.map_err(|error| map(error, "LIST", &prefix)) };
        Ok(!self.0.send(Operation::List, SHORT, answer).await?.contents().is_empty())
    }

    fn describe(&self) -> String {
        let config = &self.0.config;
        let place = config.region_endpoint.as_deref().unwrap_or(&config.region);
        format!("s3 bucket {} at {place}, root /{}", config.bucket, self.0.prefix.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests;
