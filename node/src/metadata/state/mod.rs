//! The pure state machine: [`apply`] over an ordered key-value space. No clock, randomness, I/O, async, float or randomly
//! ordered map; whatever varies is decided by the proposer and written into the command. At most 10,000 records a command.

pub mod tables;

use flotilla_proto::wire::metadata as wire;
pub use tables::{MemoryTables, Tables, TablesError, TablesMut};

/// Applies one log entry; one outcome per operation, in order. `index` is the entry's log index.
pub fn apply(
    _tables: &mut dyn TablesMut,
    _index: u64,
    _batch: &wire::Batch,
) -> Result<Vec<wire::Outcome>, TablesError> {
    Ok(Vec::new())
}
