//! Every key of registry:2's file and of ours, and what becomes of it. The one place that decides; `docs/config.md` is
//! generated from it.

use super::value::{boolean, effective};
use serde_json::Value;

/// What becomes of a key and all below it that has no line of its own.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Read by the loader.
    Honoured,
    /// Without effect here; one notice if present.
    Ignored,
    /// Not built: a mistake if the function says that the value would take effect, else one notice.
    Refused(fn(&Value) -> bool),
}

/// A line of the table.
pub(super) struct Key {
    /// Dotted path; `*` stands for any name.
    pub(super) path: &'static str,
    pub(super) rule: Rule,
    /// Honoured: effect and default. Ignored: why. Refused: what is missing.
    pub(super) text: &'static str,
    /// Refused: what to do instead.
    pub(super) fix: &'static str,
}

const fn honoured(path: &'static str, text: &'static str) -> Key {
    Key { path, rule: Rule::Honoured, text, fix: "" }
}
const fn ignored(path: &'static str, text: &'static str) -> Key {
    Key { path, rule: Rule::Ignored, text, fix: "" }
}
const fn refused(path: &'static str, takes_effect: fn(&Value) -> bool, text: &'static str, fix: &'static str) -> Key {
    Key { path, rule: Rule::Refused(takes_effect), text, fix }
}

fn always(_: &Value) -> bool {
    true
}
/// A list (or a map of lists) in which some element is not disabled.
fn enabled_elements(value: &Value) -> bool {
    match value {
        Value::Array(items) => {
            items.iter().any(|item| effective(item) && !item.get("disabled").and_then(boolean).unwrap_or(false))
        }
        Value::Object(map) => map.values().any(enabled_elements),
        other => effective(other),
    }
}
fn not_tcp(value: &Value) -> bool {
    effective(value) && value.as_str() != Some("tcp")
}
fn not_root(value: &Value) -> bool {
    effective(value) && value.as_str() != Some("/")
}
fn not_metrics(value: &Value) -> bool {
    effective(value) && value.as_str() != Some("/metrics")
}
fn not_nosniff(value: &Value) -> bool {
    let default = |name: &str, value: &Value| {
        let value = value.as_array().and_then(|values| values.first()).unwrap_or(value);
        name.eq_ignore_ascii_case("x-content-type-options") && value.as_str() == Some("nosniff")
    };
    match value {
        Value::Object(map) => map.iter().any(|(name, value)| effective(value) && !default(name, value)),
        other => effective(other),
    }
}

const REMOVE: &str = "remove the key";
const TLS: &str = "remove the key, or end TLS at the load balancer in front";
const AUTH: &str = "use `auth.htpasswd`, authenticate at the proxy in front, or set `auth: none`";
const DRIVER: &str = "use `storage.filesystem`, or `storage.s3` with any S3-compatible service";
const DIRECTLY: &str = "remove the key; parts are sized by the node";

