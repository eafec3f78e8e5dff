//! Who is at the other end of a connection, and who sent the request: not the same behind a proxy.

use std::net::{IpAddr, SocketAddr};

/// The address at the other end of the connection, among a request's extensions; there is none on a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The address of the client, as far as the proxies that are trusted know it; among a request's extensions. There is none
/// if a proxy on a Unix socket does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// A connection, as its listener knows it; among a request's extensions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    /// Absent on a Unix socket.
    pub(super) peer: Option<SocketAddr>,
    /// On a Unix socket: the other end is on this machine, and allowed to be there.
    pub(super) local: bool,
    /// TLS ends here.
    pub(super) secure: bool,
}
