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

const REMOVE: &str = "remove the key";
const AUTH: &str = "use `auth.htpasswd` or `auth.token`, authenticate at the proxy in front, or set `auth: none`";
const DRIVER: &str = "use `storage.filesystem`, or `storage.s3` with any S3-compatible service";
const COMPATIBLE: &str = "use `storage.s3` with the service's S3-compatible address as `regionendpoint`";
const COPIES: &str = "nothing is ever copied inside the bucket";
const PARTS: &str = "the node sizes the parts of an upload by itself";
const ENDPOINT: &str = "name the endpoint you want in `regionendpoint`";

/// Spellings that stand for another one.
pub(super) const MAPPED: &[(&str, &str)] = &[
    (
        "`storage: s3`, `auth: htpasswd`",
        "the section with that one key; by a variable, it replaces the driver or method of the file",
    ),
    ("`storage.s3aws`", "`storage.s3`"),
    ("`storage.s3.storageclass: NONE`", "the bucket's class, as without the key"),
    ("`loglevel`", "`log.level`; one notice"),
    ("`log.level: warning`; `fatal`, `panic`", "`warn`; `error`"),
    ("`log.formatter: logstash`", "`json`"),
    ("`catalog.maxentries`, `tags.maxtags` of zero or less", "their defaults"),
    ("`yes`, `on`, `y`; `no`, `off`, `n`", "`true`; `false`"),
];

