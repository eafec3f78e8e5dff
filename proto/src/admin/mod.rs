//! Operator API bodies (JSON), one file per noun.

mod garbage_collection;
mod status;
mod verification;
mod why;

pub use garbage_collection::{Collect, Collected, Collection, Delays, Queue};
pub use status::{Member, StateHash, Status};
pub use verification::{Undeleted, Verification, Verify};
pub use why::{
    Condemned, Deleted, DeletedManifest, DeletedTag, Link, ManifestHolders, Object, Place, StoredBlob, Trash, Why,
};
