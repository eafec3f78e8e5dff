//! The HTTP front: connections, the specification's endpoints, probes, metrics and operator access.
//!
//! hyper's types stay in this room; it calls `registry` and knows nothing below it. [`error`] alone picks statuses and
//! codes. Read `router`, then `v2`.

pub mod admin;
pub mod body;
mod challenge;
mod client;
mod conditions;
pub mod error;
mod headers;
mod limits;
mod metrics;
mod multipart;
pub mod ops;
mod query;
mod range;
mod router;
pub mod server;
pub mod tls;
mod token;
mod v2;
mod watch;
mod wire;

pub use client::Peer;
pub use limits::Limits;
pub use metrics::Metrics;
pub use ops::Ops;
pub use router::{Front, Setup};

#[cfg(test)]
mod tests;
