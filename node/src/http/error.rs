//! The one translation from domain words to statuses and the specification's codes. No `_` arm over a domain error, so that
//! a new one must choose its answer.

use super::body::Body;
use super::headers;
use super::limits::Refusal;
use super::v2::endpoint::PathError;
use crate::{auth, blobstore, metadata, registry};
use bytes::Bytes;
use flotilla_proto::oci::{DigestError, ErrorCode, ManifestError, ReferenceError};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// Seconds after which a client should try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path names nothing.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The endpoint does not know the method.
    #[error("the method is not supported here; supported: {allow}")]
    Method {
        /// For the header `Allow`.
        allow: &'static str,
    },
    /// `digest`, or `mount`, is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// An upload was finished without saying its digest.
    #[error("the query has no digest")]
    DigestMissing,
    /// A header is not well-formed.
    #[error("the header {0} is not well-formed")]
    Header(&'static str),
    /// `Content-Range` is not well-formed.
    #[error("Content-Range must be <first>-<last>, both inclusive")]
    ContentRange,
    /// More `tag` parameters than one request may have.
    #[error("the query has more than 100 tags")]
    TooManyTags,
    /// `tag` parameters belong to a push by digest.
    #[error("tag parameters need a digest as the reference")]
    TagParameter,
    /// `n` is no number.
    #[error("n must be a number, 0 or more")]
    PageSize,
    /// More scopes than one token can hold.
    #[error("more scopes than a token can hold; ask for fewer")]
    TooManyScopes,
    /// A range outside of the blob.
    #[error("the range is outside of the blob's {size} bytes")]
    RangeNotSatisfiable {
        /// Of the blob.
        size: u64,
    },
    /// The caller must say who it is.
    #[error("authentication is required")]
    Unauthenticated,
    /// The caller is not who it says, or that cannot be told now.
    #[error(transparent)]
    NotVerified(#[from] auth::NotVerified),
    /// The policy says no.
    #[error(transparent)]
    Denied(#[from] auth::Denied),
    /// Writes are switched off.
    #[error("the registry is read-only for now")]
    ReadOnly {
        /// For the header `Allow`.
        allow: &'static str,
    },
    /// A health check took this node out.
    #[error("a health check of this node fails")]
    Unhealthy,
    /// The use case failed.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The request is not looked at.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<metadata::Error> for Error {
    fn from(error: metadata::Error) -> Self {
        Self::Registry(error.into())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    errors: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
}

/// The answer that tells a client of `error`.
pub fn respond(error: &Error) -> Response<Body> {
    respond_with(error, None)
}

/// As [`respond`]; with this `detail` unless the error has its own.
pub fn respond_with(error: &Error, detail: Option<serde_json::Value>) -> Response<Body> {
    let (status, code) = match error {
        Error::Path(error) => path(error),
        Error::Method { .. } | Error::ReadOnly { .. } => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        Error::Digest(_) | Error::DigestMissing => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        Error::Header(_) => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
        Error::ContentRange => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid),
        Error::TooManyTags => (StatusCode::URI_TOO_LONG, ErrorCode::TagInvalid),
        Error::TagParameter => (StatusCode::BAD_REQUEST, ErrorCode::TagInvalid),
        Error::PageSize => (StatusCode::BAD_REQUEST, ErrorCode::PaginationNumberInvalid),
        Error::TooManyScopes => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        Error::RangeNotSatisfiable { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid),
        // Always 401: clients authenticate again on that, and give up on 403.
        Error::Unauthenticated
        | Error::NotVerified(auth::NotVerified::Wrong | auth::NotVerified::Token(_))
        | Error::Denied(_) => (StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized),
        Error::NotVerified(auth::NotVerified::Busy | auth::NotVerified::Unavailable) | Error::Unhealthy => {
            (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable)
        }
        Error::Registry(error) => answer(error),
        Error::Refused(refusal) => refusal.answer(),
    };
    let mut response = Response::new(Body::Full(Some(document(error, status, code, detail))));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, headers::JSON);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    match error {
        Error::Method { allow } | Error::ReadOnly { allow } => {
            fields.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        Error::RangeNotSatisfiable { size } => {
            fields.insert(header::CONTENT_RANGE, headers::value(format!("bytes */{size}")));
        }
        _ => {}
    }
    response
}

/// Whether other credentials might help.
pub fn is_about_caller(error: &Error) -> bool {
    use auth::NotVerified::{Token, Wrong};
    matches!(error, Error::Unauthenticated | Error::Denied(_) | Error::NotVerified(Wrong | Token(_)))
}

/// Domain words to statuses and codes.
fn answer(error: &registry::Error) -> (StatusCode, ErrorCode) {
    use registry::Error;
    match error {
        Error::NameUnknown(_) => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        Error::BlobUnknown(_) => (StatusCode::NOT_FOUND, ErrorCode::BlobUnknown),
        Error::BlobReferenced { .. } => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        Error::BlobDamaged(_) => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        Error::ManifestUnknown(_) => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
        Error::ManifestReferenced { .. } => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        Error::ManifestInvalid(ManifestError::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid),
        Error::ManifestInvalid(_) | Error::DescriptorSize { .. } | Error::MediaTypeStored(_) | Error::LayerUrl(_) => {
            (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid)
        }
        Error::ManifestBlobUnknown(_) => (StatusCode::BAD_REQUEST, ErrorCode::ManifestBlobUnknown),
        Error::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, ErrorCode::ManifestInvalid),
        Error::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        Error::SizeMismatch { .. } => (StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid),
        Error::UploadUnknown(_) => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
        Error::UploadFull(_) | Error::BodyIncomplete(_) => (StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid),
        Error::OffsetMismatch { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid),
        Error::CommitRunning(_) => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        Error::DeletesDisabled => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        Error::Metadata(error) => match error {
            metadata::Error::NoQuorum(_) | metadata::Error::Overloaded | metadata::Error::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable)
            }
            metadata::Error::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid),
            metadata::Error::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown),
        },
        Error::BlobStore(error) => match error {
            blobstore::Error::NotFound { .. }
            | blobstore::Error::Unavailable { .. }
            | blobstore::Error::Full { .. }
            | blobstore::Error::Refused { .. } => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        },
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown),
    }
}

