mod guides;
mod inspected;
mod properties;
mod variables;

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
    assert_eq!(keys, ["storage.cache"]);
    assert_eq!(config.log.fields, [("service".to_owned(), "registry".into())]);
    assert_eq!(config.data_dir, PathBuf::from("/data/flotilla"));
    assert_eq!((config.http.addr.as_str(), config.http.drain_timeout), (":5000", Duration::from_secs(30)));
    assert_eq!(
        (config.storage.delete, config.storage.redirect, config.log.access_log),
        (false, true, AccessLog::Structured)
    );
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
    assert!(config.storage.delete && config.log.access_log == AccessLog::Off && !s3.force_path_style && s3.secure);
    assert_eq!(config.http.drain_timeout, Duration::from_secs(5400));
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/registry/flotilla"));
    let keys: BTreeSet<_> = notices.iter().map(|notice| notice.key.as_str()).collect();
    assert!(
        keys.is_superset(
            &["REGISTRY_VERSION", "notifications.endpoints", "REGISTRY_PORT_5000_TCP_ADDR", "storage.cache"].into()
        ),
        "{keys:?}"
    );
}

#[test]
fn all_mistakes_come_at_once_and_secrets_are_masked() {
    let env = [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_HTTP_ADDR", "nonsense"),
        ("REGISTRY_HTTP_DRAINTIMEOUT", "30"),
        ("REGISTRY_HTTP_HEADERS_Location", "[bar]"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/x.pem"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS", "[{url: 'https://u:p@h/x', headers: {Authorization: [hush]}}]"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "hush"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "true"),
        ("REGISTRY_HEALTH_TCP_0_ADDR", "x"),
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
        "health.tcp.0.addr",
        "http.addr",
        "http.draintimeout",
        "http.headers.Location",
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
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, rootcertbundle: /c.pem}}", true),
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, jwks: /k.json, autoredirect: true}}", true),
        ("auth: {token: {realm: x, service: r, issuer: i, jwks: /k, autoredirect: true, autoredirectpath: /t}}", true),
        ("auth: {token: {realm: x, service: r, issuer: i, jwks: /k, autoredirect: true, autoredirectpath: t}}", false),
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, jwks: /k, signingalgorithms: [ES256]}}", true),
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, jwks: /k, signingalgorithms: RS256}}", true),
        ("auth: {token: {realm: 'https://a', service: r, issuer: i, jwks: /k}, htpasswd: {realm: x, path: /x}}", true),
        ("auth: {token: {realm: 'https://a', service: r, issuer: i, jwks: /k}, none: }", false),
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, jwks: /k, signingalgorithms: []}}", false),
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, jwks: /k, signingalgorithms: [none]}}", false),
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, jwks: /k, signingalgorithms: [HS256]}}", false),
        ("auth: {token: {realm: 'https://a/t', service: r, issuer: i, jwks: /k, signingalgorithms: [ES512]}}", false),
        ("auth: {token: {realm: 'https://a/\"t', service: r, issuer: i, jwks: /k}}", false),
        ("auth: {token: {realm: /t, service: r, issuer: i, jwks: /k}}", false),
        ("auth: {ldap: {}}", false),
        ("auth: HTPASSWD", false),
        ("auth: {htpasswd: {realm: x, path: /x}}", true),
        ("auth: {htpasswd: {path: /x}}", false),
        ("auth: {htpasswd: }", false),
        ("auth: {htpasswd: {realm: x, path: /x}, none: }", false),
        ("http: {relativeurls: false}", true),
        ("http: {host: 'https://x'}", true),
        ("http: {host: x}", false),
        ("http: {host: 'x:5000'}", false),
        ("http: {prefix: /}", true),
        ("http: {prefix: /x}", true),
        ("http: {prefix: /x/y/}", true),
        ("http: {prefix: x}", false),
        ("http: {prefix: //x}", false),
        ("http: {prefix: /x/../y}", false),
        ("http: {prefix: '/x y'}", false),
        ("http: {prefix: '/x%2fy'}", false),
        ("http: {relativeurls: perhaps}", false),
        ("http: {trustedproxies: [10.0.0.1, 'fd00::/8']}", true),
        ("http: {trustedproxies: '10.0.0.1, 172.16.0.0/12'}", true),
        ("http: {trustedproxies: [10.0.0.0/33]}", false),
        ("http: {trustedproxies: [proxy.example.com]}", false),
        ("http: {trustedproxies: [1]}", false),
        ("http: {trustedproxies: true}", false),
        ("http: {net: tcp}", true),
        ("http: {net: unix}", false),
        ("http: {net: unix, addr: ':5000'}", false),
        ("http: {net: unix, addr: /run/registry.sock}", true),
        ("http: {net: unix, addr: /run/registry.sock, tls: {certificate: /c, key: /k}}", false),
        ("http: {net: udp}", false),
        ("http: {http2: {disabled: true}}", true),
        ("http: {http2: {disabled: false}}", true),
        ("http: {tls: {certificate: ''}}", true),
        ("http: {tls: {letsencrypt: {hosts: [x]}}}", false),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: tls1.3}}", true),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: tls1.1}}", true),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: tls1.4}}", false),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}", true),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [1]}}", false),
        ("http: {tls: {certificate: /c, key: /k, clientcas: []}}", true),
        ("http: {tls: {clientcas: [/ca]}}", false),
        ("http: {tls: {certificate: /c, key: /k, clientauth: require-and-verify-client-cert}}", false),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/ca], clientauth: verify-client-cert-if-given}}", true),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/ca], clientauth: request-client-cert}}", false),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/ca], clientauth: require-any-client-cert}}", false),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/ca], clientauth: none}}", false),
        ("http: {tls: {certificate: /c, key: /k, ciphersuites: [x]}}", false),
        ("http: {tls: {certificate: /c, key: /k, ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}}", true),
        ("http: {tls: {certificate: /c, key: /k, ciphersuites: [TLS_AES_128_GCM_SHA256]}}", true),
        ("http: {tls: {certificate: /c, key: /k, ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA]}}", false),
        ("http: {tls: {minimumtls: tls1.3, ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA]}}", true),
        ("audit: {enabled: true, path: /var/log/audit.json}", true),
        ("audit: {enabled: maybe}", false),
        ("audit: {file: /x}", false),
        ("http: {tls: {letsencrypt: {cachefile: '', hosts: []}}}", true),
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
        ("health: {file: [{file: /x}]}", true),
        ("health: {file: [{file: /x}, {file: /x}]}", false),
        ("health: {file: {file: /x}}", false),
        ("health: {file: [{interval: 5s}]}", false),
        ("health: {file: [{file: /x, interval: 5}]}", false),
        ("health: {tcp: []}", true),
        ("health: {tcp: [{addr: 'h:1', threshold: -1}]}", false),
        ("health: {tcp: [{addr: ':1'}]}", false),
        ("health: {http: [{uri: 'https://h/', headers: {A: [b]}, statuscode: 204}]}", true),
        ("health: {http: [{uri: 'ftp://h/'}]}", false),
        ("health: {http: [{uri: 'http://u:p@h/'}]}", false),
        ("health: {http: [{uri: 'http://[::1'}]}", false),
        ("health: {http: [{uri: 'http://:80/'}]}", false),
        ("health: {http: [{uri: 'http://h/', statuscode: 1000}]}", false),
        ("health: {http: [{uri: 'http://h/', headers: {'A b': [c]}}]}", false),
        ("health: {storagedriver: {enabled: false, threshold: x}}", false),
        ("http: {debug: {addr: ':1', prometheus: {enabled: true, path: /metrics}}}", true),
        ("http: {debug: {prometheus: {path: metrics}}}", false),
        ("validation: {disabled: true}", true),
        ("log: {fields: {level: 1, nested: {a: [b]}}, reportcaller: true}", true),
        ("log: {fields: [a]}", false),
        ("catalog: {maxentries: 50}\ntags: {maxtags: 0}", true),
        ("catalog: {maxentries: many}", false),
        ("proxy: {exec: {command: x}, cachewritetimeout: 5m}", true),
        ("policy: {repository: {classes: [image]}}", false),
        ("policy: {repository: {classes: []}}", true),
        ("notifications: {events: {includereferences: true}, endpoints: []}", true),
        ("compatibility: {schema1: {enabled: true}}\nreporting: {bugsnag: {apikey: x}}", true),
        ("storage: {tag: {concurrencylimit: 8}, filesystem: {maxthreads: 100}}", true),
        ("http.addr: x", true),
        ("cluster.addr: x", false),
        ("cluster: {tls.key: x}", false),
        ("'': {http: {addr: nonsense}}", true),
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
fn health_checks_are_those_of_registry_2() {
    let env = [
        ("REGISTRY_HEALTH_FILE", "[{file: /out}]"),
        ("REGISTRY_HEALTH_HTTP_0_URI", "https://h/x"),
        ("REGISTRY_HEALTH_HTTP_0_HEADERS", "{Authorization: [hush], Accept: a}"),
        ("REGISTRY_HEALTH_HTTP_0_THRESHOLD", "2"),
        ("REGISTRY_HEALTH_TCP", "[{addr: 'h:1', timeout: 3s, interval: 100ms}]"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", r#"{"enabled": true}"#),
        ("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "false"),
    ];
    let config = loaded(FILE, &env).unwrap().config;
    let seconds = |interval, timeout, threshold| Pace {
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(timeout),
        threshold,
    };
    assert_eq!(config.health.storage, Some(seconds(10, 10, 3)));
    let [file, http, tcp] = config.health.checks.as_slice() else { panic!("{:?}", config.health) };
    assert!(matches!(&file.what, Checked::File(path) if path.as_os_str() == "/out"));
    assert_eq!((file.name.as_str(), file.pace), ("/out", seconds(10, 10, 1)));
    let Checked::Http(service) = &http.what else { panic!("{http:?}") };
    let headers = [("Accept", "a"), ("Authorization", "hush")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!((service.status, service.headers.as_slice(), http.pace), (200, &headers[..], seconds(10, 5, 2)));
    assert_eq!((tcp.name.as_str(), tcp.pace), ("h:1", seconds(1, 3, 1)));
    assert!(config.storage.read_only && config.http.metrics_path.is_none());
    assert!(!format!("{config:?}").contains("hush"));
    let odd = loaded("storage: {filesystem: }\nhealth: {tcp: [{addr: 'h:1', treshold: 1}]}", &[]).unwrap().notices;
    assert!(odd.iter().any(|notice| notice.key == "health.tcp.0.treshold"), "{odd:?}");

    let defaults = loaded("storage: {filesystem: }", &[]).unwrap().config;
    assert_eq!(defaults.health.storage, Some(seconds(10, 10, 3)));
    assert_eq!(defaults.http.metrics_path.as_deref(), Some("/metrics"));
    let many: Vec<String> = (0..65).map(|n| format!("{{file: /{n}}}")).collect();
    assert_eq!(wrong(&format!("storage: {{filesystem: }}\nhealth: {{file: [{}]}}", many.join(", ")), &[]), ["health"]);
}

#[test]
fn a_token_server_is_described_in_full() {
    let text = "storage: {filesystem: }\nauth: {token: {realm: x, autoredirect: 1, signingalgorithms: ES512}}";
    let mistakes = loaded(text, &[]).unwrap_err().to_string();
    for shown in
        ["realm: \"x\"", "expected a URL", "token.service", "token.issuer", "token.rootcertbundle", "ES512 is not"]
    {
        assert!(mistakes.contains(shown), "{shown}: {mistakes}");
    }
    let env = [
        ("REGISTRY_AUTH", "token"),
        ("REGISTRY_AUTH_TOKEN_REALM", "https://auth.example.com/token"),
        ("REGISTRY_AUTH_TOKEN_SERVICE", "registry"),
        ("REGISTRY_AUTH_TOKEN_ISSUER", "Auth"),
        ("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", "/certs/auth.pem"),
        ("REGISTRY_AUTH_TOKEN_AUTOREDIRECT", "true"),
    ];
    let token = loaded(FILE, &env).unwrap().config.token.unwrap();
    assert_eq!(
        (&*token.realm, &*token.service, &*token.issuer),
        ("https://auth.example.com/token", "registry", "Auth")
    );
    assert_eq!((token.root_certificates, token.jwks), (Some("/certs/auth.pem".into()), None));
    assert_eq!((token.redirect_path.as_deref(), token.algorithms.len()), (Some("/auth/token/"), 9));
}

#[test]
fn exactly_one_known_driver() {
    assert_eq!(wrong("version: 0.1", &[]), ["storage"]);
    assert_eq!(wrong("storage: {gcs: {bucket: x}}", &[]), ["storage.gcs"]);
    assert_eq!(wrong("storage: {inmemory: }", &[]), ["storage.inmemory"]);
    for driver in ["azure", "gcs", "oss", "swift", "unheard"] {
        let text =
            format!("storage: {{{driver}: {{key: hush, accountkey: hush, credentials: {{private_key: hush}}}}}}");
        let mistakes = loaded(&text, &[]).unwrap_err();
        assert_eq!(mistakes.0.len(), 1, "{mistakes}");
        assert!(
            mistakes.0[0].key == format!("storage.{driver}") && !mistakes.to_string().contains("hush"),
            "{mistakes}"
        );
    }
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
fn a_file_may_begin_with_a_byte_order_mark() {
    let text = "\u{feff}version: 0.1\r\nstorage: {filesystem: {rootdirectory: /x}}\r\n";
    assert_eq!(from_yaml(text, []).unwrap().config.data_dir, std::path::Path::new("/x/flotilla"));
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
    let cases: [(&str, &[&str]); 14] = [
        ("{grace: 12h}", &["gc.promise"]),
        ("{grace: 12h, unsafedelays: true}", &["gc.promise"]),
        ("{promise: 20h}", &["gc.promise"]),
        ("{promise: 19h59m}", &[]),
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
    assert_eq!(warned, ["gc.promise", "gc.deletedelay", "gc.sweepdelay"]);
    assert_eq!(tests.config.gc.tick(), Duration::from_millis(2_500));
    let breaker = |text: &str| gc(&format!("{{breaker: {text}}}")).map(|loaded| loaded.config.gc).unwrap();
    assert_eq!((breaker("5%").breaker_permille, breaker("5%").breaker_floor), (50, 0));
    assert_eq!((breaker("1TiB").breaker_permille, breaker("1TiB").breaker_floor), (0, 1 << 40));
    assert_eq!(breaker("off").breaker_floor, u64::MAX);
    let set =
        loaded("storage: {filesystem: }", &[("REGISTRY_GC_DELETEUNTAGGED", "48h"), ("REGISTRY_GC_BREAKER", "off")]);
    assert_eq!(set.unwrap().config.gc.delete_untagged, Some(hours(48)));
    let recount = |text: &str| gc(&format!("{{recount: {text}}}")).map(|loaded| loaded.config.gc.recount).unwrap();
    assert_eq!((default.recount, default.scrub), (Some(hours(24)), 1_000));
    assert_eq!(
        (recount("5s"), recount("off"), recount("false"), recount("0s")),
        (Some(hours(5) / 3_600), None, None, None)
    );
}

#[test]
fn durations_are_those_of_go() {
    for (text, ms) in [("0", 0), ("30s", 30_000), ("1h30m", 5_400_000), ("1.5s", 1_500), ("100ms", 100)] {
        assert_eq!(value::duration(text), Some(Duration::from_millis(ms)), "{text}");
    }
    assert!(value::duration("2562047h").is_some(), "292 years");
    for text in ["", "30", "s", "1x", "-1s", "1h30", "2562048h", "5000000000000000h"] {
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

#[test]
fn tls_of_old_files_means_the_nearest_there_is() {
    let driver = ("REGISTRY_STORAGE", "filesystem");
    let old = "http: {tls: {certificate: /c, key: /k, minimumtls: tls1.0, ciphersuites: \
        [TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305, TLS_AES_128_GCM_SHA256]}}";
    let Loaded { config, notices } = loaded(old, &[driver]).unwrap();
    let tls = config.http.tls.unwrap();
    assert_eq!((tls.minimum, tls.suites), (TlsVersion::Tls12, Some(vec![0xcca8])));
    assert!(tls.clients.is_none());
    for (key, word) in [("http.tls.minimumtls", "1.2"), ("http.tls.ciphersuites", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA")]
    {
        let said: Vec<_> = notices.iter().filter(|notice| notice.key == key).collect();
        assert!(said.len() == 1 && said[0].text.contains(word), "{notices:?}");
    }
    let env = [driver, ("REGISTRY_HTTP_TLS_CLIENTCAS", "[/a, /b]")];
    let clients = loaded("http: {tls: {certificate: /c, key: /k}}", &env).unwrap().config.http.tls.unwrap().clients;
    let clients = clients.unwrap();
    assert!(clients.required && clients.authorities == ["/a", "/b"].map(PathBuf::from), "{clients:?}");
}

#[test]
fn access_rules_are_checked_and_tokens_follow_from_them() {
    const USERS: &str = "storage: {filesystem: {}}\nauth: {htpasswd: {realm: r, path: p}}\n";
    let access = |text: &str| loaded(&format!("{USERS}access: {text}"), &[]).map(|loaded| loaded.config.access);
    assert!(matches!(access("{}"), Ok(Access { rules: None, tokens: None })));
    let mixed = access(
        "{rules: [{repositories: [a/**], users: $all, rights: pull}, {repositories: ['**'], users: [ann, 7, $authenticated], \
         rights: [push, delete]}]}",
    )
    .unwrap();
    let second = AccessRule {
        repositories: vec!["**".into()],
        users: vec![Users::Named("ann".into()), Users::Named("7".into()), Users::Authenticated],
        rights: vec![Right::Push, Right::Delete],
    };
    assert_eq!(mixed.rules.unwrap()[1], second);
    assert_eq!(mixed.tokens.unwrap().expiration, Duration::from_secs(300));
    let own =
        access("{rules: [{repositories: a, users: $authenticated, rights: pull}], tokens: {expiration: 1m}}").unwrap();
    assert!(own.tokens.is_none());
    let on = access("{tokens: {enabled: true, expiration: 1m}}").unwrap();
    assert_eq!(on.tokens.unwrap().expiration, Duration::from_secs(60));

    for (text, key) in [
        ("{rules: x}", "access.rules"),
        ("{rules: [x]}", "access.rules"),
        ("{rules: [{repositories: a, users: ann}]}", "access.rules"),
        ("{rules: [{repositories: A, users: ann, rights: pull}]}", "access.rules"),
        ("{rules: [{repositories: a, users: $ann, rights: pull}]}", "access.rules"),
        ("{rules: [{repositories: a, users: ann, rights: admin}]}", "access.rules"),
        ("{rules: [{repositories: a, users: ann, rights: pull, deny: x}]}", "access.rules"),
        ("{tokens: {enabled: true, expiration: 1s}}", "access.tokens.expiration"),
        ("{tokens: {enable: true}}", "access.tokens.enable"),
    ] {
        assert_eq!(wrong(&format!("{USERS}access: {text}"), &[]), [key], "{text}");
    }
    let nobody = "storage: {filesystem: {}}\naccess: {tokens: {enabled: true}, rules: [{repositories: a, users: ann, rights: pull}]}";
    assert_eq!(wrong(nobody, &[]), ["access.rules", "access.tokens.enabled"]);
    let public = "storage: {filesystem: {}}\naccess: {rules: [{repositories: a, users: $all, rights: pull}]}";
    assert!(loaded(public, &[]).unwrap().config.access.tokens.is_none());
}

#[test]
fn the_outside_of_the_registry_is_read_as_it_is_written_in_the_field() {
    let env = [
        ("REGISTRY_STORAGE", "filesystem"),
        ("REGISTRY_HTTP_HOST", "HTTPS://registry.example.com:8443/base/"),
        ("REGISTRY_HTTP_PREFIX", "/registry/"),
        ("REGISTRY_HTTP_RELATIVEURLS", "false"),
        ("REGISTRY_HTTP_TRUSTEDPROXIES", "10.0.0.1"),
    ];
    let http = loaded("", &env).unwrap().config.http;
    let host = Host { scheme: "https", authority: "registry.example.com:8443".into(), path: "/base".into() };
    assert_eq!((http.host, http.prefix.as_str(), http.relative_urls), (Some(host), "/registry", Some(false)));
    assert_eq!(http.trusted_proxies.unwrap(), ["10.0.0.1".parse().unwrap()]);
    for host in [
        "registry.example.com",
        "registry.example.com:5000",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://x y",
        "https://x/?a",
        "https://x\"/",
    ] {
        assert_eq!(wrong("storage: filesystem", &[("REGISTRY_HTTP_HOST", host)]), ["http.host"], "{host}");
    }
    let default = loaded("storage: filesystem", &[]).unwrap().config.http;
    assert_eq!((default.host, default.prefix.as_str(), default.relative_urls), (None, "", None));
    assert!(
        default.trusted_proxies.is_none() && default.headers.is_empty() && default.http2 && default.net == Net::Tcp
    );
}

#[test]
fn headers_are_read_as_they_are_written_in_the_field() {
    let text = "
storage: filesystem
http:
  headers:
    X-Content-Type-Options: [nosniff]
    Access-Control-Allow-Origin: ['http://127.0.0.1:8001', 'http://ui']
    Access-Control-Allow-Methods: [HEAD, GET, OPTIONS, DELETE]
    Access-Control-Max-Age: [1728000]
    Access-Control-Allow-Credentials: [true]
    Access-Control-Expose-Headers: Docker-Content-Digest
    X-Empty:
";
    let headers = loaded(text, &[]).unwrap().config.http.headers;
    let all = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("access-control-allow-origin"), ["http://127.0.0.1:8001", "http://ui"]);
    assert_eq!(all("access-control-allow-methods"), ["HEAD", "GET", "OPTIONS", "DELETE"]);
    assert_eq!(
        (all("access-control-max-age"), all("access-control-allow-credentials")),
        (vec!["1728000"], vec!["true"])
    );
    assert_eq!((all("access-control-expose-headers"), all("x-empty")), (vec!["Docker-Content-Digest"], vec![]));
    let variables = [
        ("REGISTRY_STORAGE", "filesystem"),
        ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin", "['*']"),
        ("REGISTRY_HTTP_HEADERS_X-Frame-Options", "DENY"),
    ];
    let headers = loaded("", &variables).unwrap().config.http.headers;
    assert_eq!(
        (&headers["access-control-allow-origin"], &headers["x-frame-options"]),
        (&"*".parse().unwrap(), &"DENY".parse().unwrap())
    );
}

#[test]
fn headers_that_would_break_answers_are_mistakes() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Location",
        "Docker-Content-Digest",
        "OCI-Subject",
        "Link",
        "WWW-Authenticate",
        "ETag",
        "Content-Type",
        "'a b'",
        "'a:b'",
        "'aé'",
    ] {
        let text = format!("storage: filesystem\nhttp: {{headers: {{{name}: [x]}}}}");
        let keys = wrong(&text, &[]);
        assert!(keys.len() == 1 && keys[0].starts_with("http.headers."), "{name}: {keys:?}");
    }
    for value in ["[\"a\\r\\nb\"]", "[\"a\\0\"]", "[é]", "[[a]]", "[{a: b}]", "{a: b}", "[null]"] {
        let text = format!("storage: filesystem\nhttp: {{headers: {{X-A: {value}}}}}");
        assert_eq!(wrong(&text, &[]), ["http.headers.X-A"], "{value}");
    }
    for (headers, key) in [
        ("{X-Content-Type-Options: [sniff]}", "http.headers.X-Content-Type-Options"),
        ("{Access-Control-Allow-Origin: ['*'], Access-Control-Allow-Credentials: [true]}", "http.headers"),
        ("[a]", "http.headers"),
        ("x", "http.headers"),
    ] {
        assert_eq!(wrong(&format!("storage: filesystem\nhttp: {{headers: {headers}}}"), &[]), [key], "{headers}");
    }
}

#[test]
fn the_access_log_has_a_format() {
    let log =
        |log: &str| loaded(&format!("storage: filesystem\nlog: {{accesslog: {log}}}"), &[]).map(|it| it.config.log);
    assert_eq!(log("{formatter: combined}").unwrap().access_log, AccessLog::Combined);
    assert_eq!(log("{formatter: structured}").unwrap().access_log, AccessLog::Structured);
    assert_eq!(log("{formatter: combined, disabled: true}").unwrap().access_log, AccessLog::Off);
    assert!(log("{formatter: fancy}").is_err());
}
