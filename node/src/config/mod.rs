//! The checked configuration, and how it is loaded: the YAML file of registry:2 with `REGISTRY_*` variables over it.
//! Knows nothing of the rooms it configures; reads the one file it is told to and no environment of its own. `keys` is the
//! table of every key and what becomes of it; read `load` next.

pub mod address;
mod docs;
mod keys;
mod load;
mod mistake;
mod overrides;
#[cfg(test)]
mod tests;
mod value;

pub use docs::manual;
pub use load::{DEFAULT_FILES, Loaded, from_yaml, load};
pub use mistake::{Mistake, Mistakes, Notice};

use regex::Regex;
use std::{path::PathBuf, time::Duration};

/// Keys of `storage` that name no driver.
const GENERAL_STORAGE_KEYS: [&str; 5] = ["cache", "delete", "maintenance", "redirect", "tag"];

/// Everything a node is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `log`
    pub log: Log,
    /// `http`
    pub http: Http,
    /// `limits`
    pub limits: Limits,
    /// `gc`
    pub gc: Gc,
    /// `storage`
    pub storage: Storage,
    /// `validation`
    pub validation: Validation,
    /// `auth.htpasswd`; absent: anyone may do anything
    pub htpasswd: Option<Htpasswd>,
    /// `cluster`; absent: one node, one voter
    pub cluster: Option<Cluster>,
    /// Where the Raft log, the state and the identity live.
    pub data_dir: PathBuf,
}

/// Section `log`.
#[derive(Clone, Debug)]
pub struct Log {
    /// `level`: error, warn, info, debug
    pub level: String,
    /// `formatter`
    pub formatter: Formatter,
    /// `accesslog.disabled`, negated
    pub access_log: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatter {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `http`.
#[derive(Clone, Debug)]
pub struct Http {
    /// `addr`: the public address, e.g. `:5000`
    pub addr: String,
    /// `debug.addr`: the ops address; absent: none
    pub debug_addr: Option<String>,
    /// `draintimeout`: longest soft stop
    pub drain_timeout: Duration,
    /// `tls`; absent: plain HTTP
    pub tls: Option<HttpTls>,
}

/// Section `http.tls`: TLS of the public address.
#[derive(Clone, Debug)]
pub struct HttpTls {
    /// `certificate`: PEM chain
    pub certificate: PathBuf,
    /// `key`: PEM
    pub key: PathBuf,
    /// `minimumtls`
    pub minimum: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// `tls1.2`
    Tls12,
    /// `tls1.3`
    Tls13,
}

/// Section `limits`: what clients may take of this node.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `connections`: open ones on the public address
    pub connections: usize,
    /// `requests`: those whose answers are not sent yet
    pub requests: usize,
    /// `bodyprogress`: the time in which a client must send or take 1 KiB of a body
    pub body_progress: Duration,
}

/// Section `gc`: when what nothing needs goes. The delays are replicated: the leader's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gc {
    /// `grace`: what nothing references stays this long
    pub grace: Duration,
    /// `promise`: what a client is told exists stays this long
    pub promise: Duration,
    /// `deletedelay`: between the end of a blob and that of its objects
    pub delete_delay: Duration,
    /// `sweepdelay`: between the end of an hour's last upload and the search for what it left in the store
    pub sweep_delay: Duration,
    /// `deleteuntagged`; absent: manifests without a tag stay
    pub delete_untagged: Option<Duration>,
    /// `breaker`: share of the stored bytes, in thousandths
    pub breaker_permille: u32,
    /// `breaker`: bytes that may go in any case
    pub breaker_floor: u64,
    /// `rate`: blobs a second
    pub rate: usize,
    /// `unsafedelays`
    pub unsafe_delays: bool,
}

impl Default for Gc {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            grace: hours(24),
            promise: hours(12),
            delete_delay: hours(24),
            sweep_delay: hours(48),
            delete_untagged: None,
            breaker_permille: 100,
            breaker_floor: 50 << 30,
            rate: 1_000,
            unsafe_delays: false,
        }
    }
}

impl Gc {
    /// The leader's clock goes in steps that fit between the promise and the grace.
    pub fn tick(&self) -> Duration {
        Duration::from_secs(5).min(self.grace.saturating_sub(self.promise) / 4).max(Duration::from_millis(10))
    }
}

/// Section `storage`.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The one driver.
    pub driver: Driver,
    /// `delete.enabled`
    pub delete: bool,
    /// `redirect.disable`, negated
    pub redirect: bool,
    /// `maintenance.uploadpurging.age`: an upload session ends at the latest this long after it was opened
    pub upload_age: Duration,
}

/// A storage driver and its settings.
#[derive(Clone, Debug)]
pub enum Driver {
    /// `filesystem`
    Filesystem(Filesystem),
    /// `s3`
    S3(Box<S3>),
}

/// Section `storage.filesystem`.
#[derive(Clone, Debug)]
pub struct Filesystem {
    /// `rootdirectory`
    pub root_directory: PathBuf,
}

/// Section `storage.s3`.
#[derive(Clone, Default)]
pub struct S3 {
    /// `bucket`
    pub bucket: String,
    /// `region`
    pub region: String,
    /// `regionendpoint`: another service than AWS, as URL (or host, with `secure`)
    pub region_endpoint: Option<String>,
    /// `accesskey`; absent: the usual chain (environment, web identity, instance metadata)
    pub access_key: Option<String>,
    /// `secretkey`
    pub secret_key: Option<String>,
    /// `sessiontoken`
    pub session_token: Option<String>,
    /// `rootdirectory`: prefix inside the bucket
    pub root_directory: String,
    /// `secure`: https for a `regionendpoint` without scheme
    pub secure: bool,
    /// `skipverify`: accept any certificate
    pub skip_verify: bool,
    /// `forcepathstyle`
    pub force_path_style: bool,
    /// `encrypt`: server-side encryption
    pub encrypt: bool,
    /// `keyid`: KMS key for `encrypt`
    pub key_id: Option<String>,
    /// `storageclass`
    pub storage_class: Option<String>,
    /// `objectacl`
    pub object_acl: Option<String>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("bucket", &self.bucket).field("region", &self.region).finish_non_exhaustive()
    }
}

/// Section `auth.htpasswd`.
#[derive(Clone, Debug)]
pub struct Htpasswd {
    /// `realm`
    pub realm: String,
    /// `path`
    pub path: PathBuf,
}

/// Section `validation`.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// `manifests.urls.allow`
    pub allowed_urls: Vec<Regex>,
    /// `manifests.urls.deny`
    pub denied_urls: Vec<Regex>,
    /// `manifests.indexes.platforms` is `none`
    pub sparse_indexes: bool,
}

/// Section `cluster`.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `name`: nodes of clusters of other names are strangers
    pub name: String,
    /// `addr`: where the cluster port listens
    pub addr: String,
    /// `advertise`: how peers reach it
    pub advertise: String,
    /// `peers`: cluster addresses of all nodes, this one included or not
    pub peers: Vec<String>,
    /// `bootstrapexpect`: how many fresh nodes form a new cluster
    pub bootstrap_expect: usize,
    /// `tls`
    pub tls: Option<ClusterTls>,
    /// `newstore`: start over on a store that carries another cluster's marker
    pub new_store: bool,
}

/// Section `cluster.tls`: mutual TLS of the cluster port.
#[derive(Clone, Debug)]
pub struct ClusterTls {
    /// `certificate`: PEM chain
    pub certificate: PathBuf,
    /// `key`: PEM
    pub key: PathBuf,
    /// `ca`: PEM; peers' certificates must chain to it
    pub ca: PathBuf,
}
