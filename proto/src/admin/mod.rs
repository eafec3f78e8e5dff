//! Operator API bodies (JSON), one file per noun. Served at the unix socket in the data directory only. Readers ignore
//! fields they do not know, and writers never change the meaning of one.

mod status;

pub use status::{Member, Readiness, StateHash, Status};
