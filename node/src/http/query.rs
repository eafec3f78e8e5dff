/// The query of a request, pair by pair.
#[derive(Clone, Copy)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Of a request's address.
    pub fn of(uri: &'a http::Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// The first value of `name`, unescaped.
    pub fn get(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    /// Every value of `name`, unescaped.
    pub fn all(&self, name: &str) -> impl Iterator<Item = String> {
        self.0.split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| unescape(value))
        })
    }
}

/// Undoes percent-encoding; a plus is a plus (it means a space in forms only, and media types have it); a broken escape stays as it is, other bytes than UTF-8 are replaced (and match no grammar).
fn unescape(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let mut escaped = [0];
        match (byte, bytes.get(at + 1..at + 3)) {
            (b'%', Some(digits)) if hex::decode_to_slice(digits, &mut escaped).is_ok() => {
                out.push(escaped[0]);
                at += 2;
            }
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A value for a query: everything but unreserved characters is escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unescaped() {
        let uri: http::Uri = "/x?digest=sha256%3Aab&from=a%2Fb&flag&bad=%zz".parse().unwrap();
        let query = Query::of(&uri);
        assert_eq!(query.get("digest").as_deref(), Some("sha256:ab"));
        assert_eq!(query.get("from").as_deref(), Some("a/b"));
        assert_eq!(query.get("flag").as_deref(), Some(""));
        assert_eq!(query.get("bad").as_deref(), Some("%zz"));
        assert_eq!(query.get("mount"), None);
    }

    #[test]
    fn repeated_values_come_in_order() {
        let uri: http::Uri = "/x?tag=a&n=1&tag=b%2Bc&tag=d+e&tag".parse().unwrap();
        assert_eq!(Query::of(&uri).all("tag").collect::<Vec<_>>(), ["a", "b+c", "d+e", ""]);
    }

    #[test]
    fn escaping_is_undone_by_reading() {
        let text = "application/vnd.a+json; x=\"ü&%\"";
        let uri: http::Uri = format!("/x?t={}", escape(text)).parse().unwrap();
        assert_eq!(Query::of(&uri).get("t").as_deref(), Some(text));
    }
}
