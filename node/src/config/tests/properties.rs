//! Whatever is written into the file and the variables.

use super::*;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Map, Value};

const SECRET: &str = "hush-hush";
const SECRETS: [&str; 9] = [
    "AUTH_TOKEN",
    "HEALTH_HTTP_0_HEADERS_AUTHORIZATION",
    "HTTP_SECRET",
    "NOTIFICATIONS_ENDPOINTS_0_HEADERS_AUTHORIZATION",
    "PROXY_PASSWORD",
    "REDIS_PASSWORD",
    "STORAGE_AZURE_ACCOUNTKEY",
    "STORAGE_S3_ACCESSKEY",
    "STORAGE_S3_SECRETKEY",
];

/// Words of the table, and some that are not.
fn word() -> impl Strategy<Value = String> {
    let known: Vec<String> = KEYS.iter().flat_map(|key| key.path.split('.').map(str::to_owned)).collect();
    prop_oneof![8 => select(known), 1 => "[a-z.]{0,3}", 1 => select(vec!["0".to_owned(), "1".to_owned(), "s3aws".to_owned()])]
}

fn scalar() -> impl Strategy<Value = Value> {
    let texts = [
        "s3",
        "filesystem",
        "none",
        "tcp",
        ":5000",
        "30s",
        "info",
        "https://u:p@h/",
        "[",
        "~",
        "127.0.0.1:1",
        "",
        "all",
        "/x/",
    ];
    prop_oneof![
        4 => select(texts.map(Value::from).to_vec()),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => "\\PC{0,8}".prop_map(Value::from),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            4 => vec((word(), inner.clone()), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
            1 => vec(inner, 0..3).prop_map(Value::Array),
        ]
    })
}

/// Files of settings of which each alone loads, so that many together do.
fn accepted() -> impl Strategy<Value = Value> {
    let values = [
        "\"\"",
        "x",
        "\"a: \\\"b\\\" #é\\n\\\\\"",
        "\"0123\"",
        "\"True\"",
        "true",
        "5",
        "-1",
        "1.5e3",
        "90s",
        "1h30m",
        "300ms",
        ":1",
        "/a/b/",
        "127.0.0.1:1",
        "\"https://u:p@h/x@y\"",
        "\"https://h/p\"",
        "debug",
        "FATAL",
        "json",
        "tls1.3",
        "none",
        "unix",
        "[10.0.0.0/8, \"::1\"]",
        "[\"^https://\", x]",
        "[\"a:1\", \"b:2\"]",
        "{X-A: [b, 1], c: d}",
        "{l: {m: [1, ~]}}",
        "[ES256]",
        "[]",
        "[{uri: \"http://h/\", headers: {Cookie: [x]}}]",
        "[{file: /x, interval: 300ms}]",
        "[{addr: \"h:1\"}]",
        "{}",
    ];
    let file = |path: &str, value: &Value, root: &mut Value| {
        let mut slot = root;
        for word in path.split('.') {
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            slot = &mut slot[word];
        }
        *slot = value.clone();
    };
    let base = |path: &str| match path.starts_with("storage.s3.") {
        true => serde_json::json!({"storage": {"s3": {"bucket": "b", "region": "r"}}}),
        false => serde_json::json!({"storage": {"filesystem": null}}),
    };
    let mut pairs = Vec::new();
    for key in KEYS.iter().filter(|key| !key.path.contains('*')) {
        for value in values {
            let (value, mut root) = (value::parse(value).unwrap(), base(key.path));
            file(key.path, &value, &mut root);
            if from_yaml(&root.to_string(), []).is_ok() {
                pairs.push((key.path, value));
            }
        }
    }
    vec(select(pairs), 1..6).prop_map(move |pairs| {
        let s3 = pairs.iter().map(|(path, _)| *path).find(|path| path.starts_with("storage.s3."));
        let mut root = base(s3.unwrap_or_default());
        pairs.iter().for_each(|(path, value)| file(path, value, &mut root));
        root
    })
}

fn file() -> impl Strategy<Value = Value> {
    prop_oneof![3 => accepted(), 1 => tree()]
}

fn variables() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = vec(word(), 1..5).prop_map(|words| format!("REGISTRY_{}", words.join("_").to_ascii_uppercase()));
    let value = scalar().prop_map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    prop_oneof![2 => Just(Vec::new()), 1 => vec((name, value), 0..4)]
}

/// All that an operator may see.
fn said(result: &Result<Inspected, Mistakes>) -> String {
    match result {
        Ok(inspected) => format!("{inspected}\n{inspected:?}"),
        Err(mistakes) => format!("{mistakes}\n{mistakes:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_configuration_panics_or_shows_a_secret(
        file in file(), variables in variables(), secrets in subsequence(SECRETS.to_vec(), 0..=SECRETS.len())
    ) {
        let text = serde_json::to_string(&file).unwrap();
        let mut secret = variables.clone();
        secret.extend(secrets.iter().map(|key| (format!("REGISTRY_{key}"), SECRET.to_owned())));
        let said = said(&inspect_yaml(&text, secret));
        prop_assert!(!said.contains(SECRET), "{said}");
        if let Ok(inspected) = inspect_yaml(&text, variables) {
            let page = inspected.to_string();
            let again = inspect_yaml(&page, []).map_err(|mistakes| TestCaseError::fail(format!("{mistakes} for {page}")))?;
            let values = |of: &Inspected| of.settings.iter().map(|s| (s.key.clone(), s.value.clone())).collect::<Vec<_>>();
            prop_assert_eq!(values(&again), values(&inspected), "{}", &page);
            prop_assert!(again.loaded.notices.is_empty(), "{:?} for {page}", again.loaded.notices);
            if !page.contains("***") {
                prop_assert_eq!(format!("{:?}", again.loaded.config), format!("{:?}", inspected.loaded.config), "{}", &page);
            }
        }
    }
}
