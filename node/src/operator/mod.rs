//! Use cases of operators: how collection does, collecting at once, pausing, what holds a digest, putting back what was
//! deleted, verifying the whole. They call the same rooms as requests and workers do, and know nothing of sockets.
//!
//! [`Desk`] answers at once; [`Verifier`] runs in the background; [`Rehearsal`] is a worker. Read `desk` next.

mod desk;
mod metrics;
mod rehearsal;
#[cfg(test)]
mod tests;
mod verify;

pub use desk::Desk;
pub use metrics::Figures;
pub use rehearsal::Rehearsal;
pub use verify::Verifier;

/// What was asked cannot be done as things are; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);
