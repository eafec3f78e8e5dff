//! Users and passwords of a file as `htpasswd -B` writes it. Only bcrypt; read again when the file changes.
//!
//! A verified password is remembered for a while (as a keyed hash), so that a pull is not twenty bcrypts. Attempts run
//! apart from the async threads, few at a time; an unknown user costs the same time as a wrong password; failures of a
//! user delay its next attempts.

use super::{NotVerified, delay::Delays};
use base64::Engine;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tracing::{info, warn};

/// A verified password is not verified again while it is used at least so often: who fills the queue with guesses must not
/// shut out those who are at work. A change of the user's hash ends it at once.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Verified passwords remembered, at most.
const REMEMBERED_MAX: usize = 10_000;
/// The file is looked at again after this long, when someone asks.
const FRESH: Duration = Duration::from_secs(1);
/// Attempts that wait for their turn or for the end of their delay, at most: also those whose clients are gone.
const WAITING_MAX: usize = 64;
/// Requests that wait for these attempts, at most: a part of those that a node answers at once.
const ASKING_MAX: usize = 1_024;
/// Cost of the hash that stands in for users who do not exist, if the file has none.
const COST: u32 = 10;

/// The users of one file.
pub struct Htpasswd {
    path: PathBuf,
    users: Mutex<Arc<Users>>,
    /// Makes hashes in memory useless elsewhere.
    key: [u8; 32],
    verified: Mutex<HashMap<[u8; 32], Verified>>,
    verifying: Arc<Semaphore>,
    asking: Semaphore,
    waiting: Semaphore,
    delayed: Semaphore,
    /// Held by the one who looks at the file.
    looking: tokio::sync::Mutex<()>,
    delays: Delays,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the password file {}", path.display())]
pub struct FileError {
    path: PathBuf,
    #[source]
    cause: std::io::Error,
}

struct Users {
    /// Shared with the next look at a file that has not changed.
    hashes: Arc<HashMap<String, String>>,
    /// For those who do not exist.
    stand_in: String,
    version: Version,
    looked: Instant,
}

/// Tells one content of the file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    /// Replaced files may keep the time of the one before, and hashes all have one length.
    inode: u64,
    changed: (i64, i64),
    modified: Option<SystemTime>,
    bytes: u64,
}

#[derive(Clone)]
struct Verified {
    at: Instant,
    /// Set once the first who asked knows; others wait for it.
    matches: Arc<OnceCell<bool>>,
}

impl Htpasswd {
    /// Opens a file. At most `parallel` passwords are verified at once.
    pub fn open(path: &Path, parallel: usize) -> Result<Self, FileError> {
        let users = Users::read(path).map_err(|cause| FileError { path: path.to_owned(), cause })?;
        Ok(Self {
            path: path.to_owned(),
            users: Mutex::new(Arc::new(users)),
            key: rand::random(),
            verified: Mutex::default(),
            verifying: Arc::new(Semaphore::new(parallel)),
            asking: Semaphore::new(ASKING_MAX),
            waiting: Semaphore::new(WAITING_MAX),
            delayed: Semaphore::new(WAITING_MAX),
            looking: tokio::sync::Mutex::default(),
            delays: Delays::default(),
        })
    }

