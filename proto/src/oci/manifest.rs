//! The one parser of manifests: Docker schema 2 and lists, OCI image manifests and indexes. Bounded, and strict where
//! leniency would let two readers see two documents. The bytes themselves are kept as received.

use super::json::{self, Json};
use super::media_type::{essence, is_foreign, is_manifest};
use super::{Descriptor, Digest, ManifestKind};
use std::collections::BTreeMap;

/// Largest manifest in bytes.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Most descriptors in one manifest.
pub const DESCRIPTORS_MAX: usize = 10_000;
/// Longest artifact type in bytes: media types have at most 255 characters (RFC 6838, section 4.2).
const ARTIFACT_TYPE_BYTES_MAX: usize = 1_024;

/// What a registry needs to know of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What it is.
    pub kind: ManifestKind,
    /// Config, layers and those index entries that are no manifests; by digest, each once. Layers that may live elsewhere
    /// (`urls` on a foreign or non-distributable media type) are left out.
    pub blobs: Vec<Descriptor>,
    /// The `urls` of the layers that are left out.
    pub elsewhere: Vec<String>,
    /// Manifests of an index; by digest, each once.
    pub children: Vec<Descriptor>,
    /// `subject`
    pub subject: Option<Descriptor>,
    /// `artifactType`, else the config's media type
    pub artifact_type: Option<String>,
    /// `annotations`, by key
    pub annotations: BTreeMap<String, String>,
}

/// Why a document is no manifest that this registry takes.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest is larger than 4 MiB")]
    TooLarge,
    /// More than [`DESCRIPTORS_MAX`].
    #[error("the manifest has more than 10,000 descriptors")]
    TooManyDescriptors,
    /// Not JSON, or with duplicate keys, trailing data, too deep, or too many values.
    #[error("the manifest is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// Not one of the four supported media types, or a schema 1 document.
    #[error("the manifest's media type {0:?} is not supported")]
    MediaType(String),
    /// `Content-Type` says something else than `mediaType`.
    #[error("Content-Type {header:?} disagrees with the manifest's mediaType {field:?}")]
    MediaTypeMismatch {
        /// From the request.
        header: String,
        /// From the document.
        field: String,
    },
    /// A field is absent, of a wrong type, or out of place.
    #[error("the manifest's field {field}: {problem}")]
    Field {
        /// Its path.
        field: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Manifest {
    /// Parses `body`, sent with `content_type`.
    pub fn parse(body: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        if body.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge);
        }
        let Json::Object(document) = json::parse(body).map_err(ManifestError::Json)? else {
            return Err(field("", "the document must be an object"));
        };
        refuse_other_letters(&document, &DOCUMENT, "")?;
        let kind = kind(&document, content_type)?;
        let mut reader = Reader { descriptors: 0 };
        let mut blobs = BTreeMap::new();
        let mut children = BTreeMap::new();
        let mut elsewhere = Vec::new();
        let mut config_type = None;
        if kind.is_index() {
            refuse(&document, &["config", "layers", "fsLayers"])?;
            for (descriptor, _) in reader.list(&document, "manifests")? {
                let manifest = is_manifest(&descriptor.media_type);
                let (set, other): (_, &BTreeMap<Digest, Descriptor>) =
                    if manifest { (&mut children, &blobs) } else { (&mut blobs, &children) };
                // One digest may be listed as a manifest and as a blob, but not with two sizes.
                if other.get(&descriptor.digest).is_some_and(|known| known.size != descriptor.size) {
                    return Err(field("manifests", "one digest has two sizes"));
                }
                insert(set, descriptor, "manifests")?;
            }
        } else {
            refuse(&document, &["manifests", "fsLayers"])?;
            let config = reader.one(document.get("config"), "config")?.ok_or(field("config", "it is required"))?;
            config_type = Some(config.media_type.clone()).filter(|text| !text.is_empty());
            insert(&mut blobs, config, "config")?;
            for (descriptor, urls) in reader.list(&document, "layers")? {
                if urls.is_empty() || !is_foreign(&descriptor.media_type) {
                    insert(&mut blobs, descriptor, "layers")?;
                } else {
                    elsewhere.extend(urls);
                }
            }
        }
        let artifact_type = text(&document, "artifactType")?.map(str::to_owned).or(config_type);
        if artifact_type.as_ref().is_some_and(|name| name.len() > ARTIFACT_TYPE_BYTES_MAX) {
            return Err(field("artifactType", "it, or the config's media type, is longer than 1024 bytes"));
        }
        Ok(Self {
            kind,
            blobs: blobs.into_values().collect(),
            elsewhere,
            children: children.into_values().collect(),
            subject: reader.one(document.get("subject"), "subject")?,
            artifact_type,
            annotations: annotations(&document)?,
        })
    }
}

type Object = BTreeMap<String, Json>;

fn field(field: impl Into<String>, problem: &'static str) -> ManifestError {
    ManifestError::Field { field: field.into(), problem }
}

