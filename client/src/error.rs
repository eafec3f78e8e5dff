//! What can go wrong between a client and a registry.

use crate::transport::Answer;
use flotilla_proto::oci::Digest;
use http::{Method, StatusCode, header};
use serde::Deserialize;
use std::{fmt, io, time::Duration};

/// One entry of a registry's error body.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OciError {
    /// The code, such as `BLOB_UNKNOWN`. Text, because registries have codes of their own.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

/// An answer whose status is not one the request asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The request's method.
    pub method: Method,
    /// The request's path and query.
    pub path: String,
    /// The answer's status.
    pub status: StatusCode,
    /// The entries of the error body; empty if there was none or it was not OCI JSON.
    pub errors: Vec<OciError>,
    /// The answer's `Retry-After`, if it was given in seconds.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Reads the error body of `answer`.
    pub fn of(method: Method, path: String, answer: &Answer) -> Self {
        let retry_after = answer.text(&header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        Self {
            method,
            path,
            status: answer.status,
            errors: answer.oci_errors(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    /// Whether the error body has `code`.
    pub fn has_code(&self, code: &str) -> bool {
        self.errors.iter().any(|error| error.code == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} was answered {}", self.method, self.path, self.status)?;
        for error in &self.errors {
            write!(f, "; {}: {}", error.code, error.message)?;
        }
        Ok(())
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base address or a redirect's target cannot be used.
    #[error("'{url}' is no usable address: {reason}")]
    Address {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path or header of the request is not valid HTTP.
    #[error("the request is not valid HTTP")]
    Request(#[source] http::Error),
    /// No connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection failed in the middle of an exchange; the request may have taken effect.
    #[error("the exchange with {address} failed")]
    Exchange {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The registry said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A header that the specification demands is absent or malformed.
    #[error("{request}: the answer's header '{name}' is missing or malformed")]
    Header {
        /// Method and path.
        request: String,
        /// The header.
        name: &'static str,
    },
    /// A body that should be JSON of a known shape is not.
    #[error("{request}: the answer's body is not the JSON that was expected")]
    Json {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The bytes received or named are not those asked for.
    #[error("expected content of {expected}, got {actual}")]
    DigestMismatch {
        /// Asked for.
        expected: Box<Digest>,
        /// Received.
        actual: Box<Digest>,
    },
    /// An answer's body is longer than the caller allows in memory.
    #[error("the answer's body is longer than {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// The caller's sink refused bytes.
    #[error("cannot write what was pulled")]
    Sink(#[source] io::Error),
}

impl Error {
    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// Whether the registry refused with `code`, such as `BLOB_UNKNOWN`.
    pub fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.has_code(code))
    }

    /// A word for counting errors by kind; statuses count apart (`status_503`).
    pub fn kind(&self) -> String {
        let word = match self {
            Self::Address { .. } => "address",
            Self::Request(_) => "request",
            Self::Connect { .. } => "connect",
            Self::Exchange { .. } => "exchange",
            Self::Refused(refusal) => return format!("status_{}", refusal.status.as_u16()),
            Self::Header { .. } => "header",
            Self::Json { .. } => "json",
            Self::DigestMismatch { .. } => "digest_mismatch",
            Self::TooLong { .. } => "too_long",
            Self::Sink(_) => "sink",
        };
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    #[test]
    fn a_refusal_carries_codes_and_retry_after() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "3".parse().expect("valid"));
        let body = Bytes::from_static(br#"{"errors":[{"code":"UNAVAILABLE","message":"later","detail":{"a":1}}]}"#);
        let answer = Answer { status: StatusCode::SERVICE_UNAVAILABLE, headers, body };
        let refusal = Refusal::of(Method::GET, "/v2/".to_owned(), &answer);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(3)));
        let error = Error::Refused(Box::new(refusal));
        assert!(error.has_code("UNAVAILABLE") && !error.has_code("UNKNOWN"));
        assert_eq!(error.kind(), "status_503");
        assert_eq!(error.to_string(), "GET /v2/ was answered 503 Service Unavailable; UNAVAILABLE: later");
    }

    #[test]
    fn a_body_that_is_no_oci_json_gives_no_codes() {
        let body = Bytes::from_static(b"<html>");
        let answer = Answer { status: StatusCode::BAD_GATEWAY, headers: HeaderMap::new(), body };
        assert!(Refusal::of(Method::GET, "/v2/".to_owned(), &answer).errors.is_empty());
    }
}
