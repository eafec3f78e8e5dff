//! How nodes agree on the metadata: openraft, its stores and its transport, behind `metadata::MetadataStore`.

pub mod types;
