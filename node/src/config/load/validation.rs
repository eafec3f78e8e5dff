//! Section `validation`.

use super::Reader;
use crate::config::Validation;

impl Reader {
    pub(super) fn validation(&self) -> Validation {
        let platforms = "validation.manifests.indexes.platforms";
        let sparse_indexes = match self.text(platforms).as_deref() {
            None | Some("all") => false,
            Some("none") => true,
            Some(_) => {
                self.mistake(
                    platforms,
                    "an index needs the manifests of all platforms or of none",
                    "write all or none",
                );
                false
            }
        };
        let allowed_urls = self.patterns("validation.manifests.urls.allow");
        Validation { allowed_urls, denied_urls: self.patterns("validation.manifests.urls.deny"), sparse_indexes }
    }
}
