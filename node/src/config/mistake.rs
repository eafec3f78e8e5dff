//! What is wrong with a configuration, and what an operator should know about one that is right.

use serde_json::Value;
use std::fmt;

/// One thing that must be changed before the node starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted path of the key.
    pub key: String,
    /// Its value, secrets masked; absent if the key is missing.
    pub value: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}: {value}", self.key)?,
            None => write!(f, "{}", self.key)?,
        }
        write!(f, "\n    {}\n    fix: {}", self.problem, self.fix)
    }
}

/// Every mistake of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} mistake{} in the configuration:", if count == 1 { "" } else { "s" })?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A setting without effect here, reported once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Dotted path of the key.
    pub key: String,
    /// Why it has no effect.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is ignored: {}", self.key, self.text)
    }
}

/// A value for people: one line, bounded, secrets masked.
pub(super) fn shown(key: &str, value: &Value) -> String {
    let mut text = masked(key, value).to_string();
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A value without its secrets.
pub(super) fn masked(key: &str, value: &Value) -> Value {
    let inner = |name: &str, value: &Value| masked(name, value);
    match value {
        Value::Null => Value::Null,
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, v)| (name.clone(), inner(&format!("{key}.{name}"), v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|v| inner(key, v)).collect()),
        _ if secret(key) => Value::String("***".to_owned()),
        Value::String(text) => Value::String(without_user_info(text)),
        Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // Nothing in these sections is a secret, and what everybody may see is no secret.
    let key = ["auth.token.", "access.tokens.", "http.headers."]
        .iter()
        .find_map(|open| key.strip_prefix(open))
        .unwrap_or(&key);
    // Anywhere in the path: what lies below a secret is a misspelt part of it.
    let words = ["secret", "password", "token", "credential", "authorization", "cookie", ".headers."];
    // `accesskey`, `accountkey`, `licensekey`; the `key` of TLS is the name of a file.
    let of_a_key = |word: &str| word.ends_with("key") && (word.len() > 3 || !key.contains("tls."));
    words.iter().any(|word| key.contains(word)) || key.split(['.', '_']).any(of_a_key)
}

/// A URL without the user and password in it.
pub(super) fn without_user_info(text: &str) -> String {
    match text.split_once("://") {
        // Up to the last `@`: a password may hold any character if nobody escaped it.
        Some((scheme, rest)) => match rest.rfind('@') {
            Some(at) => format!("{scheme}://***{}", &rest[at..]),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}
