//! The ordered key-value space under the state machine, and the one in memory.

use std::collections::BTreeMap;

/// The ordered key-value space under the state machine failed (disk error, damaged file): fatal for the node.
#[derive(Debug, thiserror::Error)]
#[error("metadata tables failed")]
pub struct TablesError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Reads of an ordered key-value space.
pub trait Tables {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError>;

    /// At most `limit` pairs with `start <= key < end`, ascending.
    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, TablesError>;
}

/// Writes of an ordered key-value space; visible to later reads of the same value.
pub trait TablesMut: Tables {
    /// Sets `key`.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), TablesError>;

    /// Removes `key`, if it is there.
    fn delete(&mut self, key: &[u8]) -> Result<(), TablesError>;
}

/// In memory, for tests, models and simulation.
pub type MemoryTables = BTreeMap<Vec<u8>, Vec<u8>>;

impl Tables for MemoryTables {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, TablesError> {
        if start >= end {
            return Ok(Vec::new());
        }
        let pairs = self.range::<[u8], _>((std::ops::Bound::Included(start), std::ops::Bound::Excluded(end)));
        Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl TablesMut for MemoryTables {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        self.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), TablesError> {
        self.remove(key);
        Ok(())
    }
}