    /// Whether `user` has this password. Waits longer the more attempts failed before; refuses if too many wait.
    pub async fn verify(&self, user: &str, password: &str, client: Option<IpAddr>) -> Result<(), NotVerified> {
        let users = self.users().await;
        let (hash, known) = match users.hashes.get(user) {
            Some(hash) => (hash, true),
            None => (&users.stand_in, false),
        };
        let key = self.fingerprint(user, password, hash);
        let matches = self.remembered(key);
        if let Some(matches) = matches.get() {
            return matches.then_some(()).ok_or(NotVerified::Wrong);
        }
        let _asks = self.asking.try_acquire().map_err(|_| NotVerified::Busy)?;
        // Who sends the same password at the same time, as the many requests of one pull do, shares the attempt and its place.
        let attempt = || async {
            let delay = self.delays.of(user, client);
            if !delay.is_zero() {
                let _place = self.delayed.try_acquire().map_err(|_| NotVerified::Busy)?;
                let _among_its_own = self.delays.place(user, client).ok_or(NotVerified::Busy)?;
                sleep(delay).await;
            }
            let _place = self.waiting.try_acquire().map_err(|_| NotVerified::Busy)?;
            let turn = self.verifying.clone().acquire_owned().await.expect("the semaphore is never closed");
            let (password, hash) = (password.to_owned(), hash.clone());
            let verified = spawn_blocking(move || {
                let _until_done = turn; // whoever asked may be gone by then
                bcrypt::verify(password, &hash).unwrap_or(false)
            });
            let matches = verified.await.unwrap_or(false) && known;
            match matches {
                true => self.delays.succeeded(user),
                false => self.delays.failed(user, client),
            }
            Ok(matches)
        };
        let matches = *matches.get_or_try_init(attempt).await?;
        if !matches {
            self.verified.lock().expect("no holder panics").remove(&key);
        }
        matches.then_some(()).ok_or(NotVerified::Wrong)
    }

    /// Whether there is such a user now.
    pub async fn knows(&self, user: &str) -> bool {
        self.users().await.hashes.contains_key(user)
    }

    /// The present content of the file; the last good one while it cannot be read.
    async fn users(&self) -> Arc<Users> {
        let users = self.users.lock().expect("no holder panics").clone();
        if users.looked.elapsed() < FRESH {
            return users;
        }
        let Ok(_looking) = self.looking.try_lock() else { return users };
        let path = self.path.clone();
        let (version, old) = (users.version, users.clone());
        let read = spawn_blocking(move || match Version::of(&path) {
            Ok(now) if now == version => Ok(None),
            Ok(_) => Users::read(&path).map(Some),
            Err(error) => Err(error),
        });
        let fresh = match read.await {
            Ok(Ok(Some(fresh))) => {
                info!(users = fresh.hashes.len(), "read the changed password file");
                fresh
            }
            Ok(Ok(None)) => old.looked_again(),
            Ok(Err(error)) => {
                warn!(%error, path = %self.path.display(), "cannot read the password file; the last content goes on");
                old.looked_again()
            }
            Err(_) => return users,
        };
        let fresh = Arc::new(fresh);
        *self.users.lock().expect("no holder panics") = fresh.clone();
        fresh
    }

    fn remembered(&self, key: [u8; 32]) -> Arc<OnceCell<bool>> {
        let mut verified = self.verified.lock().expect("no holder panics");
        let now = Instant::now();
        if let Some(entry) = verified.get_mut(&key).filter(|entry| now - entry.at < REMEMBERED) {
            if entry.matches.get() == Some(&true) {
                entry.at = now;
            }
            return entry.matches.clone();
        }
        if verified.len() >= REMEMBERED_MAX {
            // Attempts that were given up left theirs: they must not push out what is known to be right.
            verified.retain(|_, entry| now - entry.at < REMEMBERED && entry.matches.get() == Some(&true));
        }
        if verified.len() >= REMEMBERED_MAX {
            verified.clear();
        }
        let entry = Verified { at: now, matches: Arc::default() };
        verified.insert(key, entry.clone());
        entry.matches
    }

    /// Names a password of a user under the present hash, so that a change of the file ends what is remembered.
    fn fingerprint(&self, user: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        for text in [user, password, hash] {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        hasher.finalize().into()
    }
}

impl Users {
    fn read(path: &Path) -> std::io::Result<Self> {
        let version = Version::of(path)?;
        let text = fs::read_to_string(path)?;
        let mut hashes = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((user, hash)) if is_bcrypt(hash) => {
                    hashes.insert(user.to_owned(), hash.to_owned());
                }
                Some(_) | None => {
                    warn!(line = number + 1, "a line of the password file is no user with a bcrypt hash: ignored");
                }
            }
        }
        let cost = hashes.values().filter_map(|hash| bcrypt_cost(hash)).max().unwrap_or(COST);
        // No password is known to have this hash, and it need not be computed.
        let [salt, hash] =
            [&rand::random::<[u8; 16]>()[..], &rand::random::<[u8; 32]>()[..23]].map(|b| bcrypt::BASE_64.encode(b));
        let stand_in = format!("$2b${cost:02}${salt}{hash}");
        Ok(Self { hashes: Arc::new(hashes), stand_in, version, looked: Instant::now() })
    }

    fn looked_again(&self) -> Self {
        let (hashes, stand_in) = (self.hashes.clone(), self.stand_in.clone());
        Self { hashes, stand_in, version: self.version, looked: Instant::now() }
    }
}

