use serde::{Deserialize, Serialize};

/// What is verified: the query of `POST /verify`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verify {
    /// `hash=true`: bytes are read and compared with their digests.
    pub hash: bool,
    /// `rate=`: bytes read in a second, at most; absent: as fast as the store gives them.
    pub rate: Option<u64>,
}

/// How a verification does, or ended: the body of `POST /verify` and `GET /verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Which run it is: no two are the same, on no node.
    #[serde(default)]
    pub run: String,
    /// It goes on.
    pub running: bool,
    /// Bytes are read and compared with their digests.
    pub hash: bool,
    /// What it looks at: `metadata`, `blobs`, `store`, or `done`.
    pub phase: String,
    /// Blobs looked at.
    pub blobs: u64,
    /// All blobs, when it began.
    pub blobs_all: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Keys of the store looked at.
    pub keys: u64,
    /// Blobs that are known to be missing or damaged; they are no difference.
    pub suspects: u64,
    /// What does not hold, a sentence each, after a second look. Cut at a bound.
    pub differences: Vec<String>,
    /// How many there are.
    pub differences_all: u64,
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Verification {
    /// Whether it came to its end and found nothing.
    pub fn is_clean(&self) -> bool {
        !self.running && self.phase == "done" && self.differences_all == 0 && self.error.is_none()
    }
}

/// What was put back: the body of `POST /undelete`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undeleted {
    /// Tags that point to it again.
    pub tags: u64,
}
