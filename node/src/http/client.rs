//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The address at the other end of the connection, among a request's extensions; there is none on a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);
