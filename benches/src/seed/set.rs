//! Which blobs and manifests there are: the same on both sides.

use serde_json::json;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Blobs of one manifest.
const BLOBS_PER_MANIFEST: u64 = 100;
/// Manifests of one repository.
const MANIFESTS_PER_REPOSITORY: u64 = 100;
/// The media type of all manifests.
pub const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Live blobs of one size.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// How many.
    pub live: u64,
    /// Bytes of each.
    pub size: u64,
}

/// One manifest and what it names.
pub struct Image {
    /// Its repository.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// Numbers of its blobs.
    pub blobs: Range<u64>,
    /// Its bytes.
    pub body: String,
}

impl Set {
    /// The manifests, which name every live blob once.
    pub fn images(self) -> impl Iterator<Item = Image> {
        (0..self.live.div_ceil(BLOBS_PER_MANIFEST)).map(move |number| {
            let blobs = number * BLOBS_PER_MANIFEST..self.live.min((number + 1) * BLOBS_PER_MANIFEST);
            let descriptor = |kind: &str, blob: u64| {
                let digest = format!("sha256:{}", hex::encode(digest(blob)));
                json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": self.size})
            };
            let layers: Vec<_> = blobs.clone().skip(1).map(|blob| descriptor("layer.v1.tar", blob)).collect();
            let config = descriptor("config.v1+json", blobs.start);
            let body = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": config, "layers": layers});
            Image {
                repository: format!("seed/r{}", number / MANIFESTS_PER_REPOSITORY),
                tag: format!("t{number}"),
                blobs,
                body: body.to_string(),
            }
        })
    }
}

/// What a blob's digest is said to be: nobody reads its bytes.
pub fn digest(blob: u64) -> [u8; 32] {
    Sha256::digest(blob.to_be_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_is_named_once() {
        let images: Vec<_> = Set { live: 250, size: 1 }.images().collect();
        let named: Vec<_> = images.iter().flat_map(|image| image.blobs.clone()).collect();
        assert_eq!(named, (0..250).collect::<Vec<_>>());
        assert_eq!(images[2].body.matches("sha256:").count(), 50);
        assert_eq!(Set { live: 10_001, size: 1 }.images().last().expect("some").repository, "seed/r1");
    }
}