impl Version {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let (inode, changed) = (metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()));
        Ok(Self { inode, changed, modified: metadata.modified().ok(), bytes: metadata.len() })
    }
}

/// Whether it can be verified.
fn is_bcrypt(hash: &str) -> bool {
    hash.len() == 60 && hash.parse::<bcrypt::HashParts>().is_ok() && bcrypt_cost(hash).is_some()
}

/// The cost of a hash, if bcrypt knows such a one.
fn bcrypt_cost(hash: &str) -> Option<u32> {
    let cost = hash.get(4..6)?.parse().ok()?;
    (4..=31).contains(&cost).then_some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
    use std::io::Write;

    /// A line as `htpasswd -Bbn` prints it, with a low cost.
    fn line(user: &str, password: &str) -> String {
        let hash = bcrypt::hash_with_result(password, 4).unwrap().format_for_version(bcrypt::Version::TwoY);
        format!("{user}:{hash}\n")
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[tokio::test]
    async fn users_are_known_by_their_passwords() {
        let odd = format!("old:$apr1$x$y\n{}nothing\n", line("odd", "x").replace("$04$", "$99$"));
        let file = file(&format!("# users\n\n{}{}{odd}", line("ann", "se:crét"), line("bob", "")));
        let users = Htpasswd::open(file.path(), 2).unwrap();
        for (user, password, expected) in [
            ("ann", "se:crét", true),
            ("ann", "secret", false),
            ("ann", "", false),
            ("bob", "", true),
            ("old", "x", false),
            ("odd", "x", false),
            ("eve", "x", false),
            ("", "", false),
        ] {
            for _ in 0..2 {
                assert_eq!(users.verify(user, password, None).await.is_ok(), expected, "{user} {password}");
            }
        }
        assert_eq!(users.verified.lock().unwrap().len(), 2, "only what is right is remembered");
        assert!(Htpasswd::open(Path::new("/nowhere/htpasswd"), 2).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_counts_at_once() {
        let mut file = file(&line("ann", "one"));
        let users = Htpasswd::open(file.path(), 2).unwrap();
        assert!(users.verify("ann", "one", None).await.is_ok());
        file.as_file_mut().set_len(0).unwrap();
        std::fs::write(file.path(), format!("{}{}", line("ann", "two"), line("bob", "x"))).unwrap();
        tokio::time::advance(FRESH).await;
        assert!(users.verify("ann", "one", None).await.is_err());
        assert!(users.verify("ann", "two", None).await.is_ok() && users.verify("bob", "x", None).await.is_ok());
        drop(file);
        tokio::time::advance(FRESH).await;
        assert!(users.verify("ann", "two", None).await.is_ok(), "the last content goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replaced_file_of_the_same_length_and_time_counts() {
        let (old, new) = (file(&line("ann", "one")), file(&line("ann", "two")));
        let users = Htpasswd::open(old.path(), 2).unwrap();
        assert_eq!(users.verify("ann", "one", None).await, Ok(()));
        new.as_file().set_modified(old.as_file().metadata().unwrap().modified().unwrap()).unwrap();
        fs::rename(new.path(), old.path()).unwrap();
        tokio::time::advance(FRESH).await;
        assert_eq!(users.verify("ann", "one", None).await, Err(NotVerified::Wrong));
        assert_eq!(users.verify("ann", "two", None).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_in_use_needs_no_place_among_those_that_wait() {
        let file = file(&line("ann", "one"));
        let users = Htpasswd::open(file.path(), 1).unwrap();
        users.verify("ann", "one", None).await.unwrap();
        let _places = users.waiting.acquire_many(WAITING_MAX as u32).await.unwrap();
        for _ in 0..3 {
            tokio::time::advance(REMEMBERED * 2 / 3).await;
            assert_eq!(users.verify("ann", "one", None).await, Ok(()));
        }
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(users.verify("ann", "one", None).await, Err(NotVerified::Busy));
    }

    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_wrong_password() {
        let file = file(&line("ann", "one").replace("$04$", "$06$"));
        let users = Htpasswd::open(file.path(), 2).unwrap();
        let stand_in = users.users().await.stand_in.clone();
        assert!(stand_in.contains("$06$") && matches!(bcrypt::verify("x", &stand_in), Ok(false)), "{stand_in}");
    }

    #[tokio::test]
    async fn guesses_do_not_push_out_what_is_right() {
        let file = file(&line("ann", "one"));
        let users = Htpasswd::open(file.path(), 1).unwrap();
        users.verify("ann", "one", None).await.unwrap();
        let _places = users.waiting.acquire_many(WAITING_MAX as u32).await.unwrap();
        for guess in 0..=REMEMBERED_MAX {
            assert_eq!(users.verify("ann", &guess.to_string(), None).await, Err(NotVerified::Busy));
        }
        assert_eq!(users.verify("ann", "one", None).await, Ok(()));
    }

    #[tokio::test]
    async fn one_password_sent_many_times_at_once_is_one_attempt() {
        let file = file(&line("ann", "one"));
        let users = Htpasswd::open(file.path(), 1).unwrap();
        let turn = users.verifying.acquire().await.unwrap();
        let right = (0..2 * WAITING_MAX).map(|_| users.verify("ann", "one", None));
        let wrong = (0..2 * WAITING_MAX).map(|_| users.verify("ann", "two", None));
        let free = async { drop(turn) };
        let (right, wrong, ()) =
            tokio::join!(futures_util::future::join_all(right), futures_util::future::join_all(wrong), free);
        assert!(right.iter().all(|result| *result == Ok(())), "{right:?}");
        assert!(wrong.iter().all(|result| *result == Err(NotVerified::Wrong)), "{wrong:?}");
        assert_eq!(users.delays.of("ann", None), Duration::ZERO, "one failure, not {}", wrong.len());
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_many_passwords_at_once_waits_all_the_same() {
        let file = file(&line("ann", "one"));
        let users = Htpasswd::open(file.path(), 1).unwrap();
        (0..10).for_each(|_| users.delays.failed("ann", None));
        (0..10).for_each(|_| users.delays.failed("bob", None));
        let guesses: Vec<_> = (0..WAITING_MAX).map(|n| n.to_string()).collect();
        let guesses = guesses.iter().map(|guess| users.verify("ann", guess, None));
        let (guesses, bob) = tokio::join!(futures_util::future::join_all(guesses), users.verify("bob", "x", None));
        assert_eq!(bob, Err(NotVerified::Wrong), "not pushed out by those who guess for another");
        assert_eq!(guesses.iter().filter(|guess| **guess == Err(NotVerified::Wrong)).count(), 8);
        assert!(guesses.iter().all(|guess| matches!(guess, Err(NotVerified::Wrong | NotVerified::Busy))));
    }

    #[tokio::test]
    async fn attempts_that_wait_are_bounded() {
        let file = file(&line("ann", "one"));
        let users = Htpasswd::open(file.path(), 1).unwrap();
        let places = users.waiting.acquire_many(WAITING_MAX as u32).await.unwrap();
        assert_eq!(users.verify("ann", "one", None).await, Err(NotVerified::Busy));
        drop(places);
        let _turn = users.verifying.acquire().await.unwrap();
        let more = 9;
        let mut asked: FuturesUnordered<_> = (0..ASKING_MAX + more).map(|_| users.verify("ann", "two", None)).collect();
        for _ in 0..more {
            assert_eq!(asked.next().await, Some(Err(NotVerified::Busy)));
        }
        assert_eq!(asked.next().now_or_never(), None, "the others wait");
    }
}
