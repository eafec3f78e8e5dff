//! Ports are taken early, so that a conflict is seen at once, and listened on late, so that a balancer sees a closed port
//! until the node can serve.

use anyhow::Context;
use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// A silent connection is asked for a sign of life after this time.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Takes `address`: `host:port`, or `:port` for all interfaces.
pub(super) async fn bind(address: &str) -> anyhow::Result<TcpSocket> {
    let resolved = match address.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().with_context(|| format!("{address}: no port number"))?;
            match take(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
                Ok(socket) => return Ok(socket),
                Err(_) => SocketAddr::from(([0, 0, 0, 0], port)), // no IPv6 here
            }
        }
        None => {
            let mut found = lookup_host(address).await.with_context(|| format!("cannot resolve {address}"))?;
            found.next().with_context(|| format!("{address} resolves to nothing"))?
        }
    };
    take(resolved).with_context(|| format!("cannot listen on {address}"))
}

fn take(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // What it accepts inherits these.
    socket.set_keepalive(true)?;
    rustix::net::sockopt::set_tcp_keepidle(&socket, KEEP_ALIVE)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Begins to accept.
pub(super) fn listen(socket: TcpSocket) -> anyhow::Result<TcpListener> {
    socket.listen(BACKLOG).context("cannot listen")
}
