use super::Who;
use crate::{
    auth::Caller,
    clock,
    http::{body::Body, client::Client, headers, query::Query, router::Route, v2::endpoint::Endpoint},
};
use flotilla_proto::oci::{Digest, Reference, RepositoryName, Tag};
use http::{Method, Response, StatusCode, header, request::Parts};
use serde::Serialize;
use std::net::IpAddr;

/// Longest text that a client chose, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A line. What is absent is not known, or there is none.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    outcome: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    auth: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    method: &'a str,
    #[serde(flatten)]
    object: Object,
    request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
}

/// What a request is about. Every field has a grammar that leaves no room for anything else.
#[derive(Default, Serialize)]
struct Object {
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    /// A mount's.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<String>,
}

/// The line about a request that was answered, with its end; nothing if it is none of an audit's business.
pub(in crate::http) fn line(
    head: &Parts,
    route: &Route,
    who: &Who,
    id: &str,
    response: &Response<Body>,
) -> Option<Vec<u8>> {
    let status = response.status();
    let line = Line {
        event: event(head, route, who, status)?,
        time: clock::rfc3339(clock::wall_ms()),
        outcome: match status.as_u16() {
            ..400 => "ok",
            400..500 => "refused",
            _ => "failed",
        },
        status: status.as_u16(),
        user: who.name().map(cut),
        auth: who.caller().map_or_else(|| scheme(head), Caller::method),
        from: head.extensions.get::<Client>().map(|client| client.0),
        method: cut(head.method.as_str()),
        object: object(head, route, response),
        request: id,
        agent: head.headers.get(header::USER_AGENT).map(|agent| match agent.to_str() {
            Ok(text) => cut(text).to_owned(),
            Err(_) => cut(&agent.as_bytes().escape_ascii().to_string()).to_owned(),
        }),
    };
    let mut text = serde_json::to_vec(&line).ok()?;
    text.push(b'\n');
    Some(text)
}

/// What happened, in a word.
fn event(head: &Parts, route: &Route, who: &Who, status: StatusCode) -> Option<&'static str> {
    let has_credentials = head.headers.contains_key(header::AUTHORIZATION);
    let endpoint = match route {
        Route::Endpoint(Endpoint::Base) | Route::Token => {
            return match who.caller() {
                // Where nobody looks at credentials, nobody logs in.
                Some(Caller::Anonymous) => None,
                // How every client begins: it asks whether it must say who it is.
                None if !has_credentials => None,
                _ => Some("login"),
            };
        }
        Route::Endpoint(endpoint) => endpoint,
        Route::Root | Route::Probe(_) | Route::Nothing(_) => return None,
    };
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Some("denied");
    }
    match (endpoint, &head.method) {
        (Endpoint::Manifest(..), &Method::PUT) => Some("push"),
        (Endpoint::Manifest(_, Reference::Tag(_)), &Method::DELETE) => Some("untag"),
        (Endpoint::Manifest(_, Reference::Digest(_)) | Endpoint::Blob(..), &Method::DELETE) => Some("delete"),
        (Endpoint::Uploads(_), &Method::POST) => {
            let query = Query::of(&head.uri);
            match status {
                // An upload begins: nothing has changed yet.
                StatusCode::ACCEPTED => None,
                _ if query.get("mount").is_some() => Some("mount"),
                _ if query.get("digest").is_some() => Some("push"),
                _ => None,
            }
        }
        (Endpoint::Upload(..), &Method::PUT) => Some("push"),
        (Endpoint::Upload(..), &Method::DELETE) => Some("cancel"),
        _ => None,
    }
}

fn object(head: &Parts, route: &Route, response: &Response<Body>) -> Object {
    let Route::Endpoint(endpoint) = route else { return Object::default() };
    let repository = endpoint.repository().map(|name| name.as_str().to_owned());
    let mut object = Object { repository, ..Object::default() };
    let query = Query::of(&head.uri);
    let named = |name: &str| query.get(name)?.parse::<Digest>().ok();
    let mut digest = None;
    match endpoint {
        Endpoint::Base => {}
        Endpoint::Catalog => object.object = Some("catalog"),
        Endpoint::Discover(_) => object.object = Some("extensions"),
        Endpoint::Tags(_) => object.object = Some("tags"),
        Endpoint::Referrers(_, subject) => (object.object, digest) = (Some("referrers"), Some(*subject)),
        Endpoint::Manifest(_, reference) => {
            object.object = Some("manifest");
            object.reference = Some(reference.to_string());
            if let Reference::Digest(named) = reference {
                digest = Some(*named);
            } else if head.method == Method::DELETE {
                object.object = Some("tag");
            }
        }
        Endpoint::Blob(_, named) => (object.object, digest) = (Some("blob"), Some(*named)),
        Endpoint::Uploads(_) => {
            object.object = Some("blob");
            digest = named("mount").or_else(|| named("digest"));
            if query.get("mount").is_some() {
                object.source =
                    query.get("from").and_then(|from| from.parse::<RepositoryName>().ok()).map(|from| from.to_string());
            }
        }
        Endpoint::Upload(_, id) => {
            object.object = Some(if head.method == Method::PUT { "blob" } else { "upload" });
            object.upload = Some(id.to_string());
            digest = named("digest");
        }
    }
    let fields = response.headers();
    let said = fields.get(headers::DOCKER_CONTENT_DIGEST).and_then(|value| value.to_str().ok()).map(str::to_owned);
    object.digest = said.or_else(|| digest.map(|digest| digest.to_string()));
    for group in fields.get_all(headers::OCI_TAG).iter().filter_map(|value| value.to_str().ok()) {
        object.tags.extend(group.split(", ").filter(|tag| tag.parse::<Tag>().is_ok()).map(str::to_owned));
    }
    object
}

/// How credentials were sent that are nobody's.
fn scheme(head: &Parts) -> &'static str {
    let Some(field) = head.headers.get(header::AUTHORIZATION) else { return "none" };
    let starts = |scheme: &str| {
        field.as_bytes().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    match () {
        () if starts("basic ") => "basic",
        () if starts("bearer ") => "token",
        () => "unknown",
    }
}

pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}
