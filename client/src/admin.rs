//! The operator API: HTTP/1.1 with JSON bodies over the unix socket in a node's data directory, or the same questions in a
//! call at its cluster port, under mutual TLS.

use flotilla_proto::admin::{Collect, Collected, Collection, Deleted, Status, Undeleted, Verification, Verify, Why};
use flotilla_proto::wire::cluster::{OperatorRequest, operator_client::OperatorClient};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The socket's name inside the data directory.
pub const SOCKET: &str = "flotilla.sock";
/// Largest answer, in bytes.
const ANSWER_MAX: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that is gone is noticed while it is waited for.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A node, and how it is asked.
#[derive(Clone, Debug)]
pub enum Node {
    /// By the socket in its data directory.
    Socket(PathBuf),
    /// At its cluster port.
    Port(Port),
}

/// A cluster port. It is dialed when something is asked.
#[derive(Clone, Debug)]
pub struct Port {
    address: String,
    channel: Channel,
}

impl Port {
    /// The port at `address` (`host:port`) of a node whose certificate `authority` has signed; `certificate` and `key` say
    /// that we may ask. All of them are PEM.
    ///
    /// # Errors
    /// If these are no certificates or no key, or the address is none.
    pub fn new(address: &str, authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let tls = ClientTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .ca_certificate(Certificate::from_pem(authority))
            .domain_name(host.trim_start_matches('[').trim_end_matches(']'));
        let endpoint = Endpoint::from_shared(format!("https://{address}")).and_then(|endpoint| {
            let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).http2_keep_alive_interval(KEEP_ALIVE);
            endpoint.keep_alive_timeout(KEEP_ALIVE).tls_config(tls)
        });
        let endpoint = endpoint.map_err(|source| Error::Tls { address: address.to_owned(), source })?;
        Ok(Self { address: address.to_owned(), channel: endpoint.connect_lazy() })
    }
}

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
    /// Certificates, a key or an address that cannot be used.
    #[error("cannot dial {address} under mutual TLS")]
    Tls {
        /// The cluster port.
        address: String,
        /// Cause.
        #[source]
        source: tonic::transport::Error,
    },
    /// No node answers there, it does not trust our certificate, or we do not trust its own.
    #[error("the cluster port {address} gave no answer")]
    Port {
        /// The cluster port.
        address: String,
        /// Cause.
        #[source]
        source: Box<tonic::Status>,
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

/// Asks the node for its status; with `hash`, it digests its whole state for it (reads everything).
pub async fn status(node: &Node, hash: bool) -> Result<Status, Error> {
    ask(node, Method::GET, if hash { "/status?hash=true" } else { "/status" }).await
}

/// Asks the node to collect garbage in its cluster, and waits for the end.
pub async fn collect(node: &Node, collect: Collect) -> Result<Collected, Error> {
    let Collect { dry_run, delete_untagged } = collect;
    let target = format!("/garbage-collect?dry_run={dry_run}&delete_untagged={delete_untagged}");
    ask(node, Method::POST, &target).await
}

/// How collection does.
pub async fn collection(node: &Node) -> Result<Collection, Error> {
    ask(node, Method::GET, "/gc").await
}

/// Sets collection to `on`, `paused` or `verify`.
pub async fn set_mode(node: &Node, mode: &str, reason: &str) -> Result<Collection, Error> {
    ask(node, Method::POST, &format!("/gc?mode={}&reason={}", escape(mode), escape(reason))).await
}

/// Everything that holds a digest (in one repository or in all of them) or a key of the store.
pub async fn why(node: &Node, repository: Option<&str>, what: &str) -> Result<Why, Error> {
    let repository = repository.map(|name| format!("&repository={}", escape(name))).unwrap_or_default();
    ask(node, Method::GET, &format!("/why?what={}{repository}", escape(what))).await
}

/// What of a repository can be put back.
pub async fn trash(node: &Node, repository: &str) -> Result<Deleted, Error> {
    ask(node, Method::GET, &format!("/trash?repository={}", escape(repository))).await
}

/// Puts a deleted tag back.
pub async fn undelete_tag(node: &Node, repository: &str, tag: &str) -> Result<Undeleted, Error> {
    let target = format!("/undelete?repository={}&tag={}", escape(repository), escape(tag));
    ask(node, Method::POST, &target).await
}

/// Puts a deleted manifest back, with its tags.
pub async fn undelete_manifest(node: &Node, repository: &str, digest: &str) -> Result<Undeleted, Error> {
    let target = format!("/undelete?repository={}&digest={}", escape(repository), escape(digest));
    ask(node, Method::POST, &target).await
}

/// Deletes a repository with all that is in it.
pub async fn delete_repository(node: &Node, name: &str) -> Result<(), Error> {
    let _: serde_json::Value = ask(node, Method::DELETE, &format!("/repository?name={}", escape(name))).await?;
    Ok(())
}

/// Begins a verification.
pub async fn start_verification(node: &Node, verify: Verify) -> Result<Verification, Error> {
    let rate = verify.rate.map(|rate| format!("&rate={rate}")).unwrap_or_default();
    ask(node, Method::POST, &format!("/verify?hash={}{rate}", verify.hash)).await
}

/// How the verification does.
pub async fn verification(node: &Node) -> Result<Verification, Error> {
    ask(node, Method::GET, "/verify").await
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

async fn ask<T: DeserializeOwned>(node: &Node, method: Method, target: &str) -> Result<T, Error> {
    let (status, body) = match node {
        Node::Socket(path) => ask_socket(path, method, target).await?,
        Node::Port(port) => ask_port(port, method, target).await?,
    };
    if !(200..300).contains(&status) {
        return Err(Error::Refused { status, text: reason(&body) });
    }
    serde_json::from_slice(&body).map_err(|error| Error::Answer(error.into()))
}

async fn ask_port(port: &Port, method: Method, target: &str) -> Result<(u16, Bytes), Error> {
    let mut client = OperatorClient::new(port.channel.clone()).max_decoding_message_size(ANSWER_MAX);
    let request = OperatorRequest { method: method.to_string(), target: target.to_owned() };
    let failed = |status| Error::Port { address: port.address.clone(), source: Box::new(status) };
    let answer = client.call(request).await.map_err(failed)?.into_inner();
    Ok((u16::try_from(answer.status).unwrap_or(500), answer.json))
}

async fn ask_socket(path: &Path, method: Method, target: &str) -> Result<(u16, Bytes), Error> {
    let stream =
        UnixStream::connect(path).await.map_err(|source| Error::Unreachable { path: path.to_owned(), source })?;
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
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(Error::Answer)?.to_bytes();
        Ok((status, body))
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
