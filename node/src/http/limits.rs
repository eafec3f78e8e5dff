//! What one client, and all of them together, may take; and what they are told beyond it.

use super::body::Body;
use super::error::{self, Error};
use super::headers;
use flotilla_proto::oci::ErrorCode;
use http::{HeaderMap, Method, Response, StatusCode, Version, header, request::Parts};
use std::time::Duration;

/// The longest request line, about: the target alone may have this many bytes.
pub(super) const TARGET_BYTES_MAX: usize = 8 << 10;
/// All of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
/// Header lines of one request.
pub(super) const HEADERS_MAX: usize = 100;
/// Who moves less than this during [`Limits::progress`], while we wait for it, is given up.
pub(super) const PROGRESS_BYTES: u64 = 1 << 10;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; more are answered 503 and closed.
    pub connections: usize,
    /// Requests whose answers are not sent yet; more are answered 503.
    pub requests: usize,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// A client must take or send 1 KiB of a body in this time. A body that is collected may last twice as long.
    pub progress: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            requests: 4_096,
            head: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            progress: Duration::from_secs(60),
        }
    }
}

/// Marks a request beyond [`Limits::requests`].
#[derive(Clone, Copy)]
pub(super) struct Overloaded;

/// Why a request is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP, or framed in a way that two readers could read differently.
    #[error("the request is not well-formed HTTP")]
    Malformed,
    /// Missing, double, or no host at all.
    #[error("the request must have exactly one well-formed header Host")]
    Host,
    /// Neither a path nor a URL.
    #[error("the request target is not a path")]
    Target,
    /// See [`TARGET_BYTES_MAX`].
    #[error("the request target is longer than 8 KiB")]
    TargetTooLong,
    /// See [`HEAD_BYTES_MAX`] and [`HEADERS_MAX`].
    #[error("the headers are too large: at most 100 of them with 32 KiB")]
    HeadTooLarge,
    /// The operator wants HTTP/1.1 only.
    #[error("HTTP/2 is switched off here")]
    Http2,
    /// See [`Limits::head`].
    #[error("the request's head did not arrive in time")]
    HeadLate,
    /// See [`Limits::progress`].
    #[error("the request's body did not arrive in time")]
    BodyLate,
    /// See [`Limits::requests`] and [`Limits::connections`].
    #[error("too many requests at once")]
    Overloaded,
}

impl Refusal {
    /// Its status and code.
    pub(super) fn answer(self) -> (StatusCode, ErrorCode) {
        match self {
            Self::Malformed | Self::Host | Self::Target => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
            Self::Http2 => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, ErrorCode::Unsupported),
            Self::TargetTooLong => (StatusCode::URI_TOO_LONG, ErrorCode::Unsupported),
            Self::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::Unsupported),
            Self::HeadLate | Self::BodyLate => (StatusCode::REQUEST_TIMEOUT, ErrorCode::Unsupported),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        }
    }

    /// The answer as bytes of HTTP/1.1, for a connection that is closed after it. To a `HEAD` it has no body.
    pub(super) fn bytes(self, is_head: bool, own: &HeaderMap) -> Vec<u8> {
        let mut response = error::respond(&Error::Refused(self));
        let fields = response.headers_mut();
        fields.insert(headers::API_VERSION, headers::REGISTRY_2_0);
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, headers::NOSNIFF);
        headers::add(fields, own);
        serialized(&response, is_head)
    }
}

fn serialized(response: &Response<Body>, is_head: bool) -> Vec<u8> {
    let body = match response.body() {
        Body::Full(Some(bytes)) => bytes.clone(),
        _ => Default::default(),
    };
    let status = response.status();
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    bytes.push_str(&format!("content-length: {}\r\nconnection: close\r\n", body.len()));
    let mut bytes = bytes.into_bytes();
    for (name, value) in response.headers() {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(piece);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    if !is_head {
        bytes.extend_from_slice(&body);
    }
    bytes
}

/// What is wrong with a head that hyper takes.
pub(super) fn flaw(head: &Parts) -> Option<Error> {
    if head.version <= Version::HTTP_11 && !host_is_sound(head.version, &head.headers) {
        return Some(Refusal::Host.into());
    }
    if head.version <= Version::HTTP_11 && !coding_is_sound(&head.headers) {
        return Some(Refusal::Malformed.into());
    }
    if head.uri.path_and_query().is_some_and(|target| !target.as_str().bytes().all(|byte| byte.is_ascii_graphic())) {
        return Some(Refusal::Target.into());
    }
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
        return Some(Refusal::TargetTooLong.into());
    }
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Some(Error::Method { allow: "GET, HEAD, POST, PUT, PATCH, DELETE" });
    }
    (!head.uri.path().starts_with('/')).then(|| Refusal::Target.into())
}

/// Two hosts, or none, are read differently by different readers (RFC 9112, 3.2).
fn host_is_sound(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// `host`, `host:port` or `[address]:port`; nothing at all is allowed (RFC 9110, 7.2).
fn is_host(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(byte);
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        None => text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len())),
    };
    let bracketed = text.starts_with(b"[");
    let port = port.strip_prefix(b":").unwrap_or(port);
    let port_is_sound = port.iter().all(u8::is_ascii_digit);
    port_is_sound && host.iter().all(|byte| plain(byte) || bracketed && *byte == b':')
}

/// The body must be framed in the one way that every reader knows: `chunked`, once (RFC 9112, 6.1).
fn coding_is_sound(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}
