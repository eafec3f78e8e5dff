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
    /// Bytes of those blobs.
    #[serde(default)]
    pub bytes: u64,
    /// Links of repositories to blobs that go; a blob goes with its last one.
    #[serde(default)]
    pub links: u64,
    /// Dead segment lists whose objects the store is asked to delete now.
    #[serde(default)]
    pub lists: u64,
    /// Bytes of those that once were blobs.
    #[serde(default)]
    pub list_bytes: u64,
    /// Whether more is due than one answer takes.
    #[serde(default)]
    pub more: bool,
    /// The breaker has paused collection meanwhile: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<String>,
}

/// How collection does: the body of `GET /gc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// `on`, `paused` or `verify`.
    pub mode: String,
    /// Why it is not on, in an operator's or the breaker's words.
    pub reason: String,
    /// Whether the breaker paused it.
    pub breaker: bool,
    /// Since when, in Unix milliseconds; 0: it was never changed.
    pub since_wall: u64,
    /// Replicated time, in milliseconds.
    pub mono: u64,
    /// What the breaker counted in the last 24 hours, in bytes.
    pub day_bytes: u64,
    /// More than this pauses collection.
    pub day_bytes_max: u64,
    /// Blobs whose objects are missing or damaged.
    pub suspects: u64,
    /// The delays.
    pub delays: Delays,
    /// What waits.
    pub queues: Vec<Queue>,
}

/// The delays of collection, in milliseconds, as the cluster has agreed on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// `gc.grace`
    pub grace_ms: u64,
    /// `gc.promise`
    pub promise_ms: u64,
    /// `gc.deletedelay`
    pub delete_ms: u64,
    /// `gc.sweepdelay`
    pub sweep_ms: u64,
    /// `gc.deleteuntagged`; 0: off
    pub untagged_ms: u64,
}

/// A queue of collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Entries, counted to a bound.
    pub waiting: u64,
    /// Those that are due, counted to the same bound.
    pub due: u64,
    /// Whether the bound was met.
    pub more: bool,
    /// How long the oldest one has been due, in milliseconds; absent: none is, or its time is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_due_ms: Option<u64>,
}
