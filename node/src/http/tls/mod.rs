//! TLS of the public address: `contents` reads the files, `material` makes of them what handshakes need, `reload` looks
//! whether they changed, and here connections are opened.

mod contents;
mod expiry;
mod material;
mod metrics;
mod reload;

pub use metrics::Metrics;
#[cfg(test)]
pub(in crate::http) use reload::Look;
pub use reload::Reloader;

use super::wire::{Stream, Wire};
use std::time::Duration;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

/// From the connection to the end of its handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection.
const HANDSHAKE_RECORD: u8 = 0x16;
/// For a client that speaks plain HTTP here.
pub(super) const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 48\r\nconnection: close\r\n\r\nclient sent an HTTP request to an HTTPS server.\n";

/// What handshakes are made with, which may change between two of them. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor(watch::Receiver<TlsAcceptor>);

impl Acceptor {
    fn current(&self) -> TlsAcceptor {
        self.0.borrow().clone()
    }
}

/// A connection after its handshake; one that speaks plain HTTP, to be told so; or nothing.
pub(super) enum Opened {
    Wire(Wire),
    PlainHttp(Wire),
    Nothing,
}

/// Shakes hands, if there is TLS here.
pub(super) async fn open(stream: TcpStream, acceptor: Option<&Acceptor>) -> Opened {
    let Some(acceptor) = acceptor else { return Opened::Wire(Wire::new(Stream::Plain(stream))) };
    let handshake = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == HANDSHAKE_RECORD => {}
            Ok(1) => return Opened::PlainHttp(Wire::new(Stream::Plain(stream))),
            _ => return Opened::Nothing,
        }
        match acceptor.current().accept(stream).await {
            Ok(stream) => Opened::Wire(Wire::new(Stream::Tls(Box::new(stream)))),
            Err(error) => {
                debug!(%error, "no TLS handshake");
                Opened::Nothing
            }
        }
    };
    timeout(HANDSHAKE_LIMIT, handshake).await.unwrap_or(Opened::Nothing)
}
