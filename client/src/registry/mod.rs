//! Any OCI registry, ours included: push and pull by the words of the distribution specification. Of authentication it knows one fixed header.
//! Every request goes to the next of the given addresses in turn, as behind a load balancer without stickiness.
//! Nothing is retried here; see [`crate::retry`].

mod pull;
mod push;

pub use pull::{Manifest, digest_of};
pub use push::Upload;

use crate::{
    Error,
    error::Refusal,
    transport::{Answer, Body, Endpoint, Reply},
};
use flotilla_proto::oci::RepositoryName;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, HeaderName},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Longest body read into memory for anything but blobs: above every registry's limit for manifests.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A registry behind one or several addresses. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoints: Vec<Arc<Endpoint>>,
    next: AtomicUsize,
    /// Sent with each request; marked sensitive, so that no debug output shows it.
    authorization: Option<HeaderValue>,
}

impl Registry {
    /// The registry at `base`, such as `http://127.0.0.1:5000`. Opens no connection.
    pub fn new(base: &str) -> Result<Self, Error> {
        Self::spread(&[base])
    }

    /// One registry behind several addresses; requests take turns, also those of one upload.
    pub fn spread(bases: &[impl AsRef<str>]) -> Result<Self, Error> {
        let mut endpoints = Vec::with_capacity(bases.len());
        for base in bases {
            endpoints.push(Endpoint::new(&parse_uri(base.as_ref())?)?);
        }
        if endpoints.is_empty() {
            return Err(Error::Address { url: String::new(), reason: "no address was given" });
        }
        Ok(Self(Arc::new(Inner { endpoints, next: AtomicUsize::new(0), authorization: None })))
    }

    /// The same registry, with this header `Authorization` in each request, such as `Basic …` or `Bearer …`.
    pub fn authorized(&self, authorization: &str) -> Result<Self, Error> {
        let mut value = HeaderValue::from_str(authorization).map_err(|error| Error::Request(error.into()))?;
        value.set_sensitive(true);
        let (endpoints, next) = (self.0.endpoints.clone(), AtomicUsize::new(0));
        Ok(Self(Arc::new(Inner { endpoints, next, authorization: Some(value) })))
    }

    /// Sends any request and returns its answer, whatever the status, with the body unread. `path` begins with a slash and
    /// goes out as it is.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Body>,
    ) -> Result<Reply, Error> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(value) = &self.0.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(body.into()).map_err(Error::Request)?;
        self.turn().send(request).await
    }

    /// [`Registry::open`], with the body read (at most [`ANSWER_BYTES_MAX`]).
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Body>,
    ) -> Result<Answer, Error> {
        self.open(method, path, headers, body).await?.read(ANSWER_BYTES_MAX).await
    }

    /// `GET /v2/`: whether something that speaks the specification answers. end-1
    pub async fn ping(&self) -> Result<(), Error> {
        self.expect(Method::GET, "/v2/", &[], Body::empty(), StatusCode::OK).await.map(drop)
    }

    /// All tags the registry returns in one answer, in its order. end-8a
    pub async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let list: List = self.json(&format!("/v2/{repository}/tags/list")).await?;
        Ok(list.tags.unwrap_or_default())
    }

    /// The first page of repositories, at most `n`.
    pub async fn catalog(&self, n: usize) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct List {
            repositories: Vec<String>,
        }
        let list: List = self.json(&format!("/v2/_catalog?n={n}")).await?;
        Ok(list.repositories)
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.expect(Method::GET, path, &[], Body::empty(), StatusCode::OK).await?;
        serde_json::from_slice(&answer.body).map_err(|source| Error::Json { request: format!("GET {path}"), source })
    }

    /// Sends a request that succeeds with exactly `status`; any other answer is [`Error::Refused`].
    async fn expect(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Body,
        status: StatusCode,
    ) -> Result<Answer, Error> {
        let answer = self.raw(method.clone(), path, headers, body).await?;
        if answer.status == status { Ok(answer) } else { Err(refused(method, path, &answer)) }
    }

    fn turn(&self) -> &Arc<Endpoint> {
        let endpoints = &self.0.endpoints;
        &endpoints[self.0.next.fetch_add(1, Ordering::Relaxed) % endpoints.len()]
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

fn refused(method: Method, path: &str, answer: &Answer) -> Error {
    Error::Refused(Box::new(Refusal::of(method, path.to_owned(), answer)))
}

fn parse_uri(text: &str) -> Result<Uri, Error> {
    text.parse().map_err(|_| Error::Address { url: text.to_owned(), reason: "it is no URL" })
}

/// A header that must be there and be text.
fn required<'a>(headers: &'a HeaderMap, name: &'static str, request: &str) -> Result<&'a str, Error> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Error::Header { request: request.to_owned(), name })
}

#[cfg(test)]
mod tests;
