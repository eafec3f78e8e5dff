//! Words of the OCI distribution and image specifications. Each type is parsed once at the edge and valid inside.
//! Knows nothing of HTTP or of storage. Read `digest` and `manifest` first.

mod content_range;
mod descriptor;
mod digest;
mod error_code;
mod json;
mod manifest;
mod media_type;
mod name;
mod reference;
mod tag;

pub use content_range::ContentRange;
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError};
pub use error_code::ErrorCode;
pub use manifest::{DESCRIPTORS_MAX, MANIFEST_BYTES_MAX, Manifest, ManifestError};
pub use media_type::ManifestKind;
pub use name::{NameError, RepositoryName};
pub use reference::{Reference, ReferenceError};
pub use tag::{Tag, TagError};
