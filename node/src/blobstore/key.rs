use std::{fmt, str::FromStr};

/// Longest key in bytes, so that a root prefix still fits into the 1,024 bytes of S3.
const LENGTH_MAX: usize = 512;

/// An object's key, relative to the store's root: `<cluster-id>/<incarnation>/<hour>/<2 hex>/<session-id>-<boot-id>-<n>`.
///
/// Only ASCII letters, digits, `-` and `_` between the slashes: the same text is a path and an S3 key, without escapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// The text is no key of this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object key is <cluster-id>/<incarnation>/<hour>/<2 hex>/<session-id>-<boot-id>-<n>")]
pub struct KeyError;

impl Key {
    /// Mints the key of the `n`-th object that process `boot_id` writes in session `session_id`. `hour` is the replicated
    /// monotonic hour in which the session was opened. Fails if an id is empty or has an unsafe character.
    pub fn new(
        cluster_id: &str,
        incarnation: &str,
        hour: u64,
        session_id: &str,
        boot_id: &str,
        n: u64,
    ) -> Result<Self, KeyError> {
        if [cluster_id, incarnation, session_id, boot_id].iter().any(|id| !is_word(id)) {
            return Err(KeyError);
        }
        let name = format!("{session_id}-{boot_id}-{n}");
        // Spreads one hour's objects over 256 folders and S3 partitions.
        let shard = crc32fast::hash(name.as_bytes()) & 0xff;
        format!("{cluster_id}/{incarnation}/{hour}/{shard:02x}/{name}").parse()
    }

    /// With what all keys of a store begin.
    pub fn prefix(cluster_id: &str, incarnation: &str) -> String {
        format!("{cluster_id}/{incarnation}/")
    }

    /// With what all keys of an hour's sessions begin.
    pub fn hour_prefix(cluster_id: &str, incarnation: &str, hour: u64) -> String {
        format!("{cluster_id}/{incarnation}/{hour}/")
    }

    /// The hour in which its session was opened.
    pub fn hour(&self) -> u64 {
        self.0.split('/').nth(2).and_then(|hour| hour.parse().ok()).expect("checked when it was made")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` is not empty and made of safe characters only.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.split('/');
        let mut next = || parts.next().filter(|part| is_word(part)).ok_or(KeyError);
        let (_cluster_id, _incarnation, hour, shard, name) = (next()?, next()?, next()?, next()?, next()?);
        let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u64>().is_ok();
        let is_shard = shard.len() == 2 && shard.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut ids = name.rsplitn(3, '-');
        let is_name = ids.next().is_some_and(number)
            && ids.next().is_some_and(|id| !id.is_empty())
            && ids.next().is_some_and(|id| !id.is_empty());
        if parts.next().is_some() || text.len() > LENGTH_MAX || !number(hour) || !is_shard || !is_name {
            return Err(KeyError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_parses_to_itself() {
        let key = Key::new("c1", "i-1", 42, "0198-aa", "boot_7", 3).unwrap();
        assert!(key.as_str().starts_with(&Key::hour_prefix("c1", "i-1", 42)));
        assert!(key.as_str().starts_with(&Key::prefix("c1", "i-1")));
        assert_eq!(key.hour(), 42);
        assert!(key.as_str().ends_with("/0198-aa-boot_7-3"));
        assert_eq!(key.to_string().parse::<Key>(), Ok(key));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(Key::new("..", "i", 1, "s", "b", 1), Err(KeyError));
        assert_eq!(Key::new("c", "", 1, "s", "b", 1), Err(KeyError));
        assert_eq!(Key::new(&"c".repeat(600), "i", 1, "s", "b", 1), Err(KeyError));
        for text in [
            "",
            "/",
            "c/i/1/00/s-b",
            "c/i/1/00/s-b-x",
            "c/i/1/00/--1",
            "c/i/1/0g/s-b-1",
            "c/i/1/000/s-b-1",
            "c/i/x/00/s-b-1",
            "c/i/1/00/s-b-1/x",
            "/c/i/1/00/s-b-1",
            "c/../1/00/s-b-1",
            "c/i/1/00/../s-b-1",
            "c/i/1/00/s.-b-1",
            "c//1/00/s-b-1",
            "c/i/1/00/s-b-1\0",
            "c/i/1/00/s-b-99999999999999999999",
        ] {
            assert_eq!(text.parse::<Key>(), Err(KeyError), "{text:?}");
        }
    }
}
