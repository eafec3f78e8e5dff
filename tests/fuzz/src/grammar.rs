//! Names, tags, digests and references: accepted is exactly what the specifications' expressions match.

use crate::oci::{Digest, Reference, RepositoryName, Tag};
use regex::Regex;
use std::{fmt::Display, str::FromStr, sync::LazyLock};

/// Distribution specification, "Pulling manifests": `<name>`, word for word.
const NAME: &str = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*";
/// The same section: `<reference>` as a tag.
const TAG: &str = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
/// Image specification, "Registered Algorithms": the two that this registry knows.
const DIGEST: &str = r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}";

fn whole(expression: &str) -> Regex {
    Regex::new(&format!("^(?:{expression})$")).expect("a constant")
}

static NAMES: LazyLock<Regex> = LazyLock::new(|| whole(NAME));
static TAGS: LazyLock<Regex> = LazyLock::new(|| whole(TAG));
static DIGESTS: LazyLock<Regex> = LazyLock::new(|| whole(DIGEST));

/// Whether a text is a repository name, by the specification's expression and its limit of 255.
pub fn is_name(text: &str) -> bool {
    text.len() <= 255 && NAMES.is_match(text)
}

/// Whether a text is a tag, by the specification's expression.
pub fn is_tag(text: &str) -> bool {
    TAGS.is_match(text)
}

/// Whether a text is a digest of a known algorithm, by the specification's expression.
pub fn is_digest(text: &str) -> bool {
    DIGESTS.is_match(text)
}

/// The input is the text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_eq!(same::<RepositoryName>(text).is_some(), is_name(text), "name {text:?}");
    assert_eq!(same::<Tag>(text).is_some(), is_tag(text), "tag {text:?}");
    assert_eq!(same::<Digest>(text).is_some(), is_digest(text), "digest {text:?}");
    assert_eq!(same::<Reference>(text).is_some(), is_tag(text) || is_digest(text), "reference {text:?}");
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(Digest::from_bytes(&digest.to_bytes()), Some(digest), "the stored form of {text}");
        assert_eq!(format!("{}:{}", digest.algorithm(), digest.hex()), text);
    }
    if let Some(digest) = Digest::from_bytes(data) {
        assert_eq!(digest.to_bytes(), data, "the stored form is one");
    }
}

/// Parses; what is accepted prints as it was written, and reads back as the same.
fn same<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let printed = value.to_string();
    assert_eq!(printed, text);
    assert!(printed.parse().is_ok_and(|again: T| again == value), "{text:?} is read differently again");
    Some(value)
}
