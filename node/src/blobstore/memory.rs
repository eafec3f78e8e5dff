//! Objects in memory, for tests.

use super::{BlobStore, ByteStream, Deleted, Error, Key, ObjectWriter};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use std::{
    collections::BTreeMap,
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

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().expect("no holder panics")
    }
}

/// The part of an object of `length` bytes that `range` names.
fn clamp(range: &Range<u64>, length: usize) -> Range<usize> {
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(length);
    let (start, end) = (within(range.start), within(range.end));
    start..end.max(start)
}

#[async_trait]
impl BlobStore for Memory {
    async fn writer(&self, key: Key) -> Result<Box<dyn ObjectWriter>, Error> {
        Ok(Box::new(Writer { store: self.clone(), key, bytes: BytesMut::new() }))
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<ByteStream, Error> {
        let object = self.lock().objects.get(key).cloned();
        let object = object.ok_or_else(|| Error::NotFound { key: key.to_string() })?;
        let bytes = object.slice(clamp(&range, object.len()));
        Ok(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed())
    }

    async fn length(&self, key: &Key) -> Result<Option<u64>, Error> {
        Ok(self.lock().objects.get(key).map(|object| object.len() as u64))
    }

    async fn delete(&self, keys: Vec<Key>) -> Vec<Deleted> {
        let mut held = self.lock();
        let delete = |key| {
            held.objects.remove(&key);
            Deleted { key, result: Ok(()) }
        };
        keys.into_iter().map(delete).collect()
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
    key: Key,
    bytes: BytesMut,
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<u64, Error> {
        let Self { store, key, bytes } = *self;
        let length = bytes.len() as u64;
        match store.lock().objects.insert(key.clone(), bytes.freeze()) {
            None => Ok(length),
            Some(_) => Err(Error::Refused { context: format!("{key} was written before"), source: None }),
        }
    }

    async fn abort(self: Box<Self>) {}
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
