//! Sections `catalog` and `tags`.

use super::Reader;
use crate::config::Pages;

/// More names than this are not collected for one answer.
const NAMES_MAX: usize = 100_000;

impl Reader {
    pub(super) fn pages(&self) -> Pages {
        let (catalog, tags) = (self.names("catalog.maxentries", 1_000), self.names("tags.maxtags", NAMES_MAX));
        Pages { catalog, tags }
    }

    /// As registry:2, which takes zero and less for the default.
    fn names(&self, path: &'static str, default: usize) -> usize {
        let Some(text) = self.text(path) else {
            self.uses(path, default, None);
            return default;
        };
        match text.parse::<i64>() {
            Ok(number) => {
                let names = usize::try_from(number).ok().filter(|names| *names > 0).map(|names| names.min(NAMES_MAX));
                let from = names.and(Some(path));
                let names = names.unwrap_or(default);
                self.uses(path, names, from);
                names
            }
            Err(_) => {
                self.mistake(path, "expected a number", format!("write a number, like `{default}`"));
                default
            }
        }
    }
}