/// The table, in the order of the manual.
pub(super) const KEYS: &[Key] = &[
    honoured("version", "format of the file: `0.1`; a variable cannot override it"),
    honoured("log.level", "`error`, `warn`, `info` or `debug`; default `info`"),
    honoured("log.formatter", "`text`, or one JSON object a line: `json` (also for `logstash`); default `text`"),
    honoured("log.accesslog.disabled", "no log line per request; default `false`"),
    ignored("log.fields", "every line carries its own fields"),
    refused(
        "log.hooks",
        enabled_elements,
        "mail from log hooks is not built",
        "alert on the metrics and remove the key",
    ),
    ignored("log.reportcaller", "lines name their module"),
    honoured("loglevel", "deprecated form of `log.level`; used if that is missing"),
    honoured("http.addr", "public address `host:port`; default `:5000`"),
    honoured("http.debug.addr", "ops address (`/livez`, `/readyz`, `/metrics`); default: none"),
    ignored("http.debug.prometheus.enabled", "metrics are always on at the ops address"),
    refused("http.debug.prometheus.path", not_metrics, "metrics are served at `/metrics` only", REMOVE),
    honoured("http.draintimeout", "longest soft stop; default `30s`"),
    ignored("http.secret", "upload sessions are in the replicated log"),
    ignored("http.relativeurls", "`Location` is always relative"),
    ignored("http.h2c", "HTTP/2 by prior knowledge needs no setting"),
    refused("http.http2.disabled", effective, "HTTP/2 cannot be switched off", REMOVE),
    refused("http.host", effective, "`Location` is always relative; a fixed host is not built", REMOVE),
    refused("http.prefix", not_root, "serving under a path prefix is not built", "serve at `/` and remove the key"),
    refused("http.net", not_tcp, "the public address is TCP only", "set `http.net: tcp`"),
    refused("http.headers", not_nosniff, "own response headers are not built", "add them at the proxy in front"),
    honoured("http.tls.certificate", "PEM chain; with it and `key` the public address speaks TLS; default: none"),
    honoured("http.tls.key", "PEM key of the certificate"),
    honoured("http.tls.minimumtls", "`tls1.2` or `tls1.3`; default `tls1.2`"),
    refused("http.tls", effective, "of TLS only `certificate`, `key` and `minimumtls` are built", TLS),
    honoured("limits.connections", "open connections; more are answered 503 and closed; default `20000`"),
    honoured("limits.requests", "requests at once; more are answered 503; default `4096`"),
    honoured("limits.bodyprogress", "a client that sends or takes less than 1 KiB in it is given up; default `60s`"),
    honoured("gc.grace", "what nothing references, and what was deleted, stays this long; default `24h`"),
    honoured("gc.promise", "what a client is told exists stays this long; less than `grace`; default `12h`"),
    honoured("gc.deletedelay", "between the end of a blob and that of its objects in the store; default `24h`"),
    honoured("gc.sweepdelay", "between an hour's last upload and the search for what it left; default `48h`"),
    honoured("gc.deleteuntagged", "manifests without a tag go after it, if nothing holds them; default: they stay"),
    honoured(
        "gc.breaker",
        "collection pauses when more would go in a day: share and size; default `10%,50GiB`; or `off`",
    ),
    honoured("gc.rate", "blobs that collection takes on in a second; default `1000`"),
    honoured("gc.unsafedelays", "delays too short for readers and late writes are only warned of; default `false`"),
    honoured("storage.filesystem.rootdirectory", "directory of the blobs; default `/var/lib/registry`"),
    ignored("storage.filesystem.maxthreads", "file work is bounded by the runtime"),
    honoured("storage.s3.bucket", "required"),
    honoured("storage.s3.region", "required without `regionendpoint`, else `us-east-1`"),
    honoured("storage.s3.regionendpoint", "URL (or host) of another service than AWS"),
    honoured("storage.s3.accesskey", "default: environment, web identity, instance metadata"),
    honoured("storage.s3.secretkey", "goes with `accesskey`"),
    honoured("storage.s3.sessiontoken", "goes with `accesskey`"),
    honoured("storage.s3.rootdirectory", "prefix inside the bucket; default: none"),
    honoured("storage.s3.secure", "https for a `regionendpoint` without scheme; default `true`"),
    honoured("storage.s3.skipverify", "accept any certificate; default `false`"),
    honoured("storage.s3.forcepathstyle", "bucket in the path; default `true` with `regionendpoint`"),
    honoured("storage.s3.encrypt", "server-side encryption; default `false`"),
    honoured("storage.s3.keyid", "KMS key for `encrypt`"),
    honoured("storage.s3.storageclass", "storage class; default: the bucket's"),
    honoured("storage.s3.objectacl", "canned ACL; default: none"),
    ignored("storage.s3.v4auth", "signatures are always version 4"),
    ignored("storage.s3.chunksize", DIRECTLY),
    ignored("storage.s3.multipartcopychunksize", "nothing is copied"),
    ignored("storage.s3.multipartcopymaxconcurrency", "nothing is copied"),
    ignored("storage.s3.multipartcopythresholdsize", "nothing is copied"),
    ignored("storage.s3.useragent", "the client names itself"),
    ignored("storage.s3.usedualstack", "the standard endpoint is used"),
    ignored("storage.s3.accelerate", "the standard endpoint is used"),
    ignored("storage.s3.loglevel", "follows `log.level`"),
    refused(
        "storage.s3.redirectendpoint",
        effective,
        "redirects to another endpoint are not built",
        "set `storage.redirect.disable: true` and remove the key",
    ),
    refused("storage.s3.usefipsendpoint", effective, "FIPS endpoints are not built", "name it in `regionendpoint`"),
    honoured("storage.delete.enabled", "allow deletes; default `false`"),
    honoured("storage.redirect.disable", "stream blobs through the node; default `false`"),
    honoured("storage.maintenance.uploadpurging.age", "longest life of an upload session; default `168h`"),
    ignored("storage.maintenance.uploadpurging", "sessions always end; see `age`"),
    refused(
        "storage.maintenance.readonly",
        effective,
        "read-only mode is not built",
        "allow only GET and HEAD at the proxy in front and remove the key",
    ),
    ignored("storage.cache", "descriptors are in the replicated state"),
    ignored("storage.tag", "tags need no listing"),
    refused("storage.*", always, "there is no such storage driver", DRIVER),
    honoured("cluster.name", "nodes of clusters of other names are strangers; default `flotilla`"),
    honoured("cluster.datadir", "Raft log, state, identity; default `/var/lib/flotilla`"),
    honoured("cluster.addr", "cluster port; default `127.0.0.1:5001`; without `tls` loopback only"),
    honoured("cluster.advertise", "how peers reach it; default `addr`"),
    honoured("cluster.peers", "cluster addresses of all nodes: list, or one DNS name with port"),
    honoured("cluster.bootstrapexpect", "how many fresh nodes form a new cluster; required with `peers`, else 1"),
    honoured("cluster.tls.certificate", "PEM chain of this node"),
    honoured("cluster.tls.key", "PEM key of this node"),
    honoured("cluster.tls.ca", "PEM; peers' certificates must chain to it"),
    honoured("cluster.newstore", "start over on a store with another cluster's marker; default `false`"),
    honoured("auth.htpasswd.realm", "shown by some clients when they ask for a password; required with `path`"),
    honoured(
        "auth.htpasswd.path",
        "file of users as `htpasswd -B` writes it (bcrypt only), read again when it changes; each user may do anything",
    ),
    refused("auth.token", always, "bearer tokens are not built", AUTH),
    refused("auth.silly", always, "it would let everybody in", AUTH),
    ignored("auth.none", "there is no authentication"),
    refused("auth.*", always, "there is no such method", AUTH),
    refused("middleware", enabled_elements, "middleware is not built", "remove it, or set `disabled: true`"),
    refused(
        "notifications.endpoints",
        enabled_elements,
        "notifications are not built",
        "remove the endpoint, or set `disabled: true`",
    ),
    ignored("notifications", "notifications are not built"),
    ignored("redis", "there is no cache to share"),
    ignored("health.storagedriver", "readiness checks the store by itself"),
    refused("health.file", effective, "file health checks are not built", "use `/readyz` and remove the key"),
    refused("health.http", effective, "HTTP health checks are not built", "use `/readyz` and remove the key"),
    refused("health.tcp", effective, "TCP health checks are not built", "use `/readyz` and remove the key"),
    refused("proxy.remoteurl", effective, "the pull-through cache is not built", "remove the section"),
    ignored("proxy", "no effect without `remoteurl`"),
    ignored("validation.enabled", "references are always validated"),
    ignored("validation.disabled", "references are always validated"),
    honoured(
        "validation.manifests.urls.allow",
        "patterns of which one must match each URL of a layer that is not stored here; default: any http(s) URL",
    ),
    honoured("validation.manifests.urls.deny", "patterns that no such URL may match; default: none"),
    honoured(
        "validation.manifests.indexes.platforms",
        "`all`: an index needs all its manifests; `none`: it may list manifests that were never pushed; default `all`",
    ),
    refused(
        "validation.manifests.indexes.platformlist",
        effective,
        "an index needs the manifests of all platforms or of none",
        "set `validation.manifests.indexes.platforms` to `all` or `none`",
    ),
    refused("policy", effective, "policies by repository class are not built", REMOVE),
    ignored("catalog", "pages have a fixed bound"),
    ignored("tags", "pages have a fixed bound"),
    ignored("compatibility", "schema 1 manifests are refused"),
    ignored("reporting", "there are no reporters"),
];

/// The line that decides `path`: the line itself, else the nearest one above.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    let mut path = path;
    loop {
        if let Some(key) = exact(path) {
            return Some(key);
        }
        path = path.rsplit_once('.')?.0;
    }
}

fn exact(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path).or_else(|| {
        let wildcard = format!("{}.*", path.rsplit_once('.')?.0);
        (!is_section(path)).then(|| KEYS.iter().find(|key| key.path == wildcard)).flatten()
    })
}

/// Whether some line lies below `path`.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}
