//! Manifests: what the parser understood is what a second, plain reader finds in the same bytes, and nothing is left out.

use crate::grammar::is_digest;
use crate::json::{self, Json};
use crate::oci::{DESCRIPTORS_MAX, Descriptor, MANIFEST_BYTES_MAX, Manifest, ManifestKind};
use std::{collections::BTreeMap, time::Duration};

/// Deepest nesting that is accepted.
const DEPTH_MAX: usize = 32;
/// Longest processor time for the largest document, with the cost of coverage.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The input is two lines: the `Content-Type` (empty: none), and the rest is the body.
pub fn check(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(content_type) = std::str::from_utf8(&data[..at]) else { return };
    let body = &data[at + 1..];
    let Ok(manifest) = Manifest::parse(body, Some(content_type).filter(|text| !text.is_empty())) else { return };
    let text = std::str::from_utf8(body).expect("JSON is UTF-8");
    let document = json::parse(text).expect("a second reader takes it for JSON too");
    assert!(!document.has_duplicates(), "a key twice");
    assert!(!document.is_ambiguous_in_go(), "a field twice in Go");
    assert!(document.depth() <= DEPTH_MAX, "{} levels", document.depth());
    assert_eq!(document.get("schemaVersion"), Some(&Json::Number("2".into())));
    the_kind_is_the_stated_one(&manifest, &document, content_type);
    the_descriptors_are_those_of_the_document(&manifest, &document);
    match document.get("annotations") {
        Some(Json::Object(pairs)) => {
            let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.text().expect("a text")));
            assert!(pairs.eq(sorted(&manifest.annotations, &document)), "{:?}", manifest.annotations);
        }
        other => assert!(matches!(other, None | Some(Json::Null)) && manifest.annotations.is_empty()),
    }
}

/// The annotations in the order of the document.
fn sorted<'a>(found: &'a BTreeMap<String, String>, document: &Json) -> Vec<(&'a str, &'a str)> {
    let Some(Json::Object(pairs)) = document.get("annotations") else { return Vec::new() };
    assert_eq!(pairs.len(), found.len());
    pairs.iter().filter_map(|(key, _)| found.get_key_value(key)).map(|(key, value)| (&**key, &**value)).collect()
}

fn the_kind_is_the_stated_one(manifest: &Manifest, document: &Json, content_type: &str) {
    let absent = |names: &[&str]| assert!(names.iter().all(|name| document.get(name).is_none()), "two kinds at once");
    let essence = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let stated = document.get("mediaType").and_then(Json::text).unwrap_or_default();
    for stated in [essence(stated), essence(content_type)] {
        assert!(stated.is_empty() || stated == manifest.kind.as_str(), "{stated} is no {:?}", manifest.kind);
    }
    let index = matches!(manifest.kind, ManifestKind::DockerList | ManifestKind::OciIndex);
    absent(if index { &["config", "layers", "fsLayers"] } else { &["manifests", "fsLayers"] });
}

fn the_descriptors_are_those_of_the_document(manifest: &Manifest, document: &Json) {
    let found: Vec<&Descriptor> = manifest.blobs.iter().chain(&manifest.children).collect();
    for part in [&manifest.blobs, &manifest.children] {
        assert!(part.windows(2).all(|pair| pair[0].digest < pair[1].digest), "not each once, by digest");
    }
    assert!(found.iter().all(|one| is_digest(&one.digest.to_string())));

    let places = ["config", "layers", "manifests"].iter().filter_map(|name| document.get(name));
    let all: Vec<&Json> = places
        .flat_map(|place| if let Json::List(items) = place { items } else { std::slice::from_ref(place) })
        .collect();
    let all: Vec<&Json> = all.into_iter().filter(|value| **value != Json::Null).collect();
    let subject = document.get("subject").filter(|value| **value != Json::Null);
    assert!(all.len() + usize::from(subject.is_some()) <= DESCRIPTORS_MAX);
    assert_eq!(subject.map(digest_and_size), manifest.subject.as_ref().map(known));

    let mut needed = BTreeMap::new();
    for value in all {
        let (digest, size) = digest_and_size(value);
        if elsewhere(value) {
            continue;
        }
        assert_eq!(*needed.entry(digest.clone()).or_insert(size), size, "two sizes of {digest}");
    }
    assert_eq!(found.into_iter().map(known).collect::<BTreeMap<_, _>>(), needed);
}

fn known(one: &Descriptor) -> (String, u64) {
    (one.digest.to_string(), one.size)
}

fn digest_and_size(value: &Json) -> (String, u64) {
    let digest = value.get("digest").and_then(Json::text).expect("a digest");
    match value.get("size") {
        Some(Json::Number(size)) => (digest.to_owned(), size.parse().expect("a whole number")),
        other => panic!("size {other:?}"),
    }
}

/// Whether a layer need not be pushed: its media type says that it may not be, and its `urls` where it is.
fn elsewhere(value: &Json) -> bool {
    let media_type = value.get("mediaType").and_then(Json::text).unwrap_or_default();
    let kept_away = media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
        || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar");
    kept_away && value.get("urls").is_some_and(|urls| !urls.items().is_empty())
}

/// Of this thread, so that a busy machine does not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// Documents of the largest size, each made to be slow for a parser that is not careful. Once, before the first input.
pub fn the_largest_documents_are_read_in_time() {
    let fill = |unit: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for at in 0.. {
            let next = unit(at);
            if text.len() + next.len() + 1_000 > MANIFEST_BYTES_MAX {
                break;
            }
            text.push_str(if at == 0 { "" } else { "," });
            text.push_str(&next);
        }
        text
    };
    let digest = |at: usize| format!("sha256:{at:064x}");
    let config = format!(r#"{{"digest":"{}","size":1}}"#, digest(0));
    let image = |field: &str, value: String| format!(r#"{{"schemaVersion":2,"config":{config},"{field}":{value}}}"#);
    let documents = [
        image("layers", format!("[{}]", fill(&|at| format!(r#"{{"digest":"{}","size":1}}"#, digest(at))))),
        image("layers", format!("[{}]", fill(&|_| config.clone()))),
        image("annotations", format!("{{{}}}", fill(&|at| format!(r#""{at}":"""#)))),
        image("annotations", format!("{{{}}}", fill(&|at| format!(r#""\u0061{}":"""#, "a".repeat(at % 2_000))))),
        image("x", format!("[{}]", fill(&|_| "[]".to_owned()))),
        image("x", format!("[{}]", fill(&|_| "1e308".to_owned()))),
        image("x", "[".repeat(MANIFEST_BYTES_MAX - 1_000)),
        image("x", format!("\"{}\"", "\\u00e9".repeat((MANIFEST_BYTES_MAX - 1_000) / 6))),
        image("x", "9".repeat(MANIFEST_BYTES_MAX - 1_000)),
        " ".repeat(MANIFEST_BYTES_MAX),
    ];
    for document in documents {
        let start = processor_time();
        let _ = Manifest::parse(document.as_bytes(), None);
        let time = processor_time() - start;
        if std::env::var_os("FLOTILLA_FUZZ_TIMES").is_some() {
            eprintln!("{time:?} for {} bytes: {}...", document.len(), &document[..200]);
        }
        assert!(time < TIME_MAX, "{time:?} for {}...", &document[..200]);
    }
}
