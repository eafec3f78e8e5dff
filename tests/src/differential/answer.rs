//! What an answer says to a client, in a form in which two of them can be compared.

use crate::http::{digest_of, path_of};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Name and text of everything that is compared; what is absent is not there.
pub type Facts = BTreeMap<String, String>;

/// Headers compared as they are.
const VERBATIM: [&str; 14] = [
    "accept-ranges",
    "access-control-allow-origin",
    "cache-control",
    "content-range",
    "docker-content-digest",
    "docker-distribution-api-version",
    "etag",
    "last-modified",
    "link",
    "range",
    "retry-after",
    "wrong-length",
    "www-authenticate",
    "x-content-type-options",
];

/// An answer, read to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    status: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// Parses all that came.
    pub fn parse(mut bytes: &[u8], is_head: bool) -> Result<Self> {
        loop {
            let shown = || format!("no answer: {:?}", String::from_utf8_lossy(bytes));
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").with_context(shown)?;
            let text = std::str::from_utf8(&bytes[..end]).context("the head is no text")?;
            let mut lines = text.split("\r\n");
            let status = lines.next().and_then(|line| line.split(' ').nth(1)).with_context(shown)?.to_owned();
            let mut fields = Vec::new();
            for line in lines {
                let (name, value) = line.split_once(':').with_context(|| format!("header line {line:?}"))?;
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            bytes = &bytes[end + 4..];
            if status.starts_with('1') {
                continue;
            }
            let mut answer = Self { status, fields, body: bytes.to_vec() };
            if answer.header("transfer-encoding") == Some("chunked") {
                answer.body = chunks(bytes)?;
            } else if let Some(length) = answer.header("content-length")
                && !is_head
                && answer.status != "304"
                && length.parse() != Ok(answer.body.len())
            {
                let said = format!("{length}, but {} came", answer.body.len());
                answer.fields.push(("wrong-length".into(), said));
            }
            return Ok(answer);
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What is compared.
    pub fn facts(&self, is_head: bool) -> Facts {
        let mut facts = Facts::from([("status".to_owned(), self.status.clone())]);
        let mut add = |name: &str, value: String| facts.insert(name.to_owned(), value);
        for name in VERBATIM {
            let values: Vec<_> =
                self.fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
            if !values.is_empty() {
                add(name, sorted_scopes(&values.join(" | ")));
            }
        }
        if self.header("docker-upload-uuid").is_some() {
            add("docker-upload-uuid", "present".into());
        }
        if let Some(allow) = self.header("allow") {
            let mut methods: Vec<_> = allow.split(',').map(str::trim).collect();
            methods.sort_unstable();
            add("allow", methods.join(", "));
        }
        if let Some(location) = self.header("location") {
            add("location", shape(&path_of(location)));
            add("location-form", if location.contains("://") { origin(location) } else { "path" }.into());
        }
        let kind = self.header("content-type").unwrap_or_default();
        let (kind, boundary) = kind.split_once("; boundary=").unwrap_or((kind, "\0"));
        if !kind.is_empty() {
            add("content-type", kind.to_owned());
        }
        // The bytes of JSON, and of parts with a boundary, need not be the same.
        let is_json = kind.starts_with("application/json");
        if let (Some(length), false) = (self.header("content-length"), is_json || boundary != "\0") {
            add("content-length", length.to_owned());
        }
        if is_head {
            return facts;
        }
        match serde_json::from_slice::<serde_json::Value>(&self.body) {
            Ok(json) if is_json && json["errors"].is_array() => {
                let errors = json["errors"].as_array().into_iter().flatten();
                let codes: Vec<_> = errors.map(|error| error["code"].as_str().unwrap_or("no code")).collect();
                add("code", codes.join(" "));
            }
            Ok(json) if is_json => _ = add("body", json.to_string()),
            _ if !self.body.is_empty() => _ = add("body", printable(&self.body, boundary)),
            _ => {}
        }
        facts
    }
}

/// A challenge with its scopes, and the actions of each, in order: registry:2 writes them as they fall out of a map.
fn sorted_scopes(text: &str) -> String {
    let Some((front, rest)) = text.split_once("scope=\"") else { return text.to_owned() };
    let Some((scopes, end)) = rest.split_once('"') else { return text.to_owned() };
    let mut scopes: Vec<String> = scopes
        .split(' ')
        .map(|scope| {
            let (name, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
            let mut actions: Vec<_> = actions.split(',').collect();
            actions.sort_unstable();
            format!("{name}:{}", actions.join(","))
        })
        .collect();
    scopes.sort_unstable();
    format!("{front}scope=\"{}\"{end}", scopes.join(" "))
}

/// Short text as it is, without the boundary of its parts; the digest of anything else.
fn printable(body: &[u8], boundary: &str) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if text.len() <= 1000 => text.replace(boundary, "BOUNDARY"),
        _ => digest_of(body),
    }
}

/// `http://host:port`, the port of the test's own servers as `PORT`.
fn origin(location: &str) -> &str {
    if location.starts_with("http://127.0.0.1:") {
        return "http://127.0.0.1:PORT";
    }
    if location.starts_with("https://127.0.0.1:") {
        return "https://127.0.0.1:PORT";
    }
    let start = location.find("://").map_or(0, |at| at + 3);
    &location[..location[start..].find('/').map_or(location.len(), |at| at + start)]
}

/// A path without the id and the state of an upload.
fn shape(path: &str) -> String {
    let path = path.split("?_state=").next().unwrap_or_default();
    match path.split_once("/blobs/uploads/") {
        Some((front, id)) if !id.is_empty() => format!("{front}/blobs/uploads/ID"),
        _ => path.to_owned(),
    }
}

fn chunks(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end])?.trim(), 16)?;
        let chunk = bytes.get(end + 2..end + 2 + size).context("a chunk is cut off")?;
        body.extend_from_slice(chunk);
        if size == 0 {
            return Ok(body);
        }
        bytes = bytes.get(end + 4 + size..).context("a chunk is cut off")?;
    }
}
