//! The part of a URL that names a host: it goes into headers that clients follow.

use std::net::Ipv6Addr;

/// DNS has no longer names.
const BYTES_MAX: usize = 255 + ":65535".len();

/// Whether `text` is `name`, `name:port`, `address:port` or `[ipv6]:port`, and nothing that ends a URL or a quoted text.
pub fn is_sound(text: &str) -> bool {
    let (host, port) = match text.find(']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let host_is_sound = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        // Names of containers have underscores.
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let port_is_sound = match port.strip_prefix(':') {
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    text.len() <= BYTES_MAX && host_is_sound && port_is_sound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_port_are_sound() {
        for text in
            ["a", "registry.example.com", "a:5000", "10.0.0.1:443", "[::1]", "[2001:db8::1]:5000", "node_1:5000"]
        {
            assert!(is_sound(text), "{text}");
        }
        let long = "a".repeat(300);
        for text in [
            "",
            ":5000",
            "a:",
            "a:x",
            "a:+1",
            "a:65536",
            "a/b",
            "a\\b",
            "//a",
            "u@a",
            "a b",
            "a\"b",
            "a'b",
            "a,b",
            "a;b",
            "a?b",
            "a#b",
            "a%41",
            "é",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[x]",
            "[::1]x",
            "[::1]:",
            "[fe80::1%eth0]",
            "a\r\nb",
            "<a>",
            &long,
        ] {
            assert!(!is_sound(text), "{text}");
        }
    }
}
