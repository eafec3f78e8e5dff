//! The HTTP front: connections, the specification's endpoints, probes, metrics and operator access.
//!
//! hyper's types stay in this room; it calls `registry` and knows nothing below it. [`error`] alone picks statuses and
//! codes. Read `router`, then `v2`.

mod access_log;
pub mod admin;
pub mod audit;
pub mod body;
mod challenge;
mod client;
mod conditions;
pub mod error;
mod forwarded;
mod headers;
mod limits;
mod listener;
mod metrics;
mod multipart;
pub mod ops;
pub mod origin;
mod query;
mod range;
mod router;
pub mod server;
pub mod tls;
mod token;
mod v2;
mod watch;
mod wire;

pub use access_log::AccessLog;
pub use client::{Client, Peer};
pub use limits::Limits;
pub use listener::Listener;
pub use metrics::Metrics;
pub use ops::Ops;
pub use origin::{Origin, Origins};
pub use router::{Front, Setup};

#[cfg(test)]
mod tests;
