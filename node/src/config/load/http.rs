//! Section `http`.

use super::Reader;
use crate::config::Http;
use std::time::Duration;

impl Reader {
    pub(super) fn http(&self) -> Http {
        let debug_addr = self.set("http.debug.addr").is_some().then(|| self.address("http.debug.addr", ""));
        Http {
            addr: self.address("http.addr", ":5000"),
            debug_addr: debug_addr.filter(|address| !address.is_empty()),
            drain_timeout: self.duration("http.draintimeout", Duration::from_secs(30)),
            tls: self.http_tls(),
        }
    }
}