/// The table, in the order of the manual.
pub(super) const KEYS: &[Key] = &[
    honoured("version", "format of the file: `0.1`; a variable cannot override it"),
    honoured("log.level", "`error`, `warn`, `info` or `debug`; default `info`"),
    honoured("log.formatter", "`text`, or one JSON object a line: `json` (also for `logstash`); default `text`"),
    honoured("log.accesslog.disabled", "no log line per request; default `false`"),
    honoured(
        "log.accesslog.formatter",
        "`structured`: an event among the others; `combined`: a line in Apache's format on stdout; default `structured`",
    ),
    honoured("log.fields", "map of fields that every line carries; default: none"),
    refused(
        "log.hooks",
        enabled_elements,
        "mail from log hooks is not built",
        "alert on the metrics and remove the key",
    ),
    ignored("log.reportcaller", "lines name their module"),
    honoured("loglevel", "deprecated form of `log.level`; used if that is missing"),
    honoured("audit.enabled", "a line for each change, login and denial, see [audit.md](audit.md); default `false`"),
    honoured("audit.path", "the file they are appended to, or `stdout`; default `stdout`"),
    honoured("http.addr", "public address `host:port`, or the path of a socket; default `:5000`"),
    honoured("http.net", "`tcp`, or `unix` with the path of a socket as `http.addr`; default `tcp`"),
    honoured(
        "http.host",
        "URL where clients find the registry: then `Location` is absolute and begins with it; a path in it stands in for \
         `http.prefix`",
    ),
    honoured(
        "http.prefix",
        "path before every path, like `/registry/`; `/livez` and `/readyz` are also without; default `/`",
    ),
    honoured(
        "http.relativeurls",
        "`Location` is relative; default `true`, without effect beside `http.host`; `false`: as the trusted proxies say, \
         else by the request's `Host`",
    ),
    honoured(
        "http.trustedproxies",
        "addresses and blocks of the proxies whose `Forwarded`, `X-Forwarded-For`, `-Proto` and `-Host` are believed; if \
         given (`[]`: clients connect directly), wrong passwords also slow down the address that they come from; default: \
         none. A client on a Unix socket is always believed",
    ),
    honoured("http.headers", "headers of every answer, a list of values each; they also make CORS; default: none"),
    honoured("http.http2.disabled", "HTTP/1.1 only; default `false`"),
    honoured("http.debug.addr", "ops address (`/livez`, `/readyz`, `/metrics`, `/debug/health`); default: none"),
    honoured("http.debug.prometheus.enabled", "metrics at the ops address; default `true`"),
    honoured("http.debug.prometheus.path", "where the metrics are; default `/metrics`; see docs/metrics.md"),
    honoured("http.draintimeout", "longest soft stop; default `30s`"),
    ignored("http.secret", "upload sessions are in the replicated log"),
    ignored("http.h2c", "HTTP/2 by prior knowledge needs no setting"),
    honoured(
        "http.tls.certificate",
        "PEM chain; with it and `key` the public address speaks TLS; read again when it changes; default: none",
    ),
    honoured("http.tls.key", "PEM key of the certificate, without a passphrase"),
    honoured("http.tls.minimumtls", "`tls1.2` or `tls1.3`; `tls1.0` and `tls1.1` mean `tls1.2`; default `tls1.2`"),
    honoured(
        "http.tls.ciphersuites",
        "suites of TLS 1.2 by name (`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`); those without forward secrecy or with CBC \
         are left out; suites of TLS 1.3 are always on; default: all there are",
    ),
    honoured(
        "http.tls.clientcas",
        "PEM files; then a client must show a certificate that chains to one of them; read again when they change; \
         default: none",
    ),
    honoured(
        "http.tls.clientauth",
        "with `clientcas`: `require-and-verify-client-cert`, or `verify-client-cert-if-given`; default: the first",
    ),
    refused(
        "http.tls.letsencrypt",
        effective,
        "getting certificates from Let's Encrypt is not built",
        "let an ACME client write the files of `http.tls.certificate` and `key`: they are read again when they change",
    ),
    honoured("limits.connections", "open connections; more are answered 503 and closed; default `20000`"),
    honoured("limits.requests", "requests at once; more are answered 503; default `4096`"),
    honoured("limits.bodyprogress", "a client that sends or takes less than 1 KiB in it is given up; default `60s`"),
    honoured("gc.grace", "what nothing references, and what was deleted, stays this long; default `24h`"),
    honoured(
        "gc.promise",
        "what a client is told exists stays this long; less than `grace` by more than 4 h; default `12h`",
    ),
    honoured("gc.deletedelay", "between the end of a blob and that of its objects in the store; default `24h`"),
    honoured("gc.sweepdelay", "between an hour's last upload and the search for what it left; default `48h`"),
    honoured("gc.deleteuntagged", "manifests without a tag go after it, if nothing holds them; default: they stay"),
    honoured(
        "gc.breaker",
        "collection pauses when more would go in a day: share and size; default `10%,50GiB`; or `off`",
    ),
    honoured("gc.rate", "blobs a second that collection takes on, all nodes together; default `1000`"),
    honoured(
        "gc.recount",
        "everything is counted again so often, and a difference pauses collection; default `24h`; or `off`",
    ),
    honoured("gc.scrub", "recorded objects that are looked for in the store in a minute; default `1000`"),
    honoured(
        "gc.rehash",
        "stored blobs are read again at this many bytes a second, like `10MiB`; default: they are not",
    ),
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
    ignored("storage.s3.chunksize", PARTS),
    ignored("storage.s3.multipartcopychunksize", COPIES),
    ignored("storage.s3.multipartcopymaxconcurrency", COPIES),
    ignored("storage.s3.multipartcopythresholdsize", COPIES),
    ignored("storage.s3.useragent", "the client has a name of its own"),
    ignored("storage.s3.usedualstack", ENDPOINT),
    ignored("storage.s3.accelerate", ENDPOINT),
    ignored("storage.s3.loglevel", "the client's lines follow `log.level`"),
    honoured(
        "storage.s3.redirectendpoint",
        "where clients that are redirected reach the store; default: `regionendpoint`",
    ),
    refused("storage.s3.usefipsendpoint", effective, "FIPS endpoints are not built", "name it in `regionendpoint`"),
    honoured("storage.delete.enabled", "allow deletes; default `false`"),
    honoured("storage.redirect.disable", "stream blobs through the node; default `false`"),
    honoured("storage.maintenance.uploadpurging.age", "longest life of an upload session; default `168h`"),
    ignored(
        "storage.maintenance.uploadpurging",
        "upload sessions always end, all the time and on every node; see `age`",
    ),
    honoured(
        "storage.maintenance.readonly.enabled",
        "this node answers writes by 405 and goes on reading; set it on every node; default `false`",
    ),
    ignored("storage.cache", "descriptors are in the replicated state of every node"),
    ignored("storage.tag", "tags are in the replicated state; nothing is looked up in the store"),
    refused("storage.inmemory", always, "it would lose every image when the node stops", "use `storage.filesystem`"),
    refused("storage.gcs", always, "there is no driver for this service's own protocol", COMPATIBLE),
    refused("storage.azure", always, "there is no driver for this service, and it does not speak S3", DRIVER),
    refused("storage.swift", always, "there is no driver for this service's own protocol", COMPATIBLE),
    refused("storage.oss", always, "there is no driver for this service's own protocol", COMPATIBLE),
    refused("storage.*", always, "there is no such storage driver", DRIVER),
    honoured("cluster.name", "nodes of clusters of other names are strangers; default `flotilla`"),
    honoured("cluster.datadir", "Raft log, state, identity; default `/var/lib/flotilla`"),
    honoured("cluster.addr", "cluster port; default `127.0.0.1:5001`; without `tls` loopback only"),
    honoured("cluster.advertise", "how peers reach it; default: `addr`"),
    honoured("cluster.peers", "cluster addresses of all nodes: list, or one DNS name with port"),
    honoured("cluster.bootstrapexpect", "how many fresh nodes form a new cluster; required with `peers`, else 1"),
    honoured("cluster.tls.certificate", "PEM chain of this node"),
    honoured("cluster.tls.key", "PEM key of this node"),
    honoured("cluster.tls.ca", "PEM; peers' certificates must chain to it"),
    honoured("cluster.newstore", "start over on a store with another cluster's marker; default `false`"),
    honoured("auth.htpasswd.realm", "shown by some clients when they ask for a password; required with `path`"),
    honoured(
        "auth.htpasswd.path",
        "file of users as `htpasswd -B` writes it (bcrypt only), read again when it changes; what they may do, `access.rules` says",
    ),
    honoured(
        "access.rules",
        "list of `{repositories: [patterns], users: [names, `$authenticated` or `$all`], rights: [pull, push, delete]}`; in a \
         pattern `*` stands for anything but `/`, `**` for anything; who may push or delete may pull; nothing is permitted that \
         no rule permits; default: every user may do anything",
    ),
    honoured(
        "access.tokens.enabled",
        "send clients for short-lived tokens to `/auth/token` of this cluster, where they show their password; what anybody may \
         pull beside what only users may push needs it; default: `true` if a rule is for `$all` and there are users, else `false`",
    ),
    honoured("access.tokens.expiration", "how long a token is good; default `5m`"),
    honoured("auth.token.realm", "URL where clients get their tokens; required"),
    honoured("auth.token.service", "what the token server calls this registry (`aud` of tokens); required"),
    honoured("auth.token.issuer", "what the token server calls itself (`iss` of tokens); required"),
    honoured(
        "auth.token.rootcertbundle",
        "PEM certificates and public keys; tokens are signed by one of these keys (named by libtrust or RFC 7638 `kid`) or \
        carry a chain (`x5c`) to one of the certificates; read again when it changes; required without `jwks`",
    ),
    honoured(
        "auth.token.jwks",
        "JSON Web Key Set whose keys sign tokens (named by `kid`); read again when it changes; required without \
        `rootcertbundle`",
    ),
    honoured(
        "auth.token.signingalgorithms",
        "list out of `EdDSA`, `ES256`, `ES384`, `PS256`, `PS384`, `PS512`, `RS256`, `RS384`, `RS512`; default: all of them",
    ),
    honoured(
        "auth.token.autoredirect",
        "clients get tokens at `autoredirectpath` of the host that they asked, not at `realm`; default `false`",
    ),
    honoured("auth.token.autoredirectpath", "default `/auth/token/`"),
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
    ignored("notifications", "notifications are not built, and no endpoint asks for them"),
    ignored("redis", "the nodes share their state by themselves"),
    honoured(
        "health.storagedriver.enabled",
        "check that the store's marker can be read. It is shown at `/debug/health` (503) and in the metrics, but does not stop \
         requests: manifests and tags need no store, and every node would go at once; default `true`",
    ),
    honoured("health.storagedriver.interval", "default `10s`"),
    honoured("health.storagedriver.threshold", "failures in a row that count; default `3`"),
    honoured(
        "health.file",
        "list of `{file, interval}`. While a file exists, every request is answered 503 and `/readyz` too: the way to take a \
         node out. Interval default `10s`, at least `1s`; at most 64 checks of all kinds",
    ),
    honoured(
        "health.http",
        "list of `{uri, headers, statuscode, timeout, interval, threshold}`: services that must answer a HEAD with the status, \
         else as with `file`. Redirects are followed. Default `200`, `5s`, `10s`, `1`",
    ),
    honoured(
        "health.tcp",
        "list of `{addr, timeout, interval, threshold}`: addresses that must accept connections, else as with `file`. \
         Default `5s`, `10s`, `1`",
    ),
    refused("proxy.remoteurl", effective, "the pull-through cache is not built", "remove the section"),
    ignored("proxy", "no effect without `remoteurl`"),
    ignored("validation.enabled", "what a manifest names is always validated"),
    ignored("validation.disabled", "what a manifest names is always validated"),
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
    honoured(
        "catalog.maxentries",
        "repositories on one page of `/v2/_catalog`, at most 100000; a client that asks for more gets so many and a `Link`; \
         default `1000`",
    ),
    honoured(
        "tags.maxtags",
        "tags on one page of a client that asks for pages (`n`), at most 100000; default `100000`",
    ),
    ignored("compatibility", "manifests of schema 1 are always refused"),
    ignored("reporting", "nothing is reported to Bugsnag or New Relic; use the log and the metrics"),
];

/// The path of `name` below `outer`. A name that is no word of a path is quoted, so that no path means two keys.
pub(super) fn join(outer: &str, name: &str) -> String {
    let quoted = if name.is_empty() || name.contains('.') { format!("{name:?}") } else { name.to_owned() };
    if outer.is_empty() { quoted } else { format!("{outer}.{quoted}") }
}

/// The top-level section that `path` is in or was meant to be in.
pub(super) fn first(path: &str) -> &str {
    path.trim_start_matches('"').split('.').next().unwrap_or_default()
}

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
