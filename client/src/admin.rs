//! The operator API: HTTP/1.1 with JSON bodies over the unix socket in a node's data directory.

use flotilla_proto::admin::{Collect, Collected, Status};
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
