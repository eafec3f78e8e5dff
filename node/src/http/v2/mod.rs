//! The distribution specification's endpoints, one file per noun.

mod base;
mod blobs;
pub mod endpoint;
mod manifests;
mod referrers;
mod tags;
mod uploads;

use super::body::{Body, RequestBody};
use super::error::Error;
use super::headers;
use super::origin::Origin;
use super::router::Front;
use crate::auth::{Caller, Grant, Kind, Listing, Pull};
use endpoint::Endpoint;
use flotilla_proto::oci::RepositoryName;
use http::{HeaderValue, Method, Response, StatusCode, request::Parts};
use std::time::Duration;

/// Answers a request to an endpoint.
pub async fn answer(
    front: &Front,
    head: &Parts,
    endpoint: &Endpoint,
    body: &RequestBody,
    caller: &Caller,
    origin: &Origin<'_>,
) -> Result<Response<Body>, Error> {
    let request = Context { front, head, body, caller, origin, endpoint };
    let is_head = head.method == Method::HEAD;
    if endpoint.repository().is_none() && !front.admits(caller) {
        return Err(Error::Unauthenticated);
    }
    match (endpoint, &head.method) {
        (Endpoint::Base, &Method::GET | &Method::HEAD) => Ok(base::get()),

        (Endpoint::Catalog, &Method::GET | &Method::HEAD) => tags::catalog(&request).await,

        (Endpoint::Discover(name), &Method::GET | &Method::HEAD) => {
            if let Some(name) = name {
                request.grant::<Pull>(name)?;
            }
            Ok(base::discover())
        }

        (Endpoint::Referrers(name, digest), &Method::GET | &Method::HEAD) => {
            referrers::list(&request, name, *digest).await
        }

        (Endpoint::Tags(name), &Method::GET | &Method::HEAD) => tags::list(&request, name).await,

        (Endpoint::Manifest(name, reference), &Method::GET | &Method::HEAD) => {
            manifests::get(&request, name, reference, is_head).await
        }
        (Endpoint::Manifest(name, reference), &Method::PUT) => manifests::put(&request, name, reference).await,
        (Endpoint::Manifest(name, reference), &Method::DELETE) => manifests::delete(&request, name, reference).await,

        (Endpoint::Blob(name, digest), &Method::GET | &Method::HEAD) => {
            blobs::get(&request, name, *digest, is_head).await
        }
        (Endpoint::Blob(name, digest), &Method::DELETE) => blobs::delete(&request, name, *digest).await,

        (Endpoint::Uploads(name), &Method::POST) => uploads::open(&request, name).await,

        (Endpoint::Upload(name, id), &Method::GET | &Method::HEAD) => uploads::status(&request, name, *id).await,
        (Endpoint::Upload(name, id), &Method::PATCH) => uploads::write(&request, name, *id).await,
        (Endpoint::Upload(name, id), &Method::PUT) => uploads::finish(&request, name, *id).await,
        (Endpoint::Upload(name, id), &Method::DELETE) => uploads::cancel(&request, name, *id).await,

        (endpoint, _) => Err(Error::Method { allow: endpoint.methods() }),
    }
}

/// What a handler has.
pub(super) struct Context<'a> {
    pub(super) front: &'a Front,
    pub(super) head: &'a Parts,
    pub(super) body: &'a RequestBody,
    pub(super) origin: &'a Origin<'a>,
    caller: &'a Caller,
    endpoint: &'a Endpoint,
}

impl Context<'_> {
    /// The caller's permission for a repository. Every handler asks for it first: only those who may write learn that nobody
    /// may for now.
    pub(super) fn grant<K: Kind>(&self, repository: &RepositoryName) -> Result<Grant<K>, Error> {
        let grant = self.front.policy().grant(self.caller, repository)?;
        let reads = matches!(self.head.method, Method::GET | Method::HEAD);
        if !reads && self.front.is_read_only() {
            let allow = if matches!(self.endpoint, Endpoint::Uploads(_)) { "" } else { "GET, HEAD" };
            return Err(Error::ReadOnly { allow });
        }
        Ok(grant)
    }

    /// What the caller may see of the whole; nothing if it may not ask.
    pub(super) fn listing(&self) -> Option<Listing> {
        self.front.policy().listing(self.caller)
    }
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Marks an answer that was given without a leader.
fn mark_degraded(response: &mut Response<Body>, degraded: Option<Duration>) {
    if let Some(age) = degraded {
        response.headers_mut().insert(headers::DEGRADED_READ, HeaderValue::from(age.as_secs()));
    }
}
