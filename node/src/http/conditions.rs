//! Conditional requests (RFC 9110 §13). The entity tag of a manifest or blob is its digest; clients send it quoted or bare.

use super::error::Error;
use crate::registry;
use flotilla_proto::oci::Digest;
use http::{HeaderMap, HeaderName, header};

/// Whether a read must send the content: `false` asks for 304. An `If-Match` that does not hold is an error (412).
pub fn must_send(fields: &HeaderMap, digest: &Digest) -> Result<bool, Error> {
    if lists(fields, &header::IF_MATCH, Some(digest), Weak::Differs) == Some(false) {
        return Err(registry::Error::PreconditionFailed.into());
    }
    Ok(lists(fields, &header::IF_NONE_MATCH, Some(digest), Weak::Matches) != Some(true))
}

/// Whether a write has a condition.
pub fn has_any(fields: &HeaderMap) -> bool {
    fields.contains_key(header::IF_MATCH) || fields.contains_key(header::IF_NONE_MATCH)
}

/// Whether a write may happen over what is there now.
pub fn permit_write(fields: &HeaderMap, current: Option<&Digest>) -> bool {
    lists(fields, &header::IF_MATCH, current, Weak::Differs) != Some(false)
        && lists(fields, &header::IF_NONE_MATCH, current, Weak::Matches) != Some(true)
}

/// Whether a `Range` may be answered by a part: there is no `If-Range`, or it names what is there. Dates never do: content
/// by digest has none.
pub fn range_applies(fields: &HeaderMap, digest: &Digest) -> bool {
    let mut values = fields.get_all(header::IF_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        // One entity tag, neither a list nor `*` (RFC 9110 §13.1.5).
        (Some(value), None) => value.to_str().is_ok_and(|tag| {
            let digest = digest.to_string();
            tag == digest || tag == format!("\"{digest}\"")
        }),
        (Some(_), Some(_)) => false,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    Matches,
    Differs,
}

/// Whether a header lists what is there now (`*`: anything); `None` without the header.
fn lists(fields: &HeaderMap, name: &HeaderName, current: Option<&Digest>, weak: Weak) -> Option<bool> {
    if !fields.contains_key(name) {
        return None;
    }
    let Some(current) = current else { return Some(false) };
    let current = current.to_string();
    let mut tags = fields.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    Some(tags.any(|tag| {
        let tag = tag.trim();
        let tag = match tag.strip_prefix("W/") {
            Some(_) if weak == Weak::Differs => return false,
            Some(tag) => tag,
            None => tag,
        };
        tag == "*" || tag == current || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&current)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, value.parse().unwrap());
        }
        fields
    }

    fn digest(fill: &str) -> Digest {
        format!("sha256:{}", fill.repeat(32)).parse().unwrap()
    }

    #[test]
    fn reads_compare_entity_tags_as_rfc_9110_says() {
        let (this, other) = (digest("ab"), digest("cd"));
        for (name, value, expected) in [
            ("if-none-match", format!("\"{this}\""), Some(false)),
            ("if-none-match", this.to_string(), Some(false)),
            ("if-none-match", format!("W/\"{this}\""), Some(false)),
            ("if-none-match", format!("\"{other}\", \"{this}\""), Some(false)),
            ("if-none-match", "*".into(), Some(false)),
            ("if-none-match", format!("\"{other}\""), Some(true)),
            ("if-none-match", String::new(), Some(true)),
            ("if-match", format!("\"{this}\""), Some(true)),
            ("if-match", "*".into(), Some(true)),
            ("if-match", format!("W/\"{this}\""), None),
            ("if-match", format!("\"{other}\""), None),
        ] {
            assert_eq!(must_send(&fields(&[(name, &value)]), &this).ok(), expected, "{name}: {value}");
        }
        assert_eq!(must_send(&HeaderMap::new(), &this).ok(), Some(true));
    }

    #[test]
    fn writes_are_permitted_over_what_the_client_knows() {
        let (this, other) = (digest("ab"), digest("cd"));
        let quoted = format!("\"{this}\"");
        for (name, value, over_this, over_other, over_nothing) in [
            ("if-match", quoted.as_str(), true, false, false),
            ("if-match", "*", true, true, false),
            ("if-none-match", "*", false, false, true),
            ("if-none-match", quoted.as_str(), false, true, true),
        ] {
            let fields = fields(&[(name, value)]);
            assert!(has_any(&fields));
            let permitted = [Some(&this), Some(&other), None].map(|current| permit_write(&fields, current));
            assert_eq!(permitted, [over_this, over_other, over_nothing], "{name}: {value}");
        }
        assert!(permit_write(&HeaderMap::new(), None) && !has_any(&HeaderMap::new()));
    }

    #[test]
    fn a_range_needs_the_strong_tag_in_if_range() {
        let this = digest("ab");
        for (value, expected) in [
            (format!("\"{this}\""), true),
            (format!("W/\"{this}\""), false),
            ("\"x\"".into(), false),
            ("*".into(), false),
            (format!("\"x\", \"{this}\""), false),
            ("Wed, 21 Oct 2015 07:28:00 GMT".into(), false),
        ] {
            assert_eq!(range_applies(&fields(&[("if-range", &value)]), &this), expected, "{value}");
        }
        assert!(range_applies(&HeaderMap::new(), &this));
    }
}
