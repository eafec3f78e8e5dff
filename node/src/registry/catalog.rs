use super::{Error, Registry};
use crate::auth::Listing;
use tokio::task::yield_now;

/// Names that are looked at in one go.
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
        // Whether there is a next page depends on what the caller may see alone: so it is looked for to the end.
        let (mut names, mut after) = (Vec::new(), last.map(str::to_owned));
        loop {
            let examined = view.repositories(after.as_deref(), EXAMINED_MAX)?;
            let wanted = (limit + 1).saturating_sub(names.len());
            names.extend(examined.iter().filter(|name| listing.shows(name)).take(wanted).map(ToString::to_string));
            if names.len() > limit || examined.len() < EXAMINED_MAX {
                return Ok(Page::cut(names, limit));
            }
            after = examined.last().map(ToString::to_string);
            yield_now().await;
        }
    }
}
