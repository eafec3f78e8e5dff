use super::{Context, empty};
use crate::http::{body::Body, error, error::Error, headers, query::Query};
use crate::registry::{self, Chunk, Committed, Source, Upload};
use flotilla_proto::oci::{Algorithm, Digest, RepositoryName};
use http::{HeaderValue, Response, StatusCode, header};
use uuid::Uuid;

/// Bytes that chunks should have at least, the last one excepted: an upload has at most 10,000. Smaller ones are taken. Not
/// more than what is drained after an early answer, so that a chunk out of order leaves the connection usable.
const CHUNK_MIN_LENGTH: HeaderValue = HeaderValue::from_static("1048576");

/// end-4a, 4b, 11: opens an upload, takes a whole blob, or mounts one.
pub async fn open(request: &Context<'_>, name: &RepositoryName) -> Result<Response<Body>, Error> {
    let registry = request.front.registry();
    let grant = request.grant(name)?;
    let query = Query::of(&request.head.uri);
    if let Some(mount) = query.get("mount") {
        // What is no digest or repository name is nowhere: as with a blob that is not there, an upload is opened.
        let from = query.get("from").filter(|from| !from.is_empty()).map(|from| from.parse::<RepositoryName>());
        let source = match from {
            Some(Ok(from)) => request.grant(&from).ok().map(Source::Repository),
            Some(Err(_)) => None,
            None => request.listing().and_then(|listing| listing.everything()).map(Source::Any),
        };
        if let (Ok(digest), Some(source)) = (mount.parse::<Digest>(), source)
            && registry.mount(&source, &grant, digest).await?.is_some()
        {
            request.front.metrics().upload_ended("mounted");
            return Ok(created(request, name, &digest));
        }
    } else if let Some(digest) = query.get("digest") {
        let digest = digest.parse()?;
        let committed = registry.upload(&grant, digest, chunk(request)?).await?;
        return Ok(finished(request, name, &committed));
    }
    let algorithm = match query.get("digest-algorithm") {
        Some(algorithm) => algorithm.parse()?,
        None => Algorithm::Sha256,
    };
    let upload = registry.open_upload(&grant, algorithm).await?;
    let mut response = progress(request, StatusCode::ACCEPTED, name, upload);
    response.headers_mut().insert(headers::OCI_CHUNK_MIN_LENGTH, CHUNK_MIN_LENGTH);
    Ok(response)
}

/// end-13: how far an upload is.
pub async fn status(request: &Context<'_>, name: &RepositoryName, id: Uuid) -> Result<Response<Body>, Error> {
    let upload = request.front.registry().upload_status(&request.grant(name)?, id).await?;
    Ok(progress(request, StatusCode::NO_CONTENT, name, upload))
}

/// end-5: a chunk.
pub async fn write(request: &Context<'_>, name: &RepositoryName, id: Uuid) -> Result<Response<Body>, Error> {
    let grant = request.grant(name)?;
    let chunk = match chunk(request) {
        Ok(chunk) => chunk,
        Err(error) => return unplaced(request, name, id, error).await,
    };
    match request.front.registry().write_chunk(&grant, id, chunk).await {
        Ok(upload) => {
            request.front.metrics().uploaded(request.body.received());
            Ok(progress(request, StatusCode::ACCEPTED, name, upload))
        }
        Err(error) => with_progress(request, name, error),
    }
}

/// end-6: the last chunk, if any, and the digest.
pub async fn finish(request: &Context<'_>, name: &RepositoryName, id: Uuid) -> Result<Response<Body>, Error> {
    let grant = request.grant(name)?;
    let digest = Query::of(&request.head.uri).get("digest").ok_or(Error::DigestMissing)?;
    let digest = digest.parse()?;
    let chunk = match chunk(request) {
        Ok(chunk) => chunk,
        Err(error) => return unplaced(request, name, id, error).await,
    };
    match request.front.registry().finish_upload(&grant, id, digest, chunk).await {
        Ok(committed) => Ok(finished(request, name, &committed)),
        Err(error) => with_progress(request, name, error),
    }
}

/// end-14: gives an upload up. Always allowed to those who may push.
pub async fn cancel(request: &Context<'_>, name: &RepositoryName, id: Uuid) -> Result<Response<Body>, Error> {
    request.front.registry().cancel_upload(&request.grant(name)?, id).await?;
    request.front.metrics().upload_ended("cancelled");
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(headers::DOCKER_UPLOAD_UUID, headers::value(id.to_string()));
    Ok(response)
}

/// The request's body and what its header says of it.
fn chunk(request: &Context<'_>) -> Result<Chunk, Error> {
    let fields = &request.head.headers;
    let mut ranges = fields.get_all(header::CONTENT_RANGE).iter();
    let range = match (ranges.next(), ranges.next()) {
        (None, _) => None,
        (Some(value), None) => {
            let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(parsed.ok_or(Error::ContentRange)?)
        }
        (Some(_), Some(_)) => return Err(Error::ContentRange),
    };
    let length = headers::content_length(fields);
    let length = length.or_else(|| request.body.is_end().then_some(0));
    Ok(Chunk { body: request.body.stream(), length, range })
}

fn finished(request: &Context<'_>, name: &RepositoryName, committed: &Committed) -> Response<Body> {
    request.front.metrics().uploaded(request.body.received());
    request.front.metrics().upload_ended("committed");
    created(request, name, &committed.digest)
}

fn created(request: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Response<Body> {
    let location = request.origin.location(&format!("/v2/{name}/blobs/{digest}"));
    let mut response = empty(StatusCode::CREATED);
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, headers::value(location));
    fields.insert(headers::DOCKER_CONTENT_DIGEST, headers::value(digest.to_string()));
    response
}

/// An answer that says where the upload goes on.
fn progress(request: &Context<'_>, status: StatusCode, name: &RepositoryName, upload: Upload) -> Response<Body> {
    let mut response = empty(status);
    insert_progress(request, &mut response, name, upload);
    response
}

fn insert_progress(
    request: &Context<'_>,
    response: &mut Response<Body>,
    name: &RepositoryName,
    Upload { id, offset }: Upload,
) {
    let location = request.origin.location(&format!("/v2/{name}/blobs/uploads/{id}"));
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, headers::value(location));
    fields.insert(header::RANGE, headers::value(format!("0-{}", offset.saturating_sub(1))));
    fields.insert(headers::DOCKER_UPLOAD_UUID, headers::value(id.to_string()));
}

/// A chunk that does not say where it belongs: the same answer as to one out of order.
async fn unplaced(
    request: &Context<'_>,
    name: &RepositoryName,
    id: Uuid,
    error: Error,
) -> Result<Response<Body>, Error> {
    let upload = request.front.registry().upload_status(&request.grant(name)?, id).await?;
    let mut response = error::respond(&error);
    insert_progress(request, &mut response, name, upload);
    Ok(response)
}

/// A chunk out of order is answered with where the upload ends, so that the client can go on from there.
fn with_progress(
    request: &Context<'_>,
    name: &RepositoryName,
    error: registry::Error,
) -> Result<Response<Body>, Error> {
    match error {
        registry::Error::OffsetMismatch { id, offset } => {
            let mut response = error::respond(&error.into());
            insert_progress(request, &mut response, name, Upload { id, offset });
            Ok(response)
        }
        error => Err(error.into()),
    }
}
