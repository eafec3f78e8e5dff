//! Addresses as `host:port`, `[ipv6]:port` or `:port`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Host (without brackets, empty for all interfaces) and port; `None` if the text is no address.
pub fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').filter(|host| host.parse::<Ipv6Addr>().is_ok()).map(|host| (host, port)),
        None => (!host.contains([':', '/', ' '])).then_some((host, port)),
    }
}

/// Whether only this machine reaches it.
pub fn is_loopback(address: &str) -> bool {
    split(address).is_some_and(|(host, _)| host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
}

/// Whether it means all interfaces.
pub fn is_unspecified(address: &str) -> bool {
    split(address).is_some_and(|(host, _)| host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()))
}

/// What to bind for an address, best first: an empty host means all interfaces of both families, or of IPv4 where there
/// is no IPv6.
///
/// # Errors
/// `InvalidInput` if the text is no address; what the resolver says.
pub async fn to_bind(address: &str) -> std::io::Result<Vec<SocketAddr>> {
    let (host, port) = split(address).ok_or(std::io::ErrorKind::InvalidInput)?;
    if host.is_empty() {
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}
