use crate::{blobstore, metadata};
use bytes::Bytes;
use flotilla_proto::oci::{Digest, ManifestError, Reference, RepositoryName};
use futures_util::stream::BoxStream;
use uuid::Uuid;

/// Why a request body ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request body. An error, or dropping it, means that the client is gone.
pub type Body = BoxStream<'static, Result<Bytes, BodyError>>;

/// Why a use case failed, in the specification's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such repository.
    #[error("repository {0} is not known")]
    NameUnknown(RepositoryName),
    /// The repository does not hold the blob.
    #[error("blob {0} is not known to the repository")]
    BlobUnknown(Digest),
    /// A manifest of the repository needs the blob.
    #[error("blob {digest} is used by {references} manifests of the repository")]
    BlobReferenced {
        /// The blob.
        digest: Digest,
        /// How many.
        references: u64,
    },
    /// The blob's bytes are missing or damaged in the store; pushing it again repairs it.
    #[error("the bytes of blob {0} are missing or damaged in the blob store")]
    BlobDamaged(Digest),
    /// No such manifest or tag in the repository.
    #[error("manifest {0} is not known to the repository")]
    ManifestUnknown(Reference),
    /// Indexes of the repository list the manifest.
    #[error("manifest {digest} is listed by other manifests of the repository")]
    ManifestReferenced {
        /// The manifest.
        digest: Digest,
        /// Some of those that list it.
        parents: Vec<Digest>,
    },
    /// The document is no manifest this registry takes.
    #[error("the manifest is invalid")]
    ManifestInvalid(#[from] ManifestError),
    /// The manifest states another size of a blob or child than it has.
    #[error("the manifest states {stated} bytes for {digest}, which has {actual}")]
    DescriptorSize {
        /// The blob or child.
        digest: Digest,
        /// In the manifest.
        stated: u64,
        /// In truth.
        actual: u64,
    },
    /// The repository does not hold what the manifest references.
    #[error("the manifest references {} blobs or manifests that the repository does not hold", .0.len())]
    ManifestBlobUnknown(Vec<Digest>),
    /// The same bytes are stored as a manifest of another media type.
    #[error("the repository holds this manifest with the media type {0}")]
    MediaTypeStored(String),
    /// A layer lives where the operator does not allow it.
    #[error("the layer URL {0:?} is not allowed")]
    LayerUrl(String),
    /// The tag is not where the client expects it.
    #[error("the tag has another value than expected")]
    PreconditionFailed,
    /// Content does not have the digest that the client names.
    #[error("the content has digest {actual}, not {expected}")]
    DigestMismatch {
        /// From the client.
        expected: Digest,
        /// In truth. (Boxed to keep errors small.)
        actual: Box<Digest>,
    },
    /// The body is longer or shorter than stated.
    #[error("the body has {actual} bytes instead of {expected}")]
    SizeMismatch {
        /// From the headers.
        expected: u64,
        /// In truth, or by another header.
        actual: u64,
    },
    /// No such upload in the repository, or it has ended.
    #[error("upload {0} is not known")]
    UploadUnknown(Uuid),
    /// The upload has too many chunks.
    #[error("upload {0} has more than 10,000 chunks: send larger ones")]
    UploadFull(Uuid),
    /// The chunk does not begin where the upload ends.
    #[error("upload {id} ends at {offset}")]
    OffsetMismatch {
        /// The upload.
        id: Uuid,
        /// Where the next chunk must begin.
        offset: u64,
    },
    /// The commit goes on after the client's patience; repeat the request.
    #[error("the commit of upload {0} is still running")]
    CommitRunning(Uuid),
    /// The client went away, or stopped sending.
    #[error("the request body ended early")]
    BodyIncomplete(#[source] BodyError),
    /// The operator has not enabled deletes.
    #[error("deletes are disabled")]
    DeletesDisabled,
    /// The metadata could not be read or changed.
    #[error("metadata failed")]
    Metadata(#[from] metadata::Error),
    /// The blob store failed.
    #[error("blob store failed")]
    BlobStore(#[from] blobstore::Error),
    /// Something that cannot be, by this program's own rules.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// An outcome that the state machine never gives for a command.
    pub(super) fn unexpected(outcome: &metadata::Outcome) -> Self {
        Self::Internal(format!("unexpected outcome {outcome:?}"))
    }
}
