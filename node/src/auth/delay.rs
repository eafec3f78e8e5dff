use std::{collections::HashMap, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// Failures without a delay.
const FREE: u32 = 3;
/// The first delay; it doubles with each further failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(5);
/// Failures are forgotten after this long without another.
const MEMORY: Duration = Duration::from_secs(900);
/// Users remembered, at most.
const ENTRIES_MAX: usize = 10_000;

/// Slows down those who guess the password of a user. (Behind a balancer all have one address: it tells nothing.)
#[derive(Default)]
pub(super) struct Delays(Mutex<HashMap<String, Failures>>);

struct Failures {
    count: u32,
    last: Instant,
}

impl Delays {
    /// How long the next attempt must wait.
    pub(super) fn of(&self, user: &str) -> Duration {
        let failures = self.0.lock().expect("no holder panics");
        let count = failures.get(user).filter(|failures| failures.last.elapsed() < MEMORY).map_or(0, |f| f.count);
        match count.saturating_sub(FREE) {
            0 => Duration::ZERO,
            more => FIRST.saturating_mul(1 << (more - 1).min(16)).min(LONGEST),
        }
    }

    pub(super) fn failed(&self, user: &str) {
        let mut failures = self.0.lock().expect("no holder panics");
        let now = Instant::now();
        if failures.len() >= ENTRIES_MAX {
            failures.retain(|_, failures| now - failures.last < MEMORY);
        }
        if failures.len() >= ENTRIES_MAX {
            failures.clear();
        }
        let entry = failures.entry(user.to_owned()).or_insert(Failures { count: 0, last: now });
        let before = if now - entry.last < MEMORY { entry.count } else { 0 };
        *entry = Failures { count: before.saturating_add(1), last: now };
    }

    pub(super) fn succeeded(&self, user: &str) {
        self.0.lock().expect("no holder panics").remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn delays_grow_with_failures_and_are_forgotten() {
        let delays = Delays::default();
        let mut seen = Vec::new();
        for _ in 0..12 {
            seen.push(delays.of("ann").as_millis());
            delays.failed("ann");
        }
        assert_eq!(seen, [0, 0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(delays.of("bob"), Duration::ZERO);
        advance(MEMORY).await;
        assert_eq!(delays.of("ann"), Duration::ZERO);
        delays.failed("ann");
        assert_eq!(delays.0.lock().unwrap()["ann"].count, 1);
        (0..4).for_each(|_| delays.failed("ann"));
        delays.succeeded("ann");
        assert_eq!(delays.of("ann"), Duration::ZERO);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let delays = Delays::default();
        (0..2 * ENTRIES_MAX).for_each(|n| delays.failed(&n.to_string()));
        assert!(delays.0.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
