//! The checked configuration, and how it is loaded: the YAML file of registry:2 with `REGISTRY_*` variables over it.
//! Knows nothing of the rooms it configures; reads the one file it is told to and no environment of its own. `keys` is the
//! table of every key and what becomes of it; read `load` next.

pub mod address;
pub mod authority;
mod docs;
mod inspect;
mod keys;
mod load;
mod mistake;
mod network;
mod overrides;
mod signing;
mod suites;
#[cfg(test)]
mod tests;
mod value;

pub use docs::manual;
pub use inspect::{Inspected, Setting, Source};
pub use load::{DEFAULT_FILES, Loaded, from_yaml, inspect, inspect_yaml, load};
pub use mistake::{Mistake, Mistakes, Notice};
pub use network::Network;
pub use signing::SigningAlgorithm;

use http::HeaderMap;
use regex::Regex;
use std::{path::PathBuf, time::Duration};

/// Keys of `storage` that name no driver.
const GENERAL_STORAGE_KEYS: [&str; 5] = ["cache", "delete", "maintenance", "redirect", "tag"];

/// Everything a node is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `log`
    pub log: Log,
    /// `audit`; absent: not written
    pub audit: Option<Audit>,
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
    /// `catalog` and `tags`
    pub pages: Pages,
    /// `auth.htpasswd`; absent: anyone may do anything
    pub htpasswd: Option<Htpasswd>,
    /// `access`
    pub access: Access,
    /// `auth.token`
    pub token: Option<TokenAuth>,
    /// `health`
    pub health: Health,
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
    /// `accesslog.disabled` and `accesslog.formatter`
    pub access_log: AccessLog,
    /// `fields`: on every line
    pub fields: Vec<(String, serde_json::Value)>,
}

/// What is written of every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nothing.
    Off,
    /// An event among the others.
    Structured,
    /// A line in Apache's combined format on stdout.
    Combined,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatter {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `audit`, enabled: where its lines go (`path`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// `stdout`
    Stdout,
    /// A file, which is appended to.
    File(PathBuf),
}

/// Section `http`.
#[derive(Clone, Debug)]
pub struct Http {
    /// `addr`: the public address, e.g. `:5000`; with [`Net::Unix`] the path of a socket
    pub addr: String,
    /// `net`
    pub net: Net,
    /// `host`: where clients find the registry; absent: they say
    pub host: Option<Host>,
    /// `prefix`: before every path, without its last slash; empty: none
    pub prefix: String,
    /// `relativeurls`; absent: as if true, if there is no `host`
    pub relative_urls: Option<bool>,
    /// `headers`: of every answer
    pub headers: HeaderMap,
    /// `trustedproxies`: who may say for whom he asks
    pub trusted_proxies: Option<Vec<Network>>,
    /// `http2.disabled`, negated
    pub http2: bool,
    /// `debug.addr`: the ops address; absent: none
    pub debug_addr: Option<String>,
    /// `debug.prometheus.path`, unless `debug.prometheus.enabled` is false
    pub metrics_path: Option<String>,
    /// `draintimeout`: longest soft stop
    pub drain_timeout: Duration,
    /// `tls`; absent: plain HTTP
    pub tls: Option<HttpTls>,
}

/// What the public listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// A port.
    Tcp,
    /// A Unix socket.
    Unix,
}

/// `http.host`, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `http` or `https`
    pub scheme: &'static str,
    /// Host, and port if it is not the usual one.
    pub authority: String,
    /// Without its last slash; empty: that of `http.prefix`.
    pub path: String,
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
    /// `http.http2.disabled`, negated: HTTP/2 is offered
    pub http2: bool,
    /// `ciphersuites`: numbers of suites of TLS 1.2 (IANA); absent: all there are
    pub suites: Option<Vec<u16>>,
    /// `clientcas` and `clientauth`; absent: clients are not asked for certificates
    pub clients: Option<ClientCertificates>,
}

/// Which certificates clients show.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// `clientcas`: PEM; certificates must chain to one of them
    pub authorities: Vec<PathBuf>,
    /// `clientauth`: whether a client without certificate is refused
    pub required: bool,
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
    /// `rehash`: bytes a second; absent: stored blobs are not read again
    pub rehash: Option<u64>,
    /// `recount`: how often everything is counted again; absent: never
    pub recount: Option<Duration>,
    /// `scrub`: objects a minute
    pub scrub: usize,
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
            rehash: None,
            recount: Some(hours(24)),
            scrub: 1_000,
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
    /// `maintenance.readonly.enabled`
    pub read_only: bool,
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

