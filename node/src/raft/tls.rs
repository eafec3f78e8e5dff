//! Mutual TLS of the cluster port, from files. A peer is whoever holds a certificate of the cluster's own authority; which
//! node it claims to be is checked by `service`.

use super::error::Error;
use crate::config::ClusterTls;
use std::{fs, path::Path};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// Both ends of mutual TLS.
#[derive(Clone)]
pub struct Tls {
    identity: Identity,
    authority: Certificate,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &ClusterTls) -> Result<Self, Error> {
        let identity = Identity::from_pem(read("certificate", &files.certificate)?, read("key", &files.key)?);
        Ok(Self { identity, authority: Certificate::from_pem(read("ca", &files.ca)?) })
    }

    /// For dialing `address`: the certificate must name its host.
    pub fn client(&self, address: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.authority.clone())
            .domain_name(host(address))
    }

    /// For listening: a client without a certificate is refused.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.authority.clone())
            .client_auth_optional(false)
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::Tls(what, Box::new(error)))
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}
