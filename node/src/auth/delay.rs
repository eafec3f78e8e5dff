use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Mutex,
    time::Duration,
};
use tokio::time::Instant;

/// Failures without a delay.
const FREE: u32 = 3;
/// The first delay; it doubles with each further failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(5);
/// Failures are forgotten after this long without another.
const MEMORY: Duration = Duration::from_secs(900);
/// Users and addresses remembered, at most.
const ENTRIES_MAX: usize = 10_000;

/// Slows down those who guess.
#[derive(Default)]
pub(super) struct Delays(Mutex<HashMap<Who, Failures>>);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Who {
    User(String),
    Address(IpAddr),
}

struct Failures {
    count: u32,
    last: Instant,
}

impl Delays {
    /// How long the next attempt must wait.
    pub(super) fn of(&self, user: &str, from: Option<IpAddr>) -> Duration {
        let failures = self.0.lock().expect("no holder panics");
        let count = who(user, from).filter_map(|who| failures.get(&who)).filter(|failures| failures.last.elapsed() < MEMORY);
        let count = count.map(|failures| failures.count).max().unwrap_or(0);
        match count.checked_sub(FREE) {
            None | Some(0) => Duration::ZERO,
            Some(more) => FIRST.saturating_mul(1 << (more - 1).min(16)).min(LONGEST),
        }
    }

    pub(super) fn failed(&self, user: &str, from: Option<IpAddr>) {
        let mut failures = self.0.lock().expect("no holder panics");
        if failures.len() >= ENTRIES_MAX {
            failures.retain(|_, failures| failures.last.elapsed() < MEMORY);
        }
        if failures.len() >= ENTRIES_MAX {
            failures.clear();
        }
        for who in who(user, from) {
            let entry = failures.entry(who).or_insert(Failures { count: 0, last: Instant::now() });
            let forgotten = entry.last.elapsed() >= MEMORY;
            *entry = Failures { count: if forgotten { 1 } else { entry.count.saturating_add(1) }, last: Instant::now() };
        }
    }

    pub(super) fn succeeded(&self, user: &str, from: Option<IpAddr>) {
        let mut failures = self.0.lock().expect("no holder panics");
        for who in who(user, from) {
            failures.remove(&who);
        }
    }
}

fn who(user: &str, from: Option<IpAddr>) -> impl Iterator<Item = Who> {
    [Some(Who::User(user.to_owned())), from.map(Who::Address)].into_iter().flatten()
}
