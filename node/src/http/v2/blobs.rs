use super::{Context, empty, mark_degraded};
use crate::blobstore;
use crate::http::{
    body::Body,
    conditions,
    error::Error,
    headers,
    multipart::Multipart,
    range::{self, Wanted},
};
use crate::registry::{self, Blob, Registry};
use flotilla_proto::oci::{Digest, RepositoryName};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, Response, StatusCode, header};
use std::{future::ready, ops::Range};

/// end-2: a blob, a part of it, or a redirect to it.
pub async fn get(
    request: &Context<'_>,
    name: &RepositoryName,
    digest: Digest,
    is_head: bool,
) -> Result<Response<Body>, Error> {
    let registry = request.front.registry();
    let grant = request.grant(name)?;
    let fields = &request.head.headers;
    let found = match is_head {
        true => registry.stat_blob(&grant, digest).await?,
        false => registry.blob(&grant, digest).await?,
    };
    let (blob, degraded) = (found.value, found.degraded);
    let (plain, etag) = headers::digest_and_etag(&digest);
    // Of a HEAD a range means nothing (RFC 9110 §14.2).
    let mut ranges = fields.get_all(header::RANGE).iter();
    let range = match (ranges.next(), ranges.next()) {
        (Some(range), None) if !is_head && conditions::range_applies(fields, &digest) => range.to_str().ok(),
        _ => None,
    };
    let wanted = range::wanted(range, blob.size);
    let mut response = if !conditions::must_send(fields, &digest)? {
        // With what the whole answer says to caches (RFC 9110 §15.4.5).
        let mut response = empty(StatusCode::NOT_MODIFIED);
        response.headers_mut().insert(header::CACHE_CONTROL, headers::CACHE_FOR_EVER);
        response
    } else if let Wanted::Parts(parts) = wanted {
        // Never a redirect: stores answer one range only.
        several(registry, blob, parts).await?
    } else if let Some(url) = registry.blob_url(&blob).await? {
        // Only a GET: a HEAD has no segments. A store's URL is signed for one method, and a HEAD needs no store.
        let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
        response.headers_mut().insert(header::LOCATION, headers::value(url));
        response
    } else {
        let size = blob.size;
        let (status, part) = match wanted {
            Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Wanted::Nothing => return Err(Error::RangeNotSatisfiable { size }),
            Wanted::Whole | Wanted::Parts(_) => (StatusCode::OK, 0..size),
        };
        let length = part.end - part.start;
        let mut response = content(status, length, headers::OCTET_STREAM);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            response.headers_mut().insert(header::CONTENT_RANGE, headers::value(range));
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

/// The head of an answer with bytes of a blob.
fn content(status: StatusCode, length: u64, media_type: HeaderValue) -> Response<Body> {
    let mut response = empty(status);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    fields.insert(header::CONTENT_TYPE, media_type);
    fields.insert(header::ACCEPT_RANGES, headers::BYTES);
    fields.insert(header::CACHE_CONTROL, headers::CACHE_FOR_EVER);
    response
}

/// Several ranges, one after the other; the first is opened before this returns.
async fn several(registry: &Registry, blob: Blob, parts: Vec<Range<u64>>) -> Result<Response<Body>, Error> {
    let Multipart { content_type, heads, tail, length } = Multipart::new(&parts, blob.size, "application/octet-stream");
    let mut first = match parts.first() {
        Some(part) => Some(registry.read_blob(blob.clone(), part.clone()).await?),
        None => None,
    };
    let registry = registry.clone();
    let framed = stream::iter(parts.into_iter().zip(heads)).flat_map(move |(part, head)| {
        let bytes = match first.take() {
            Some(opened) => opened,
            None => {
                let (registry, blob) = (registry.clone(), blob.clone());
                let open = async move { registry.read_blob(blob, part).await.map_err(of_the_store) };
                stream::once(open).try_flatten().boxed()
            }
        };
        stream::once(ready(Ok(head))).chain(bytes)
    });
    let mut response = content(StatusCode::PARTIAL_CONTENT, length, headers::value(content_type));
    let stream = framed.chain(stream::once(ready(Ok(tail)))).boxed();
    *response.body_mut() = Body::Stream { stream, left: length };
    Ok(response)
}

/// What ends a stream of bytes; it is not answered, only logged.
fn of_the_store(error: registry::Error) -> blobstore::Error {
    match error {
        registry::Error::BlobStore(error) => error,
        other => blobstore::Error::Refused { context: other.to_string(), source: None },
    }
}

/// end-10: takes a blob out of the repository.
pub async fn delete(request: &Context<'_>, name: &RepositoryName, digest: Digest) -> Result<Response<Body>, Error> {
    request.front.registry().delete_blob(&request.grant(name)?, digest).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
