//! Objects in memory, for tests.

use super::{BlobStore, ByteStream, Deleted, Error, Key, Listed, ObjectWriter, Page, Upload};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// A store in memory, for tests.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Objects>>);

#[derive(Debug, Default)]
struct Objects {
    objects: BTreeMap<Key, Bytes>,
    /// Writes that run, or were left.
    uploads: BTreeMap<u64, Key>,
    uploads_begun: u64,
    /// Keys that cannot be looked at.
    refused: BTreeSet<Key>,
    marker: Option<Bytes>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.lock().objects.keys().cloned().collect()
    }

    /// From now on these, and no others, cannot be looked at.
    pub fn refuse(&self, keys: impl IntoIterator<Item = Key>) {
        self.lock().refused = keys.into_iter().collect();
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().expect("no holder panics")
    }
}

/// Objects of one listing.
const PAGE: usize = 1_000;

/// The part of an object of `length` bytes that `range` names.
fn clamp(range: &Range<u64>, length: usize) -> Range<usize> {
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(length);
    let (start, end) = (within(range.start), within(range.end));
    start..end.max(start)
}

#[async_trait]
impl BlobStore for Memory {
    async fn writer(&self, key: Key) -> Result<Box<dyn ObjectWriter>, Error> {
        let mut held = self.lock();
        held.uploads_begun += 1;
        let id = held.uploads_begun;
        held.uploads.insert(id, key.clone());
        drop(held);
        Ok(Box::new(Writer { store: self.clone(), id, key, bytes: BytesMut::new() }))
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<ByteStream, Error> {
        let object = self.lock().objects.get(key).cloned();
        let object = object.ok_or_else(|| Error::NotFound { key: key.to_string() })?;
        let bytes = object.slice(clamp(&range, object.len()));
        Ok(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed())
    }

    async fn length(&self, key: &Key) -> Result<Option<u64>, Error> {
        let held = self.lock();
        match held.refused.contains(key) {
            true => Err(Error::Refused { context: "403".into(), source: None }),
            false => Ok(held.objects.get(key).map(|object| object.len() as u64)),
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Vec<Deleted> {
        let mut held = self.lock();
        let delete = |key| {
            held.objects.remove(&key);
            Deleted { key, result: Ok(()) }
        };
        keys.into_iter().map(delete).collect()
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        let held = self.lock();
        let listed = |(key, object): (&Key, &Bytes)| Listed { key: key.to_string(), length: object.len() as u64 };
        let found = held
            .objects
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        let mut objects: Vec<_> = found.take(PAGE + 1).map(listed).collect();
        let more = objects.len() > PAGE;
        objects.truncate(PAGE);
        Ok(Page { objects, more })
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Error> {
        let held = self.lock();
        let found = held.uploads.iter().filter(|(_, key)| key.as_str().starts_with(prefix)).take(PAGE);
        Ok(found.map(|(id, key)| Upload { key: key.clone(), id: id.to_string() }).collect())
    }

    async fn abort(&self, upload: &Upload) -> Result<(), Error> {
        if let Ok(id) = upload.id.parse() {
            self.lock().uploads.remove(&id);
        }
        Ok(())
    }

    async fn tidy(&self, _prefix: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn hazards(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    async fn presign(&self, _key: &Key, _life: Duration) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn read_marker(&self) -> Result<Option<Bytes>, Error> {
        Ok(self.lock().marker.clone())
    }

    async fn write_marker(&self, marker: Bytes) -> Result<(), Error> {
        self.lock().marker = Some(marker);
        Ok(())
    }

    async fn holds_distribution_layout(&self) -> Result<bool, Error> {
        Ok(false)
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

struct Writer {
    store: Memory,
    id: u64,
    key: Key,
    bytes: BytesMut,
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, Error> {
        let (key, bytes) = (self.key.clone(), std::mem::take(&mut self.bytes));
        let length = bytes.len() as u64;
        let mut held = self.store.lock();
        let refused = |why| Err(Error::Refused { context: format!("{key} {why}"), source: None });
        if held.uploads.remove(&self.id).is_none() {
            return refused("was aborted");
        }
        match held.objects.insert(key.clone(), bytes.freeze()) {
            None => Ok(length),
            Some(_) => refused("was written before"),
        }
    }

    async fn abort(self: Box<Self>) {}
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.store.lock().uploads.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::contract, *};

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        let store = Memory::new();
        contract::run(&store).await;
        assert_eq!(store.keys(), []);
    }
}
