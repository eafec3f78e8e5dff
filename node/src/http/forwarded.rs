//! What proxies say of the request that they pass on: `Forwarded` (RFC 7239) and the `X-Forwarded-*` that came before it.
//!
//! Every proxy appends. What the last one wrote, the peer, is believed if it is trusted; if it names another trusted proxy,
//! so is what that one wrote; the first address that is not trusted is the client's. Whatever is further left the client
//! may have made up.

use http::{HeaderMap, HeaderName, header::FORWARDED};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is believed of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// Nearest to the client of those that are known; absent if the peer does not say.
    pub(super) client: Option<IpAddr>,
    /// `http` or `https`, as the client asked.
    pub(super) scheme: Option<&'static str>,
    /// What the client asked for, unchecked.
    pub(super) host: Option<&'a str>,
}

/// Reads the headers of a request whose peer is trusted.
pub(super) fn read(headers: &HeaderMap, trusts: impl Fn(IpAddr) -> bool) -> Said<'_> {
    let (new, old) = (forwarded(headers, &trusts), x_forwarded(headers, &trusts));
    match (new, old) {
        (None, None) => plain(headers, 1),
        (Some(new), None) => {
            let rest = plain(headers, 1);
            Said { client: new.said.client, scheme: new.said.scheme.or(rest.scheme), host: new.said.host.or(rest.host) }
        }
        (None, Some(old)) => old.said,
        (Some(new), Some(old)) if new.last == old.last => Said {
            client: new.said.client,
            scheme: new.said.scheme.or(old.said.scheme),
            host: new.said.host.or(old.said.host),
        },
        // A proxy that writes one of the two passes the other on as the client made it up, and it cannot be told which.
        (Some(_), Some(old)) => Said { client: None, ..old.said },
    }
}

/// Whether anybody on the way, trusted or not, says that the client asked by https.
pub(super) fn speaks_of_https(headers: &HeaderMap) -> bool {
    let is_https = |scheme| known_scheme(scheme) == Some("https");
    let new = || from_the_right(headers, &FORWARDED).filter_map(|element| parameter(element, "proto")).any(is_https);
    from_the_right(headers, &PROTO).any(is_https) || new()
}

/// What one family of headers says.
struct Chain<'a> {
    said: Said<'a>,
    /// Whom the peer names.
    last: Option<IpAddr>,
}

fn forwarded<'a>(headers: &'a HeaderMap, trusts: &impl Fn(IpAddr) -> bool) -> Option<Chain<'a>> {
    if !headers.contains_key(FORWARDED) {
        return None;
    }
    let mut chain = Chain { said: Said::default(), last: None };
    for (n, element) in from_the_right(headers, &FORWARDED).enumerate() {
        let [address, scheme, host] = ["for", "proto", "host"].map(|name| parameter(element, name));
        chain.said.scheme = scheme.and_then(known_scheme).or(chain.said.scheme);
        chain.said.host = host.or(chain.said.host);
        let Some(address) = address.and_then(address_of) else { break };
        if n == 0 {
            chain.last = Some(address);
        }
        chain.said.client = Some(address);
        if !trusts(address) {
            break;
        }
    }
    Some(chain)
}

fn x_forwarded<'a>(headers: &'a HeaderMap, trusts: &impl Fn(IpAddr) -> bool) -> Option<Chain<'a>> {
    if !headers.contains_key(FOR) {
        return None;
    }
    let (mut client, mut last, mut proxies) = (None, None, 1);
    for (n, element) in from_the_right(headers, &FOR).enumerate() {
        let Some(address) = address_of(element) else { break };
        if n == 0 {
            last = Some(address);
        }
        client = Some(address);
        if !trusts(address) {
            break;
        }
        proxies += 1;
    }
    Some(Chain { said: Said { client, ..plain(headers, proxies) }, last })
}

