//! What a caller that lacks a permission is told: always 401, with what it needs, so that clients authenticate (again). They
//! give up on 403.

use super::error::{self, Error};
use super::origin::Origin;
use super::v2::endpoint::Endpoint;
use super::{body::Body, headers, query::Query};
use crate::auth::{Access, Caller, NotVerified, Resource, TokenFlaw};
use http::{Method, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

/// What a request to `endpoint` needs, in the words of tokens.
pub fn wanted(endpoint: &Endpoint, head: &Parts) -> Vec<Resource> {
    let Some(name) = endpoint.repository() else {
        return match endpoint {
            Endpoint::Catalog => vec![Resource::catalog()],
            _ => Vec::new(),
        };
    };
    let actions: &[&str] = match (&head.method, endpoint) {
        // Who pushes may look at uploads and give them up.
        (_, Endpoint::Upload(..)) => &["pull", "push"],
        (&Method::GET | &Method::HEAD, _) => &["pull"],
        (&Method::DELETE, _) => &["delete"],
        _ => &["pull", "push"],
    };
    let mut wanted = vec![Resource::repository(name, actions)];
    if let Endpoint::Uploads(_) = endpoint
        && let Some(from) = Query::of(&head.uri).get("from").and_then(|from| from.parse().ok())
    {
        wanted.push(Resource::repository(&from, &["pull"]));
    }
    wanted
}

/// The answer to a request that `error` ended because of who sent it.
pub fn respond(
    error: &Error,
    access: &Access,
    origin: &Origin<'_>,
    wanted: &[Resource],
    caller: Option<&Caller>,
) -> Response<Body> {
    let entries = wanted.iter().flat_map(|wanted| wanted.actions.iter().map(move |action| entry(wanted, action)));
    let detail: Vec<Value> = entries.collect();
    let mut response = error::respond_with(error, (!detail.is_empty()).then_some(Value::Array(detail)));
    debug_assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let flaw = match (error, caller) {
        (Error::NotVerified(NotVerified::Token(_)), _) => Some(TokenFlaw::Invalid),
        (_, Some(Caller::Guest(_) | Caller::Bearer(_))) => Some(TokenFlaw::InsufficientScope),
        _ => None,
    };
    if let Some(challenge) = access.challenge(&origin.realm_host(), origin.prefix, wanted, flaw) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, headers::value(challenge));
    }
    response
}

/// As registry:2 writes it.
fn entry(wanted: &Resource, action: &str) -> Value {
    json!({ "Type": wanted.kind, "Class": "", "Name": wanted.name, "Action": action })
}
