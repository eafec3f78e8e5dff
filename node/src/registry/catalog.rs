use super::{Error, Registry};
use crate::auth::Listing;
use tokio::task::yield_now;

/// Names that are looked at in one go; of a caller who may read few of them, few are on a page.
const EXAMINED_MAX: usize = 10_000;

/// One page of a listing, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The names.
    pub names: Vec<String>,
    /// Present if more may follow: where the next page begins, exclusively.
    pub next_after: Option<String>,
}

impl Page {
    /// A page of at most `limit` of `names`, which were asked for with one more than the limit.
    pub(super) fn cut(mut names: Vec<String>, limit: usize) -> Self {
        let more = names.len() > limit;
        names.truncate(limit);
        Self { next_after: names.last().filter(|_| more).cloned(), names }
    }
}

impl Registry {
    /// At most `limit` names after `last` of the repositories that the caller may read.
    pub async fn repositories(&self, listing: &Listing, last: Option<&str>, limit: usize) -> Result<Page, Error> {
        let view = self.view().await?;
        if listing.everything().is_some() {
            let names = view.repositories(last, limit + 1)?;
            return Ok(Page::cut(names.iter().map(ToString::to_string).collect(), limit));
        }
        let mut page = Page { names: Vec::new(), next_after: None };
        let mut after = last.map(str::to_owned);
        loop {
            let examined = view.repositories(after.as_deref(), EXAMINED_MAX)?;
            for name in &examined {
                if page.names.len() == limit {
                    return Ok(page);
                }
                if listing.shows(name) {
                    page.names.push(name.to_string());
                    // Never a name that the caller may not see.
                    page.next_after = page.names.last().cloned();
                }
            }
            if examined.len() < EXAMINED_MAX {
                page.next_after = None;
                return Ok(page);
            }
            if !page.names.is_empty() {
                return Ok(page);
            }
            after = examined.last().map(ToString::to_string);
            yield_now().await;
        }
    }
}
