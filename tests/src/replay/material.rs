//! What the clients push: named bytes, and words that stand for texts.

use crate::http::{Noise, OCI_MANIFEST, digest_of};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The type of layers of OCI images.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The type of configs of OCI images.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The type of OCI indexes.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The type of the empty config.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The type of docker's manifests.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The type of docker's lists.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Named bytes and words.
#[derive(Clone, Default)]
pub struct Material {
    bytes: BTreeMap<String, Bytes>,
    words: BTreeMap<String, String>,
    /// What is random differs by repository: no blob is known before it is pushed.
    salt: u64,
}

impl Material {
    /// With the repository that `{repo}` stands for.
    pub fn new(repository: &str) -> Self {
        let salt = repository.bytes().fold(7, |salt: u64, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self { salt, ..Self::default() }.word("repo", repository)
    }

    /// An image of a config and these layers, by the names `config`, `layer0`…, `manifest`.
    #[must_use]
    pub fn image(self, seed: u64, layers: &[usize]) -> Self {
        self.typed_image(seed, layers, OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
    }

    /// The same with docker's types.
    #[must_use]
    pub fn docker_image(self, seed: u64, layers: &[usize]) -> Self {
        let (config, layer) =
            ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip");
        self.typed_image(seed, layers, DOCKER_MANIFEST, config, layer)
    }

    fn typed_image(mut self, seed: u64, layers: &[usize], manifest: &str, config: &str, layer: &str) -> Self {
        let mut descriptors = Vec::new();
        for (number, size) in layers.iter().enumerate() {
            let name = format!("layer{number}");
            self = self.noise(&name, seed * 100 + number as u64, *size);
            descriptors.push(self.descriptor(&name, layer));
        }
        let text =
            json!({"architecture": "amd64", "os": "linux", "seed": [seed, self.salt], "rootfs": {"type": "layers"}});
        self = self.json("config", &text);
        let config = self.descriptor("config", config);
        self.json(
            "manifest",
            &json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": descriptors}),
        )
    }

    /// Names some bytes.
    #[must_use]
    pub fn bytes(mut self, name: &str, bytes: impl Into<Bytes>) -> Self {
        self.bytes.insert(name.to_owned(), bytes.into());
        self
    }

    /// Names a document.
    #[must_use]
    pub fn json(self, name: &str, document: &Value) -> Self {
        self.bytes(name, document.to_string())
    }

    /// Names bytes that nobody else has.
    #[must_use]
    pub fn noise(self, name: &str, seed: u64, size: usize) -> Self {
        let mut noise = Noise::new(self.salt.wrapping_add(seed + 1), size as u64);
        let mut bytes = Vec::with_capacity(size);
        while let Some(part) = noise.take() {
            bytes.extend_from_slice(&part);
        }
        self.bytes(name, bytes)
    }

    /// Remembers a text under a word.
    #[must_use]
    pub fn word(mut self, word: &str, text: &str) -> Self {
        self.remember(word, text);
        self
    }

    /// Remembers a text under a word.
    pub fn remember(&mut self, word: &str, text: &str) {
        self.words.insert(word.to_owned(), text.to_owned());
    }

    /// A descriptor of named bytes.
    pub fn descriptor(&self, name: &str, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest(name), "size": self.of(name).len()})
    }

    /// Named bytes.
    ///
    /// # Panics
    /// When there are none of that name.
    pub fn of(&self, name: &str) -> &Bytes {
        self.bytes.get(name).unwrap_or_else(|| panic!("no material is named {name}"))
    }

    /// The digest of named bytes.
    pub fn digest(&self, name: &str) -> String {
        digest_of(self.of(name))
    }

    /// A text with its words replaced.
    ///
    /// # Panics
    /// When a word stands for nothing.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((word, after)) = after.split_once('}').filter(|(word, _)| is_word(word)) else {
                filled.push('{');
                rest = after;
                continue;
            };
            match (word, word.strip_prefix('%')) {
                ("&", _) => filled.push(if filled.contains('?') { '&' } else { '?' }),
                (_, Some(word)) => filled.push_str(&self.value(word).replace(':', "%3A").replace('/', "%2F")),
                (word, None) => filled.push_str(&self.value(word)),
            }
            rest = after;
        }
        filled + rest
    }

    fn value(&self, word: &str) -> String {
        self.words.get(word).cloned().unwrap_or_else(|| self.digest(word))
    }
}

/// Not so `{"a":1}`.
fn is_word(text: &str) -> bool {
    text == "&" || !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '%' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::Material;

    #[test]
    fn words_and_digests_are_filled_in_and_json_is_left_alone() {
        let material = Material::new("a/b").bytes("empty", "");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(material.fill("/v2/{repo}/x/{empty}"), format!("/v2/a/b/x/sha256:{empty}"));
        assert_eq!(material.fill("/x{&}digest={%empty}"), format!("/x?digest=sha256%3A{empty}"));
        assert_eq!(material.fill("/x?a=b{&}from={%repo}"), "/x?a=b&from=a%2Fb");
        assert_eq!(material.fill(r#"{"a":"{repo}"}"#), r#"{"a":"a/b"}"#);
    }
}
