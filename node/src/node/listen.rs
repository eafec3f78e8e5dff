//! Ports are taken early, so that a conflict is seen at once, and listened on late, so that a balancer sees a closed port
//! until the node can serve.

use crate::{config, http};
use anyhow::{Context, bail};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::{
    fs, io,
    net::{Ipv6Addr, SocketAddr},
    os::{
        fd::OwnedFd,
        unix::{fs::FileTypeExt, net::UnixStream},
    },
    path::Path,
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket, UnixListener, lookup_host};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// A silent connection is asked for a sign of life after this time.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A place that was taken; nobody can connect yet.
pub(super) enum Taken {
    Port(TcpSocket),
    Socket(OwnedFd),
}

/// Takes the public address.
pub(super) async fn public(config: &config::Http) -> anyhow::Result<Taken> {
    match config.net {
        config::Net::Tcp => Ok(Taken::Port(bind(&config.addr).await?)),
        config::Net::Unix => Ok(Taken::Socket(bind_socket(Path::new(&config.addr))?)),
    }
}

impl Taken {
    /// Begins to accept.
    pub(super) fn listen(self) -> anyhow::Result<http::Listener> {
        match self {
            Self::Port(socket) => Ok(listen(socket)?.into()),
            Self::Socket(socket) => {
                rustix::net::listen(&socket, BACKLOG as i32).context("cannot listen")?;
                Ok(UnixListener::from_std(socket.into())?.into())
            }
        }
    }
}

/// Takes a path for a socket. What a dead process left there is removed.
fn bind_socket(path: &Path) -> anyhow::Result<OwnedFd> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
        Ok(file) if !file.file_type().is_socket() => bail!("{shown} is there and is no socket"),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).with_context(|| format!("cannot remove {shown}, where nobody listens"))?;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot tell whether somebody listens at {shown}"));
            }
            Ok(_) => bail!("another process listens at {shown}"),
        },
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path).with_context(|| format!("{shown} is too long for a socket"))?;
    rustix::net::bind(&socket, &address).with_context(|| format!("cannot listen at {shown}"))?;
    Ok(socket)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_listens_at_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = Taken::Socket(bind_socket(&path).unwrap()).listen().unwrap();
        assert_eq!(first.to_string(), path.display().to_string());
        let refused = bind_socket(&path).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(first);
        assert!(path.exists(), "it is left behind, as by a process that was killed");
        let second = Taken::Socket(bind_socket(&path).unwrap()).listen().unwrap();
        UnixStream::connect(&path).unwrap();
        drop(second);

        let file = dir.path().join("f");
        fs::write(&file, "precious").unwrap();
        assert!(bind_socket(&file).unwrap_err().to_string().contains("is no socket"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(bind_socket(&dir.path().join("x".repeat(200))).is_err());
        assert!(bind_socket(&dir.path().join("missing/s")).is_err());
    }
}
