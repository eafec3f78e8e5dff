use super::{Context, empty, mark_degraded};
use crate::http::body::{Body, CollectError};
use crate::http::{error::Error, headers};
use crate::registry::{self, Served};
use flotilla_proto::oci::{MANIFEST_BYTES_MAX, ManifestError, Reference, RepositoryName};
use http::{HeaderValue, Response, StatusCode, header};

/// end-3: the bytes and the type as they were put, whatever `Accept` says.
pub async fn get(
    request: &Context<'_>,
    name: &RepositoryName,
    reference: &Reference,
    is_head: bool,
) -> Result<Response<Body>, Error> {
    let registry = request.front.registry();
    let fields = &request.head.headers;
    let (manifest, body, degraded) = if is_head || fields.contains_key(header::IF_NONE_MATCH) {
        let Served { value, degraded } = registry.stat_manifest(name, reference).await?;
        (value, None, degraded)
    } else {
        let Served { value, degraded } = registry.manifest(name, reference).await?;
        (value.manifest, Some(value.body), degraded)
    };
    let (plain, etag) = headers::digest_and_etag(&manifest.digest);
    let mut response = empty(StatusCode::OK);
    if headers::none_match(fields, &manifest.digest) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        if !is_head {
            let body = match body {
                Some(body) => body,
                None => registry.manifest(name, &Reference::Digest(manifest.digest)).await?.value.body,
            };
            *response.body_mut() = Body::Full(Some(body));
        }
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(manifest.size));
        fields.insert(header::CONTENT_TYPE, headers::value(&manifest.media_type));
    }
    response.headers_mut().insert(headers::DOCKER_CONTENT_DIGEST, plain);
    response.headers_mut().insert(header::ETAG, etag);
    mark_degraded(&mut response, degraded);
    Ok(response)
}

/// end-7: puts a manifest.
pub async fn put(request: &Context<'_>, name: &RepositoryName, reference: &Reference) -> Result<Response<Body>, Error> {
    let fields = &request.head.headers;
    let too_large = || Error::from(registry::Error::from(ManifestError::TooLarge));
    if headers::content_length(fields).is_some_and(|length| length > MANIFEST_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let content_type = match fields.get(header::CONTENT_TYPE) {
        Some(value) => Some(value.to_str().map_err(|_| Error::Header("Content-Type"))?),
        None => None,
    };
    let body = request.body.collect(MANIFEST_BYTES_MAX).await.map_err(|error| match error {
        CollectError::TooLarge => too_large(),
        CollectError::Incomplete(error) => registry::Error::BodyIncomplete(error).into(),
    })?;
    let put = request.front.registry().put_manifest(name, reference, content_type, body).await?;

    let mut response = empty(StatusCode::CREATED);
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, headers::value(format!("/v2/{name}/manifests/{}", put.digest)));
    fields.insert(headers::DOCKER_CONTENT_DIGEST, headers::value(put.digest.to_string()));
    if let Some(subject) = put.subject {
        fields.insert(headers::OCI_SUBJECT, headers::value(subject.to_string()));
    }
    Ok(response)
}

/// end-9: deletes a tag, or a manifest with all its tags.
pub async fn delete(
    request: &Context<'_>,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, Error> {
    match reference {
        Reference::Tag(tag) => request.front.registry().delete_tag(name, tag).await?,
        Reference::Digest(digest) => request.front.registry().delete_manifest(name, *digest).await?,
    }
    Ok(empty(StatusCode::ACCEPTED))
}
