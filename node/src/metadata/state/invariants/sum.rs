//! Compares sets that are too large for memory: by their size and a sum over hashes of their members.

use std::hash::{DefaultHasher, Hasher};

/// Of a set of byte strings, or of a bag of them. Equal for equal sets in whatever order; for others only by a chance of 2⁻⁶⁴.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    hashes: u64,
}

impl Sum {
    /// Adds what the fields make together.
    pub(super) fn add(&mut self, fields: &[&[u8]]) {
        self.add_times(fields, 1);
    }

    /// Adds the same `times` times: a count is right iff it adds what its items add one by one.
    pub(super) fn add_times(&mut self, fields: &[&[u8]], times: u64) {
        let mut hasher = DefaultHasher::new(); // without a seed: the same everywhere
        hasher.write(&fields.concat());
        self.count = self.count.wrapping_add(times);
        self.hashes = self.hashes.wrapping_add(hasher.finish().wrapping_mul(times));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_tell_bags_apart_and_do_not_look_at_their_order() {
        let of = |items: &[&[u8]]| {
            let mut sum = Sum::default();
            items.iter().for_each(|item| sum.add(&[item]));
            sum
        };
        assert_eq!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"a", b"c"]));
        assert_ne!(of(&[b"a", b"a"]), of(&[b"b", b"b"]));
        let mut twice = Sum::default();
        twice.add_times(&[b"x", b"y"], 2);
        assert_eq!(twice, of(&[b"xy", b"xy"]));
        twice.add_times(&[b"z"], 0);
        assert_eq!(twice, of(&[b"xy", b"xy"]));
    }
}