impl Driver {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Filesystem(_) => "filesystem",
            Self::S3(_) => "s3",
        }
    }

    /// What distribution calls it in metrics.
    pub const fn metrics_name(&self) -> &'static str {
        match self {
            Self::Filesystem(_) => "filesystem",
            Self::S3(_) => "s3aws",
        }
    }
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
    /// `redirectendpoint`: where clients that are redirected reach the store, if not at `regionendpoint`
    pub redirect_endpoint: Option<String>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bucket, region, region_endpoint, root_directory, .. } = self;
        let endpoint = region_endpoint.as_deref().map(mistake::without_user_info);
        let flags = [self.secure, self.skip_verify, self.force_path_style, self.encrypt];
        let options = [&self.key_id, &self.storage_class, &self.object_acl];
        let keys = [&self.access_key, &self.secret_key, &self.session_token].map(Option::is_some);
        write!(f, "S3 {bucket:?} {region:?} {endpoint:?} {root_directory:?} {flags:?} {options:?} {keys:?}")
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

/// Section `health`.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// `storagedriver`; absent: not checked
    pub storage: Option<Pace>,
    /// `file`, `http` and `tcp`
    pub checks: Vec<Check>,
}

/// How often something is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// `interval`
    pub interval: Duration,
    /// `timeout`
    pub timeout: Duration,
    /// `threshold`: failures in a row that count
    pub threshold: u32,
}

/// One element of `health.file`, `health.http` or `health.tcp`.
#[derive(Clone, Debug)]
pub struct Check {
    /// As operators see it.
    pub name: String,
    /// What is looked at.
    pub what: Checked,
    /// How often.
    pub pace: Pace,
}

/// What a health check looks at.
#[derive(Clone, Debug)]
pub enum Checked {
    /// A file that must not exist.
    File(PathBuf),
    /// A service that must answer.
    Http(HttpService),
    /// An address that must accept connections.
    Tcp(String),
}

/// A service and its answer.
#[derive(Clone)]
pub struct HttpService {
    /// `uri`
    pub uri: String,
    /// `headers`, which may be secret
    pub headers: Vec<(String, String)>,
    /// `statuscode`
    pub status: u16,
}

impl std::fmt::Debug for HttpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpService").field("uri", &self.uri).field("status", &self.status).finish_non_exhaustive()
    }
}

/// Section `access`.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `rules`; absent: every user may do anything, or anybody if there are no users
    pub rules: Option<Vec<AccessRule>>,
    /// `tokens`, if they are enabled
    pub tokens: Option<TokenService>,
}

/// An element of `access.rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// `repositories`: patterns of names
    pub repositories: Vec<String>,
    /// `users`
    pub users: Vec<Users>,
    /// `rights`
    pub rights: Vec<Right>,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// `$all`
    Anyone,
    /// `$authenticated`
    Authenticated,
    /// A name of the password file.
    Named(String),
}

/// What a rule permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// `pull`
    Pull,
    /// `push`
    Push,
    /// `delete`
    Delete,
}

/// Section `access.tokens`: tokens made by this cluster.
#[derive(Clone, Debug)]
pub struct TokenService {
    /// `expiration`: how long a token is good
    pub expiration: Duration,
}

/// Section `auth.token`: bearer tokens of a token server elsewhere.
#[derive(Clone, Debug)]
pub struct TokenAuth {
    /// `realm`: URL where clients get tokens
    pub realm: String,
    /// `service`: what this registry is called there, a token's audience
    pub service: String,
    /// `issuer`: what that server calls itself in tokens
    pub issuer: String,
    /// `rootcertbundle`: PEM certificates and public keys
    pub root_certificates: Option<PathBuf>,
    /// `jwks`: JSON Web Key Set
    pub jwks: Option<PathBuf>,
    /// `signingalgorithms`
    pub algorithms: Vec<SigningAlgorithm>,
    /// `autoredirectpath` if `autoredirect`: clients get tokens at this path of the host that they asked
    pub redirect_path: Option<String>,
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

/// Sections `catalog` and `tags`: names on one page, at most.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// `catalog.maxentries`
    pub catalog: usize,
    /// `tags.maxtags`
    pub tags: usize,
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
