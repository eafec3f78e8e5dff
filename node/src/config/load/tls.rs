//! Section `http.tls`.

use super::Reader;
use crate::config::{ClientCertificates, HttpTls, TlsVersion, suites};
use std::path::PathBuf;

const MINIMUM: &str = "http.tls.minimumtls";
const SUITES: &str = "http.tls.ciphersuites";
const AUTHORITIES: &str = "http.tls.clientcas";
const DEMAND: &str = "http.tls.clientauth";

impl Reader {
    pub(super) fn http_tls(&self) -> Option<HttpTls> {
        let paths = ["http.tls.certificate", "http.tls.key"];
        let [certificate, key] = paths.map(|path| self.text(path).map(PathBuf::from));
        if certificate.is_some() != key.is_some() {
            let missing = if key.is_some() { paths[0] } else { paths[1] };
            self.mistake(missing, "TLS needs certificate and key", "name the PEM file, or remove both");
        }
        let minimum = self.minimum();
        let (suites, clients) = (self.suites(minimum), self.clients());
        if certificate.is_none() && key.is_none() && clients.is_some() {
            let fix = "name http.tls.certificate and http.tls.key";
            self.mistake(AUTHORITIES, "clients show certificates only where there is TLS", fix);
        }
        let http2 = !self.boolean("http.http2.disabled", false);
        Some(HttpTls { certificate: certificate?, key: key?, minimum, http2, suites, clients })
    }

    fn minimum(&self) -> TlsVersion {
        match self.text_or(MINIMUM, "tls1.2").as_str() {
            "tls1.2" => TlsVersion::Tls12,
            "tls1.3" => TlsVersion::Tls13,
            "tls1.0" | "tls1.1" => {
                self.notice(MINIMUM, "TLS 1.2 is the least here");
                self.uses(MINIMUM, "tls1.2", Some(MINIMUM));
                TlsVersion::Tls12
            }
            _ => {
                self.mistake(MINIMUM, "there is no such version here", "write tls1.2 or tls1.3");
                TlsVersion::Tls12
            }
        }
    }

    fn suites(&self, minimum: TlsVersion) -> Option<Vec<u16>> {
        let names = self.texts(SUITES);
        if names.is_empty() {
            return None;
        }
        let (mut wanted, mut of_tls13, mut left_out) = (Vec::new(), false, Vec::new());
        for name in &names {
            match suites::find(name) {
                Some(suites::Suite::Tls12(number)) => wanted.push(number),
                Some(suites::Suite::Tls13) => of_tls13 = true,
                Some(suites::Suite::Weak) => left_out.push(name.as_str()),
                None => self.mistake(SUITES, format!("there is no cipher suite {name}"), "correct or remove the name"),
            }
        }
        if !left_out.is_empty() {
            let text = format!("left out, since they are weak and not built: {}", left_out.join(", "));
            self.notice(SUITES, text);
            let kept: Vec<&str> = names.iter().map(String::as_str).filter(|name| !left_out.contains(name)).collect();
            self.uses(SUITES, kept, Some(SUITES));
        }
        if wanted.is_empty() && !of_tls13 && minimum == TlsVersion::Tls12 {
            let fix = "name one of those in docs/config.md, or remove the key";
            self.mistake(SUITES, "none of these suites can be used", fix);
        }
        Some(wanted).filter(|wanted| !wanted.is_empty() || of_tls13)
    }

    fn clients(&self) -> Option<ClientCertificates> {
        let authorities: Vec<PathBuf> = self.texts(AUTHORITIES).into_iter().map(PathBuf::from).collect();
        let demand = self.text(DEMAND);
        let required = match demand.as_deref() {
            None | Some("require-and-verify-client-cert") => true,
            Some("verify-client-cert-if-given") => false,
            Some("request-client-cert" | "require-any-client-cert") => {
                let fix =
                    "write verify-client-cert-if-given or require-and-verify-client-cert, with http.tls.clientcas";
                self.mistake(DEMAND, "certificates that nobody verifies are not accepted", fix);
                true
            }
            Some(_) => {
                let fix = "write require-and-verify-client-cert or verify-client-cert-if-given";
                self.mistake(DEMAND, "there is no such demand", fix);
                true
            }
        };
        if demand.is_some() && authorities.is_empty() {
            self.mistake(DEMAND, "it needs the authorities of clients", "name their PEM files in http.tls.clientcas");
        }
        (!authorities.is_empty()).then_some(ClientCertificates { authorities, required })
    }
}
