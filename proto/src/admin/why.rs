use serde::{Deserialize, Serialize};

/// Everything that holds something: the body of `GET /why`. Lists are cut at a bound; `more` says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What was asked about: a digest, or a key of the store.
    pub asked: String,
    /// The blob, if there is one under that digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<StoredBlob>,
    /// Objects of what once was a blob under that digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub condemned: Vec<Condemned>,
    /// Collection is not on: nothing that was readable goes, whatever is due.
    #[serde(default)]
    pub paused: bool,
    /// Repositories in which it is, or was until lately.
    pub places: Vec<Place>,
    /// Of a key of the store: its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
    /// Whether a list was cut.
    pub more: bool,
}

/// A blob, whichever repository has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBlob {
    /// Bytes.
    pub size: u64,
    /// Its objects are missing or damaged: it counts as absent until it is pushed again.
    pub suspect: bool,
    /// Repositories that link it.
    pub links: u64,
    /// Keys of its objects.
    pub objects: Vec<String>,
}

/// Objects that go, because what was a blob is none any more. A push of the digest brings objects of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// Bytes.
    pub bytes: u64,
    /// For how long they have been condemned, in milliseconds.
    pub age_ms: u64,
    /// When they may go, in milliseconds; 0: now.
    pub left_ms: u64,
    /// Keys of those that are not being deleted yet.
    pub objects: Vec<String>,
}

/// A repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub repository: String,
    /// It is deleted; what was in it goes now.
    pub deleted: bool,
    /// It links the digest as a blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// It has the digest as a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestHolders>,
    /// It had the digest as a manifest, which can be undeleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trash: Option<Trash>,
}

/// A link of a repository to a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Manifests that reference the blob.
    pub references: u64,
    /// Some of them.
    pub manifests: Vec<String>,
    /// Without references: how long the lease lasts, in milliseconds; 0: it may be collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
}

/// What holds a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestHolders {
    /// Media type.
    pub media_type: String,
    /// Tags that point to it.
    pub tags: Vec<String>,
    /// Indexes that list it.
    pub parents: Vec<String>,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether the subject is there: it holds the manifest if it is held itself.
    pub subject_there: bool,
    /// Manifests that refer to it; they do not hold it.
    pub referrers: Vec<String>,
    /// It has lost something that held it, and is reviewed in so many milliseconds; 0: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_ms: Option<u64>,
    /// It has had no tag for so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untagged_ms: Option<u64>,
    /// It goes for that in so many milliseconds; absent: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untagged_left_ms: Option<u64>,
}

/// A deleted manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trash {
    /// How long it can be undeleted, in milliseconds; 0: while collection is not on.
    pub left_ms: u64,
    /// When it was deleted, in Unix milliseconds.
    pub at_wall: u64,
    /// Tags that come back with it.
    pub tags: Vec<String>,
}

/// A key of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// `unknown`, `upload` (of an open session), `blob`, `condemned`, `garbage`, `deleting`, or `recorded`: the queues are too
    /// long to tell more.
    pub state: String,
    /// For how long, in milliseconds, where that is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// When the next step is due, in milliseconds; 0: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// The segment list, which has the id of the session that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
}

/// What of a repository can be undeleted: the body of `GET /trash`. Lists are cut at a bound; `more` says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Manifests.
    pub manifests: Vec<DeletedManifest>,
    /// Tags that were deleted alone.
    pub tags: Vec<DeletedTag>,
    /// Whether a list was cut.
    pub more: bool,
}

/// A manifest in the trash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedManifest {
    /// Its digest.
    pub digest: String,
    /// Until when, since when, and its tags.
    #[serde(flatten)]
    pub trash: Trash,
}

/// A tag in the trash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedTag {
    /// Its name.
    pub tag: String,
    /// What it pointed to.
    pub digest: String,
    /// How long it can be undeleted, in milliseconds; 0: while collection is not on.
    pub left_ms: u64,
    /// When it was deleted, in Unix milliseconds.
    pub at_wall: u64,
}
