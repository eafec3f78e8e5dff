//! Section `http`: addresses, TLS, and what the outside of the registry looks like.

use super::Reader;
use crate::config::{Host, Http, Net, Network, authority};
use serde_json::Value;
use std::time::Duration;

impl Reader {
    pub(super) fn http(&self) -> Http {
        let debug_addr = self.set("http.debug.addr").is_some().then(|| self.address("http.debug.addr", ""));
        let net = self.net();
        let tls = self.http_tls();
        let addr = match net {
            Net::Tcp => self.address("http.addr", ":5000"),
            Net::Unix => self.socket(),
        };
        if net == Net::Unix && tls.is_some() {
            self.mistake(
                "http.net",
                "there is no TLS on a Unix socket",
                "remove `http.tls`: the proxy in front has it",
            );
        }
        Http {
            addr,
            net,
            host: self.host(),
            prefix: self.prefix(),
            relative_urls: self.set("http.relativeurls").map(|_| self.boolean("http.relativeurls", true)),
            headers: self.headers(),
            trusted_proxies: self.trusted_proxies(),
            http2: !self.boolean("http.http2.disabled", false),
            debug_addr: debug_addr.filter(|address| !address.is_empty()),
            metrics_path: self.metrics_path(),
            drain_timeout: self.duration("http.draintimeout", Duration::from_secs(30)),
            tls,
        }
    }

    fn metrics_path(&self) -> Option<String> {
        let path = self.text_or("http.debug.prometheus.path", "/metrics");
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) {
            self.mistake("http.debug.prometheus.path", "expected a path", "write `/metrics`");
        }
        self.boolean("http.debug.prometheus.enabled", true).then_some(path)
    }

    fn net(&self) -> Net {
        match self.text_or("http.net", "tcp").as_str() {
            "tcp" => Net::Tcp,
            "unix" => Net::Unix,
            _ => {
                self.mistake("http.net", "there is no such network", "write tcp or unix");
                Net::Tcp
            }
        }
    }

    /// `http.addr` as the path of a socket.
    fn socket(&self) -> String {
        let path = self.text("http.addr").unwrap_or_default();
        if !path.starts_with('/') {
            self.mistake("http.addr", "expected the path of a socket", "write an absolute path, or `http.net: tcp`");
        }
        path
    }

    fn host(&self) -> Option<Host> {
        let text = self.text("http.host")?;
        let host = host(&text);
        if host.is_none() {
            self.mistake("http.host", "expected the URL of the registry", "write `https://registry.example.com`");
        }
        host
    }

    fn prefix(&self) -> String {
        let prefix = self.text_or("http.prefix", "/");
        path(&prefix).map(str::to_owned).unwrap_or_else(|| {
            let fix = "write a path of letters, digits, `-`, `.`, `_` and `~`, like `/registry/`";
            self.mistake("http.prefix", "expected a path", fix);
            String::new()
        })
    }

    fn trusted_proxies(&self) -> Option<Vec<Network>> {
        let texts: Vec<String> = match self.set("http.trustedproxies") {
            None => return None,
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
            }
            Some(_) => {
                let text = self.text("http.trustedproxies")?;
                text.split([',', ' ']).filter(|text| !text.is_empty()).map(str::to_owned).collect()
            }
        };
        let parsed: Option<Vec<Network>> = texts.iter().map(|text| text.parse().ok()).collect();
        parsed.or_else(|| {
            let fix = "write a list like `[10.0.0.5, 172.16.0.0/12, 'fd00::/8']`";
            self.mistake("http.trustedproxies", "expected addresses and blocks of addresses", fix);
            None
        })
    }
}

/// `scheme://authority` and perhaps a path.
fn host(text: &str) -> Option<Host> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme))?;
    let (authority, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !authority::is_sound(authority) {
        return None;
    }
    Some(Host { scheme, authority: authority.to_owned(), path: path(rest)?.to_owned() })
}

/// A path without its last slash.
fn path(text: &str) -> Option<&str> {
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return Some(path);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    path.strip_prefix('/')?.split('/').all(segment).then_some(path)
}
