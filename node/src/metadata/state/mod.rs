//! The pure state machine: [`apply`] over an ordered key-value space. No clock, randomness, I/O, async, float or randomly
//! ordered map; whatever varies is decided by the proposer and written into the command. At most about 10,000 records a
//! command, but for manifests with more than some 3,000 descriptors: three for each of up to 10,000.
//!
//! `keys` says which records there are, `apply` is the match over the commands, the other files hold an arm per command of
//! their noun. [`invariants`] checks what must hold between any two entries.

mod apply;
mod blobs;
mod cluster;
mod gc;
mod hours;
pub mod invariants;
pub(crate) mod keys;
mod links;
mod manifests;
mod memory;
mod mutant;
mod objects;
pub(crate) mod records;
mod repositories;
mod roots;
mod sessions;
pub mod tables;
mod tags;
mod token_keys;
mod trash;

pub use apply::{UnknownCommand, UnknownFeatureLevel, apply};
pub use tables::{MemoryTables, Tables, TablesError, TablesMut};
pub use token_keys::TokenKeyId;
pub(crate) use token_keys::token_keys;

#[cfg(test)]
mod tests;
