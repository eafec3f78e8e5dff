//! `REGISTRY_*` variables over the file.

use super::*;
use crate::config::overrides;
use serde_json::json;

/// The tree of the file with the variables applied, and the keys of the notices.
fn applied(text: &str, env: &[(&str, &str)]) -> (serde_json::Value, Vec<String>) {
    let mut tree = value::parse(text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let applied = overrides::apply(&mut tree, env);
    assert!(applied.mistakes.is_empty(), "{:?}", applied.mistakes);
    (tree, applied.notices.into_iter().map(|notice| notice.key).collect())
}

#[test]
fn values_are_yaml_and_maps_and_elements_are_made() {
    let env = [
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{\"enabled\": true}"),
        ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin", "['*']"),
        ("REGISTRY_HTTP_HEADERS_x-content-type-options", "[nosniff]"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL", "http://x/"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_1", "{url: 'http://y/'}"),
        ("REGISTRY_LOG_FIELDS_SERVICE", "mine"),
        ("REGISTRY_HTTP_SECRET", "@x: {"),
    ];
    let file = "http: {headers: {X-Content-Type-Options: [x]}}\nlog: {fields: {service: registry}}";
    let (tree, notices) = applied(file, &env);
    let expected = json!({
        "storage": {"maintenance": {"readonly": {"enabled": true}}},
        "http": {
            "headers": {"X-Content-Type-Options": ["nosniff"], "Access-Control-Allow-Origin": ["*"]},
            "secret": "@x: {",
        },
        "notifications": {"endpoints": [{"url": "http://x/"}, {"url": "http://y/"}]},
        "log": {"fields": {"service": "mine"}},
    });
    assert_eq!(tree, expected);
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn the_driver_is_replaced_whatever_the_order_in_which_variables_come() {
    let env = [("REGISTRY_STORAGE_S3_BUCKET", "b"), ("REGISTRY_STORAGE", "s3"), ("REGISTRY_AUTH", "none")];
    let file = "storage: {filesystem: {rootdirectory: /x}, delete: {enabled: true}}\nauth: {htpasswd: {realm: r}}";
    let (tree, _) = applied(file, &env);
    assert_eq!(tree, json!({"storage": {"delete": {"enabled": true}, "s3": {"bucket": "b"}}, "auth": {"none": {}}}));
}

#[test]
fn services_of_kubernetes_change_nothing_and_are_told_once() {
    let service = |name: &str, port: &str| {
        [
            (format!("{name}_SERVICE_HOST"), "10.0.0.1".to_owned()),
            (format!("{name}_SERVICE_PORT"), port.to_owned()),
            (format!("{name}_SERVICE_PORT_HTTP_API"), port.to_owned()),
            (format!("{name}_PORT"), format!("tcp://10.0.0.1:{port}")),
            (format!("{name}_PORT_{port}_TCP"), format!("tcp://10.0.0.1:{port}")),
            (format!("{name}_PORT_{port}_TCP_PROTO"), "tcp".to_owned()),
            (format!("{name}_PORT_{port}_TCP_PORT"), port.to_owned()),
            (format!("{name}_PORT_{port}_TCP_ADDR"), "10.0.0.1".to_owned()),
            (format!("{name}_PORT_53_UDP_ADDR"), "10.0.0.1".to_owned()),
            (format!("{name}_PORT_9_SCTP"), "sctp://10.0.0.1:9".to_owned()),
        ]
    };
    let names = [
        "REGISTRY",
        "REGISTRY_AUTH",
        "REGISTRY_STORAGE",
        "REGISTRY_HTTP",
        "REGISTRY_HTTP_TLS",
        "REGISTRY_CLUSTER",
        "REGISTRY_LOG_LEVEL",
        "REGISTRY_PROXY",
        "REGISTRY_VERSION",
    ];
    let env: Vec<_> = names.iter().flat_map(|name| service(name, "5000")).collect();
    let with = from_yaml(FILE, env.clone()).unwrap();
    let without = from_yaml(FILE, []).unwrap();
    assert_eq!(format!("{:?}", with.config), format!("{:?}", without.config));
    let told: Vec<_> = with.notices.iter().filter(|notice| !without.notices.contains(notice)).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(env.iter().all(|(name, _)| told[0].key.split(", ").any(|key| key == name)), "{told:?}");
}

#[test]
fn what_looks_like_a_service_and_is_a_setting_is_a_setting() {
    let env = [
        ("REGISTRY_HTTP_ADDR", ":5001"),
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/x"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "tcp://x"),
        ("REGISTRY_AUTH_TOKEN_SERVICE", "s"),
        ("REGISTRY_PORT", "5000"),
        ("REGISTRY_SERVICE_PORT", "tcp"),
    ];
    let (tree, notices) = applied("{}", &env);
    assert_eq!(tree["auth"]["htpasswd"], json!({"path": "/x", "realm": "tcp://x"}));
    assert_eq!((&tree["auth"]["token"], &tree["port"]), (&json!({"service": "s"}), &json!(5000)));
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn a_variable_below_a_value_is_told_and_changes_nothing() {
    let env = [
        ("REGISTRY_HTTP_ADDR_X", "y"),
        ("REGISTRY_UNHEARD", "1"),
        ("REGISTRY_UNHEARD_OF", "2"),
        ("registry_http_addr", "x"),
    ];
    let Loaded { config, notices, .. } = loaded(FILE, &env).unwrap();
    assert_eq!(config.http.addr, ":5000");
    let keys: Vec<_> = notices.iter().map(|notice| notice.key.as_str()).collect();
    assert!(
        ["REGISTRY_HTTP_ADDR_X", "REGISTRY_UNHEARD_OF", "unheard"].iter().all(|key| keys.contains(key)),
        "{keys:?}"
    );
}

#[test]
fn elements_are_numbered_without_gaps() {
    let mistakes =
        loaded(FILE, &[("REGISTRY_CLUSTER_PEERS_0", "a:1"), ("REGISTRY_CLUSTER_PEERS_2", "c:1")]).unwrap_err();
    let keys: Vec<_> = mistakes.0.iter().map(|mistake| mistake.key.as_str()).collect();
    assert!(keys.contains(&"REGISTRY_CLUSTER_PEERS_2"), "{mistakes}");
}

#[test]
fn names_with_dots_are_told_of_and_set_nothing() {
    let text = "http.addr: nonsense\nstorage: {filesystem: {}, a.b: {}}\nlog: {level.x: 1}";
    assert_eq!(wrong(text, &[]), ["storage.\"a.b\"", "storage"]);
    let Loaded { config, notices, .. } =
        loaded("http.addr: x\nlog: {'level.x': 1, '': 2}\nstorage: filesystem", &[]).unwrap();
    let keys: Vec<_> = notices.iter().map(|notice| notice.key.as_str()).collect();
    assert_eq!((config.http.addr.as_str(), keys), (":5000", vec!["\"http.addr\"", "log.\"\"", "log.\"level.x\""]));
    assert!(notices[0].text.contains("without dots"), "{notices:?}");
    let variable = loaded("storage: filesystem", &[("REGISTRY_HTTP.ADDR", "x")]).unwrap();
    assert!(variable.config.http.addr == ":5000" && variable.notices[0].text.contains("REGISTRY_HTTP.ADDR"));
}
