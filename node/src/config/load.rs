//! File and variables to a checked [`Config`], or every mistake at once.

use super::{
    Cluster, ClusterTls, Config, Driver, Filesystem, Formatter, Htpasswd, Http, HttpTls, Limits, Log, S3, Storage,
    TlsVersion, Validation, address,
    keys::{self, Rule},
    mistake::{Mistake, Mistakes, Notice, shown},
    overrides, value,
};
use regex::Regex;
use serde_json::{Map, Value};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a file is looked for when no argument names one; none there: defaults and variables only.
pub const DEFAULT_FILES: [&str; 2] = ["/etc/docker/registry/config.yml", "/etc/distribution/config.yml"];

/// Sections that registry:2 does not have: an unknown key in them is a mistake.
const OURS: [&str; 2] = ["cluster", "limits"];

/// A configuration and what an operator should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// Settings without effect, each once.
    pub notices: Vec<Notice>,
}

/// Loads the file that `REGISTRY_CONFIGURATION_PATH` names, else `file`, else the first of [`DEFAULT_FILES`] that exists,
/// and lays the `REGISTRY_*` variables of `env` over it.
pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Mistakes> {
    let env: Vec<(String, String)> = env.into_iter().collect();
    let named = env.iter().find(|(name, value)| name == "REGISTRY_CONFIGURATION_PATH" && !value.is_empty());
    let file = named.map(|(_, path)| PathBuf::from(path)).or_else(|| file.map(Path::to_owned));
    let file = file.or_else(|| DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists()));
    let unusable = |path: &Path, problem: String, fix: &str| {
        let (value, fix) = (Some(path.display().to_string()), fix.to_owned());
        Mistakes(vec![Mistake { key: "configuration file".to_owned(), value, problem, fix }])
    };
    let text = match &file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| unusable(path, error.to_string(), "name a readable file: flotilla serve CONFIG"))?,
        None => String::new(),
    };
    let path = file.unwrap_or_default();
    let tree = value::parse(&text).map_err(|error| unusable(&path, error.to_string(), "correct the YAML"))?;
    from_tree(tree, env)
}

