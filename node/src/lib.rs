//! The Flotilla server. [`node`] is the composition root; see `docs/ARCHITECTURE.md` for the map of rooms.
//!
//! Direction of knowledge: `http` → `registry` → `metadata`, `blobstore`; both know `auth`, which knows no room; `raft` implements `metadata::MetadataStore`;
//! `workers` and `operator` call the same rooms as `http`.

pub mod auth;
pub mod blobstore;
pub mod clock;
pub mod command;
pub mod config;
pub mod dev;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod metadata;
pub mod node;
pub mod operator;
pub mod raft;
pub mod registry;
pub mod telemetry;
pub mod workers;
