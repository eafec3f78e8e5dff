//! Blobs that many workers share: which of them somebody needs changes all the time.

use crate::http::{Noise, digest_of};
use bytes::Bytes;
use rand::{Rng, rngs::StdRng};
use std::sync::{Arc, Mutex};

/// Small ones, up to 64 KiB.
const SMALL: usize = 400;
/// Some MiB each.
const LARGE: usize = 16;
/// Larger than one part of an upload to S3 (16 MiB), so that the store sees uploads in parts.
const HUGE: usize = 3;
const HUGE_BYTES: usize = 17 << 20;

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
pub struct Pool {
    made: Mutex<Vec<Option<Arc<Blob>>>>,
    huge_in: u32,
}

impl Pool {
    /// One blob in `huge_in` is uploaded in parts.
    pub fn new(huge_in: u32) -> Self {
        Self { made: Mutex::default(), huge_in }
    }

    /// A blob; one in twelve is large.
    pub fn pick(&self, random: &mut StdRng) -> Arc<Blob> {
        let number = if random.random_ratio(1, self.huge_in) {
            SMALL + LARGE + random.random_range(0..HUGE)
        } else if random.random_ratio(1, 12) {
            SMALL + random.random_range(0..LARGE)
        } else {
            random.random_range(0..SMALL)
        };
        let mut made = self.made.lock().expect("nobody panics while holding it");
        made.resize(SMALL + LARGE + HUGE, None);
        made[number].get_or_insert_with(|| Arc::new(blob(number))).clone()
    }
}

fn blob(number: usize) -> Blob {
    let length = match number.checked_sub(SMALL) {
        None => 1 + (number * 7919) % (64 << 10),
        Some(large) if large < LARGE => (1 << 20) + large * 200_003,
        Some(huge) => HUGE_BYTES + huge * 300_007,
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
    fn blobs_have_their_digests_and_all_sizes_occur() {
        let (pool, mut random) = (Pool::new(30), StdRng::seed_from_u64(1));
        let blobs: Vec<_> = (0..60).map(|_| pool.pick(&mut random)).collect();
        assert!(blobs.iter().all(|blob| digest_of(&blob.bytes) == blob.digest));
        assert!(blobs.iter().any(|blob| blob.bytes.len() > 16 << 20));
        assert!(blobs.iter().any(|blob| (1 << 20..16 << 20).contains(&blob.bytes.len())));
        assert!(blobs.iter().any(|blob| blob.bytes.len() <= 64 << 10));
    }
}
