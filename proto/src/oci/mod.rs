//! Words of the OCI distribution and image specifications. Each type is parsed once at the edge and valid inside.
//! Knows nothing of HTTP or of storage. Read `digest` and `manifest` first.

mod content_range;
mod digest;
mod error_code;
mod name;
mod reference;
mod tag;

pub use content_range::ContentRange;
pub use digest::{Algorithm, Digest, DigestError};
pub use error_code::ErrorCode;
pub use name::{NameError, RepositoryName};
pub use reference::{Reference, ReferenceError};
pub use tag::{Tag, TagError};
