//! The operator's door of a node: HTTP/1 with JSON over the unix socket in its data directory.

use bytes::Bytes;
use flotilla_proto::admin::Status;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;

/// Name of the socket in the data directory.
pub const SOCKET: &str = "flotilla.sock";

const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why a node did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node listens there, or this user may not.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the node hung up")]
    Http(#[from] hyper::Error),
    /// The answer did not end well or was too large.
    #[error("the answer is not whole")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The node said no.
    #[error("the node answered {status}: {text}")]
    Refused {
        /// HTTP status.
        status: http::StatusCode,
        /// Body of the answer.
        text: String,
    },
    /// A body of another version or another program.
    #[error("the answer makes no sense")]
    Json(#[from] serde_json::Error),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// A node's operator API. Each call opens a connection of its own.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
    timeout: Duration,
}

impl Admin {
    /// The node behind this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), timeout: Duration::from_secs(120) }
    }

    /// The node with this data directory.
    pub fn of_data_dir(data_dir: &Path) -> Self {
        Self::new(data_dir.join(SOCKET))
    }

    /// How the node sees itself and its cluster. With `hash` it reads its whole state, which takes a while for a large one.
    ///
    /// # Errors
    /// If the node cannot be reached, refuses, or does not answer in time.
    pub async fn status(&self, hash: bool) -> Result<Status, Error> {
        self.get(if hash { "/status?hash=true" } else { "/status" }).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, Error> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(path));
        let (status, body) = answer.await.map_err(|_| Error::Timeout(self.timeout))??;
        if !status.is_success() {
            return Err(Error::Refused { status, text: String::from_utf8_lossy(&body).trim().to_owned() });
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn exchange(&self, path: &'static str) -> Result<(http::StatusCode, Bytes), Error> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| Error::Connect { path: self.socket.clone(), source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = http::Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("flotilla"));
        let answer = async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Error::Body)?;
            Ok((parts.status, body.to_bytes()))
        };
        tokio::pin!(connection, answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection's end may be seen before the answer that it carried.
            ended = &mut connection => { ended?; answer.await }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    async fn ask(answer: &'static str) -> (Result<Status, Error>, String) {
        let folder = std::env::temp_dir().join(format!("flotilla-admin-{}-{}", std::process::id(), answer.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let admin = Admin::of_data_dir(&folder);
        let result = tokio::join!(admin.status(true), serve);
        std::fs::remove_dir_all(&folder).unwrap();
        result
    }

    #[tokio::test]
    async fn status_is_read_over_the_socket() {
        let (status, request) =
            ask("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\n{\"node_id\":7}").await;
        assert_eq!(status.unwrap().node_id, 7);
        assert!(request.starts_with("GET /status?hash=true HTTP/1.1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_refusal_carries_its_text() {
        let (status, _) = ask("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 7\r\n\r\nnot yet").await;
        assert!(matches!(status, Err(Error::Refused { text, .. }) if text == "not yet"));
    }
}
