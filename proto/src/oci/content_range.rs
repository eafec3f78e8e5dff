use std::str::FromStr;

/// The `Content-Range` of a chunk upload: `<first>-<last>`, inclusive, no unit (distribution spec, "Pushing a blob in
/// chunks"). A leading `bytes ` or `bytes=` and a trailing `/<total>` or `/*`, which some clients send, are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, `>= first`.
    pub last: u64,
}

impl ContentRange {
    /// Bytes covered.
    pub fn length(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// The text is no `<first>-<last>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Content-Range must be <first>-<last>, both inclusive")]
pub struct ContentRangeError;

impl FromStr for ContentRange {
    type Err = ContentRangeError;

    fn from_str(text: &str) -> Result<Self, ContentRangeError> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u64>().ok()).flatten().ok_or(ContentRangeError)
        };
        let text = text.strip_prefix("bytes ").or_else(|| text.strip_prefix("bytes=")).unwrap_or(text);
        let (range, total) = match text.split_once('/') {
            Some((range, "*")) => (range, None),
            Some((range, total)) => (range, Some(number(total)?)),
            None => (text, None),
        };
        let (first, last) = range.split_once('-').ok_or(ContentRangeError)?;
        let (first, last) = (number(first)?, number(last)?);
        // RFC 9110 §14.4: such a field is invalid.
        if first > last || total.is_some_and(|total| total <= last) {
            return Err(ContentRangeError);
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_inclusive_numbers() {
        let range: ContentRange = "5-9".parse().expect("valid");
        assert_eq!((range.first, range.last, range.length()), (5, 9, 5));
        for text in ["bytes 0-0/1", "bytes=0-0", "0-0/*"] {
            assert!(text.parse::<ContentRange>().is_ok(), "{text}");
        }
        for text in ["", "-", "5", "9-5", "+1-2", "0x1-2", "1-2-3", "99999999999999999999-1", "0-9/9"] {
            assert!(text.parse::<ContentRange>().is_err(), "{text}");
        }
    }
}
