use flotilla_proto::oci::{Digest, DigestError, NameError, Reference, ReferenceError, RepositoryName};
use std::borrow::Cow;
use uuid::Uuid;

/// The specification's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v2/` (end-1)
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/_oci/ext/discover`, also below a repository (extensions, `_oci`)
    Discover(Option<RepositoryName>),
    /// `/v2/<name>/tags/list` (end-8)
    Tags(RepositoryName),
    /// `/v2/<name>/referrers/<digest>` (end-12)
    Referrers(RepositoryName, Digest),
    /// `/v2/<name>/manifests/<reference>` (end-3, 7, 9)
    Manifest(RepositoryName, Reference),
    /// `/v2/<name>/blobs/<digest>` (end-2, 10)
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/` (end-4, 11)
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>` (end-5, 6, 13, 14)
    Upload(RepositoryName, Uuid),
}

/// Why a path names no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing of the specification.
    #[error("there is no such endpoint")]
    NotFound,
    /// Not a repository name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not a tag or digest.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Not a tag, and asked to be read.
    #[error("there is no such manifest")]
    NoSuchTag,
    /// Not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Not an id of this registry.
    #[error("this is no upload id of this registry")]
    UploadId,
}

impl Endpoint {
    /// Parses a raw path that begins with `/v2`. Names contain slashes, so it is read from its end.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        let rest = path.strip_prefix("/v2").ok_or(PathError::NotFound)?;
        if rest.is_empty() || rest == "/" {
            return Ok(Self::Base);
        }
        let rest = rest.strip_prefix('/').ok_or(PathError::NotFound)?;
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        if rest == "_oci/ext/discover" {
            return Ok(Self::Discover(None));
        }
        if let Some(name) = rest.strip_suffix("/_oci/ext/discover") {
            return Ok(Self::Discover(Some(name.parse()?)));
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name.parse()?));
        }
        let trimmed = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(name) = trimmed.strip_suffix("/blobs/uploads") {
            return Ok(Self::Uploads(name.parse()?));
        }
        let (front, last) = trimmed.rsplit_once('/').ok_or(PathError::NotFound)?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            // As this registry writes it; the parser knows other spellings.
            let id = Uuid::try_parse(last).ok().filter(|id| id.to_string() == last);
            return Ok(Self::Upload(name.parse()?, id.ok_or(PathError::UploadId)?));
        }
        if trimmed.len() != rest.len() {
            return Err(PathError::NotFound);
        }
        if let Some(name) = front.strip_suffix("/manifests") {
            return Ok(Self::Manifest(name.parse()?, colon(last).parse()?));
        }
        if let Some(name) = front.strip_suffix("/blobs") {
            return Ok(Self::Blob(name.parse()?, colon(last).parse()?));
        }
        if let Some(name) = front.strip_suffix("/referrers") {
            return Ok(Self::Referrers(name.parse()?, colon(last).parse()?));
        }
        Err(PathError::NotFound)
    }

    /// The label in metrics and logs.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Discover(_) => "discover",
            Self::Tags(_) => "tags",
            Self::Referrers(..) => "referrers",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) => "uploads",
            Self::Upload(..) => "upload",
        }
    }

    /// The methods it knows, as the header `Allow` has them.
    pub const fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Discover(_) | Self::Tags(_) | Self::Referrers(..) => "GET, HEAD",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }

    /// The repository, if it names one.
    pub const fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog | Self::Discover(None) => None,
            Self::Discover(Some(name)) | Self::Tags(name) | Self::Uploads(name) => Some(name),
            Self::Manifest(name, _) | Self::Blob(name, _) | Self::Upload(name, _) => Some(name),
            Self::Referrers(name, _) => Some(name),
        }
    }
}

/// Some clients escape the colon of a digest; nothing else is ever escaped.
fn colon(text: &str) -> Cow<'_, str> {
    match text.contains('%') {
        true => Cow::Owned(text.replacen("%3A", ":", 1).replacen("%3a", ":", 1)),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn every_endpoint_is_found_under_names_with_slashes() {
        let text = format!("sha256:{}", "ab".repeat(32));
        let digest: Digest = text.parse().unwrap();
        let id = Uuid::new_v4();
        for repository in ["a", "a/b", "blobs/uploads", "manifests/tags/list", "v2/v2", "a/blobs/uploads/x"] {
            for (tail, expected) in [
                ("tags/list".to_owned(), Endpoint::Tags(name(repository))),
                ("_oci/ext/discover".to_owned(), Endpoint::Discover(Some(name(repository)))),
                (format!("referrers/{text}"), Endpoint::Referrers(name(repository), digest)),
                (format!("manifests/{text}"), Endpoint::Manifest(name(repository), Reference::Digest(digest))),
                ("manifests/v1".to_owned(), Endpoint::Manifest(name(repository), "v1".parse().unwrap())),
                (format!("blobs/{text}"), Endpoint::Blob(name(repository), digest)),
                (format!("blobs/{}", text.replace(':', "%3A")), Endpoint::Blob(name(repository), digest)),
                ("blobs/uploads/".to_owned(), Endpoint::Uploads(name(repository))),
                ("blobs/uploads".to_owned(), Endpoint::Uploads(name(repository))),
                (format!("blobs/uploads/{id}"), Endpoint::Upload(name(repository), id)),
                (format!("blobs/uploads/{id}/"), Endpoint::Upload(name(repository), id)),
            ] {
                let path = format!("/v2/{repository}/{tail}");
                assert_eq!(Endpoint::parse(&path), Ok(expected), "{path}");
            }
        }
        assert_eq!(Endpoint::parse("/v2"), Ok(Endpoint::Base));
        assert_eq!(Endpoint::parse("/v2/"), Ok(Endpoint::Base));
        assert_eq!(Endpoint::parse("/v2/_catalog"), Ok(Endpoint::Catalog));
        assert_eq!(Endpoint::parse("/v2/_oci/ext/discover"), Ok(Endpoint::Discover(None)));
    }

    #[test]
    fn other_paths_are_refused_with_their_reason() {
        for (path, expected) in [
            ("/", PathError::NotFound),
            ("/v1/", PathError::NotFound),
            ("/v2x", PathError::NotFound),
            ("/v2/a", PathError::NotFound),
            ("/v2/a/b", PathError::NotFound),
            ("/v2/a/manifests/v1/", PathError::NotFound),
            ("/v2/A/tags/list", PathError::Name(NameError::Grammar)),
            ("/v2/a%2Fb/tags/list", PathError::Name(NameError::Grammar)),
            ("/v2//tags/list", PathError::Name(NameError::Grammar)),
            ("/v2/a/../b/manifests/v1", PathError::Name(NameError::Grammar)),
            ("/v2/a/blobs/latest", PathError::Digest(DigestError::Algorithm)),
            ("/v2/a/blobs/sha256:AB", PathError::Digest(DigestError::Encoded)),
            ("/v2/a/referrers/latest", PathError::Digest(DigestError::Algorithm)),
            ("/v2/a/blobs/uploads/x", PathError::UploadId),
            ("/v2/a/blobs/uploads/{6ba7b810-9dad-41d1-80b4-00c04fd430c8}", PathError::UploadId),
            ("/v2/a/blobs/uploads/6BA7B810-9DAD-41D1-80B4-00C04FD430C8", PathError::UploadId),
        ] {
            assert_eq!(Endpoint::parse(path), Err(expected), "{path}");
        }
        assert!(matches!(Endpoint::parse("/v2/a/manifests/.x"), Err(PathError::Reference(ReferenceError::Tag(_)))));
    }
}
