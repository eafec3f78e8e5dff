//! Header names and values that are used over and over, made once; and small readers of request headers.

use flotilla_proto::oci::Digest;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// `Docker-Content-Digest`
pub const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// `Docker-Upload-UUID`
pub const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// `Docker-Distribution-Api-Version`
pub const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// `OCI-Subject`
pub const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// `X-Request-Id`
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `Flotilla-Degraded-Read`: no leader could be reached; the age in seconds of the local state that was read.
pub const DEGRADED_READ: HeaderName = HeaderName::from_static("flotilla-degraded-read");

/// `registry/2.0`
pub const REGISTRY_2_0: HeaderValue = HeaderValue::from_static("registry/2.0");
/// `nosniff`
pub const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// `application/json`
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// `application/octet-stream`
pub const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// `bytes`
pub const BYTES: HeaderValue = HeaderValue::from_static("bytes");
/// Blobs never change.
pub const CACHE_FOR_EVER: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// `0`
pub const ZERO: HeaderValue = HeaderValue::from_static("0");

/// A value from text that this program made of visible ASCII.
pub fn value(text: impl AsRef<str>) -> HeaderValue {
    HeaderValue::from_str(text.as_ref()).unwrap_or(HeaderValue::from_static(""))
}

/// `<digest>` and `"<digest>"`.
pub fn digest_and_etag(digest: &Digest) -> (HeaderValue, HeaderValue) {
    let mut text = String::with_capacity(142);
    text.push('"');
    text.push_str(digest.algorithm().as_str());
    text.push(':');
    text.push_str(&digest.hex());
    text.push('"');
    let plain = value(&text[1..text.len() - 1]);
    (plain, value(text))
}

/// `Content-Length` as a number, if there is one.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether `If-None-Match` names the digest, quoted or bare.
pub fn none_match(headers: &HeaderMap, digest: &Digest) -> bool {
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    let digest = digest.to_string();
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|tag| {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
            tag == "*" || tag == digest
        })
    })
}
