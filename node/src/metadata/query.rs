//! Typed reads over one consistent view of the state.

use super::state::Tables;
use std::sync::Arc;

/// A consistent view of the state at one log index. Cheap to clone; holding one pins old pages, so keep it short.
#[derive(Clone)]
pub struct View {
    tables: Arc<dyn Tables + Send + Sync>,
}

impl View {
    /// Wraps a snapshot of the tables.
    pub fn new(tables: Arc<dyn Tables + Send + Sync>) -> Self {
        Self { tables }
    }

    /// The tables below.
    pub fn tables(&self) -> &(dyn Tables + Send + Sync) {
        &*self.tables
    }
}
