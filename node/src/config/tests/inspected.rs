//! What `flotilla config check` prints.

use super::*;

fn inspected(text: &str, env: &[(&str, &str)]) -> Inspected {
    inspect_yaml(text, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
}

/// Value and source of a setting.
fn setting<'a>(inspected: &'a Inspected, key: &str) -> (&'a str, String) {
    let found = inspected.settings.iter().find(|setting| setting.key == key);
    let setting = found.unwrap_or_else(|| panic!("no {key} in {inspected}"));
    (&setting.value, setting.source.to_string())
}

#[test]
fn every_value_is_shown_with_its_source() {
    let env = [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
        ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/pre/fix/"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "hush"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "0123"),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "https://u:hush@h:9000"),
        ("REGISTRY_STORAGE_REDIRECT", "{disable: yes}"),
        ("REGISTRY_CLUSTER_PEERS_0", "n1:1"),
        ("REGISTRY_CLUSTER_PEERS_1", "n2:1"),
        ("REGISTRY_CLUSTER_BOOTSTRAPEXPECT", "3"),
        ("REGISTRY_LIMITS_REQUESTS", "77"),
        ("REGISTRY_HTTP_SECRET", "hush"),
    ];
    let text = "loglevel: WARNING\nstorage: {delete: {enabled: on}, filesystem: {rootdirectory: /x}}\nhttp: {draintimeout: 1h30m}";
    let page = inspected(text, &env);
    for (key, value, source) in [
        ("log.level", "warn", "file"),
        ("log.formatter", "text", "default"),
        ("http.addr", ":5000", "default"),
        ("http.draintimeout", "1h30m", "file"),
        ("limits.bodyprogress", "60s", "default"),
        ("limits.connections", "20000", "default"),
        ("limits.requests", "77", "REGISTRY_LIMITS_REQUESTS"),
        ("storage.delete.enabled", "true", "file"),
        ("storage.redirect.disable", "true", "REGISTRY_STORAGE_REDIRECT"),
        ("storage.maintenance.uploadpurging.age", "168h", "default"),
        ("storage.s3.bucket", "b", "REGISTRY_STORAGE_S3_BUCKET"),
        ("storage.s3.rootdirectory", "pre/fix", "REGISTRY_STORAGE_S3_ROOTDIRECTORY"),
        ("storage.s3.region", "us-east-1", "default"),
        ("storage.s3.forcepathstyle", "true", "default"),
        ("storage.s3.accesskey", "\"***\"", "REGISTRY_STORAGE_S3_ACCESSKEY"),
        ("storage.s3.secretkey", "\"***\"", "REGISTRY_STORAGE_S3_SECRETKEY"),
        ("storage.s3.regionendpoint", "\"https://***@h:9000\"", "REGISTRY_STORAGE_S3_REGIONENDPOINT"),
        ("cluster.advertise", "127.0.0.1:5001", "default"),
        ("cluster.bootstrapexpect", "3", "REGISTRY_CLUSTER_BOOTSTRAPEXPECT"),
        ("cluster.peers", "[\"n1:1\", \"n2:1\"]", "REGISTRY_CLUSTER_PEERS_0, REGISTRY_CLUSTER_PEERS_1"),
        ("cluster.datadir", "/var/lib/flotilla", "default"),
    ] {
        assert_eq!(setting(&page, key), (value, source.to_owned()), "{key}");
    }
    let keys: Vec<_> = page.settings.iter().map(|setting| setting.key.as_str()).collect();
    assert!(!keys.iter().any(|key| key.starts_with("storage.filesystem") || *key == "loglevel"), "{keys:?}");
    assert!(!page.to_string().contains("hush"), "{page}");
}

#[test]
fn the_page_is_yaml_with_sources_and_notices_as_comments() {
    let text = "storage: {filesystem: {rootdirectory: /x}}\nredis: {addr: 'x:1'}\nlog: {fields: {a: b}}";
    let page = inspected(text, &[("REGISTRY_LOG_LEVEL", "debug")]).to_string();
    let lines: Vec<_> = page.lines().collect();
    assert_eq!(lines[..2], ["# no file: variables and defaults only", "# data directory: /x/flotilla"]);
    let log = [
        "log:",
        "  accesslog:",
        "    disabled: false                              # default",
        "    formatter: structured                        # default",
        "  fields: {\"a\": \"b\"}                             # file",
        "  formatter: text                                # default",
        "  level: debug                                   # REGISTRY_LOG_LEVEL",
    ];
    let at = lines.iter().position(|line| *line == "log:").unwrap();
    assert_eq!(lines[at..at + log.len()], log, "{page}");
    assert!(lines.iter().any(|line| line.starts_with("# notice: redis is ignored: ")), "{page}");
}

#[test]
fn an_alias_keeps_its_sources() {
    let page = inspected("storage: {s3aws: {bucket: b, region: r}}", &[("REGISTRY_STORAGE_S3AWS_REGION", "e")]);
    assert_eq!(setting(&page, "storage.s3.region"), ("e", "REGISTRY_STORAGE_S3AWS_REGION".to_owned()));
    assert_eq!(setting(&page, "storage.s3.bucket"), ("b", "file".to_owned()));
}

/// A default that the manual states at the end of a line is the one that the reader uses.
#[test]
fn the_defaults_of_the_manual_are_those_of_the_reader() {
    let filesystem = inspected("{storage: {filesystem: }, cluster: {}}", &[]);
    let s3 = inspected("{storage: {s3: {bucket: b, region: r}}}", &[]);
    let mut compared = 0;
    for key in KEYS.iter().filter(|key| matches!(key.rule, Rule::Honoured)) {
        let Some((_, stated)) = key.text.rsplit_once("default `") else { continue };
        let Some(stated) = stated.strip_suffix('`').filter(|stated| !stated.contains('`')) else { continue };
        let used = filesystem.settings.iter().chain(&s3.settings).find(|setting| setting.key == key.path);
        let Some(used) = used else { continue };
        let same =
            |read: &dyn Fn(&str) -> Option<Duration>| read(&used.value).is_some() && read(&used.value) == read(stated);
        assert!(used.value == stated || same(&value::duration), "{}: {} is not {stated}", key.path, used.value);
        assert_eq!(used.source, Source::Default, "{}", key.path);
        compared += 1;
    }
    assert!(compared > 12, "{compared} defaults are stated");
}
