//! Section `http`.

use super::Reader;
use crate::config::{Http, HttpTls, TlsVersion};
use std::{path::PathBuf, time::Duration};

impl Reader {
    pub(super) fn http(&self) -> Http {
        let debug_addr = self.set("http.debug.addr").is_some().then(|| self.address("http.debug.addr", ""));
        Http {
            addr: self.address("http.addr", ":5000"),
            debug_addr: debug_addr.filter(|address| !address.is_empty()),
            metrics_path: self.metrics_path(),
            drain_timeout: self.duration("http.draintimeout", Duration::from_secs(30)),
            tls: self.http_tls(),
        }
    }

    fn metrics_path(&self) -> Option<String> {
        let path = self.text("http.debug.prometheus.path").unwrap_or("/metrics".to_owned());
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) {
            self.mistake("http.debug.prometheus.path", "expected a path", "write `/metrics`");
        }
        self.boolean("http.debug.prometheus.enabled", true).then_some(path)
    }

    fn http_tls(&self) -> Option<HttpTls> {
        let paths = ["http.tls.certificate", "http.tls.key"];
        let [certificate, key] = paths.map(|path| self.text(path).map(PathBuf::from));
        if certificate.is_some() != key.is_some() {
            let missing = if key.is_some() { paths[0] } else { paths[1] };
            self.mistake(missing, "TLS needs certificate and key", "name the PEM file, or remove both");
        }
        let minimum = match self.text("http.tls.minimumtls").as_deref() {
            None | Some("tls1.2") => TlsVersion::Tls12,
            Some("tls1.3") => TlsVersion::Tls13,
            Some(_) => {
                self.mistake("http.tls.minimumtls", "there is no such version here", "write tls1.2 or tls1.3");
                TlsVersion::Tls12
            }
        };
        Some(HttpTls { certificate: certificate?, key: key?, minimum })
    }
}
