use super::endpoint::PathError;
use super::{Context, empty, mark_degraded};
use crate::http::body::{Body, CollectError};
use crate::http::{conditions, error::Error, headers, query::Query};
use crate::registry::{self, Condition, NewManifest, Served};
use flotilla_proto::oci::{Digest, MANIFEST_BYTES_MAX, ManifestError, Reference, ReferenceError, RepositoryName, Tag};
use http::{HeaderValue, Response, StatusCode, header};

/// Tags that one PUT may have as parameters (the specification asks for 10 at least).
const TAGS_MAX: usize = 100;
/// `OCI-Tag` headers of one answer, at most; more tags share headers. (Some clients take no more than 100 headers.)
const TAG_FIELDS_MAX: usize = 50;
/// For whoever relies on the registry to hold all of an image.
const ELSEWHERE: &str = "299 - \"some layers are not stored in this registry: their URLs must stay reachable\"";

/// end-3: the bytes and the type as they were put, whatever `Accept` says.
pub async fn get(
    request: &Context<'_>,
    name: &RepositoryName,
    reference: &Reference,
    is_head: bool,
) -> Result<Response<Body>, Error> {
    let registry = request.front.registry();
    let grant = request.grant(name)?;
    let fields = &request.head.headers;
    let (manifest, body, degraded) = if is_head || conditions::has_any(fields) {
        let Served { value, degraded } = registry.stat_manifest(&grant, reference).await?;
        (value, None, degraded)
    } else {
        let Served { value, degraded } = registry.manifest(&grant, reference).await?;
        (value.manifest, Some(value.body), degraded)
    };
    let (plain, etag) = headers::digest_and_etag(&manifest.digest);
    let mut response = empty(StatusCode::OK);
    if !conditions::must_send(fields, &manifest.digest)? {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        if !is_head {
            let body = match body {
                Some(body) => body,
                None => registry.manifest(&grant, &Reference::Digest(manifest.digest)).await?.value.body,
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

/// end-7: puts a manifest, by digest also with tags. `If-Match` and `If-None-Match` compare what the reference stands for.
pub async fn put(request: &Context<'_>, name: &RepositoryName, reference: &Reference) -> Result<Response<Body>, Error> {
    let grant = request.grant(name)?;
    let fields = &request.head.headers;
    let tags = tag_parameters(&Query::of(&request.head.uri), reference)?;
    let too_large = || Error::from(registry::Error::from(ManifestError::TooLarge));
    if headers::content_length(fields).is_some_and(|length| length > MANIFEST_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let mut types = fields.get_all(header::CONTENT_TYPE).iter();
    let content_type = match (types.next(), types.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| Error::Header("Content-Type"))?),
        (Some(_), Some(_)) => return Err(Error::Header("Content-Type")),
    };
    let body = request.body.collect(MANIFEST_BYTES_MAX).await.map_err(|error| match error {
        CollectError::TooLarge => too_large(),
        CollectError::Incomplete(error) => registry::Error::BodyIncomplete(error).into(),
    })?;
    let holds = |current: Option<&Digest>| conditions::permit_write(fields, current);
    let condition: Option<Condition<'_>> = if conditions::has_any(fields) { Some(&holds) } else { None };
    let new = NewManifest { reference, tags: tags.clone(), content_type, body, condition };
    let put = request.front.registry().put_manifest(&grant, new).await?;

    let location = request.origin.location(&format!("/v2/{name}/manifests/{}", put.digest));
    let mut response = empty(StatusCode::CREATED);
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, headers::value(location));
    fields.insert(headers::DOCKER_CONTENT_DIGEST, headers::value(put.digest.to_string()));
    if let Some(subject) = put.subject {
        fields.insert(headers::OCI_SUBJECT, headers::value(subject.to_string()));
    }
    for group in tags.chunks(tags.len().div_ceil(TAG_FIELDS_MAX).max(1)) {
        let group: Vec<&str> = group.iter().map(Tag::as_str).collect();
        fields.append(headers::OCI_TAG, headers::value(group.join(", ")));
    }
    if put.elsewhere > 0 {
        fields.insert(header::WARNING, HeaderValue::from_static(ELSEWHERE));
    }
    Ok(response)
}

/// `tag`, which a PUT by digest may have several times.
fn tag_parameters(query: &Query<'_>, reference: &Reference) -> Result<Vec<Tag>, Error> {
    let mut tags: Vec<Tag> = Vec::new();
    for (n, text) in query.all("tag").enumerate() {
        if matches!(reference, Reference::Tag(_)) {
            return Err(Error::TagParameter);
        }
        if n == TAGS_MAX {
            return Err(Error::TooManyTags);
        }
        let tag = text.parse().map_err(|error| PathError::Reference(ReferenceError::Tag(error)))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// end-9: deletes a tag, or a manifest with all its tags.
pub async fn delete(
    request: &Context<'_>,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, Error> {
    let grant = request.grant(name)?;
    let (registry, fields) = (request.front.registry(), &request.head.headers);
    let holds = |current: Option<&Digest>| conditions::permit_write(fields, current);
    let condition: Option<Condition<'_>> = if conditions::has_any(fields) { Some(&holds) } else { None };
    match reference {
        Reference::Tag(tag) => registry.delete_tag(&grant, tag, condition).await?,
        Reference::Digest(digest) => registry.delete_manifest(&grant, *digest, condition).await?,
    }
    Ok(empty(StatusCode::ACCEPTED))
}
