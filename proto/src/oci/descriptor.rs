use super::Digest;

/// A reference to content (OCI image spec, "Content Descriptors"): what a registry checks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `mediaType`; empty if absent
    pub media_type: String,
    /// `digest`
    pub digest: Digest,
    /// `size` in bytes
    pub size: u64,
}
