//! Section `audit`.

use super::Reader;
use crate::config::Audit;

impl Reader {
    pub(super) fn audit(&self) -> Option<Audit> {
        let path = self.text_or("audit.path", "stdout");
        let audit = if path == "stdout" { Audit::Stdout } else { Audit::File(path.into()) };
        self.boolean("audit.enabled", false).then_some(audit)
    }
}
