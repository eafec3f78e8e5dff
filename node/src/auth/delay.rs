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

/// Attempts that wait at once, at most: of one user from one network, and of all users from it. Else who sends many at once
/// would wait no longer than who sends one, and take the places of the others.
const WAITING_OF_USER: u32 = 8;
const WAITING_OF_NETWORK: u32 = 16;

/// Slows down those who guess the password of a user, or those of many users from one address.
#[derive(Default)]
pub(super) struct Delays {
    failures: Mutex<HashMap<Key, Failures>>,
    waiting: Mutex<HashMap<Crowd, u32>>,
}

/// A user, or all, and from where, if that is known.
type Crowd = (Option<String>, Option<IpAddr>);

/// A place among those that wait.
pub(super) struct Place<'a> {
    delays: &'a Delays,
    crowds: Vec<Crowd>,
}

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
        let failures = self.failures.lock().expect("no holder panics");
        let delay = |key: Key| {
            let count = failures.get(&key).filter(|failures| failures.last.elapsed() < MEMORY).map_or(0, |f| f.count);
            match count.saturating_sub(key.free()) {
                0 => Duration::ZERO,
                more => FIRST.saturating_mul(1 << (more - 1).min(16)).min(LONGEST),
            }
        };
        keys(user, client).map(delay).max().unwrap_or_default()
    }

    /// A place to wait in, if there is one.
    pub(super) fn place(&self, user: &str, client: Option<IpAddr>) -> Option<Place<'_>> {
        let network = client.map(network);
        let of_network = network.map(|network| ((None, Some(network)), WAITING_OF_NETWORK));
        let crowds = [((Some(user.to_owned()), network), WAITING_OF_USER)].into_iter().chain(of_network);
        let mut waiting = self.waiting.lock().expect("no holder panics");
        if crowds.clone().any(|(crowd, most)| waiting.get(&crowd).is_some_and(|count| *count >= most)) {
            return None;
        }
        let crowds: Vec<Crowd> = crowds.map(|(crowd, _)| crowd).collect();
        crowds.iter().for_each(|crowd| *waiting.entry(crowd.clone()).or_default() += 1);
        Some(Place { delays: self, crowds })
    }

    pub(super) fn failed(&self, user: &str, client: Option<IpAddr>) {
        let mut failures = self.failures.lock().expect("no holder panics");
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
        self.failures.lock().expect("no holder panics").remove(&Key::User(user.to_owned()));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.delays.waiting.lock().expect("no holder panics");
        for crowd in &self.crowds {
            if let Some(count) = waiting.get_mut(crowd) {
                *count -= 1;
            }
            waiting.retain(|_, count| *count > 0); // there are few
        }
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
    [Some(Key::User(user.to_owned())), client.map(network).map(Key::Address)].into_iter().flatten()
}

/// Who has one IPv6 address has a whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
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
            seen.push(delays.of("ann", None).as_millis());
            delays.failed("ann", None);
        }
        assert_eq!(seen, [0, 0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(delays.of("bob", None), Duration::ZERO);
        advance(MEMORY).await;
        assert_eq!(delays.of("ann", None), Duration::ZERO);
        delays.failed("ann", None);
        assert_eq!(delays.failures.lock().unwrap()[&Key::User("ann".into())].count, 1);
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
    fn few_wait_at_once_for_one_user_and_from_one_network() {
        let delays = Delays::default();
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|address| Some(address.parse().unwrap()));
        let many = |user: &str, client| (0..100).map_while(|_| delays.place(user, client)).collect::<Vec<_>>();
        for _ in 0..2 {
            let [ann, bob, eve, away, unknown] =
                [("ann", here), ("bob", here), ("eve", here), ("ann", there), ("ann", None)].map(|(u, c)| many(u, c));
            assert_eq!([ann, bob, eve, away, unknown].map(|places| places.len()), [8, 8, 0, 8, 8]);
            assert!(delays.waiting.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let delays = Delays::default();
        (0..2 * ENTRIES_MAX).for_each(|n| delays.failed(&n.to_string(), None));
        assert!(delays.failures.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
