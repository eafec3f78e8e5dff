//! A service that must answer a `HEAD` with one status.

use crate::config;
use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::{pin::pin, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Redirects that are followed, as Go's client does.
const REDIRECTS_MAX: usize = 10;

/// The service, and what it should say.
pub(super) struct Target {
    uri: Uri,
    headers: HeaderMap,
    expected: u16,
    tls: TlsConnector,
}

impl Target {
    pub(super) fn new(service: &config::HttpService) -> anyhow::Result<Self> {
        let uri: Uri = service.uri.parse().with_context(|| format!("health.http: {}", service.uri))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &service.headers {
            let (name, value) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
            headers.append(name.context("health.http: headers")?, value.context("health.http: headers")?);
        }
        let mut roots = rustls::RootCertStore::empty();
        if uri.scheme_str() == Some("https") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
        Ok(Self { uri, headers, expected: service.status, tls })
    }

    /// Asks once, and follows redirects to what was expected.
    pub(super) async fn ask(&self) -> Result<(), String> {
        let mut uri = self.uri.clone();
        for _ in 0..=REDIRECTS_MAX {
            let (status, location) = self.head(&uri).await?;
            if status.as_u16() == self.expected {
                return Ok(());
            }
            uri = match location.filter(|_| status.is_redirection()).and_then(|location| resolve(&uri, &location)) {
                Some(next) => next,
                None => return Err(format!("answers {} instead of {}", status.as_u16(), self.expected)),
            };
        }
        Err(format!("redirects more than {REDIRECTS_MAX} times"))
    }

    async fn head(&self, uri: &Uri) -> Result<(StatusCode, Option<String>), String> {
        let host = uri.host().ok_or("the address has no host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let unreachable = |error: std::io::Error| format!("cannot connect: {error}");
        let stream = TcpStream::connect((bare, port)).await.map_err(unreachable)?;
        if !secure {
            return self.exchange(uri, stream).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let stream = self.tls.connect(name, stream).await.map_err(unreachable)?;
        self.exchange(uri, stream).await
    }

    async fn exchange<S>(&self, uri: &Uri, stream: S) -> Result<(StatusCode, Option<String>), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |error: hyper::Error| format!("no answer: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::HEAD;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = target.parse().map_err(|error| format!("{target}: {error}"))?;
        // Not for others than whom they were meant for.
        if uri.authority() == self.uri.authority() {
            *request.headers_mut() = self.headers.clone();
        }
        let host = HeaderValue::try_from(uri.authority().map_or("", |authority| authority.as_str()));
        request.headers_mut().entry(header::HOST).or_insert(host.map_err(|error| error.to_string())?);

        let (mut answer, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
        let response = tokio::select! {
            response = &mut answer => response,
            ended = &mut connection => {
                ended.map_err(failed)?;
                answer.await
            }
        };
        let (head, _) = response.map_err(failed)?.into_parts();
        let location = head.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        Ok((head.status, location.map(str::to_owned)))
    }
}

/// Where a redirect from `base` leads: a URL, or a path on the same host.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return location.parse().ok();
    }
    let mut parts = base.clone().into_parts();
    parts.path_and_query =
        Some(location.parse().ok().filter(|_| location.starts_with('/') && !location.starts_with("//"))?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_urls_and_paths() {
        let base: Uri = "http://a:1/x?y".parse().unwrap();
        for (location, expected) in [
            ("https://b/z", Some("https://b/z")),
            ("/z?q", Some("http://a:1/z?q")),
            ("//b/z", None),
            ("z", None),
            ("ftp://b", None),
        ] {
            assert_eq!(resolve(&base, location).map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        }
    }
}
