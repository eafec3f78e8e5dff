//! Operator API bodies (JSON), one file per noun.

mod status;

pub use status::{Member, StateHash, Status};
