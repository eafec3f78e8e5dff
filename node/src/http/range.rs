use std::ops::Range;

/// Most ranges of one request; more, or ranges that together are longer than the blob, are answered by the whole blob.
/// (Clients of zstd:chunked layers ask for up to 1,024.)
pub const RANGES_MAX: usize = 1_024;

/// What a `Range` header asks of `size` bytes (RFC 9110 §14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no header, another unit, not well-formed, or too many ranges.
    Whole,
    /// One range, not empty.
    Part(Range<u64>),
    /// Several ranges, none of them empty, as the client ordered them.
    Parts(Vec<Range<u64>>),
    /// Nothing of it exists, or a range ends before it begins: 416.
    Nothing,
}

/// Reads a `Range` header.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((unit, set)) = header.and_then(|text| text.split_once('=')) else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let (mut parts, mut bytes, mut specs) = (Vec::new(), 0u64, 0);
    for spec in set.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        specs += 1;
        if specs > RANGES_MAX {
            return Wanted::Whole;
        }
        match one(spec, size) {
            Spec::Malformed => return Wanted::Whole,
            Spec::Reversed => return Wanted::Nothing,
            Spec::Outside => {}
            Spec::Part(part) => {
                bytes = bytes.saturating_add(part.end - part.start);
                parts.push(part);
            }
        }
    }
    if parts.len() > 1 && bytes > size {
        return Wanted::Whole;
    }
    match parts.pop() {
        None if specs == 0 => Wanted::Whole,
        None => Wanted::Nothing,
        Some(part) if parts.is_empty() => Wanted::Part(part),
        Some(last) => {
            parts.push(last);
            Wanted::Parts(parts)
        }
    }
}

enum Spec {
    Malformed,
    /// The last byte is before the first.
    Reversed,
    Outside,
    Part(Range<u64>),
}

/// Reads `first-last`, `first-` or `-suffix`.
fn one(spec: &str, size: u64) -> Spec {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let Some((first, last)) = spec.split_once('-') else { return Spec::Malformed };
    let part = match (first, number(first), last, number(last)) {
        ("", _, _, Some(suffix)) => size - suffix.min(size)..size,
        (_, Some(first), "", _) => first..size,
        (_, Some(first), _, Some(last)) if first > last => return Spec::Reversed,
        (_, Some(first), _, Some(last)) => first..last.saturating_add(1).min(size),
        _ => return Spec::Malformed,
    };
    if part.start < part.end { Spec::Part(part) } else { Spec::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_rfc_9110() {
        for (header, size, expected) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=2-5", 10, Wanted::Part(2..6)),
            ("bytes=5-", 10, Wanted::Part(5..10)),
            ("bytes=-3", 10, Wanted::Part(7..10)),
            ("bytes=-30", 10, Wanted::Part(0..10)),
            ("Bytes=0-1", 10, Wanted::Part(0..2)),
            ("bytes=0-99999999999999999999999", 10, Wanted::Part(0..10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=10-12", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=-5", 0, Wanted::Nothing),
            ("bytes=5-2", 10, Wanted::Nothing),
            ("bytes=0-1,4-5", 10, Wanted::Parts(vec![0..2, 4..6])),
            ("bytes=4-5, ,0-1", 10, Wanted::Parts(vec![4..6, 0..2])),
            ("bytes=0-1,20-30", 10, Wanted::Part(0..2)),
            ("bytes=10-,20-30", 10, Wanted::Nothing),
            ("bytes=0-,0-", 10, Wanted::Whole),
            ("bytes=0-1,5-2", 10, Wanted::Nothing),
            ("bytes=0-1,x", 10, Wanted::Whole),
            ("bytes=x-1", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("lines=0-1", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes=", 10, Wanted::Whole),
            ("bytes", 10, Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), size), expected, "{header} of {size}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
    }

    #[test]
    fn ranges_are_bounded_in_number() {
        let header = |ranges: usize| {
            let set: Vec<String> = (0..ranges).map(|at| format!("{at}-{at}")).collect();
            format!("bytes={}", set.join(","))
        };
        assert!(matches!(wanted(Some(&header(RANGES_MAX)), 5_000), Wanted::Parts(parts) if parts.len() == RANGES_MAX));
        assert_eq!(wanted(Some(&header(RANGES_MAX + 1)), 5_000), Wanted::Whole);
    }
}
