use super::{
    keys::{KEYS, Rule},
    *,
};
use std::collections::BTreeSet;

const FILE: &str = "version: 0.1\nlog: {fields: {service: registry}}\nstorage:\n  cache: {blobdescriptor: inmemory}\n  filesystem: {rootdirectory: /data}\nhttp:\n  addr: :5000\n  headers: {X-Content-Type-Options: [nosniff]}\nhealth:\n  storagedriver: {enabled: true, interval: 10s, threshold: 3}\n";

fn loaded(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    from_yaml(text, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn wrong(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    loaded(text, env).unwrap_err().0.into_iter().map(|mistake| mistake.key).collect()
}

#[test]
fn the_default_file_of_the_image_starts_with_one_notice_per_ignored_key() {
    let Loaded { config, notices } = loaded(FILE, &[]).unwrap();
    let keys: Vec<_> = notices.iter().map(|notice| notice.key.as_str()).collect();
    assert_eq!(keys, ["health.storagedriver", "http.headers", "log.fields", "storage.cache"]);
    assert_eq!(config.data_dir, PathBuf::from("/data/flotilla"));
    assert_eq!((config.http.addr.as_str(), config.http.drain_timeout), (":5000", Duration::from_secs(30)));
    assert_eq!((config.storage.delete, config.storage.redirect, config.log.access_log), (false, true, true));
    assert_eq!(config.storage.upload_age, Duration::from_secs(168 * 3600));
    assert!(config.cluster.is_none() && config.http.debug_addr.is_none());
}

#[test]
fn variables_are_yaml_and_replace_the_driver() {
    let env = [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
        ("REGISTRY_STORAGE_S3_REGION", "eu"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "0123"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "@x: {"),
        ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/a/b/"),
        ("REGISTRY_STORAGE_DELETE", "{enabled: yes}"),
        ("REGISTRY_HTTP_DRAINTIMEOUT", "1h30m"),
        ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true"),
        ("REGISTRY_VERSION", "0.2"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_DISABLED", "true"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL", "http://x"),
        ("REGISTRY_PORT_5000_TCP_ADDR", "10.0.0.1"),
        ("OTHER", "x"),
    ];
    let Loaded { config, notices } = loaded(FILE, &env).unwrap();
    let Driver::S3(s3) = &config.storage.driver else { panic!("{config:?}") };
    assert_eq!((s3.bucket.as_str(), s3.region.as_str(), s3.root_directory.as_str()), ("b", "eu", "a/b"));
    assert_eq!((s3.access_key.as_deref(), s3.secret_key.as_deref()), (Some("0123"), Some("@x: {")));
    assert!(config.storage.delete && !config.log.access_log && !s3.force_path_style && s3.secure);
    assert_eq!(config.http.drain_timeout, Duration::from_secs(5400));
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/registry/flotilla"));
    let keys: BTreeSet<_> = notices.iter().map(|notice| notice.key.as_str()).collect();
    assert!(
        keys.is_superset(&["REGISTRY_VERSION", "notifications.endpoints", "port", "storage.cache"].into()),
        "{keys:?}"
    );
}

#[test]
fn all_mistakes_come_at_once_and_secrets_are_masked() {
    let env = [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_HTTP_ADDR", "nonsense"),
        ("REGISTRY_HTTP_DRAINTIMEOUT", "30"),
        ("REGISTRY_HTTP_HEADERS_X-Foo", "[bar]"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/x.pem"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS", "[{url: 'https://u:p@h/x', headers: {Authorization: [hush]}}]"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "hush"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{enabled: true}"),
        ("REGISTRY_PROXY_REMOTEURL", "https://u:hush@h"),
        ("REGISTRY_CLUSTER_BOOTSTRAPEXPECT", "3"),
        ("REGISTRY_CLUSTER_ADDR", ":5001"),
        ("REGISTRY_CLUSTER_PEER", "x"),
        ("REGISTRY_LOG_LEVEL", "loud"),
    ];
    let mistakes = loaded(FILE, &env).unwrap_err();
    let keys: BTreeSet<_> = mistakes.0.iter().map(|mistake| mistake.key.as_str()).collect();
    let expected = [
        "auth.htpasswd.path",
        "auth.htpasswd.realm",
        "cluster.addr",
        "cluster.advertise",
        "cluster.peer",
        "cluster.peers",
        "http.addr",
        "http.draintimeout",
        "http.headers",
        "http.tls.key",
        "log.level",
        "notifications.endpoints",
        "proxy.remoteurl",
        "storage",
        "storage.maintenance.readonly",
        "storage.s3.accesskey",
        "storage.s3.bucket",
        "storage.s3.region",
    ];
    assert_eq!(keys, expected.into());
    let text = mistakes.to_string();
    assert!(!text.contains("hush") && !text.contains("u:p@") && text.contains("REGISTRY_AUTH"), "{text}");
    assert!(mistakes.0.iter().all(|mistake| !mistake.fix.is_empty()));
}

#[test]
fn secrets_are_masked_where_they_do_not_belong() {
    let env = [("REGISTRY_STORAGE_S3_SECRETKEY", "hush"), ("REGISTRY_HTTP_SECRET", "hush")];
    let list = loaded("[a]", &env).unwrap_err();
    let below = loaded(FILE, &[("REGISTRY_STORAGE", "s3"), ("REGISTRY_STORAGE_S3_SECRETKEY_X", "hush")]).unwrap_err();
    for mistakes in [list, below] {
        assert!(mistakes.to_string().contains("***") && !mistakes.to_string().contains("hush"), "{mistakes}");
    }
}

#[test]
fn what_would_take_effect_is_refused_and_what_would_not_is_a_notice() {
    let cases = [
        ("auth: none", true),
        ("auth: {silly: {realm: x}}", false),
        ("auth: {token: }", false),
        ("auth: {ldap: {}}", false),
        ("auth: HTPASSWD", false),
        ("auth: {htpasswd: {realm: x, path: /x}}", true),
        ("auth: {htpasswd: {path: /x}}", false),
        ("auth: {htpasswd: }", false),
        ("auth: {htpasswd: {realm: x, path: /x}, none: }", false),
        ("http: {relativeurls: false}", true),
        ("http: {host: 'https://x'}", false),
        ("http: {prefix: /}", true),
        ("http: {prefix: /x}", false),
        ("http: {net: tcp}", true),
        ("http: {net: unix}", false),
        ("http: {http2: {disabled: true}}", false),
        ("http: {http2: {disabled: false}}", true),
        ("http: {tls: {certificate: ''}}", true),
        ("http: {tls: {letsencrypt: {hosts: [x]}}}", false),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: tls1.3}}", true),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: tls1.1}}", false),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}", false),
        ("http: {tls: {certificate: /c, key: /k, ciphersuites: [x]}}", false),
        ("http: {tls: {minimumtls: tls1.2}}", true),
        ("limits: {connections: 100, requests: 10, bodyprogress: 30s}", true),
        ("limits: {connections: 0}", false),
        ("limits: {bodyprogress: 0}", false),
        ("limits: {conections: 100}", false),
        ("limits: true", false),
        ("http: {secret: x}", true),
        ("middleware: {storage: [{name: redirect, options: {baseurl: x}}]}", false),
        ("middleware: {storage: [{name: redirect, disabled: true}]}", true),
        ("proxy: {remoteurl: '', ttl: 168h}", true),
        ("health: {file: [{file: /x}]}", false),
        ("health: {tcp: []}", true),
        ("validation: {disabled: true}", true),
        ("validation: {manifests: {urls: {allow: ['^https?://'], deny: [x]}}}", true),
        ("validation: {manifests: {urls: {allow: ['(']}}}", false),
        ("validation: {manifests: {indexes: {platforms: none}}}", true),
        ("validation: {manifests: {indexes: {platforms: list, platformlist: [{os: linux}]}}}", false),
        ("log: {hooks: [{type: mail, disabled: true}]}", true),
        ("log: {hooks: [{type: mail}]}", false),
        ("redis: {addr: x}", true),
        ("unheard: {of: 1}", true),
        ("cluster: {unheard: 1}", false),
        ("cluster: {}", true),
        ("cluster: {addr: '127.0.0.1:1', peers: ['127.0.0.1:1']}", false),
        ("cluster: {addr: '127.0.0.1:1', bootstrapexpect: 3, peers: ['127.0.0.1:1', '127.0.0.1:2']}", true),
        ("cluster: {tls: {key: x}}", false),
        ("cluster: true", false),
        ("version: 0.2", false),
        ("log: true", false),
    ];
    for (text, starts) in cases {
        let result = loaded(text, &[("REGISTRY_STORAGE", "filesystem")]);
        assert_eq!(result.is_ok(), starts, "{text}: {result:?}");
    }
}