/// `Content-Type` and `mediaType` must agree; either may be absent. With neither, the document's shape decides (OCI).
fn kind(document: &Object, content_type: Option<&str>) -> Result<ManifestKind, ManifestError> {
    match document.get("schemaVersion") {
        Some(Json::Size(2)) => {}
        Some(Json::Size(1)) => return Err(ManifestError::MediaType("schema 1".into())),
        Some(_) | None => return Err(field("schemaVersion", "it must be 2")),
    }
    let header = content_type.map(essence).filter(|text| !text.is_empty());
    let stated = text(document, "mediaType")?;
    if let (Some(header), Some(stated)) = (header, stated)
        && !header.eq_ignore_ascii_case(essence(stated))
    {
        return Err(ManifestError::MediaTypeMismatch { header: header.into(), field: stated.into() });
    }
    match stated.or(header) {
        Some(name) => ManifestKind::from_media_type(name).ok_or_else(|| ManifestError::MediaType(name.into())),
        None if document.contains_key("manifests") => Ok(ManifestKind::OciIndex),
        None => Ok(ManifestKind::OciManifest),
    }
}

/// A document that looks like two kinds at once would be read in two ways.
fn refuse(document: &Object, names: &[&str]) -> Result<(), ManifestError> {
    match names.iter().find(|name| document.contains_key(**name)) {
        Some(name) => Err(field(*name, "it does not belong into a document of this media type")),
        None => Ok(()),
    }
}

/// The specification's fields of a document, and schema 1's.
const DOCUMENT: [&str; 9] = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
    "fsLayers",
];
/// The specification's fields of a descriptor.
const DESCRIPTOR: [&str; 8] =
    ["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"];

/// Clients written in Go take a field in any letter case, and of `config` and `Config` the last one: they would read
/// another document than this registry.
fn refuse_other_letters(object: &Object, names: &[&str], place: &str) -> Result<(), ManifestError> {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    for key in object.keys() {
        if names.iter().any(|name| key != name && key.chars().map(fold).eq(name.chars().map(fold))) {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            return Err(field(place, "the specification writes it in other letters"));
        }
    }
    Ok(())
}

/// A text; empty and null count as absent.
fn text<'a>(object: &'a Object, name: &str) -> Result<Option<&'a str>, ManifestError> {
    match object.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(field(name, "it must be a string")),
    }
}

/// A list of texts; null counts as empty.
fn texts(object: &Object, name: &str) -> Result<Vec<String>, ManifestError> {
    let items = match object.get(name) {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::List(items)) => items,
        Some(_) => return Err(field(name, "it must be a list")),
    };
    let texts = items.iter().map(|item| match item {
        Json::Text(text) => Ok(text.clone()),
        _ => Err(field(name, "its entries must be strings")),
    });
    texts.collect()
}

fn annotations(document: &Object) -> Result<BTreeMap<String, String>, ManifestError> {
    match document.get("annotations") {
        None | Some(Json::Null) => Ok(BTreeMap::new()),
        Some(Json::Object(pairs)) => {
            let mut annotations = BTreeMap::new();
            for (name, value) in pairs {
                let Json::Text(value) = value else { return Err(field("annotations", "values must be strings")) };
                annotations.insert(name.clone(), value.clone());
            }
            Ok(annotations)
        }
        Some(_) => Err(field("annotations", "it must be an object")),
    }
}

fn insert(set: &mut BTreeMap<Digest, Descriptor>, new: Descriptor, place: &str) -> Result<(), ManifestError> {
    match set.get(&new.digest) {
        Some(known) if known.size != new.size => Err(field(place, "one digest has two sizes")),
        Some(_) => Ok(()),
        None => {
            set.insert(new.digest, new);
            Ok(())
        }
    }
}

/// Reads descriptors and counts them.
struct Reader {
    descriptors: usize,
}

impl Reader {
    /// The descriptors of a list, each with its `urls`; a null list is empty (Go writes that).
    fn list(&mut self, document: &Object, name: &str) -> Result<Vec<(Descriptor, Vec<String>)>, ManifestError> {
        let items = match document.get(name) {
            Some(Json::List(items)) => items.as_slice(),
            Some(Json::Null) => &[],
            None if name == "layers" => &[],
            None => return Err(field(name, "it is required")),
            Some(_) => return Err(field(name, "it must be a list")),
        };
        if items.len() > DESCRIPTORS_MAX {
            return Err(ManifestError::TooManyDescriptors);
        }
        let mut descriptors = Vec::with_capacity(items.len());
        for item in items {
            let descriptor = self.one(Some(item), name)?.ok_or(field(name, "an entry is null"))?;
            let urls = match item {
                Json::Object(entry) => texts(entry, "urls")?,
                _ => Vec::new(),
            };
            descriptors.push((descriptor, urls));
        }
        Ok(descriptors)
    }

    fn one(&mut self, value: Option<&Json>, place: &str) -> Result<Option<Descriptor>, ManifestError> {
        let object = match value {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::Object(object)) => object,
            Some(_) => return Err(field(place, "it must be a descriptor")),
        };
        self.descriptors += 1;
        if self.descriptors > DESCRIPTORS_MAX {
            return Err(ManifestError::TooManyDescriptors);
        }
        refuse_other_letters(object, &DESCRIPTOR, place)?;
        let digest = text(object, "digest")?.ok_or_else(|| field(format!("{place}.digest"), "it is required"))?;
        let digest =
            digest.parse().map_err(|_| field(format!("{place}.digest"), "it is no sha256 or sha512 digest"))?;
        let Some(Json::Size(size)) = object.get("size") else {
            return Err(field(format!("{place}.size"), "it must be a number of bytes, 0 or more"));
        };
        let media_type = text(object, "mediaType")?.unwrap_or_default().to_owned();
        Ok(Some(Descriptor { media_type, digest, size: *size }))
    }
}

#[cfg(test)]
mod tests;
