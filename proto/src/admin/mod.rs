//! Operator API bodies (JSON), one file per noun.

mod garbage_collection;
mod status;

pub use garbage_collection::{Collect, Collected};
pub use status::{Member, StateHash, Status};
