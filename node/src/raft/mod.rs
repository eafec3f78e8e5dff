//! How nodes agree on the metadata: openraft, its stores and its transport, behind `metadata::MetadataStore`.

pub mod types;

// The stores.
pub mod log;
pub mod snapshot;
pub mod state_machine;
pub mod tables;
