/// What a manifest document is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerList,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
}

impl ManifestKind {
    /// The media type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
        }
    }

    /// The kind that a media type names. Parameters (`; charset=…`) and letter case do not count.
    pub fn from_media_type(text: &str) -> Option<Self> {
        let text = essence(text);
        [Self::DockerManifest, Self::DockerList, Self::OciManifest, Self::OciIndex]
            .into_iter()
            .find(|kind| text.eq_ignore_ascii_case(kind.as_str()))
    }

    /// Whether it lists manifests instead of a config and layers.
    pub const fn is_index(self) -> bool {
        matches!(self, Self::DockerList | Self::OciIndex)
    }
}

/// A media type without its parameters.
pub(super) fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

/// Whether bytes of this media type may live elsewhere (`urls`) and need not be pushed.
pub(super) fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
        || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
}

/// Whether an index entry of this media type is a manifest. Other entries are blobs (buildkit's cache index lists layers).
pub(super) fn is_manifest(media_type: &str) -> bool {
    media_type.is_empty()
        || ManifestKind::from_media_type(media_type).is_some()
        || media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_do_not_change_the_kind() {
        let text = "application/vnd.oci.image.index.v1+json; charset=utf-8";
        assert_eq!(ManifestKind::from_media_type(text), Some(ManifestKind::OciIndex));
        assert_eq!(ManifestKind::from_media_type("application/json"), None);
    }
}
