//! Where the outside finds this registry: what `Location` and other addresses in answers begin with. Decided once for each
//! request; what a client that is no trusted proxy says besides its `Host` has no part in it.

use super::client::Connection;
use super::forwarded::{self, Said};
use crate::config::{self, Host, Network, authority};
use http::{HeaderMap, Uri, header};
use std::net::IpAddr;

/// What an operator says of the outside.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    host: Option<Host>,
    /// Without its last slash.
    prefix: String,
    absolute: bool,
    trusted: Vec<Network>,
    /// The operator said which proxies there are, if any: so addresses are those of clients.
    knows_clients: bool,
}

/// The outside's address of this registry, for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// `http` or `https`
    pub scheme: &'a str,
    /// Host and port, safe in a header.
    pub authority: &'a str,
    /// Before every path, without its last slash.
    pub prefix: &'a str,
    absolute: bool,
    /// Nobody who is believed says how the client asked, but somebody says by https.
    perhaps_https: bool,
}

impl From<&config::Http> for Origins {
    fn from(http: &config::Http) -> Self {
        Self {
            host: http.host.clone(),
            prefix: http.prefix.clone(),
            // Behind a proxy that ends TLS and does not say so, an absolute one would have the wrong scheme.
            absolute: http.host.is_some() || http.relative_urls == Some(false),
            trusted: http.trusted_proxies.clone().unwrap_or_default(),
            knows_clients: http.trusted_proxies.is_some(),
        }
    }
}

impl Origins {
    /// A path as the endpoints know it; nothing if it lacks the prefix.
    pub(super) fn inner<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        (rest.starts_with('/')).then_some(rest)
    }

    /// Whether addresses are those of clients. Else they may be a balancer's that nobody spoke of, and all clients'.
    pub(super) fn know_clients(&self) -> bool {
        self.knows_clients
    }

    /// The client's address and the registry's, of one request.
    pub(super) fn of<'a>(
        &'a self,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        connection: Connection,
    ) -> (Option<IpAddr>, Origin<'a>) {
        let peer = connection.peer.map(|address| address.ip().to_canonical());
        let trusts = |address: IpAddr| self.trusted.iter().any(|network| network.contains(address));
        let is_proxy = connection.local || peer.is_some_and(trusts);
        let said = if is_proxy { forwarded::read(headers, trusts) } else { Said::default() };
        (said.client.or(peer), self.decide(uri, headers, connection, &said))
    }

    fn decide<'a>(
        &'a self,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        connection: Connection,
        said: &Said<'a>,
    ) -> Origin<'a> {
        let prefix = self.prefix.as_str();
        if let Some(Host { scheme, authority, path }) = &self.host {
            let prefix = if path.is_empty() { prefix } else { path };
            return Origin { scheme, authority, prefix, absolute: self.absolute, perhaps_https: false };
        }
        let asked = || match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
        };
        let sound = |authority: &&str| authority::is_sound(authority);
        let authority = said.host.filter(sound).or_else(|| asked().filter(sound));
        Origin {
            scheme: said.scheme.unwrap_or(if connection.secure { "https" } else { "http" }),
            // Only a client that does not say whom it asks gets this, and then only where nothing else will do.
            authority: authority.unwrap_or("localhost"),
            prefix,
            absolute: self.absolute && authority.is_some(),
            perhaps_https: said.scheme.is_none() && forwarded::speaks_of_https(headers),
        }
    }
}

impl Origin<'_> {
    /// The whole address of a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{}{path}", self.scheme, self.authority, self.prefix)
    }

    /// Scheme and host where a challenge sends clients: there clients show their passwords, which must not leave TLS because nobody
    /// told us of the proxy that ends it. So far a stranger may be believed: it is only answered itself.
    pub fn realm_host(&self) -> String {
        let scheme = if self.perhaps_https { "https" } else { self.scheme };
        format!("{scheme}://{}", self.authority)
    }

    /// The same without scheme and host.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// What `Location` says of a path: the whole address only if the operator wants it.
    pub fn location(&self, path: &str) -> String {
        if self.absolute { self.url(path) } else { self.path(path) }
    }
}
