use std::sync::Arc;

/// Which of the keys to delete are this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// This node's place among the members, from 0.
    pub index: usize,
    /// Members.
    pub of: usize,
    /// Whether it leads: then it also takes what others leave lying.
    pub leads: bool,
}

/// Tells the share; `None` while this node is no member.
pub type ShareOf = Arc<dyn Fn() -> Option<Share> + Send + Sync>;

impl Share {
    /// That of `me` among `members`.
    pub fn among(me: u64, members: impl IntoIterator<Item = u64>, leads: bool) -> Option<Self> {
        let mut members: Vec<u64> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        Some(Self { index: members.binary_search(&me).ok()?, of: members.len(), leads })
    }

    /// Whether a key is this node's.
    pub(super) fn holds(&self, key: &str) -> bool {
        crc32fast::hash(key.as_bytes()) as usize % self.of.max(1) == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_held_by_exactly_one_member() {
        let members = [7, 65_600, 3];
        let shares: Vec<_> = members.iter().filter_map(|me| Share::among(*me, members, false)).collect();
        let mut held = [0; 3];
        for key in 0..3_000 {
            let key = format!("c/i/{key}/00/s-b-1");
            let holders: Vec<_> = shares.iter().filter(|share| share.holds(&key)).collect();
            assert_eq!(holders.len(), 1);
            held[holders[0].index] += 1;
        }
        assert!(held.iter().all(|held| *held > 800), "{held:?}");
        assert_eq!(Share::among(8, members, true), None);
    }
}