/// `X-Forwarded-Proto` and `-Host` as written by the outermost of so many proxies. One that writes may append or replace.
fn plain(headers: &HeaderMap, proxies: usize) -> Said<'_> {
    let outermost = |name| from_the_right(headers, name).take(proxies).last();
    Said { client: None, scheme: outermost(&PROTO).and_then(known_scheme), host: outermost(&HOST) }
}

/// The elements of a list that may go over several headers, last to first.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    // What is no text is one element that means nothing. No element that means something has a comma in it.
    let lines = headers.get_all(name).iter().rev().map(|line| line.to_str().unwrap_or_default());
    lines.flat_map(|line| line.rsplit(',')).map(str::trim)
}

/// The value of `name` in an element of `Forwarded`; none if it is there twice, or written in a way that nobody needs.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut values = element.split(';').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    });
    let value = values.next().filter(|_| values.next().is_none())?;
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => value,
    };
    (!value.contains(['"', '\\'])).then_some(value)
}

fn known_scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(text))
}

/// An address with or without a port; `unknown` and invented names are none.
fn address_of(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address: Option<IpAddr> = text.parse().ok();
    let address = address.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()));
    address.or_else(|| bracketed().map(IpAddr::from)).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies are in 10.0.0.0/8; headers are written `name: value`.
    fn said(lines: &[&str]) -> (String, String) {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers
                .append(name.parse::<HeaderName>().unwrap(), http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let said = read(&headers, |address| address.to_string().starts_with("10."));
        let client = said.client.map(|address| address.to_string()).unwrap_or_default();
        (client, format!("{}://{}", said.scheme.unwrap_or_default(), said.host.unwrap_or_default()))
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        for (lines, client) in [
            (&["x-forwarded-for: 1.1.1.1"][..], "1.1.1.1"),
            (&["x-forwarded-for: 1.1.1.1, 2.2.2.2"], "2.2.2.2"),
            (&["x-forwarded-for: 9.9.9.9, 1.1.1.1, 10.0.0.2,10.0.0.3"], "1.1.1.1"),
            (&["x-forwarded-for: 9.9.9.9", "x-forwarded-for: 1.1.1.1", "x-forwarded-for: 10.0.0.2"], "1.1.1.1"),
            (&["x-forwarded-for: 10.0.0.4, 10.0.0.2"], "10.0.0.4"),
            (&["x-forwarded-for: 1.1.1.1:4711"], "1.1.1.1"),
            (&["x-forwarded-for: 2001:db8::1"], "2001:db8::1"),
            (&["x-forwarded-for: [2001:db8::1]"], "2001:db8::1"),
            (&["x-forwarded-for: [2001:db8::1]:4711"], "2001:db8::1"),
            (&["x-forwarded-for: ::ffff:10.0.0.2"], "10.0.0.2"),
            (&["x-forwarded-for: 1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1"),
            (&["forwarded: for=1.1.1.1"], "1.1.1.1"),
            (&["forwarded: FOR = 1.1.1.1 ; proto=http"], "1.1.1.1"),
            (&["forwarded: for=\"[2001:db8::1]:4711\""], "2001:db8::1"),
            (&["forwarded: for=\"1.1.1.1:80\";by=10.0.0.1, for=10.0.0.2"], "1.1.1.1"),
            (&["forwarded: for=9.9.9.9, for=1.1.1.1", "forwarded: for=10.0.0.2"], "1.1.1.1"),
            // Both, and they agree.
            (&["forwarded: for=1.1.1.1", "x-forwarded-for: 1.1.1.1"], "1.1.1.1"),
            (&["forwarded: for=1.1.1.1, for=10.0.0.2", "x-forwarded-for: 10.0.0.2"], "1.1.1.1"),
        ] {
            assert_eq!(said(lines).0, client, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        let long = format!("x-forwarded-for: {}10.0.0.2", "x, ".repeat(2_000));
        for (lines, client) in [
            (&["x-forwarded-for: "][..], ""),
            (&["x-forwarded-for: unknown"], ""),
            (&["x-forwarded-for: 1.1.1.1, _hidden"], ""),
            (&["x-forwarded-for: 1.1.1.1,"], ""),
            (&["x-forwarded-for: 1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["x-forwarded-for: 1.1.1.1 2.2.2.2"], ""),
            (&["x-forwarded-for: 1.1.1"], ""),
            (&["x-forwarded-for: 1.1.1.1:port"], ""),
            (&["x-forwarded-for: [1.1.1.1]"], ""),
            (&["x-forwarded-for: [::1"], ""),
            (&["x-forwarded-for: <script>"], ""),
            (&["x-forwarded-for: 1.1.1.1\", \"x"], ""),
            (&["x-forwarded-for: é, 1.1.1.1"], ""),
            (&[long.as_str()], "10.0.0.2"),
            (&["forwarded: "], ""),
            (&["forwarded: for"], ""),
            (&["forwarded: proto=https"], ""),
            (&["forwarded: for=unknown"], ""),
            (&["forwarded: for=_x"], ""),
            (&["forwarded: for=1.1.1.1;for=2.2.2.2"], ""),
            (&["forwarded: for=\"1.1.1.1"], ""),
            (&["forwarded: for=\"1.1.1.\\1\""], ""),
            // The proxy appended to what the client left open.
            (&["forwarded: for=\"x, for=1.1.1.1"], "1.1.1.1"),
            // Only one of the two is the proxy's.
            (&["forwarded: for=8.8.8.8", "x-forwarded-for: 1.1.1.1"], ""),
            (&["forwarded: for=1.1.1.1", "x-forwarded-for: 8.8.8.8"], ""),
            (&["forwarded: for=1.1.1.1", "x-forwarded-for: x"], ""),
        ] {
            assert_eq!(said(lines).0, client, "{lines:?}");
        }
    }

    #[test]
    fn the_address_that_the_client_asked_is_the_one_of_the_outermost_trusted_proxy() {
        for (lines, url) in [
            (&["x-forwarded-proto: https"][..], "https://"),
            (&["x-forwarded-proto: HTTPS", "x-forwarded-host: a"], "https://a"),
            (&["x-forwarded-proto: gopher", "x-forwarded-host: a"], "://a"),
            (&["x-forwarded-for: 1.1.1.1", "x-forwarded-host: evil, a"], "://a"),
            (&["x-forwarded-for: 1.1.1.1", "x-forwarded-host: evil", "x-forwarded-host: a"], "://a"),
            (&["x-forwarded-for: 1.1.1.1, 10.0.0.2", "x-forwarded-host: evil, a, inner"], "://a"),
            (&["x-forwarded-for: 1.1.1.1, 10.0.0.2", "x-forwarded-host: a"], "://a"),
            (&["x-forwarded-for: 1.1.1.1, 10.0.0.2", "x-forwarded-proto: https, http"], "https://"),
            (&["x-forwarded-for: 10.0.0.9, 1.1.1.1", "x-forwarded-host: evil, a"], "://a"),
            (&["forwarded: for=1.1.1.1;proto=https;host=a"], "https://a"),
            (&["forwarded: for=1.1.1.1;proto=https;host=\"a:5000\""], "https://a:5000"),
            (&["forwarded: for=9.9.9.9;host=evil, for=1.1.1.1;host=a;proto=https"], "https://a"),
            (&["forwarded: for=1.1.1.1;host=a;proto=https, for=10.0.0.2;host=inner;proto=http"], "https://a"),
            (&["forwarded: for=1.1.1.1, for=10.0.0.2;host=inner;proto=https"], "https://inner"),
            // Where both speak the new one counts, and the old one fills in.
            (&["forwarded: for=1.1.1.1;host=a", "x-forwarded-host: b", "x-forwarded-proto: https"], "https://a"),
            (&["forwarded: for=8.8.8.8;host=evil", "x-forwarded-for: 1.1.1.1", "x-forwarded-host: a"], "://a"),
        ] {
            assert_eq!(said(lines).1, url, "{lines:?}");
        }
    }
}
