//! One request of the script.

use std::{collections::HashMap, fmt};

/// A request, and the rules that explain how its two answers differ.
#[derive(Clone)]
pub struct Step {
    method: &'static str,
    path: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
    /// The word under which the answer's `Location` is kept: `$word` in a later path.
    pub saves: Option<&'static str>,
    /// Ids of rules of which each must explain a difference here.
    pub rules: Vec<&'static str>,
    /// Whether it goes to the TLS port without TLS.
    pub in_plain: bool,
}

/// A request without a body.
pub fn ask(method: &'static str, path: impl Into<String>) -> Step {
    let path = path.into();
    Step {
        method,
        path,
        fields: Vec::new(),
        body: Vec::new(),
        chunked: false,
        saves: None,
        rules: Vec::new(),
        in_plain: false,
    }
}

/// `GET`
pub fn get(path: impl Into<String>) -> Step {
    ask("GET", path)
}

/// `HEAD`
pub fn head(path: impl Into<String>) -> Step {
    ask("HEAD", path)
}

/// `POST`
pub fn post(path: impl Into<String>) -> Step {
    ask("POST", path)
}

/// `PATCH`
pub fn patch(path: impl Into<String>, body: &[u8]) -> Step {
    ask("PATCH", path).body(body).field("Content-Type", "application/octet-stream")
}

/// `PUT`
pub fn put(path: impl Into<String>, body: &[u8]) -> Step {
    ask("PUT", path).body(body)
}

/// `DELETE`
pub fn delete(path: impl Into<String>) -> Step {
    ask("DELETE", path)
}

impl Step {
    /// With a header.
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// With a body.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// The body is sent in chunks.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Keeps the answer's `Location`.
    pub fn save(mut self, word: &'static str) -> Self {
        self.saves = Some(word);
        self
    }

    /// The answers differ as this rule says.
    pub fn rule(mut self, id: &'static str) -> Self {
        self.rules.push(id);
        self
    }

    /// With a name and a password.
    pub fn login(self, user: &str, password: &str) -> Self {
        let text = super::material::base64(format!("{user}:{password}").as_bytes());
        self.field("Authorization", format!("Basic {text}"))
    }

    /// With a token.
    pub fn bearer(self, token: &str) -> Self {
        self.field("Authorization", format!("Bearer {token}"))
    }

    /// Sent without TLS to the port of TLS.
    pub fn in_plain(mut self) -> Self {
        self.in_plain = true;
        self
    }

    /// Whether its answer has no body.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// What goes over the wire.
    pub fn bytes(&self, address: &str, words: &HashMap<&'static str, String>) -> Vec<u8> {
        let mut path = self.path.clone();
        for (word, value) in words {
            path = path.replace(&format!("${word}"), value);
        }
        // A location may have a query already.
        if let Some((before, after)) = path.split_once('?') {
            path = format!("{before}?{}", after.replace('?', "&"));
        }
        let mut text = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", self.method);
        if !self.fields.iter().any(|(name, _)| name == "Host") {
            text.push_str(&format!("Host: {address}\r\n"));
        }
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = match (self.chunked, self.body.len()) {
            (true, _) => format!("{text}Transfer-Encoding: chunked\r\n\r\n"),
            (false, 0) if matches!(self.method, "GET" | "HEAD" | "DELETE" | "OPTIONS") => format!("{text}\r\n"),
            (false, length) => format!("{text}Content-Length: {length}\r\n\r\n"),
        }
        .into_bytes();
        if self.chunked {
            for chunk in self.body.chunks(4096) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (name, value) in self.fields.iter().filter(|(name, _)| name != "Content-Type") {
            let (shown, rest) = value.split_at(value.floor_char_boundary(40));
            write!(f, " [{name}: {shown}{}]", if rest.is_empty() { "" } else { "…" })?;
        }
        if !self.body.is_empty() {
            write!(f, " ({} bytes{})", self.body.len(), if self.chunked { " in chunks" } else { "" })?;
        }
        Ok(())
    }
}
