//! What is pushed: blobs, manifests and indexes of every kind the specifications of images and artifacts know.

use super::Version;
use bytes::Bytes;
use rand::{RngCore, distr::Alphanumeric, distr::SampleString};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256, Sha512};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(super) const ARTIFACT: &str = "application/vnd.example.flotilla.first.v1";
pub(super) const OTHER_ARTIFACT: &str = "application/vnd.example.flotilla.second.v1+json";
const OCTETS: &str = "application/octet-stream";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ELSEWHERE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const ELSEWHERE_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

/// How a digest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Sha512,
}

pub(super) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn digest(self, bytes: &[u8]) -> String {
        let hex = match self {
            Self::Sha256 => hex::encode(Sha256::digest(bytes)),
            Self::Sha512 => hex::encode(Sha512::digest(bytes)),
        };
        format!("{}:{hex}", self.name())
    }
}

/// Bytes and what they are called.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) bytes: Bytes,
}

impl Blob {
    pub(super) fn of(algorithm: Algorithm, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: algorithm.digest(&bytes), bytes }
    }

    /// Bytes nobody has seen before.
    pub(super) fn random(algorithm: Algorithm, length: usize) -> Self {
        Self::of(algorithm, random_bytes(length))
    }

    /// The same digest on longer bytes.
    pub(super) fn corrupted(self) -> Self {
        Self { bytes: [&self.bytes[..], b"more than that"].concat().into(), ..self }
    }
}

/// A manifest or index, and what is expected of it.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) blob: Blob,
    pub(super) media_type: &'static str,
    pub(super) tags: Vec<String>,
    /// The digest of its subject.
    pub(super) subject: Option<String>,
    /// Its descriptor in the list of its subject's referrers.
    pub(super) entry: Value,
}

/// Things that are pushed, checked and deleted together. Manifests come after those they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) blobs: Vec<Blob>,
    pub(super) manifests: Vec<Manifest>,
    /// Tags travel as parameters of a push by digest.
    pub(super) by_parameter: bool,
    /// The bytes of the manifests do not match their digests.
    pub(super) corrupted: bool,
}

/// What the parts of an image have in common.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) algorithm: Algorithm,
    pub(super) tag: Option<&'static str>,
    pub(super) artifact_type: Option<&'static str>,
    pub(super) annotations: Map<String, Value>,
    pub(super) subject: Option<Value>,
    /// An empty JSON object as the config, of this type; an image config when absent.
    pub(super) config: Option<&'static str>,
    pub(super) layers: usize,
    pub(super) layer_type: &'static str,
    /// Every layer is an empty JSON object.
    pub(super) layers_empty: bool,
    /// Descriptors hold what they describe.
    pub(super) with_data: bool,
    /// Every document has a field that no specification knows.
    pub(super) with_custom_field: bool,
}

/// An image of two layers.
pub(super) fn image() -> Shape {
    Shape {
        algorithm: Algorithm::Sha256,
        tag: None,
        artifact_type: None,
        annotations: Map::new(),
        subject: None,
        config: None,
        layers: 2,
        layer_type: LAYER_GZIP,
        layers_empty: false,
        with_data: false,
        with_custom_field: false,
    }
}

/// An artifact of one layer, with annotations of its own.
pub(super) fn artifact(artifact_type: &'static str) -> Shape {
    let mut annotations = Map::new();
    annotations.insert("org.example.greeting".to_owned(), "hello from the suite".into());
    annotations.insert(format!("org.example.{}", random_text()), random_text().into());
    Shape {
        artifact_type: Some(artifact_type),
        config: Some(EMPTY),
        layers: 1,
        layer_type: OCTETS,
        annotations,
        ..image()
    }
}

impl Set {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// An image manifest with its config and layers; gives its descriptor.
    pub(super) fn image(&mut self, shape: &Shape, architecture: &str) -> Value {
        // Registries must not look into layers, so random bytes may be called tars.
        let layers: Vec<_> = (0..shape.layers)
            .map(|_| match shape.layers_empty {
                true => self.blob(shape, shape.layer_type, b"{}".to_vec()),
                false => self.blob(shape, shape.layer_type, random_bytes(700)),
            })
            .collect();
        let config = match shape.config {
            Some(media_type) => self.blob(shape, media_type, b"{}".to_vec()),
            None => {
                let ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
                let rootfs = json!({"type": "layers", "diff_ids": ids});
                let mut config = json!({"author": random_text(), "architecture": architecture, "os": "linux"});
                config["rootfs"] = rootfs;
                self.blob(shape, CONFIG, document(config, shape))
            }
        };
        self.manifest(shape, config, layers)
    }

