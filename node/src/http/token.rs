//! `GET /auth/token`: the built-in token service, as clients of the distribution project's token authentication ask it.
//!
//! There is no OAuth2 `POST` (containerd asks by `GET` after the 405), and no refresh token: the password is the refresh token.
//! `issued_at` is left out on purpose: clients then count from when they got the answer, so that a wrong clock here, or there,
//! makes no token look older or younger than it is.

use super::{audit::Who, body::Body, error::Error, headers, query::Query, router::Front};
use crate::auth::{
    NotVerified,
    token::{Resource, granted, own},
};
use http::{Method, Response, header, request::Parts};
use serde::Serialize;

/// Scopes of one request.
const SCOPES_MAX: usize = 100;

#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
    /// The same under its OAuth2 name.
    access_token: &'a str,
    expires_in: u64,
}

/// Answers with a token for what the caller asked for and may do. Whoever may do none of it gets an empty one, as everywhere: the
/// registry then says what is missing.
pub async fn answer(
    front: &Front,
    issuer: &own::Issuer,
    head: &Parts,
    authorization: Option<&str>,
    who: &Who,
) -> Result<Response<Body>, Error> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Error::Method { allow: "GET, HEAD" });
    }
    // Only a password buys a token: what could be had for an older token could be renewed for ever.
    if authorization.is_some_and(|field| !is_basic(field)) {
        return Err(NotVerified::Wrong.into());
    }
    let caller = front.caller(head, who).await?;
    let asked = scopes(&Query::of(&head.uri))?;
    let issued = match issuer.issue(caller.name(), granted(&asked, front.policy(), &caller)).await {
        Ok(issued) => issued,
        Err(own::Error::TooLarge) => return Err(Error::TooManyScopes),
        Err(own::Error::Metadata(error)) => return Err(error.into()),
    };
    let own::Issued { token, expires_in } = &issued;
    let body = Answer { token, access_token: token, expires_in: expires_in.as_secs() };
    let mut response = Response::new(Body::Full(Some(serde_json::to_vec(&body).unwrap_or_default().into())));
    response.headers_mut().insert(header::CONTENT_TYPE, headers::JSON);
    Ok(response)
}

fn is_basic(field: &str) -> bool {
    field.trim().split_once(' ').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
}

/// Every `scope`; one may hold several, with spaces between them, which forms write as a plus. What cannot be read is left out.
fn scopes(query: &Query<'_>) -> Result<Vec<Resource>, Error> {
    let mut scopes = Vec::new();
    let mut seen = 0;
    for parameter in query.all("scope") {
        for scope in parameter.split([' ', '+']).filter(|scope| !scope.is_empty()) {
            seen += 1;
            if seen > SCOPES_MAX {
                return Err(Error::TooManyScopes);
            }
            scopes.extend(Resource::parse(scope));
        }
    }
    Ok(scopes)
}