fn path(error: &PathError) -> (StatusCode, ErrorCode) {
    match error {
        PathError::NotFound => (StatusCode::NOT_FOUND, ErrorCode::Unsupported),
        PathError::Name(_) => (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid),
        PathError::Reference(ReferenceError::Tag(_)) => (StatusCode::BAD_REQUEST, ErrorCode::TagInvalid),
        PathError::Reference(ReferenceError::Digest(_)) | PathError::Digest(_) => {
            (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid)
        }
        PathError::NoSuchTag => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
        PathError::UploadId => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
    }
}

/// The body: causes that are ours alone stay in our log.
fn document(error: &Error, status: StatusCode, code: ErrorCode, detail: Option<serde_json::Value>) -> Bytes {
    let internal = status.is_server_error() && !matches!(error, Error::Registry(registry::Error::CommitRunning(_)));
    let text = match internal {
        true if status == StatusCode::SERVICE_UNAVAILABLE => "the registry cannot answer for now; try again".to_owned(),
        true => "internal error".to_owned(),
        // Why a token is worth nothing is for our log: it would help who forges one.
        false if matches!(error, Error::NotVerified(_)) => error.to_string(),
        false => with_causes(error),
    };
    let entry = |detail| Entry { code: code.as_str(), message: &text, detail };
    let errors = match error {
        Error::Registry(registry::Error::ManifestBlobUnknown(missing)) => {
            missing.iter().map(|digest| entry(Some(serde_json::json!({ "digest": digest.to_string() })))).collect()
        }
        Error::Registry(registry::Error::ManifestReferenced { parents, .. }) => {
            let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
            vec![entry(Some(serde_json::json!({ "parents": parents })))]
        }
        _ => vec![entry(detail)],
    };
    serde_json::to_vec(&Document { errors }).unwrap_or_default().into()
}

/// The error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
