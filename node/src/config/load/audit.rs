//! Section `audit`.

use super::Reader;
use crate::config::Audit;

impl Reader {
    pub(super) fn audit(&self) -> Option<Audit> {
        let path = self.text("audit.path");
        let audit = match path.as_deref() {
            None | Some("stdout") => Audit::Stdout,
            Some(path) => Audit::File(path.into()),
        };
        self.boolean("audit.enabled", false).then_some(audit)
    }
}
