use super::Context;
use super::tags::page_size;
use crate::http::query::{Query, escape};
use crate::http::{body::Body, error::Error, headers};
use crate::registry::Referrer;
use flotilla_proto::oci::{Digest, RepositoryName};
use http::{HeaderValue, Response, header};
use serde::Serialize;
use std::collections::BTreeMap;

/// Referrers on one page, at most.
const PAGE_MAX: usize = 1_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    size: u64,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// end-12: what refers to a manifest, which need not exist.
pub async fn list(request: &Context<'_>, name: &RepositoryName, subject: Digest) -> Result<Response<Body>, Error> {
    let grant = request.grant(name)?;
    let query = Query::of(&request.head.uri);
    let limit = page_size(&query, PAGE_MAX, PAGE_MAX)?;
    let after = match query.get("last").filter(|last| !last.is_empty()) {
        Some(last) => Some(last.parse()?),
        None => None,
    };
    let filter = query.get("artifactType").filter(|filter| !filter.is_empty());
    let found = match limit {
        0 => Default::default(),
        _ => request.front.registry().referrers(&grant, &subject, filter.as_deref(), after, limit).await?,
    };
    let manifests = found.page.iter().map(descriptor).collect();
    let index = Index { schema_version: 2, media_type: "application/vnd.oci.image.index.v1+json", manifests };
    let json = serde_json::to_vec(&index).unwrap_or_default();

    let mut response = Response::new(Body::Full(Some(json.into())));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, headers::OCI_INDEX);
    if filter.is_some() {
        fields.insert(headers::OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(after) = found.next_after {
        let filter = filter.map(|filter| format!("&artifactType={}", escape(&filter))).unwrap_or_default();
        let path = request.origin.path(&format!("/v2/{name}/referrers/{subject}"));
        let next = format!("<{path}?last={after}&n={limit}{filter}>; rel=\"next\"");
        fields.insert(header::LINK, headers::value(next));
    }
    Ok(response)
}

fn descriptor(referrer: &Referrer) -> Descriptor<'_> {
    Descriptor {
        media_type: &referrer.media_type,
        size: referrer.size,
        digest: referrer.digest.to_string(),
        artifact_type: referrer.artifact_type.as_deref(),
        annotations: &referrer.annotations,
    }
}