    /// An image manifest over what was described before.
    fn manifest(&mut self, shape: &Shape, config: Value, layers: Vec<Value>) -> Value {
        let falls_back = config["mediaType"].clone();
        let body = json!({"config": config, "layers": layers});
        self.push(shape, MANIFEST, body, Some(falls_back))
    }

    /// An index over what was described before.
    pub(super) fn index(&mut self, shape: &Shape, children: Vec<Value>) -> Value {
        self.push(shape, INDEX, json!({"manifests": children}), None)
    }

    /// An index of two images for two platforms, which share everything with it but its tag.
    pub(super) fn platforms(&mut self, shape: &Shape) -> Value {
        let untagged = Shape { tag: None, ..shape.clone() };
        let children = ["amd64", "arm64"].map(|architecture| {
            let mut child = self.image(&untagged, architecture);
            child["platform"] = json!({"os": "linux", "architecture": architecture});
            child
        });
        self.index(shape, children.to_vec())
    }

    /// A manifest of any kind; `falls_back` is the artifact type of one that names none.
    fn push(&mut self, shape: &Shape, media_type: &'static str, mut body: Value, falls_back: Option<Value>) -> Value {
        body["schemaVersion"] = 2.into();
        body["mediaType"] = media_type.into();
        if let Some(artifact_type) = shape.artifact_type {
            body["artifactType"] = artifact_type.into();
        }
        if let Some(subject) = &shape.subject {
            body["subject"] = subject.clone();
        }
        if !shape.annotations.is_empty() {
            body["annotations"] = shape.annotations.clone().into();
        }
        let blob = Blob::of(shape.algorithm, document(body, shape));
        let descriptor = described(&blob, media_type, shape);
        let mut entry = described(&blob, media_type, &image());
        if let Some(artifact_type) = shape.artifact_type.map(Value::from).or(falls_back) {
            entry["artifactType"] = artifact_type;
        }
        if !shape.annotations.is_empty() {
            entry["annotations"] = shape.annotations.clone().into();
        }
        let subject = shape.subject.as_ref().and_then(|subject| subject["digest"].as_str()).map(str::to_owned);
        let tags = shape.tag.map(str::to_owned).into_iter().collect();
        self.manifests.push(Manifest { blob, media_type, tags, subject, entry });
        descriptor
    }

    fn blob(&mut self, shape: &Shape, media_type: &'static str, bytes: Vec<u8>) -> Value {
        let blob = Blob::of(shape.algorithm, bytes);
        let descriptor = described(&blob, media_type, shape);
        if !self.blobs.iter().any(|known| known.digest == blob.digest) {
            self.blobs.push(blob);
        }
        descriptor
    }
}

