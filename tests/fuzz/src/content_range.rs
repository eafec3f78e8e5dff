//! `Content-Range` of a chunk: accepted is exactly what the grammar allows, and it is a range.

use crate::oci::ContentRange;
use regex::Regex;
use std::sync::LazyLock;

static GRAMMAR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:bytes[ =])?([0-9]+)-([0-9]+)(?:/(?:([0-9]+)|\*))?$").expect("a constant"));

/// The input is the header's text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let accepted = text.parse::<ContentRange>().ok();
    assert_eq!(accepted.map(|range| (range.first, range.last)), expected(text), "{text:?}");
    if let Some(range) = accepted {
        assert!(range.first <= range.last, "{text:?}");
        assert!(range.length() > 0, "{text:?}");
        for again in [format!("{}-{}", range.first, range.last), format!("bytes {}-{}/*", range.first, range.last)] {
            assert_eq!(again.parse(), Ok(range), "{text:?} printed as {again}");
        }
    }
}

/// First and last byte of a valid field (RFC 9110 §14.4: the last is not before the first, and before the total).
fn expected(text: &str) -> Option<(u64, u64)> {
    let fields = GRAMMAR.captures(text)?;
    let number = |at: usize| fields.get(at).map(|digits| digits.as_str().parse::<u64>().ok());
    let (first, last) = (number(1)??, number(2)??);
    let below_total = match number(3) {
        Some(total) => last < total?,
        None => true,
    };
    (first <= last && below_total).then_some((first, last))
}
