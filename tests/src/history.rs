//! Histories of one tag with one writer: what each reader saw must lie between what was acknowledged before its read
//! began and what was begun before its read ended.

use std::sync::atomic::{AtomicU64, Ordering};

/// The writer's progress. Versions count from 1; 0 is the state before the first write.
#[derive(Default)]
pub struct History {
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

/// What was acknowledged when a read began.
#[derive(Clone, Copy, Debug)]
pub struct Read(u64);

impl History {
    /// The writer is about to send `version`.
    pub fn begin(&self, version: u64) {
        self.begun.store(version, Ordering::SeqCst);
    }

    /// The writer got its answer.
    pub fn acknowledge(&self, version: u64) {
        self.acknowledged.store(version, Ordering::SeqCst);
    }

    /// A reader is about to send.
    pub fn read(&self) -> Read {
        Read(self.acknowledged.load(Ordering::SeqCst))
    }

    /// The newest version begun so far that leaves `residue` when divided by `modulus`: for writers whose values repeat.
    pub fn newest(&self, residue: u64, modulus: u64) -> u64 {
        let begun = self.begun.load(Ordering::SeqCst);
        let behind = (begun % modulus + modulus - residue) % modulus;
        begun.saturating_sub(behind)
    }

    /// The reader got `version`.
    ///
    /// # Errors
    /// When it is older than what was acknowledged before the read, or was never written.
    pub fn check(&self, read: Read, version: u64) -> Result<(), String> {
        let begun = self.begun.load(Ordering::SeqCst);
        if version < read.0 {
            return Err(format!("stale: read {version} although {} was acknowledged before", read.0));
        }
        if version > begun {
            return Err(format!("from nowhere: read {version}, begun {begun}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::History;

    #[test]
    fn the_newest_version_of_a_residue_is_at_most_the_newest_begun() {
        let history = History::default();
        history.begin(1203);
        assert_eq!(history.newest(3, 500), 1003);
        assert_eq!(history.newest(203, 500), 1203);
        assert_eq!(history.newest(204, 500), 704);
    }

    #[test]
    fn an_answer_older_than_what_was_acknowledged_is_stale() {
        let history = History::default();
        history.begin(1);
        let early = history.read();
        history.acknowledge(1);
        let late = history.read();
        assert!(history.check(early, 0).is_ok());
        assert!(history.check(early, 1).is_ok());
        assert!(history.check(late, 0).is_err());
        assert!(history.check(late, 2).is_err());
    }
}
