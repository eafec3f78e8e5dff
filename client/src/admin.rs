//! The operator API: HTTP/1.1 with JSON bodies over the unix socket in a node's data directory.

use flotilla_proto::admin::{Collect, Collected, Collection, Status, Undeleted, Verification, Why};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// The socket's name inside the data directory.
pub const SOCKET: &str = "flotilla.sock";
/// Largest answer, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node listens there, or this user may not ask it.
    #[error("cannot reach a node at {path}", path = .path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to the node broke")]
    Broken(#[source] hyper::Error),
    /// The node refused or failed.
    #[error("the node answered {status}: {text}")]
    Refused {
        /// Status code.
        status: u16,
        /// Why, in the node's words.
        text: String,
    },
    /// The answer is not what this version understands.
    #[error("the node's answer is not understood")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks the node behind `socket` for its status; with `hash`, it digests its whole state for it (reads everything).
pub async fn status(socket: &Path, hash: bool) -> Result<Status, Error> {
    ask(socket, Method::GET, if hash { "/status?hash=true" } else { "/status" }).await
}

/// Asks the node behind `socket` to collect garbage in its cluster, and waits for the end.
pub async fn collect(socket: &Path, collect: Collect) -> Result<Collected, Error> {
    let Collect { dry_run, delete_untagged } = collect;
    let target = format!("/garbage-collect?dry_run={dry_run}&delete_untagged={delete_untagged}");
    ask(socket, Method::POST, &target).await
}

/// How collection does.
pub async fn collection(socket: &Path) -> Result<Collection, Error> {
    ask(socket, Method::GET, "/gc").await
}

/// Sets collection to `on`, `paused` or `verify`.
pub async fn set_mode(socket: &Path, mode: &str, reason: &str) -> Result<Collection, Error> {
    ask(socket, Method::POST, &format!("/gc?mode={}&reason={}", escape(mode), escape(reason))).await
}

/// Everything that holds a digest (in one repository or in all of them) or a key of the store.
pub async fn why(socket: &Path, repository: Option<&str>, what: &str) -> Result<Why, Error> {
    let repository = repository.map(|name| format!("&repository={}", escape(name))).unwrap_or_default();
    ask(socket, Method::GET, &format!("/why?what={}{repository}", escape(what))).await
}

/// Puts a deleted tag back.
pub async fn undelete_tag(socket: &Path, repository: &str, tag: &str) -> Result<Undeleted, Error> {
    let target = format!("/undelete?repository={}&tag={}", escape(repository), escape(tag));
    ask(socket, Method::POST, &target).await
}

/// Puts a deleted manifest back, with its tags.
pub async fn undelete_manifest(socket: &Path, repository: &str, digest: &str) -> Result<Undeleted, Error> {
    let target = format!("/undelete?repository={}&digest={}", escape(repository), escape(digest));
    ask(socket, Method::POST, &target).await
}

/// Deletes a repository with all that is in it.
pub async fn delete_repository(socket: &Path, name: &str) -> Result<(), Error> {
    let _: serde_json::Value = ask(socket, Method::DELETE, &format!("/repository?name={}", escape(name))).await?;
    Ok(())
}

/// Begins a verification; with `hash`, every byte is read.
pub async fn start_verification(socket: &Path, hash: bool) -> Result<Verification, Error> {
    ask(socket, Method::POST, &format!("/verify?hash={hash}")).await
}

/// How the verification does.
pub async fn verification(socket: &Path) -> Result<Verification, Error> {
    ask(socket, Method::GET, "/verify").await
}

/// A value for a query.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

async fn ask<T: DeserializeOwned>(socket: &Path, method: Method, target: &str) -> Result<T, Error> {
    let stream =
        UnixStream::connect(socket).await.map_err(|source| Error::Unreachable { path: socket.to_owned(), source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::Broken)?;
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::Answer(error.into()))?;
    let ask = async {
        let answer = sender.send_request(request).await.map_err(Error::Broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(Error::Answer)?.to_bytes();
        if !status.is_success() {
            return Err(Error::Refused { status: status.as_u16(), text: reason(&body) });
        }
        serde_json::from_slice(&body).map_err(|error| Error::Answer(error.into()))
    };
    tokio::pin!(ask);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = &mut ask => result,
        // Answered and closed at once: what was received is still to be read.
        _ = &mut connection => ask.await,
    }
}

/// The words of a refusal: `{"error": "…"}`.
fn reason(body: &[u8]) -> String {
    let words = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|body| Some(body["error"].as_str()?.to_owned()));
    words.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}
