//! Fuzz targets for everything that reads text from outside. Each is a function over bytes that panics when a property
//! does not hold; the programs in `bin` hand them to libFuzzer. See docs/fuzzing.md.
//!
//! The parsers are compiled into this crate from their source files, so that the server need not be built with coverage.
//! This works as long as they know nothing of their surroundings, which is what a parser should be like.

// The parsers of the front name the grammar by its crate.
extern crate self as flotilla_proto;

#[path = "../../../proto/src/oci/mod.rs"]
pub mod oci;

/// Under test: `node/src/config`, under the name by which its own files know it.
#[path = "../../../node/src/config/mod.rs"]
pub mod config;
/// Under test: `node/src/http/v2/endpoint.rs`.
#[path = "../../../node/src/http/v2/endpoint.rs"]
pub mod node_endpoint;
/// Under test: `node/src/http/query.rs`.
#[path = "../../../node/src/http/query.rs"]
pub mod node_query;
/// Under test: `node/src/http/range.rs`.
#[path = "../../../node/src/http/range.rs"]
pub mod node_range;

#[path = "config.rs"]
pub mod config_target;
pub mod content_range;
pub mod endpoint;
pub mod grammar;
mod json;
pub mod manifest;
pub mod query;
pub mod range;
