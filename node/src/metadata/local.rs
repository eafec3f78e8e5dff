//! A one-process store for tests: the production state machine over memory, durable nowhere.

use super::state::{MemoryTables, apply};
use super::{Command, Error, MetadataStore, Outcome, View};
use async_trait::async_trait;
use bytes::Bytes;
use flotilla_proto::metadata::{TICK_MAX_MS, batch_of, operation};
use flotilla_proto::wire::metadata as wire;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// All metadata in memory. Every change is applied at once; barriers always succeed.
#[derive(Default)]
pub struct LocalStore {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Shared with views; copied by the first change after a view was taken that still lives.
    tables: Arc<MemoryTables>,
    index: u64,
}

impl LocalStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a command under a request id of its own.
    pub fn apply(&self, command: Command) -> Result<Outcome, Error> {
        let mut inner = self.lock();
        let request_id = (u128::from(inner.index) + 1).to_be_bytes();
        inner.apply(operation(Bytes::copy_from_slice(&request_id), crate::clock::wall_ms(), command))
    }

    /// Applies a command under a given request id, as a retry after a lost answer does.
    pub fn apply_as(&self, request_id: [u8; 16], command: Command) -> Result<Outcome, Error> {
        self.lock().apply(operation(Bytes::copy_from_slice(&request_id), crate::clock::wall_ms(), command))
    }

    /// Moves replicated time on.
    pub fn advance(&self, time: Duration) -> Result<(), Error> {
        let mut left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        while left > 0 {
            let elapsed_ms = left.min(TICK_MAX_MS);
            inner.apply(operation(Bytes::new(), 0, Command::Tick(wire::Tick { elapsed_ms, term: 0 })))?;
            left -= elapsed_ms;
        }
        Ok(())
    }

    /// Changes the state behind its back, as a bug or a bad disk would.
    #[cfg(test)]
    pub(crate) fn corrupt(&self, damage: impl FnOnce(&mut MemoryTables)) {
        damage(Arc::make_mut(&mut self.lock().tables));
    }

    /// The state now.
    pub fn snapshot(&self) -> Arc<MemoryTables> {
        self.lock().tables.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn apply(&mut self, operation: wire::Operation) -> Result<Outcome, Error> {
        self.index += 1;
        let tables: &mut MemoryTables = Arc::make_mut(&mut self.tables);
        let outcomes = apply(tables, self.index, &batch_of(operation))?;
        let outcome = outcomes.into_iter().next().and_then(|outcome| outcome.kind);
        Ok(outcome.unwrap_or(Outcome::Unsupported(wire::Unsupported {})))
    }
}

#[async_trait]
impl MetadataStore for LocalStore {
    async fn propose(&self, command: Command, _deadline: Instant) -> Result<Outcome, Error> {
        self.apply(command)
    }

    async fn barrier(&self, _deadline: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn fresh_age(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn view(&self) -> Result<View, Error> {
        Ok(View::new(self.snapshot()))
    }
}
