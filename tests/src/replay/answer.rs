//! What answers must satisfy: the checks of a step, and what every client relies on.

use super::{
    material::Material,
    step::{Check, Step},
};
use crate::http::{Response, digest_of, path_of};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

/// Checks an answer and remembers what the step wants remembered.
pub fn check(step: &Step, answer: &Response, material: &mut Material) -> Result<()> {
    ensure!(step.status.contains(&answer.status.as_u16()), "the client wants {:?}", step.status);
    everywhere(step, answer)?;
    for check in &step.checks {
        one(check, answer, material)?;
    }
    Ok(())
}

/// What every client relies on, whatever it asked.
fn everywhere(step: &Step, answer: &Response) -> Result<()> {
    let status = answer.status;
    if step.path.starts_with("/v2") || step.path.starts_with('{') {
        ensure!(answer.header("docker-distribution-api-version") == "registry/2.0", "no API version");
    }
    ensure!(!answer.headers.contains_key("content-encoding"), "bytes are never encoded");
    ensure!(!answer.headers.contains_key("x-registry-supports-signatures"), "there is no signature API");
    // A location with a host would send clients to one node, without their credentials.
    let location = answer.header("location");
    ensure!(location.is_empty() || location.starts_with('/') && !location.starts_with("//"), "an absolute Location");
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    ensure!(bodiless || answer.headers.contains_key("content-length"), "no Content-Length");
    if matches!(status.as_u16(), 201 | 202) && answer.body.is_empty() {
        ensure!(answer.header("content-length") == "0", "Content-Length of an empty answer");
    }
    if matches!(status.as_u16(), 429 | 503) {
        ensure!(answer.headers.contains_key("retry-after"), "no Retry-After");
    }
    let digest = answer.header("docker-content-digest");
    if step.method == Method::GET && status == 200 && digest.starts_with("sha256:") {
        ensure!(digest_of(&answer.body) == digest, "the bytes do not hash to the digest of the header");
    }
    if status.as_u16() >= 400 && step.method != Method::HEAD {
        ensure!(answer.header("content-type").starts_with("application/json"), "an error that is not JSON");
        ensure!(!code(answer)?.is_empty(), "an error without a code");
    }
    if step.method == Method::HEAD {
        ensure!(answer.body.is_empty(), "a body after HEAD");
    }
    Ok(())
}

fn one(check: &Check, answer: &Response, material: &mut Material) -> Result<()> {
    let text = || String::from_utf8_lossy(&answer.body).into_owned();
    match check {
        Check::Header(name, value) => {
            let value = material.fill(value);
            ensure!(answer.header(name) == value, "{name} is {:?}, not {value:?}", answer.header(name));
        }
        Check::Absent(name) => ensure!(!answer.headers.contains_key(*name), "{name} is there"),
        Check::Location(word) => {
            let location = answer.header("location");
            ensure!(!location.is_empty(), "no Location");
            material.remember(word, &path_of(location));
        }
        Check::LocationEnds(end) => {
            let end = material.fill(end);
            ensure!(answer.header("location").ends_with(&end), "Location does not end in {end}");
        }
        Check::Next(word) => {
            let next = next(answer.header("link")).context("no Link to a next page")?;
            ensure!(next.starts_with('/'), "Link is not relative");
            material.remember(word, next);
        }
        Check::Last => ensure!(!answer.headers.contains_key("link"), "a Link on the last page"),
        Check::Progress(last) => {
            let range = answer.header("range");
            let (first, end) = range.split_once('-').context("Range is not a-b")?;
            // docker reads nothing received as `0-0`, as it reads one byte.
            ensure!((first, end.parse()) == ("0", Ok(last.unwrap_or(0))), "Range is {range}, not 0-{last:?}");
        }
        Check::Body(name) => ensure!(answer.body == material.of(name), "other bytes than {name}"),
        Check::Part(name, first, last) => {
            let whole = material.of(name);
            let range = format!("bytes {first}-{last}/{}", whole.len());
            ensure!(answer.header("content-range") == range, "Content-Range is not {range}");
            ensure!(answer.body == whole.slice(*first..*last + 1), "other bytes than {name} {first}-{last}");
        }
        Check::Parts(name, parts) => several(answer, material.of(name), parts)?,
        Check::Code(expected) => {
            let found = code(answer)?;
            ensure!(found == *expected, "the code is {found}, not {expected}");
        }
        Check::Json(pointer, value) => {
            let document: Value = serde_json::from_slice(&answer.body)?;
            let value: Value = serde_json::from_str(&material.fill(value))?;
            ensure!(document.pointer(pointer) == Some(&value), "{pointer} is not {value}");
        }
        Check::Has(part) => ensure!(text().contains(&material.fill(part)), "the body lacks {}", material.fill(part)),
        Check::Lacks(part) => ensure!(!text().contains(&material.fill(part)), "the body has {}", material.fill(part)),
    }
    Ok(())
}

/// The code of the first error.
pub fn code(answer: &Response) -> Result<String> {
    let document: Value = serde_json::from_slice(&answer.body).context("the body is not JSON")?;
    Ok(document.pointer("/errors/0/code").and_then(Value::as_str).context("no errors in the body")?.to_owned())
}

/// The target of `rel="next"`.
pub fn next(link: &str) -> Option<&str> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("rel=\"next\"").then_some(target)
}

/// A body of several ranges, part by part, as the storage library of podman reads it.
fn several(answer: &Response, whole: &Bytes, parts: &[(usize, usize)]) -> Result<()> {
    let boundary = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=");
    let boundary = format!("--{}", boundary.context("not multipart/byteranges")?.trim_matches('"'));
    let mut rest = answer.body.clone();
    for (first, last) in parts {
        let begin = find(&rest, boundary.as_bytes()).context("a part is missing")? + boundary.len();
        rest = rest.slice(begin..);
        let end = find(&rest, b"\r\n\r\n").context("a part without a blank line")?;
        let fields = String::from_utf8_lossy(&rest[..end]).to_lowercase();
        let range = format!("content-range: bytes {first}-{last}/{}", whole.len());
        ensure!(fields.lines().any(|line| line == range), "no {range} in {fields}");
        let bytes = rest.slice(end + 4..end + 4 + (last - first + 1));
        ensure!(bytes == whole.slice(*first..*last + 1), "other bytes in the part {first}-{last}");
        rest = rest.slice(end + 4 + bytes.len()..);
    }
    let closing = [b"\r\n", boundary.as_bytes(), b"--"].concat();
    if !rest.starts_with(&closing) {
        bail!("no closing boundary after the parts");
    }
    Ok(())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
