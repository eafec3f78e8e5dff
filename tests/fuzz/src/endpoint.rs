//! Paths: an accepted one prints as a path that means the same, and every word of it follows its grammar.

use crate::grammar::{is_digest, is_name, is_tag};
use crate::node_endpoint::Endpoint;

/// The input is the raw path.
pub fn check(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let Ok(endpoint) = Endpoint::parse(path) else { return };
    assert!(!endpoint.label().is_empty());
    if let Some(name) = endpoint.repository() {
        assert!(is_name(name.as_str()), "{path:?} names {name}");
    }
    let again = printed(&endpoint);
    assert_eq!(Endpoint::parse(&again).as_ref(), Ok(&endpoint), "{path:?} printed as {again}");
    assert!(means(path, &again), "{path:?} printed as {again}");
}

/// The specification's spelling.
fn printed(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Base => "/v2/".to_owned(),
        Endpoint::Catalog => "/v2/_catalog".to_owned(),
        Endpoint::Discover(None) => "/v2/_oci/ext/discover".to_owned(),
        Endpoint::Discover(Some(name)) => format!("/v2/{name}/_oci/ext/discover"),
        Endpoint::Tags(name) => format!("/v2/{name}/tags/list"),
        Endpoint::Referrers(name, digest) => format!("/v2/{name}/referrers/{}", digest_of(digest)),
        Endpoint::Manifest(name, reference) => {
            let reference = reference.to_string();
            assert!(is_tag(&reference) || is_digest(&reference), "{reference}");
            format!("/v2/{name}/manifests/{reference}")
        }
        Endpoint::Blob(name, digest) => format!("/v2/{name}/blobs/{}", digest_of(digest)),
        Endpoint::Uploads(name) => format!("/v2/{name}/blobs/uploads/"),
        Endpoint::Upload(name, id) => format!("/v2/{name}/blobs/uploads/{id}"),
    }
}

fn digest_of(digest: &impl ToString) -> String {
    let text = digest.to_string();
    assert!(is_digest(&text), "{text}");
    text
}

/// Whether `path` differs from the specification's spelling in nothing but a slash at the end and one escaped colon.
fn means(path: &str, spelling: &str) -> bool {
    let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    let spelling = bare(spelling);
    [path.to_owned(), path.replacen("%3A", ":", 1), path.replacen("%3a", ":", 1)]
        .iter()
        .any(|path| bare(path) == spelling)
}
