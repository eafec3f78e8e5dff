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
/// `OCI-Tag`: a tag that was pushed as a query parameter
pub const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// `OCI-Filters-Applied`
pub const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// `OCI-Chunk-Min-Length`
pub const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
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
/// `application/vnd.oci.image.index.v1+json`
pub const OCI_INDEX: HeaderValue = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
/// `application/octet-stream`
pub const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// `bytes`
pub const BYTES: HeaderValue = HeaderValue::from_static("bytes");
/// Blobs never change.
pub const CACHE_FOR_EVER: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// `no-store`
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// `0`
pub const ZERO: HeaderValue = HeaderValue::from_static("0");

/// Adds what an operator wants in every answer; it replaces what is there.
pub fn add(fields: &mut HeaderMap, own: &HeaderMap) {
    for name in own.keys() {
        fields.remove(name);
    }
    for (name, value) in own {
        fields.append(name, value.clone());
    }
}

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
