//! Section `limits`.

use super::Reader;
use crate::config::Limits;
use std::time::Duration;

impl Reader {
    pub(super) fn limits(&self) -> Limits {
        let body_progress = self.duration("limits.bodyprogress", Duration::from_secs(60));
        if !(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&body_progress) {
            self.mistake("limits.bodyprogress", "expected a second to a day", "write a duration, like `60s`");
        }
        let (connections, requests) = (self.count("limits.connections", 20_000), self.count("limits.requests", 4_096));
        Limits { connections, requests, body_progress }
    }
}