/// Every data set that `version` calls for.
pub(super) fn sets(version: Version) -> Vec<Set> {
    let tagged = |tag| Shape { tag: Some(tag), ..image() };
    let tagged_artifact = |tag| Shape { tag: Some(tag), ..artifact(ARTIFACT) };
    let mut sets = vec![
        of("image", |set| set.image(&tagged("image"), "amd64")),
        of("uncompressed image", |set| set.image(&Shape { layer_type: LAYER, ..tagged("uncompressed") }, "amd64")),
        of("large manifest", |set| {
            let long = Value::from("A".repeat(10_000));
            let annotations = (0..390).map(|number| (format!("large-{number}"), long.clone())).collect();
            set.image(&Shape { annotations, ..tagged("large") }, "amd64")
        }),
        of("index", |set| set.platforms(&tagged("index"))),
        of("nested index", |set| {
            let children = vec![set.platforms(&image()), set.platforms(&image())];
            set.index(&tagged("nested"), children)
        }),
        of("empty index", |set| set.index(&tagged("empty"), Vec::new())),
        of("artifact", |set| set.image(&tagged_artifact("artifact"), "")),
        of("artifact index", |set| set.platforms(&tagged_artifact("artifact-index"))),
        of("artifact without layers", |set| {
            let shape = tagged_artifact("without-layers");
            set.image(&Shape { layers_empty: true, layer_type: EMPTY, ..shape }, "")
        }),
        of("artifacts with subject", |set| {
            let subject = Some(set.image(&tagged("subject"), "amd64"));
            set.image(&Shape { subject: subject.clone(), ..image() }, "amd64");
            set.image(&Shape { subject: subject.clone(), ..tagged_artifact("first") }, "");
            set.image(&Shape { subject, tag: Some("second"), ..artifact(OTHER_ARTIFACT) }, "")
        }),
        of("index with subject", |set| {
            let subject = Some(set.platforms(&tagged("subject-index")));
            set.platforms(&Shape { subject: subject.clone(), ..tagged_artifact("referring-index") });
            set.index(&Shape { subject, annotations: artifact(ARTIFACT).annotations, ..image() }, Vec::new())
        }),
        of("missing subject", |set| {
            let subject = described(&Blob::random(Algorithm::Sha256, 123), MANIFEST, &image());
            set.image(&Shape { subject: Some(subject), ..tagged_artifact("orphan") }, "")
        }),
        of("data field", |set| set.image(&Shape { with_data: true, ..tagged("data") }, "amd64")),
        of("non-distributable layers", |set| {
            let mut layers: Vec<_> = [ELSEWHERE_GZIP, ELSEWHERE].map(elsewhere).into();
            layers.push(set.blob(&image(), LAYER_GZIP, random_bytes(700)));
            let config = set.blob(&image(), CONFIG, document(json!({"author": random_text()}), &image()));
            set.manifest(&tagged("elsewhere"), config, layers)
        }),
        of("custom fields", |set| set.platforms(&Shape { with_custom_field: true, ..tagged("custom") })),
        of("no layers", |set| set.image(&Shape { layers: 0, ..tagged("no-layers") }, "amd64")),
        of("sha512", |set| set.platforms(&Shape { algorithm: Algorithm::Sha512, ..image() })),
        Set { corrupted: true, ..of("bad digest", |set| set.image(&image(), "amd64")) },
    ];
    if version >= Version::Dev {
        for (name, algorithm) in [("tag parameters", Algorithm::Sha256), ("sha512 tag parameters", Algorithm::Sha512)] {
            let mut set = of(name, |set| set.platforms(&Shape { algorithm, ..tagged("parameter") }));
            set.by_parameter = true;
            for (number, manifest) in set.manifests.iter_mut().enumerate() {
                manifest.tags.push(format!("parameter-{}-{number}", algorithm.name()));
            }
            sets.push(set);
        }
    }
    sets
}

fn of(name: &'static str, fill: impl FnOnce(&mut Set) -> Value) -> Set {
    let mut set = Set::new(name);
    fill(&mut set);
    set
}

/// A layer that is only to be had elsewhere.
fn elsewhere(media_type: &'static str) -> Value {
    let blob = Blob::random(Algorithm::Sha256, 256);
    let mut layer = described(&blob, media_type, &image());
    layer["urls"] = json!([format!("https://store.example.com/blobs/{}", blob.digest)]);
    layer
}

/// The descriptor of some bytes.
pub(super) fn described(blob: &Blob, media_type: &str, shape: &Shape) -> Value {
    let mut value = json!({"mediaType": media_type, "digest": blob.digest, "size": blob.bytes.len()});
    if shape.with_data {
        value["data"] = base64(&blob.bytes).into();
    }
    value
}

fn document(mut value: Value, shape: &Shape) -> Vec<u8> {
    if shape.with_custom_field {
        value[random_text()] = json!({"of": "the suite", "list": [1, null, random_text()]});
    }
    value.to_string().into_bytes()
}

pub(super) fn random_text() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 20).to_lowercase()
}

fn random_bytes(length: usize) -> Vec<u8> {
    // One random block, repeated with its number: quick where a registry asks for chunks of megabytes.
    const BLOCK: usize = 4096;
    let mut block = [0; BLOCK];
    rand::rng().fill_bytes(&mut block);
    let mut bytes = Vec::with_capacity(length + BLOCK);
    for number in 0..length.div_ceil(BLOCK) as u64 {
        block[..8].copy_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&block);
    }
    bytes.truncate(length);
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, place| bits << 8 | usize::from(three.get(place).copied().unwrap_or(0)));
        for place in 0..4 {
            let letter = char::from(LETTERS[bits >> (18 - 6 * place) & 63]);
            text.push(if place <= three.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Version, base64, sets};

    #[test]
    fn base64_pads() {
        assert_eq!([&b""[..], b"a", b"ab", b"abc"].map(base64), ["", "YQ==", "YWI=", "YWJj"]);
    }

    #[test]
    fn the_large_manifest_fits_into_4_mib_and_the_development_version_has_more_sets() {
        let sets_of = |version| sets(version).len();
        assert!(sets_of(Version::Dev) > sets_of(Version::V1_1));
        let large = sets(Version::V1_1).into_iter().find(|set| set.name == "large manifest").expect("there is one");
        let bytes = large.manifests[0].blob.bytes.len();
        assert!((3_900_000..4 << 20).contains(&bytes), "{bytes}");
    }
}
