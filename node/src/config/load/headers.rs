//! `http.headers`: what an operator adds to every answer. Browsers read pages of the registry by it.

use super::Reader;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// Headers that tell of the message or of what it carries; a fixed value would be wrong in some answer.
const OURS: [&str; 31] = [
    "accept-ranges",
    "age",
    "allow",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "docker-content-digest",
    "docker-upload-uuid",
    "etag",
    "flotilla-degraded-read",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "proxy-authenticate",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "warning",
    "www-authenticate",
    "x-request-id",
];
/// Headers that every answer has anyway.
const FIXED: [(&str, &str); 2] =
    [("docker-distribution-api-version", "registry/2.0"), ("x-content-type-options", "nosniff")];
/// Headers and values, at most.
const MAX: usize = 64;

impl Reader {
    pub(super) fn headers(&self) -> HeaderMap {
        let none = Map::new();
        let section = match self.set("http.headers") {
            None => &none,
            Some(Value::Object(section)) => section,
            Some(_) => {
                self.mistake("http.headers", "expected a map of names", "write `Name: [value, ...]` below it");
                &none
            }
        };
        let mut headers = HeaderMap::new();
        for (name, values) in section {
            let path = format!("http.headers.{name}");
            match header(name, values) {
                Ok((name, values)) => values.into_iter().for_each(|value| {
                    headers.append(name.clone(), value);
                }),
                Err((problem, fix)) => self.mistake(&path, problem, fix),
            }
        }
        if headers.len() > MAX {
            self.mistake("http.headers", format!("there are more than {MAX} values"), "some clients refuse so many");
        }
        let is = |name: &str, wanted: &str| headers.get_all(name).iter().any(|value| value == wanted);
        if is("access-control-allow-origin", "*") && is("access-control-allow-credentials", "true") {
            let fix = "name the origins, or remove Access-Control-Allow-Credentials";
            self.mistake("http.headers", "any web page could use the credentials of its visitors", fix);
        }
        headers
    }
}

type Problem = (&'static str, &'static str);

fn header(name: &str, values: &Value) -> Result<(HeaderName, Vec<HeaderValue>), Problem> {
    let name: HeaderName =
        name.parse().map_err(|_| ("this is no name of a header", "write letters, digits and `-`"))?;
    if OURS.contains(&name.as_str()) || name.as_str().starts_with("oci-") {
        return Err(("the registry itself decides this header", "remove it"));
    }
    let values = match values {
        Value::Array(values) => values.iter().collect(),
        Value::Null => Vec::new(),
        value => vec![value],
    };
    let parsed: Option<Vec<HeaderValue>> = values.into_iter().map(value).collect();
    let values = parsed.ok_or(("expected a list of visible ASCII texts", "write `[value, ...]`"))?;
    let fixed = FIXED.iter().find(|(fixed, _)| *fixed == name.as_str());
    if fixed.is_some_and(|(_, fixed)| values.iter().any(|value| value != fixed)) {
        return Err(("every answer has this header with another value", "remove it"));
    }
    Ok((name, values))
}

/// Numbers and booleans are meant as written.
fn value(value: &Value) -> Option<HeaderValue> {
    let text = match value {
        Value::String(text) => text.trim_matches([' ', '\t']).to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(boolean) => boolean.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    HeaderValue::try_from(text).ok().filter(|_| visible)
}
