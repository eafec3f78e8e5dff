//! Compares sets that are too large for memory: by their size and a sum over hashes of their members.

use std::hash::{DefaultHasher, Hasher};

/// Of a bag of byte strings. Equal for equal bags in whatever order; for others only by a chance of 2⁻⁶⁴.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    hashes: u64,
}

impl Sum {
    /// Adds one.
    pub(super) fn add(&mut self, item: &[u8]) {
        let mut hasher = DefaultHasher::new(); // without a seed: the same everywhere
        hasher.write(item);
        self.count += 1;
        self.hashes = self.hashes.wrapping_add(hasher.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_tell_bags_apart_and_do_not_look_at_their_order() {
        let of = |items: &[&[u8]]| {
            let mut sum = Sum::default();
            items.iter().for_each(|item| sum.add(item));
            sum
        };
        assert_eq!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"a", b"c"]));
        assert_ne!(of(&[b"a", b"a"]), of(&[b"b", b"b"]));
        assert_ne!(of(&[b"a"]), of(&[b"a", b"a"]));
    }
}
