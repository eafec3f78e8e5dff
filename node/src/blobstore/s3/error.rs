use crate::blobstore::Error;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// What a failed request means. `action` and `path` say what was asked.
pub(super) fn map<E>(error: SdkError<E, HttpResponse>, action: &str, path: &str) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code().unwrap_or_default().to_owned();
    let context = match (&error, error.message()) {
        (SdkError::ServiceError(_), Some(message)) => format!("{action} {path}: {code} {message}"),
        (SdkError::ServiceError(_), None) => format!("{action} {path}: {}", status.unwrap_or_default()),
        _ => format!("{action} {path}: {}", DisplayErrorContext(&error)),
    };
    match by_code(&code, status, context) {
        Error::NotFound { .. } => Error::NotFound { key: path.to_owned() },
        Error::Unavailable { context, .. } => Error::Unavailable { context, source: Some(Box::new(error)) },
        Error::Refused { context, .. } => Error::Refused { context, source: Some(Box::new(error)) },
        full => full,
    }
}

/// By the store's error code; where it is empty or new, by the status. No status: no (whole) answer.
pub(super) fn by_code(code: &str, status: Option<u16>, context: String) -> Error {
    match (code, status) {
        ("NoSuchKey" | "NotFound", _) | ("", Some(404)) => Error::NotFound { key: String::new() },
        ("QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage", _)
        | (_, Some(507)) => Error::Full { context },
        // Wrong clocks, expired tokens of a chain that renews them, conflicts with another request: these pass.
        (
            "SlowDown"
            | "RequestTimeout"
            | "RequestTimeTooSkewed"
            | "ExpiredToken"
            | "OperationAborted"
            | "InternalError"
            | "ServiceUnavailable"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "IncompleteBody",
            _,
        )
        | (_, None | Some(200..300 | 408 | 409 | 425 | 429 | 500..)) => unavailable(context),
        (_, Some(_)) => refused(context),
    }
}

pub(super) fn unavailable(context: String) -> Error {
    Error::Unavailable { context, source: None }
}

pub(super) fn refused(context: String) -> Error {
    Error::Refused { context, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_is_told_from_a_missing_bucket_and_a_refusal() {
        let error = |code, status| by_code(code, status, String::new());
        assert!(matches!(error("NoSuchKey", Some(404)), Error::NotFound { .. }));
        assert!(matches!(error("NoSuchBucket", Some(404)), Error::Refused { .. }));
        assert!(matches!(error("NoSuchUpload", Some(404)), Error::Refused { .. }));
        assert!(matches!(error("AccessDenied", Some(403)), Error::Refused { .. }));
        assert!(matches!(error("SlowDown", Some(503)), Error::Unavailable { .. }));
        assert!(matches!(error("", None), Error::Unavailable { .. }));
        assert!(matches!(error("XMinioStorageFull", Some(507)), Error::Full { .. }));
    }
}