/// As [`load`], from YAML text.
pub fn from_yaml(text: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Mistakes> {
    let tree = value::parse(text).map_err(|error| {
        let (key, fix) = ("configuration".to_owned(), "correct the YAML".to_owned());
        Mistakes(vec![Mistake { key, value: None, problem: error.to_string(), fix }])
    })?;
    from_tree(tree, env)
}

fn from_tree(mut tree: Value, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Mistakes> {
    let applied = overrides::apply(&mut tree, env);
    if let Some(Value::Object(storage)) = tree.get_mut("storage")
        && !storage.contains_key("s3")
        && let Some(settings) = storage.remove("s3aws")
    {
        storage.insert("s3".to_owned(), settings);
    }
    let reader =
        Reader { tree, origins: applied.origins, mistakes: RefCell::new(applied.mistakes), asked: RefCell::default() };
    let mut notices = applied.notices;
    reader.walk("", &reader.tree, &mut notices);
    let config = reader.config();
    notices.extend(reader.deprecated());
    let mistakes = reader.mistakes.into_inner();
    if mistakes.is_empty() { Ok(Loaded { config, notices }) } else { Err(Mistakes(mistakes)) }
}

/// Reads typed values out of the tree; a mistake is noted and a default goes on, so that all are found in one pass.
pub(super) struct Reader {
    tree: Value,
    origins: Vec<(String, String, String)>,
    mistakes: RefCell<Vec<Mistake>>,
    pub(super) asked: RefCell<BTreeSet<&'static str>>,
}

impl Reader {
    #[cfg(test)]
    pub(super) fn asked_by(tree: Value) -> BTreeSet<&'static str> {
        let (mistakes, asked) = (RefCell::default(), RefCell::default());
        let reader = Self { tree, origins: Vec::new(), mistakes, asked };
        reader.config();
        reader.asked.into_inner()
    }

    /// Decides every key that is present by the table.
    fn walk(&self, path: &str, node: &Value, notices: &mut Vec<Notice>) {
        let section = path.is_empty() || keys::is_section(path);
        match node {
            Value::Object(map) if section => {
                for (name, inner) in map {
                    let inner_path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.walk(&inner_path, inner, notices);
                }
                if path != "storage"
                    && map.is_empty()
                    && keys::find(path).is_some_and(|k| !matches!(k.rule, Rule::Honoured))
                {
                    notices.push(Notice { key: path.to_owned(), text: "it is empty".to_owned() });
                }
                return;
            }
            Value::Null if section => return,
            _ => {}
        }
        match keys::find(path) {
            Some(key) => match key.rule {
                Rule::Honoured if key.path == path => {}
                Rule::Refused(takes_effect) if takes_effect(node) => self.mistake(path, key.text, key.fix),
                Rule::Ignored | Rule::Refused(_) => {
                    notices.push(Notice { key: path.to_owned(), text: key.text.to_owned() })
                }
                Rule::Honoured => {
                    self.mistake(path, "this setting is one value and has nothing below it", "correct the key")
                }
            },
            None if OURS.contains(&path.split('.').next().unwrap_or_default()) && (!path.contains('.') || !section) => {
                let problem = "there is no such key in this section of ours";
                self.mistake(path, problem, "correct or remove it; see docs/config.md");
            }
            None if section => self.mistake(path, "a section is a map of keys", "write keys below it, or remove it"),
            None => {
                let variable =
                    self.origins.iter().find(|(origin, ..)| origin == path || origin.starts_with(&format!("{path}.")));
                let from = variable.map(|(_, name, _)| format!(" (variable {name})")).unwrap_or_default();
                notices.push(Notice { key: path.to_owned(), text: format!("there is no such setting{from}") });
            }
        }
    }

    fn mistake(&self, path: &str, problem: impl Into<String>, fix: impl Into<String>) {
        let value = self.get(path).map(|value| shown(path, value));
        let below = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let origin = self.origins.iter().rev().find(|(origin, ..)| below(path, origin) || below(origin, path));
        let mut problem = problem.into();
        if let Some((_, name, _)) = origin {
            problem.push_str(&format!(" (set by variable {name})"));
        }
        self.mistakes.borrow_mut().push(Mistake { key: path.to_owned(), value, problem, fix: fix.into() });
    }

    fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.tree, |node, name| match node {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => node.get(name),
        })
    }

    fn set(&self, path: &'static str) -> Option<&Value> {
        self.asked.borrow_mut().insert(path);
        self.get(path).filter(|value| !value.is_null())
    }

    fn text(&self, path: &'static str) -> Option<String> {
        match self.set(path)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            // `0123` and `1e3` in a variable are meant as written.
            Value::Number(number) => {
                let raw = self.origins.iter().rev().find(|(origin, ..)| origin == path);
                Some(raw.map_or_else(|| number.to_string(), |(.., text)| text.trim().to_owned()))
            }
            Value::Bool(b) => Some(b.to_string()),
            _ => {
                self.mistake(path, "expected a text", "write one value");
                None
            }
        }
    }

    fn boolean(&self, path: &'static str, default: bool) -> bool {
        let Some(value) = self.set(path) else { return default };
        value::boolean(value).unwrap_or_else(|| {
            self.mistake(path, "expected true or false", "write `true` or `false`");
            default
        })
    }

    fn duration(&self, path: &'static str, default: Duration) -> Duration {
        let Some(text) = self.text(path) else { return default };
        value::duration(&text).unwrap_or_else(|| {
            self.mistake(path, "expected a duration", "write it with units, like `30s`, `1h30m` or `168h`");
            default
        })
    }

    fn address(&self, path: &'static str, default: &str) -> String {
        let Some(text) = self.text(path) else { return default.to_owned() };
        if address::split(&text).is_none() {
            self.mistake(path, "expected an address", "write `host:port`, `[ipv6]:port` or `:port`");
        }
        text
    }

    fn config(&self) -> Config {
        if let Some(version) = self.text("version")
            && version != "0.1"
        {
            self.mistake("version", "this version of the format is unknown", "write `version: 0.1`");
        }
        let (log, http, limits) = (self.log(), self.http(), self.limits());
        let (storage, cluster) = (self.storage(), self.cluster());
        let data_dir = match (&cluster, &storage.driver) {
            (Some(_), _) => PathBuf::from(self.text("cluster.datadir").unwrap_or("/var/lib/flotilla".to_owned())),
            (None, Driver::Filesystem(filesystem)) => filesystem.root_directory.join("flotilla"),
            (None, Driver::S3(_)) => PathBuf::from("/var/lib/registry/flotilla"),
        };
        Config {
            log,
            http,
            limits,
            storage,
            validation: self.validation(),
            htpasswd: self.htpasswd(),
            cluster,
            data_dir,
        }
    }

    fn log(&self) -> Log {
        let (level, old) = (self.text("log.level"), self.text("loglevel"));
        let path = if level.is_some() { "log.level" } else { "loglevel" };
        let level = level.or(old).unwrap_or("info".to_owned()).to_ascii_lowercase();
        let level = match level.as_str() {
            "warning" => "warn",
            "fatal" | "panic" => "error",
            level => level,
        };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            self.mistake(path, "there is no such level", "write error, warn, info or debug");
        }
        let formatter = match self.text("log.formatter").as_deref() {
            None | Some("text") => Formatter::Text,
            Some("json" | "logstash") => Formatter::Json,
            Some(_) => {
                self.mistake("log.formatter", "there is no such formatter", "write text or json");
                Formatter::Text
            }
        };
        let access_log = !self.boolean("log.accesslog.disabled", false);
        Log { level: level.to_owned(), formatter, access_log }
    }

    fn http(&self) -> Http {
        let debug_addr = self.set("http.debug.addr").is_some().then(|| self.address("http.debug.addr", ""));
        Http {
            addr: self.address("http.addr", ":5000"),
            debug_addr: debug_addr.filter(|address| !address.is_empty()),
            drain_timeout: self.duration("http.draintimeout", Duration::from_secs(30)),
            tls: self.http_tls(),
        }
    }

    fn http_tls(&self) -> Option<HttpTls> {
        let paths = ["http.tls.certificate", "http.tls.key"];
        let [certificate, key] = paths.map(|path| self.text(path).map(PathBuf::from));
        if certificate.is_some() != key.is_some() {
            let missing = if key.is_some() { paths[0] } else { paths[1] };
            self.mistake(missing, "TLS needs certificate and key", "name the PEM file, or remove both");
        }
        let minimum = match self.text("http.tls.minimumtls").as_deref() {
            None | Some("tls1.2") => TlsVersion::Tls12,
            Some("tls1.3") => TlsVersion::Tls13,
            Some(_) => {
                self.mistake("http.tls.minimumtls", "there is no such version here", "write tls1.2 or tls1.3");
                TlsVersion::Tls12
            }
        };
        Some(HttpTls { certificate: certificate?, key: key?, minimum })
    }

    fn limits(&self) -> Limits {
        let body_progress = self.duration("limits.bodyprogress", Duration::from_secs(60));
        if !(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&body_progress) {
            self.mistake("limits.bodyprogress", "expected a second to a day", "write a duration, like `60s`");
        }
        let (connections, requests) = (self.count("limits.connections", 20_000), self.count("limits.requests", 4_096));
        Limits { connections, requests, body_progress }
    }

    /// A number from 1 to a million.
    fn count(&self, path: &'static str, default: usize) -> usize {
        let Some(text) = self.text(path) else { return default };
        text.parse().ok().filter(|count| (1..=1_000_000).contains(count)).unwrap_or_else(|| {
            self.mistake(path, "expected a number from 1 to 1000000", format!("write a number, like `{default}`"));
            default
        })
    }

    fn storage(&self) -> Storage {
        let none = Map::new();
        let section = self.get("storage").and_then(Value::as_object).unwrap_or(&none);
        let drivers: Vec<&String> =
            section.keys().filter(|key| !super::GENERAL_STORAGE_KEYS.contains(&key.as_str())).collect();
        let count = drivers.len();
        if count == 0 {
            self.mistake("storage", "no storage driver is named", "name one: `storage.filesystem` or `storage.s3`");
        } else if count > 1 {
            let names = drivers.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let fix = "keep one; with variables, REGISTRY_STORAGE=<driver> replaces the driver of the file";
            self.mistake("storage", format!("{count} storage drivers are named: {names}"), fix);
        }
        let root = self.text("storage.filesystem.rootdirectory").unwrap_or("/var/lib/registry".to_owned());
        let s3 = section.contains_key("s3");
        let driver = match self.s3(s3) {
            Some(settings) => Driver::S3(Box::new(settings)),
            None => Driver::Filesystem(Filesystem { root_directory: root.into() }),
        };
        let week = Duration::from_secs(7 * 24 * 3600);
        let upload_age = self.duration("storage.maintenance.uploadpurging.age", week);
        if upload_age.is_zero() {
            self.mistake("storage.maintenance.uploadpurging.age", "no upload could ever finish", "write `168h`");
        }
        let (delete, redirect) =
            (self.boolean("storage.delete.enabled", false), !self.boolean("storage.redirect.disable", false));
        Storage { driver, delete, redirect, upload_age }
    }

    /// Reads all keys; checks them only if the driver is chosen.
    fn s3(&self, chosen: bool) -> Option<S3> {
        let (region, endpoint) = (self.text("storage.s3.region"), self.text("storage.s3.regionendpoint"));
        let s3 = S3 {
            bucket: self.text("storage.s3.bucket").unwrap_or_default(),
            region: region.clone().unwrap_or("us-east-1".to_owned()),
            access_key: self.text("storage.s3.accesskey"),
            secret_key: self.text("storage.s3.secretkey"),
            session_token: self.text("storage.s3.sessiontoken"),
            root_directory: self.text("storage.s3.rootdirectory").unwrap_or_default().trim_matches('/').to_owned(),
            secure: self.boolean("storage.s3.secure", true),
            skip_verify: self.boolean("storage.s3.skipverify", false),
            force_path_style: self.boolean("storage.s3.forcepathstyle", endpoint.is_some()),
            encrypt: self.boolean("storage.s3.encrypt", false),
            key_id: self.text("storage.s3.keyid"),
            storage_class: self.text("storage.s3.storageclass").filter(|class| !class.eq_ignore_ascii_case("none")),
            object_acl: self.text("storage.s3.objectacl"),
            region_endpoint: endpoint,
        };
        if !chosen {
            return None;
        }
        if s3.bucket.is_empty() {
            self.mistake("storage.s3.bucket", "the s3 driver needs a bucket", "name an existing bucket");
        }
        if region.is_none() && s3.region_endpoint.is_none() {
            self.mistake("storage.s3.region", "AWS needs a region", "name the bucket's region, or a `regionendpoint`");
        }
        if s3.access_key.is_some() != s3.secret_key.is_some() {
            let missing = if s3.access_key.is_some() { "storage.s3.secretkey" } else { "storage.s3.accesskey" };
            self.mistake(missing, "accesskey and secretkey go together", "set both, or neither for the AWS chain");
        }
        Some(s3)
    }

    fn validation(&self) -> Validation {
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

    fn htpasswd(&self) -> Option<Htpasswd> {
        let (realm, path) = (self.text("auth.htpasswd.realm"), self.text("auth.htpasswd.path"));
        let methods = self.get("auth").and_then(Value::as_object).map(|auth| auth.keys().cloned().collect::<Vec<_>>());
        if let Some(methods) = methods.filter(|methods| methods.len() > 1) {
            let fix = "keep one; with variables, REGISTRY_AUTH=<method> replaces the method of the file";
            self.mistake("auth", format!("several methods are named: {}", methods.join(", ")), fix);
        }
        self.get("auth.htpasswd")?;
        if path.is_none() {
            self.mistake("auth.htpasswd.path", "the file of users is not named", "name a file made by `htpasswd -B`");
        }
        if realm.is_none() {
            self.mistake("auth.htpasswd.realm", "the realm is not named", "write any text, e.g. `registry`");
        }
        Some(Htpasswd { realm: realm?, path: path?.into() })
    }

    /// A list of regular expressions.
    fn patterns(&self, path: &'static str) -> Vec<Regex> {
        let items = match self.set(path) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
            Some(value) => vec![value.as_str().unwrap_or_default()],
        };
        let patterns = items.into_iter().map(|item| Some(item).filter(|item| !item.is_empty()).map(Regex::new));
        let parsed: Option<Vec<Regex>> = patterns.map(|pattern| pattern?.ok()).collect();
        parsed.unwrap_or_else(|| {
            self.mistake(path, "expected a list of regular expressions", "write `[^https://example\\.com/]`");
            Vec::new()
        })
    }

    fn cluster(&self) -> Option<Cluster> {
        let addr = self.address("cluster.addr", "127.0.0.1:5001");
        let advertise = self.set("cluster.advertise").map(|_| self.address("cluster.advertise", &addr));
        let peers = self.peers();
        let expect = self.text("cluster.bootstrapexpect").map(|text| {
            text.parse::<usize>().ok().filter(|expect| (1..=7).contains(expect)).unwrap_or_else(|| {
                self.mistake("cluster.bootstrapexpect", "expected a number from 1 to 7", "write 3 or 5");
                1
            })
        });
        let tls = self.cluster_tls();
        let cluster = Cluster {
            name: self.text("cluster.name").unwrap_or("flotilla".to_owned()),
            advertise: advertise.clone().unwrap_or_else(|| addr.clone()),
            bootstrap_expect: expect.unwrap_or(1),
            new_store: self.boolean("cluster.newstore", false),
            addr,
            peers,
            tls,
        };
        self.set("cluster.datadir");
        self.get("cluster").filter(|section| section.is_object())?;
        if !address::is_loopback(&cluster.addr) && cluster.tls.is_none() && address::split(&cluster.addr).is_some() {
            let fix = "set cluster.tls.{certificate,key,ca}, or listen on a loopback address";
            self.mistake("cluster.addr", "without mutual TLS anyone who reaches this port could write", fix);
        }
        if advertise.is_none() && address::is_unspecified(&cluster.addr) {
            self.mistake(
                "cluster.advertise",
                "peers cannot reach an unspecified address",
                "name this node's host:port",
            );
        }
        if cluster.peers.is_empty() && cluster.bootstrap_expect > 1 {
            let fix = "list the cluster addresses of all nodes, or one DNS name with port";
            self.mistake("cluster.peers", "the nodes to form a cluster with are not named", fix);
        }
        if !cluster.peers.is_empty() && expect.is_none() {
            let fix = "write how many nodes form the new cluster, e.g. 3; the same on every node";
            self.mistake("cluster.bootstrapexpect", "it is required with `peers`", fix);
        }
        Some(cluster)
    }

    fn peers(&self) -> Vec<String> {
        let peers: Vec<String> = match self.set("cluster.peers") {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                if items.iter().any(|item| !item.is_string()) {
                    self.mistake("cluster.peers", "expected a list of addresses", "write `[host:port, ...]`");
                }
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => {
                let text = self.text("cluster.peers").unwrap_or_default();
                text.split([',', ' ']).filter(|peer| !peer.is_empty()).map(str::to_owned).collect()
            }
        };
        if peers.iter().any(|peer| address::split(peer).is_none_or(|(host, _)| host.is_empty())) {
            self.mistake("cluster.peers", "every peer is host and port", "write `[host:port, ...]`");
        }
        peers
    }

    fn cluster_tls(&self) -> Option<ClusterTls> {
        let paths = ["cluster.tls.certificate", "cluster.tls.key", "cluster.tls.ca"];
        let [certificate, key, ca] = paths.map(|path| self.text(path).map(PathBuf::from));
        let given = [&certificate, &key, &ca].map(|path| path.is_some());
        if given.contains(&true) {
            for (path, _) in paths.iter().zip(given).filter(|(_, given)| !given) {
                self.mistake(path, "mutual TLS needs certificate, key and ca", "name the PEM file");
            }
        }
        Some(ClusterTls { certificate: certificate?, key: key?, ca: ca? })
    }

    fn deprecated(&self) -> Option<Notice> {
        let text = "deprecated; use log.level".to_owned();
        let used = self.get("loglevel").is_some_and(|level| !level.is_null());
        used.then(|| Notice { key: "loglevel".to_owned(), text })
    }
}
