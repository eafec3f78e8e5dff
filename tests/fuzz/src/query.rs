//! Queries: values come out as they were put in, in order, and broken escapes harm nothing.

use crate::node_query::{Query, escape};

/// The longest address that the `http` crate reads.
const ADDRESS_MAX: usize = 65_534;

/// The input is two lines: the name asked for, and the query. The whole input is also a value to carry.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    carried(text);
    let (name, query) = text.split_once('\n').unwrap_or(("digest", text));
    let Ok(uri) = format!("/v2/a/blobs/uploads/?{query}").parse::<http::Uri>() else { return };
    let query = uri.query().unwrap_or_default();
    let values: Vec<String> = Query::of(&uri).all(name).collect();
    assert_eq!(values, expected(name, query), "{name:?} of {query:?}");
    assert_eq!(Query::of(&uri).get(name).as_ref(), values.first(), "{name:?} of {query:?}");
    values.iter().for_each(|value| carried(value));
}

/// Whatever is escaped needs no further care in a query, and is read back.
fn carried(value: &str) {
    let escaped = escape(value);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
    assert!(escaped.bytes().all(plain), "{value:?} escaped as {escaped:?}");
    let address = format!("/v2/a/referrers/x?n=1&value={escaped}&n=2");
    if address.len() <= ADDRESS_MAX {
        let uri: http::Uri = address.parse().expect("only plain characters");
        assert_eq!(Query::of(&uri).get("value").as_deref(), Some(value));
        assert_eq!(Query::of(&uri).all("n").collect::<Vec<_>>(), ["1", "2"]);
    }
}

/// Pairs of names, taken as they are, and percent-encoded values (RFC 3986 §2.1); a plus is a plus.
fn expected(name: &str, query: &str) -> Vec<String> {
    let mut values = Vec::new();
    for pair in query.split('&') {
        let (key, value) = match pair.find('=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, ""),
        };
        if key == name {
            values.push(unescaped(value));
        }
    }
    values
}

fn unescaped(text: &str) -> String {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return String::from_utf8_lossy(&out).into_owned(),
            [b'%', high, low, after @ ..] if digit(high).is_some() && digit(low).is_some() => {
                out.extend(digit(high).zip(digit(low)).map(|(high, low)| (high * 16 + low) as u8));
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}
