use serde::{Deserialize, Serialize};

/// What an operator wants collected: the query of `POST /garbage-collect`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collect {
    /// `dry_run=true`: only say what would be deleted.
    pub dry_run: bool,
    /// `delete_untagged=true`: manifests that no tag names go too.
    pub delete_untagged: bool,
}

/// What was (or would be) deleted: the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Blobs that stay.
    pub marked: u64,
    /// Digests of the blobs that go.
    pub blobs: Vec<String>,
    /// Digests of the manifests that go.
    pub manifests: Vec<String>,
}
