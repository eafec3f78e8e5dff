//! Blob content that differs each time and costs the load generator next to nothing: a long random pattern, the same for
//! all blobs of a run, then a few random bytes of each blob's own. The hash of the pattern is kept, so a fresh digest costs
//! one block; what comes back is compared with what was sent, byte by byte, which is stronger than its digest and cheaper.

use bytes::Bytes;
use flotilla_client::transport::Body;
use flotilla_proto::oci::{Algorithm, Digest};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use sha2::{Digest as _, Sha256};

/// A prime, so that bytes moved by any round number of bytes do not compare equal.
const PERIOD: usize = 1_000_003;
/// The longest slice taken at once.
const SLICE_MAX: usize = 1 << 20;
/// Bytes of each blob's own, at its end.
const TAIL: usize = 32;

/// The pattern of one run.
#[derive(Clone)]
pub struct Pattern {
    /// `PERIOD` random bytes, then their beginning again, so that every slice is contiguous.
    bytes: Bytes,
}

/// How to make blobs of one size.
#[derive(Clone)]
pub struct Recipe {
    size: usize,
    tail: usize,
    prefix: Sha256,
}

/// One blob.
#[derive(Clone)]
pub struct Blob {
    /// Its sha256 digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: usize,
    tail: Bytes,
}

impl Pattern {
    /// The pattern of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut bytes = vec![0; PERIOD + SLICE_MAX];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes[..PERIOD]);
        bytes.copy_within(..SLICE_MAX.min(PERIOD), PERIOD);
        let (whole, rest) = (PERIOD + SLICE_MAX.min(PERIOD), bytes.len());
        bytes.copy_within(PERIOD..PERIOD + (rest - whole), whole);
        Self { bytes: bytes.into() }
    }

    /// A recipe for blobs of `size` bytes. Hashes them once.
    pub fn recipe(&self, size: usize) -> Recipe {
        let tail = TAIL.min(size);
        let mut prefix = Sha256::new();
        let mut at = 0;
        while at < size - tail {
            let slice = self.slice(at, size - tail);
            prefix.update(&slice);
            at += slice.len();
        }
        Recipe { size, tail, prefix }
    }

    /// The pattern from `at`, at most to `end`.
    fn slice(&self, at: usize, end: usize) -> Bytes {
        let start = at % PERIOD;
        self.bytes.slice(start..start + (end - at).min(SLICE_MAX))
    }

    /// The whole blob as a body of unknown length, in pieces of at most `piece` bytes, without copying.
    pub fn chunked(&self, blob: &Blob, piece: usize) -> Body {
        let (pattern, blob) = (self.clone(), blob.clone());
        let mut at = 0;
        let pieces = std::iter::from_fn(move || {
            let end = blob.size - blob.tail.len();
            let bytes = match at {
                at if at < end => pattern.slice(at, end.min(at + piece)),
                at if at < blob.size => blob.tail.slice(at - end..),
                _ => return None,
            };
            at += bytes.len();
            Some(Ok(bytes))
        });
        Body::stream(futures_util::stream::iter(pieces), None)
    }

    /// Whether `bytes` are those of `blob` from `at` on.
    pub fn matches(&self, blob: &Blob, at: usize, bytes: &[u8]) -> bool {
        let end = blob.size - blob.tail.len();
        let (mut at, mut rest) = (at, bytes);
        while at < end && !rest.is_empty() {
            let slice = self.slice(at, end.min(at + rest.len()));
            let (head, more) = rest.split_at(slice.len());
            if head != slice {
                return false;
            }
            at += head.len();
            rest = more;
        }
        rest.is_empty() || blob.tail.get(at - end..at - end + rest.len()) == Some(rest)
    }
}

impl Recipe {
    /// A blob that nobody has seen before.
    pub fn fresh(&self, rng: &mut impl Rng) -> Blob {
        let mut tail = vec![0; self.tail];
        rng.fill_bytes(&mut tail);
        let hash = self.prefix.clone().chain_update(&tail).finalize();
        let digest = Digest::new(Algorithm::Sha256, &hash).expect("sha256 has 32 bytes");
        Blob { digest, size: self.size, tail: tail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_client::registry::digest_of;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_blob_has_its_digest_and_compares_equal_to_itself_only() {
        let pattern = Pattern::new(7);
        let mut rng = StdRng::seed_from_u64(8);
        for size in [0, 1, 31, 32, 33, 4096, 32 << 10, PERIOD, 3 * PERIOD + 5] {
            let recipe = pattern.recipe(size);
            let blob = recipe.fresh(&mut rng);
            let sent = pattern.chunked(&blob, 32 << 10).collect().await.expect("no error").to_bytes();
            assert_eq!(sent.len(), size);
            assert_eq!(digest_of(&sent), blob.digest, "{size}");
            for step in [1000, 70_000, size + 1] {
                let mut at = 0;
                for piece in sent.chunks(step.max(size / 50)) {
                    assert!(pattern.matches(&blob, at, piece), "{size} at {at}");
                    at += piece.len();
                }
            }
            if size > 40 {
                let mut wrong = sent.to_vec();
                wrong[size - 33] ^= 1;
                assert!(!pattern.matches(&blob, 0, &wrong));
                assert!(!pattern.matches(&blob, 1, &sent[..size - 1]));
                assert!(!pattern.matches(&recipe.fresh(&mut rng), 0, &sent));
            }
        }
    }
}
