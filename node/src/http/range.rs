use std::ops::Range;

/// What a `Range` header asks of `size` bytes (RFC 9110 §14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no header, another unit, several ranges, or not well-formed.
    Whole,
    /// One range, not empty.
    Part(Range<u64>),
    /// Nothing of it exists: 416.
    Nothing,
}

/// Reads a `Range` header. Several ranges may be answered by the whole (RFC 9110 §14.2), and are.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::Whole };
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first, number(first), last, number(last)) {
        ("", _, _, Some(0)) => Wanted::Nothing,
        ("", _, _, Some(suffix)) if size > 0 => Wanted::Part(size - suffix.min(size)..size),
        ("", _, _, Some(_)) => Wanted::Nothing,
        (_, Some(first), "", _) if first < size => Wanted::Part(first..size),
        (_, Some(_), "", _) => Wanted::Nothing,
        (_, Some(first), _, Some(last)) if first > last => Wanted::Whole,
        (_, Some(first), _, Some(last)) if first < size => Wanted::Part(first..last.saturating_add(1).min(size)),
        (_, Some(_), _, Some(_)) => Wanted::Nothing,
        _ => Wanted::Whole,
    }
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
            ("bytes=0-99999999999999999999999", 10, Wanted::Part(0..10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=10-12", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=-5", 0, Wanted::Nothing),
            ("bytes=5-2", 10, Wanted::Whole),
            ("bytes=0-1,4-5", 10, Wanted::Whole),
            ("bytes=x-1", 10, Wanted::Whole),
            ("lines=0-1", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), size), expected, "{header} of {size}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
    }
}
