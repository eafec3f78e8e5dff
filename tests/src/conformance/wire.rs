//! Requests, and what every answer owes whatever the request was.

use super::{
    Suite, Version,
    data::{Blob, INDEX, MANIFEST},
};
use crate::http::{AnyBody, Response, empty};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use std::{convert::Infallible, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a puller of images accepts, a line each.
pub(super) const ACCEPT: [(&str, &str); 2] = [("accept", INDEX), ("accept", MANIFEST)];

impl Suite {
    /// Sends a request to the next node.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: AnyBody,
    ) -> Result<Response> {
        let answer = self.client.send_body(method.clone(), path, headers, body).await?;
        self.judge(&method, path, &answer);
        Ok(answer)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Response> {
        self.send(Method::GET, path, &[], empty()).await
    }

    pub(super) async fn head(&self, path: &str) -> Result<Response> {
        self.send(Method::HEAD, path, &[], empty()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Response> {
        self.send(Method::DELETE, path, &[], empty()).await
    }

    /// A request whose body is empty and says so.
    pub(super) async fn send_nothing(&self, method: Method, path: &str) -> Result<Response> {
        self.send(method, path, &[("content-length", "0")], empty()).await
    }

    /// `DELETE`, which must answer 202, and nothing be left for whoever asks another node next.
    pub(super) async fn delete_for_good(&self, path: &str) -> Result<()> {
        status(&self.delete(path).await?, &[202])?;
        self.gone(path).await
    }

    /// Neither `HEAD` nor `GET` nor `DELETE` finds anything.
    pub(super) async fn gone(&self, path: &str) -> Result<()> {
        status(&self.send(Method::HEAD, path, &ACCEPT, empty()).await?, &[404]).context("HEAD")?;
        let answer = self.send(Method::GET, path, &ACCEPT, empty()).await?;
        refused(&answer, &[404], &["BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"]).context("GET")?;
        status(&self.delete(path).await?, &[404]).context("DELETE")
    }

    /// The path and query of a `Location`, which must lead to a server that was asked.
    pub(super) fn location(&self, answer: &Response) -> Result<String> {
        let location = answer.header("location");
        ensure!(!location.is_empty(), "there is no Location");
        let Some((scheme, rest)) = location.split_once("://") else {
            ensure!(location.starts_with('/'), "Location {location} is neither absolute nor a path");
            return Ok(location.to_owned());
        };
        ensure!(scheme == "http", "Location {location} changes the scheme");
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        ensure!(self.bases.iter().any(|base| base == host), "Location {location} leads to a server that was not asked");
        Ok(path.to_owned())
    }

    /// `Docker-Content-Digest` names `digest`; release 1.1 lets a registry leave it out.
    pub(super) fn names_digest(&self, answer: &Response, digest: &str) -> Result<()> {
        let named = answer.header("docker-content-digest");
        if named.is_empty() && self.version == Version::V1_1 {
            return Ok(());
        }
        ensure!(named == digest, "Docker-Content-Digest is {named:?}, expected {digest}");
        Ok(())
    }

    /// `GET` gives exactly this blob.
    pub(super) async fn pulls(&self, path: &str, blob: &Blob) -> Result<()> {
        let answer = self.get(path).await?;
        status(&answer, &[200])?;
        self.names_digest(&answer, &blob.digest)?;
        whole(&answer, &blob.bytes)
    }

    /// `HEAD` describes exactly this blob.
    pub(super) async fn exists(&self, path: &str, blob: &Blob) -> Result<()> {
        let answer = self.head(path).await?;
        status(&answer, &[200])?;
        self.names_digest(&answer, &blob.digest)?;
        header_is(&answer, "content-length", &blob.bytes.len().to_string())
    }

    /// Sends raw bytes and reads the answer meanwhile, as it may come before all are sent.
    pub(super) async fn raw(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<String> {
        let base = &self.bases[0];
        let (mut reader, mut writer) = TcpStream::connect(base).await?.into_split();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {base}\r\nConnection: close\r\n{headers}\r\n");
        let write = async {
            writer.write_all(head.as_bytes()).await?;
            writer.write_all(body).await
        };
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), reader.read_to_end(&mut answer));
        // A server that has decided need not read the rest.
        let (_, read) = tokio::join!(write, read);
        read??;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Reads the raw answer to a `HEAD`: nothing may follow its headers.
    pub(super) async fn head_has_no_body(&self, path: &str) -> Result<()> {
        let text = self.raw("HEAD", path, "", b"").await?;
        ensure!(text.starts_with("HTTP/1.1 200 "), "{}", text.lines().next().unwrap_or_default());
        ensure!(
            text.ends_with("\r\n\r\n") && text.matches("\r\n\r\n").count() == 1,
            "bytes follow the headers: {text}"
        );
        Ok(())
    }
}

/// `/v2/<repository>/blobs/<digest>`
pub(super) fn blob_path(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// `/v2/<repository>/manifests/<reference>`
pub(super) fn manifest_path(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

/// The status is one of these.
pub(super) fn status(answer: &Response, allowed: &[u16]) -> Result<()> {
    let code = answer.status.as_u16();
    if allowed.contains(&code) {
        return Ok(());
    }
    let body = if code >= 400 { &answer.body[..answer.body.len().min(300)] } else { b"" };
    bail!("expected {allowed:?}, got {}: {}", answer.status, String::from_utf8_lossy(body));
}

/// One of these statuses, and when the body is JSON, one of these codes.
pub(super) fn refused(answer: &Response, statuses: &[u16], codes: &[&str]) -> Result<()> {
    status(answer, statuses)?;
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return Ok(()) };
    let code = body["errors"][0]["code"].as_str().unwrap_or_default();
    ensure!(codes.contains(&code), "code {code:?} is not one of {codes:?}");
    Ok(())
}

/// The header has exactly this value.
pub(super) fn header_is(answer: &Response, name: &str, expected: &str) -> Result<()> {
    let value = answer.header(name);
    ensure!(value == expected, "{name} is {value:?}, expected {expected:?}");
    Ok(())
}

/// The body is exactly this, and its length was declared.
pub(super) fn whole(answer: &Response, expected: &[u8]) -> Result<()> {
    header_is(answer, "content-length", &expected.len().to_string())?;
    ensure!(answer.body == expected, "the body differs: {} of {} bytes", answer.body.len(), expected.len());
    Ok(())
}

/// The target of `Link: <target>; rel="next"`.
pub(super) fn next_link(answer: &Response) -> Result<Option<String>> {
    let link = answer.header("link");
    if link.is_empty() {
        return Ok(None);
    }
    let parts = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let Some((target, parameters)) = parts else { bail!("Link is {link:?}") };
    let next = parameters.split(';').map(str::trim).any(|part| part == r#"rel="next""# || part == "rel=next");
    ensure!(next, "Link {link:?} is not the next page");
    Ok(Some(crate::http::path_of(target)))
}

/// A body of undeclared length, in pieces, as clients send what they read from elsewhere.
pub(super) fn streamed(bytes: &Bytes) -> AnyBody {
    let pieces: Vec<_> = bytes.chunks(16 * 1024).map(|piece| bytes.slice_ref(piece)).collect();
    let frames = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    StreamBody::new(stream::iter(frames)).boxed()
}

/// A value for a query.
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
