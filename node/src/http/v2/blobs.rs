use super::{Context, empty, mark_degraded};
use crate::http::{body::Body, error::Error, headers, range};
use flotilla_proto::oci::{Digest, RepositoryName};
use http::{HeaderValue, Response, StatusCode, header};

/// end-2: a blob, a part of it, or a redirect to it.
pub async fn get(
    request: &Context<'_>,
    name: &RepositoryName,
    digest: Digest,
    is_head: bool,
) -> Result<Response<Body>, Error> {
    let registry = request.front.registry();
    let fields = &request.head.headers;
    let found = match is_head {
        true => registry.stat_blob(name, digest).await?,
        false => registry.blob(name, digest).await?,
    };
    let (blob, degraded) = (found.value, found.degraded);
    let (plain, etag) = headers::digest_and_etag(&digest);
    let mut response = if headers::none_match(fields, &digest) {
        empty(StatusCode::NOT_MODIFIED)
    } else if let Some(url) = registry.blob_url(&blob).await? {
        // Only a GET: a HEAD has no segments. A store's URL is signed for one method, and a HEAD needs no store.
        let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
        response.headers_mut().insert(header::LOCATION, headers::value(url));
        response
    } else {
        let size = blob.size;
        let wanted = fields.get(header::RANGE).and_then(|value| value.to_str().ok());
        let (status, part) = match range::wanted(wanted, size) {
            range::Wanted::Whole => (StatusCode::OK, 0..size),
            range::Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            range::Wanted::Nothing => return Err(Error::RangeNotSatisfiable { size }),
        };
        let length = part.end - part.start;
        let mut response = empty(status);
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        fields.insert(header::CONTENT_TYPE, headers::OCTET_STREAM);
        fields.insert(header::ACCEPT_RANGES, headers::BYTES);
        fields.insert(header::CACHE_CONTROL, headers::CACHE_FOR_EVER);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            fields.insert(header::CONTENT_RANGE, headers::value(range));
        }
        if !is_head && length > 0 {
            *response.body_mut() = Body::Stream { stream: registry.read_blob(blob, part).await?, left: length };
        }
        response
    };
    response.headers_mut().insert(headers::DOCKER_CONTENT_DIGEST, plain);
    response.headers_mut().insert(header::ETAG, etag);
    mark_degraded(&mut response, degraded);
    Ok(response)
}

/// end-10: takes a blob out of the repository.
pub async fn delete(request: &Context<'_>, name: &RepositoryName, digest: Digest) -> Result<Response<Body>, Error> {
    request.front.registry().delete_blob(name, digest).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
