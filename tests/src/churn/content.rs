//! Blobs that many workers share: which of them somebody needs changes all the time.

use crate::http::{Noise, digest_of};
use bytes::Bytes;
use rand::{Rng, rngs::StdRng};
use std::sync::{Arc, Mutex};

/// Small ones, up to 64 KiB.
const SMALL: usize = 400;
/// Some MiB each.
const LARGE: usize = 16;

/// One blob.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Blob {
    /// Of these bytes.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: digest_of(&bytes), bytes }
    }
}

/// The blobs that images are made of, made when first asked for.
#[derive(Default)]
pub struct Pool {
    made: Mutex<Vec<Option<Arc<Blob>>>>,
}

impl Pool {
    /// A blob; one in twelve is large.
    pub fn pick(&self, random: &mut StdRng) -> Arc<Blob> {
        let number = if random.random_ratio(1, 12) {
            SMALL + random.random_range(0..LARGE)
        } else {
            random.random_range(0..SMALL)
        };
        let mut made = self.made.lock().expect("nobody panics while holding it");
        made.resize(SMALL + LARGE, None);
        made[number].get_or_insert_with(|| Arc::new(blob(number))).clone()
    }
}

fn blob(number: usize) -> Blob {
    let length = match number.checked_sub(SMALL) {
        None => 1 + (number * 7919) % (64 << 10),
        Some(large) => (1 << 20) + large * 200_003,
    };
    let mut noise = Noise::new(0xC0FFEE + number as u64, length as u64);
    let mut bytes = Vec::with_capacity(length);
    while let Some(block) = noise.take() {
        bytes.extend_from_slice(&block);
    }
    Blob::of(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn blobs_have_their_digests_and_both_sizes_occur() {
        let (pool, mut random) = (Pool::default(), StdRng::seed_from_u64(1));
        let blobs: Vec<_> = (0..60).map(|_| pool.pick(&mut random)).collect();
        assert!(blobs.iter().all(|blob| digest_of(&blob.bytes) == blob.digest));
        assert!(blobs.iter().any(|blob| blob.bytes.len() > 1 << 20));
        assert!(blobs.iter().any(|blob| blob.bytes.len() <= 64 << 10));
    }
}
