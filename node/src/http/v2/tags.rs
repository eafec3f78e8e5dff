use super::Context;
use crate::http::{body::Body, error::Error, headers, query::Query};
use crate::registry::Page;
use flotilla_proto::oci::RepositoryName;
use http::{Response, header};
use serde::Serialize;

/// Names on one page, if the client does not say.
const CATALOG_PAGE: usize = 100;
/// Tags on one page, if the client does not say: old clients read one page only.
const TAGS_PAGE: usize = 100_000;

#[derive(Serialize)]
struct Tags<'a> {
    name: &'a str,
    tags: &'a [String],
}

#[derive(Serialize)]
struct Catalog<'a> {
    repositories: &'a [String],
}

/// end-8: the tags of a repository.
pub async fn list(request: &Context<'_>, name: &RepositoryName) -> Result<Response<Body>, Error> {
    let grant = request.grant(name)?;
    let (limit, last) = page(request, TAGS_PAGE, request.front.registry().settings().tags_page)?;
    let page = request.front.registry().tags(&grant, last.as_deref(), limit).await?;
    let body = Tags { name: name.as_str(), tags: &page.names };
    Ok(respond(&body, &page, limit, &request.origin.path(&format!("/v2/{name}/tags/list"))))
}

/// The repositories.
pub async fn catalog(request: &Context<'_>) -> Result<Response<Body>, Error> {
    let listing = request.listing().ok_or(Error::Unauthenticated)?;
    let most = request.front.registry().settings().catalog_page;
    let (limit, last) = page(request, CATALOG_PAGE.min(most), most)?;
    let page = request.front.registry().repositories(&listing, last.as_deref(), limit).await?;
    Ok(respond(&Catalog { repositories: &page.names }, &page, limit, &request.origin.path("/v2/_catalog")))
}

/// `n` and `last`.
fn page(request: &Context<'_>, default: usize, max: usize) -> Result<(usize, Option<String>), Error> {
    let query = Query::of(&request.head.uri);
    Ok((page_size(&query, default, max)?, query.get("last").filter(|last| !last.is_empty())))
}

/// `n`, at most `max`.
pub(super) fn page_size(query: &Query<'_>, default: usize, max: usize) -> Result<usize, Error> {
    match query.get("n").filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(text.parse().unwrap_or(usize::MAX).min(max)),
        Some(_) => Err(Error::PageSize),
    }
}

fn respond(body: &impl Serialize, page: &Page, limit: usize, path: &str) -> Response<Body> {
    let json = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::Full(Some(json.into())));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, headers::JSON);
    if let Some(last) = &page.next_after {
        let last = last.replace('/', "%2F");
        fields.insert(header::LINK, headers::value(format!("<{path}?last={last}&n={limit}>; rel=\"next\"")));
    }
    response
}
