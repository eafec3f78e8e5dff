//! TLS of the public address.

use super::wire::{Stream, Wire};
use crate::config::{HttpTls, TlsVersion};
use anyhow::Context;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

/// From the connection to the end of its handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection.
const HANDSHAKE_RECORD: u8 = 0x16;
/// For a client that speaks plain HTTP here.
pub(super) const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 48\r\nconnection: close\r\n\r\nclient sent an HTTP request to an HTTPS server.\n";

/// Reads the certificate and its key.
pub fn acceptor(config: &HttpTls) -> anyhow::Result<TlsAcceptor> {
    let shown = |path: &Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| shown(&config.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).with_context(|| shown(&config.key))?;
    let versions: &[_] = match config.minimum {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and the key do not fit")?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// A connection after its handshake; one that speaks plain HTTP, to be told so; or nothing.
pub(super) enum Opened {
    Wire(Wire),
    PlainHttp(Wire),
    Nothing,
}

/// Shakes hands, if there is TLS here.
pub(super) async fn open(stream: TcpStream, acceptor: Option<&TlsAcceptor>) -> Opened {
    let Some(acceptor) = acceptor else { return Opened::Wire(Wire::new(Stream::Plain(stream))) };
    let handshake = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == HANDSHAKE_RECORD => {}
            Ok(1) => return Opened::PlainHttp(Wire::new(Stream::Plain(stream))),
            _ => return Opened::Nothing,
        }
        match acceptor.accept(stream).await {
            Ok(stream) => Opened::Wire(Wire::new(Stream::Tls(Box::new(stream)))),
            Err(error) => {
                debug!(%error, "no TLS handshake");
                Opened::Nothing
            }
        }
    };
    timeout(HANDSHAKE_LIMIT, handshake).await.unwrap_or(Opened::Nothing)
}
