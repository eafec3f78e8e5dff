use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::Duration,
};
use tokio::time::Instant;

/// Failures of a user without a delay.
const USER_FREE: u32 = 3;
/// Failures of an address without a delay: many may share one.
const ADDRESS_FREE: u32 = 20;
/// The first delay; it doubles with each further failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(5);
/// Failures are forgotten after this long without another.
const MEMORY: Duration = Duration::from_secs(900);
/// Users and addresses remembered, at most.
const ENTRIES_MAX: usize = 10_000;

/// Slows down those who guess the password of a user, or those of many users from one address.
#[derive(Default)]
pub(super) struct Delays(Mutex<HashMap<Key, Failures>>);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    User(String),
    Address(IpAddr),
}

struct Failures {
    count: u32,
    last: Instant,
}

impl Delays {
    /// How long the next attempt must wait.
    pub(super) fn of(&self, user: &str, client: Option<IpAddr>) -> Duration {
        let failures = self.0.lock().expect("no holder panics");
        let delay = |key: Key| {
            let count = failures.get(&key).filter(|failures| failures.last.elapsed() < MEMORY).map_or(0, |f| f.count);
            match count.saturating_sub(key.free()) {
                0 => Duration::ZERO,
                more => FIRST.saturating_mul(1 << (more - 1).min(16)).min(LONGEST),
            }
        };
        keys(user, client).map(delay).max().unwrap_or_default()
    }

    pub(super) fn failed(&self, user: &str, client: Option<IpAddr>) {
        let mut failures = self.0.lock().expect("no holder panics");
        let now = Instant::now();
        if failures.len() >= ENTRIES_MAX {
            failures.retain(|_, failures| now - failures.last < MEMORY);
        }
        if failures.len() >= ENTRIES_MAX {
            failures.clear();
        }
        for key in keys(user, client) {
            let entry = failures.entry(key).or_insert(Failures { count: 0, last: now });
            let before = if now - entry.last < MEMORY { entry.count } else { 0 };
            *entry = Failures { count: before.saturating_add(1), last: now };
        }
    }

    /// Ends the delay of the user. Not that of the address: else who knows one password could guess others at full speed.
    pub(super) fn succeeded(&self, user: &str) {
        self.0.lock().expect("no holder panics").remove(&Key::User(user.to_owned()));
    }
}

impl Key {
    const fn free(&self) -> u32 {
        match self {
            Self::User(_) => USER_FREE,
            Self::Address(_) => ADDRESS_FREE,
        }
    }
}

fn keys(user: &str, client: Option<IpAddr>) -> impl Iterator<Item = Key> {
    let network = client.map(|client| match client.to_canonical() {
        // Who has one IPv6 address has a whole /64.
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    });
    [Some(Key::User(user.to_owned())), network.map(Key::Address)].into_iter().flatten()
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
            seen.push(delays.of("ann", None).as_millis());
            delays.failed("ann", None);
        }
        assert_eq!(seen, [0, 0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(delays.of("bob", None), Duration::ZERO);
        advance(MEMORY).await;
        assert_eq!(delays.of("ann", None), Duration::ZERO);
        delays.failed("ann", None);
        assert_eq!(delays.0.lock().unwrap()[&Key::User("ann".into())].count, 1);
        (0..4).for_each(|_| delays.failed("ann", None));
        delays.succeeded("ann");
        assert_eq!(delays.of("ann", None), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_for_many_users_is_slowed_down_by_address() {
        let delays = Delays::default();
        let [here, near, far] =
            ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"].map(|address| Some(address.parse().unwrap()));
        for n in 0..ADDRESS_FREE {
            assert_eq!(delays.of("x", here), Duration::ZERO);
            delays.failed(&n.to_string(), here);
        }
        delays.failed("one more", here);
        assert_eq!([here, near, far].map(|client| delays.of("x", client).as_millis()), [100, 100, 0]);
        delays.succeeded("x");
        assert_eq!(delays.of("x", here), FIRST);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let delays = Delays::default();
        (0..2 * ENTRIES_MAX).for_each(|n| delays.failed(&n.to_string(), None));
        assert!(delays.0.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
