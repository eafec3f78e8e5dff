//! `Range`: whatever a client asks for, an answer stays inside the content.

use crate::node_range::{RANGES_MAX, Wanted, wanted};
use regex::Regex;
use std::{ops::Range, sync::LazyLock};

/// RFC 9110 §14.1.1 and §14.1.2 for bytes, with the empty list elements that §5.6.1 asks recipients to accept.
static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    let range = r"(?:[0-9]+-[0-9]*|-[0-9]+)";
    let list = format!(r"(?:[ \t]*,)*[ \t]*{range}(?:[ \t]*,(?:[ \t]*{range})?)*");
    Regex::new(&format!("^bytes={list}[ \t]*$")).expect("a constant")
});

/// The input is two lines: the size of the content, and the header's text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((size, header)) = text.split_once('\n') else { return };
    let Ok(size) = size.parse::<u64>() else { return };
    if size > i64::MAX as u64 {
        return; // no content is as long
    }
    assert_eq!(wanted(None, size), Wanted::Whole);
    let answer = wanted(Some(header), size);
    match &answer {
        Wanted::Whole | Wanted::Nothing => {}
        Wanted::Part(part) => is_inside(part, size, header),
        Wanted::Parts(parts) => {
            assert!((2..=RANGES_MAX).contains(&parts.len()), "{} parts", parts.len());
            parts.iter().for_each(|part| is_inside(part, size, header));
            let bytes: u128 = parts.iter().map(|part| u128::from(part.end - part.start)).sum();
            assert!(bytes <= u128::from(size), "{bytes} bytes of {size} for {header:?}");
        }
    }
    if let Some(again) = printed(&answer) {
        assert_eq!(wanted(Some(&again), size), answer, "{header:?} of {size} printed as {again}");
    }
    if GRAMMAR.is_match(header) {
        assert_eq!(answer, expected(header, size), "{header:?} of {size}");
    }
}

fn is_inside(part: &Range<u64>, size: u64, header: &str) {
    assert!(part.start < part.end && part.end <= size, "{part:?} of {size} for {header:?}");
}

fn printed(answer: &Wanted) -> Option<String> {
    let parts = match answer {
        Wanted::Whole | Wanted::Nothing => return None,
        Wanted::Part(part) => std::slice::from_ref(part),
        Wanted::Parts(parts) => parts,
    };
    let texts: Vec<_> = parts.iter().map(|part| format!("{}-{}", part.start, part.end - 1)).collect();
    Some(format!("bytes={}", texts.join(", ")))
}

/// What a well-formed header asks for: the plain reading of RFC 9110 §14.1.2 in signed numbers of any size that occurs.
fn expected(header: &str, size: u64) -> Wanted {
    let size = i128::from(size);
    // Longer numbers mean no more than the largest.
    let number = |digits: &str| digits.parse::<u64>().map_or(i128::from(u64::MAX), i128::from);
    let set = header.strip_prefix("bytes=").unwrap_or_default();
    let specs: Vec<&str> =
        set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()).collect();
    let mut parts = Vec::new();
    for spec in specs.iter().take(RANGES_MAX) {
        let (first, end) = match spec.split_once('-') {
            Some(("", suffix)) => ((size - number(suffix)).max(0), size),
            Some((first, "")) => (number(first), size),
            Some((first, last)) if number(last) < number(first) => return Wanted::Nothing,
            Some((first, last)) => (number(first), (number(last) + 1).min(size)),
            None => unreachable!("the grammar has a dash"),
        };
        if first < end {
            parts.push(first..end);
        }
    }
    let bytes: i128 = parts.iter().map(|part| part.end - part.start).sum();
    let narrow = |part: &Range<i128>| part.start as u64..part.end as u64;
    match parts.as_slice() {
        _ if specs.len() > RANGES_MAX => Wanted::Whole,
        [] => Wanted::Nothing,
        [part] => Wanted::Part(narrow(part)),
        parts if bytes > size => {
            assert!(parts.len() > 1);
            Wanted::Whole
        }
        parts => Wanted::Parts(parts.iter().map(narrow).collect()),
    }
}