#[test]
fn exactly_one_known_driver() {
    assert_eq!(wrong("version: 0.1", &[]), ["storage"]);
    assert_eq!(wrong("storage: {gcs: {bucket: x}}", &[]), ["storage.gcs"]);
    assert_eq!(wrong("storage: {inmemory: }", &[]), ["storage.inmemory"]);
    let aliased = loaded("storage: {s3aws: {bucket: b, regionendpoint: 'http://h'}}", &[]).unwrap().config;
    let Driver::S3(s3) = aliased.storage.driver else { panic!() };
    assert!(s3.force_path_style && s3.region == "us-east-1");
}

#[test]
fn every_honoured_key_is_read_and_every_key_read_is_honoured() {
    let honoured: BTreeSet<_> =
        KEYS.iter().filter(|key| matches!(key.rule, Rule::Honoured)).map(|key| key.path).collect();
    assert_eq!(load::Reader::asked_by(serde_json::json!({"cluster": {}})), honoured);
}

#[test]
fn delays_of_collection_must_leave_room_for_readers_and_late_writes() {
    let gc = |text: &str| loaded(&format!("gc: {text}"), &[("REGISTRY_STORAGE", "filesystem")]);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let default = gc("{}").unwrap().config.gc;
    assert_eq!((default.grace, default.promise, default.delete_untagged), (hours(24), hours(12), None));
    assert_eq!(
        (default.breaker_permille, default.breaker_floor, default.tick()),
        (100, 50 << 30, Duration::from_secs(5))
    );
    let keys = |text: &str| match gc(text) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.0.into_iter().map(|mistake| mistake.key).collect(),
    };
    let cases: [(&str, &[&str]); 12] = [
        ("{grace: 12h}", &["gc.promise"]),
        ("{grace: 12h, unsafedelays: true}", &["gc.promise"]),
        ("{promise: 0s}", &["gc.promise"]),
        ("{deletedelay: 23h}", &["gc.deletedelay"]),
        ("{sweepdelay: 44h}", &["gc.sweepdelay"]),
        ("{deletedelay: 1s, sweepdelay: 1s}", &["gc.deletedelay", "gc.sweepdelay"]),
        ("{deleteuntagged: 23h}", &["gc.deleteuntagged"]),
        ("{deleteuntagged: 720h}", &[]),
        ("{breaker: 10}", &["gc.breaker"]),
        ("{breaker: '10%,20%'}", &["gc.breaker"]),
        ("{rate: 0}", &["gc.rate"]),
        ("{gracious: 1h}", &["gc.gracious"]),
    ];
    for (text, expected) in cases {
        assert_eq!(keys(text), expected, "{text}");
    }
    let tests = gc("{grace: 30s, promise: 20s, deletedelay: 5s, sweepdelay: 5s, unsafedelays: true}").unwrap();
    let warned: Vec<_> = tests.notices.iter().map(|notice| notice.key.as_str()).collect();
    assert_eq!(warned, ["gc.deletedelay", "gc.sweepdelay"]);
    assert_eq!(tests.config.gc.tick(), Duration::from_millis(2_500));
    let breaker = |text: &str| gc(&format!("{{breaker: {text}}}")).map(|loaded| loaded.config.gc).unwrap();
    assert_eq!((breaker("5%").breaker_permille, breaker("5%").breaker_floor), (50, 0));
    assert_eq!((breaker("1TiB").breaker_permille, breaker("1TiB").breaker_floor), (0, 1 << 40));
    assert_eq!(breaker("off").breaker_floor, u64::MAX);
    let set =
        loaded("storage: {filesystem: }", &[("REGISTRY_GC_DELETEUNTAGGED", "48h"), ("REGISTRY_GC_BREAKER", "off")]);
    assert_eq!(set.unwrap().config.gc.delete_untagged, Some(hours(48)));
}

#[test]
fn durations_are_those_of_go() {
    for (text, ms) in [("0", 0), ("30s", 30_000), ("1h30m", 5_400_000), ("1.5s", 1_500), ("100ms", 100)] {
        assert_eq!(value::duration(text), Some(Duration::from_millis(ms)), "{text}");
    }
    for text in ["", "30", "s", "1x", "-1s", "1h30"] {
        assert_eq!(value::duration(text), None, "{text}");
    }
}

#[test]
fn the_manual_is_fresh() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    if std::env::var_os("FLOTILLA_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, manual()).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap_or_default() == manual(), "run with FLOTILLA_WRITE_DOCS=1");
}
