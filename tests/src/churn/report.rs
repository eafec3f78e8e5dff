//! What a run did, and what went wrong.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Violations kept as text; the rest is counted.
const KEPT: usize = 50;

/// Shared by all workers.
#[derive(Default)]
pub struct Report(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    counts: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
    more: u64,
}

impl Report {
    /// Something happened.
    pub fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    /// It happened several times.
    pub fn add(&self, what: &'static str, times: u64) {
        *self.lock().counts.entry(what).or_default() += times;
    }

    /// How often it did.
    pub fn of(&self, what: &str) -> u64 {
        self.lock().counts.get(what).copied().unwrap_or(0)
    }

    /// A promise was broken.
    pub fn violation(&self, what: String) {
        eprintln!("VIOLATION {what}");
        let mut inner = self.lock();
        match inner.violations.len() < KEPT {
            true => inner.violations.push(what),
            false => inner.more += 1,
        }
    }

    /// The promises broken.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        for (what, count) in &inner.counts {
            writeln!(f, "{count:>8} {what}")?;
        }
        write!(f, "{:>8} violations", inner.violations.len() as u64 + inner.more)
    }
}
