use super::{Error, Registry};

/// One page of a listing, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The names.
    pub names: Vec<String>,
    /// Whether more follow the last one.
    pub more: bool,
}

impl Page {
    /// A page of at most `limit` of `names`, which were asked for with one more than the limit.
    pub(super) fn cut(mut names: Vec<String>, limit: usize) -> Self {
        let more = names.len() > limit;
        names.truncate(limit);
        Self { names, more }
    }
}

impl Registry {
    /// At most `limit` repository names after `last`.
    pub async fn repositories(&self, last: Option<&str>, limit: usize) -> Result<Page, Error> {
        let repositories = self.view().await?.repositories(last, limit + 1)?;
        Ok(Page::cut(repositories.iter().map(ToString::to_string).collect(), limit))
    }
}
