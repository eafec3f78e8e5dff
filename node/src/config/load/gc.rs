//! Section `gc`.

use super::Reader;
use crate::config::Gc;
use serde_json::Value;
use std::time::Duration;

/// What a node may serve without a leader is at most so old.
const STALENESS: Duration = Duration::from_secs(4 * 3600);
/// Life of a URL of the store.
const URL_LIFE: Duration = Duration::from_secs(15 * 60);
/// The longest download that the deletion of its blob does not cut off.
const TRANSFER: Duration = Duration::from_secs(19 * 3600);
/// A request that was signed is taken by the store for so long (Garage).
const SIGNATURE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest request body, and what a write to the store may take after it.
const UPLOAD: Duration = Duration::from_secs(20 * 3600);
/// A node writes to the store only if what it knows is younger; a quarter of `sweepdelay` if that is less.
const FRESHNESS: Duration = Duration::from_secs(30);

/// A relation between delays that does not hold.
struct Violation {
    key: &'static str,
    problem: String,
    fix: &'static str,
}

impl Reader {
    pub(super) fn gc(&self) -> Gc {
        let default = Gc::default();
        let untagged = self.set("gc.deleteuntagged").filter(|value| **value != Value::Bool(false)).is_some();
        let (breaker_permille, breaker_floor) = self.breaker();
        let gc = Gc {
            grace: self.duration("gc.grace", default.grace),
            promise: self.duration("gc.promise", default.promise),
            delete_delay: self.duration("gc.deletedelay", default.delete_delay),
            sweep_delay: self.duration("gc.sweepdelay", default.sweep_delay),
            delete_untagged: untagged.then(|| self.duration("gc.deleteuntagged", default.grace)),
            breaker_permille,
            breaker_floor,
            rate: self.count("gc.rate", default.rate),
            rehash: self.rehash(),
            recount: self.recount(default.recount),
            scrub: self.count("gc.scrub", default.scrub),
            unsafe_delays: self.boolean("gc.unsafedelays", false),
        };
        let delays =
            [("gc.promise", gc.promise), ("gc.deletedelay", gc.delete_delay), ("gc.sweepdelay", gc.sweep_delay)];
        for (key, delay) in delays {
            if delay < Duration::from_millis(1) {
                self.mistake(key, "it must not be zero", "write a duration, like `24h`");
            }
        }
        if gc.promise >= gc.grace {
            let problem = "what a client is told exists would be collected before the promise ends";
            self.mistake("gc.promise", problem, "make it shorter than `gc.grace`");
        }
        if gc.delete_untagged.is_some_and(|untagged| untagged < gc.grace) {
            self.mistake("gc.deleteuntagged", "it is shorter than `gc.grace`", "write at least `gc.grace`");
        }
        for Violation { key, problem, fix } in violations(&gc) {
            match gc.unsafe_delays {
                true => self.notice(key, format!("unsafe: {problem}")),
                false => self.mistake(key, problem, fix),
            }
        }
        gc
    }

    /// `24h`, or `off`.
    fn recount(&self, default: Option<Duration>) -> Option<Duration> {
        if self.text("gc.recount").is_some_and(|text| text == "off" || text == "false") {
            return None;
        }
        Some(self.duration("gc.recount", default.unwrap_or_default())).filter(|every| !every.is_zero())
    }

    /// `10MiB`, or `off`.
    fn rehash(&self) -> Option<u64> {
        let text = self.text("gc.rehash").filter(|text| text != "off" && text != "false")?;
        let rate = size(&text).filter(|rate| *rate > 0);
        if rate.is_none() {
            self.mistake("gc.rehash", "expected a size", "write what may be read in a second, like `10MiB`, or `off`");
        }
        rate
    }

    /// `10%,50GiB`, one of both, or `off`.
    fn breaker(&self) -> (u32, u64) {
        let Gc { breaker_permille: share_default, breaker_floor: floor_default, .. } = Gc::default();
        let text = self.text_or("gc.breaker", "10%,50GiB");
        if text == "off" || text == "false" {
            return (1_000, u64::MAX);
        }
        let (mut share, mut floor) = (None, None);
        for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
            let percent = part.strip_suffix('%').and_then(|percent| percent.parse::<u32>().ok());
            match (percent.filter(|percent| *percent <= 100), size(part)) {
                (Some(percent), _) if share.is_none() => share = Some(percent * 10),
                (None, Some(bytes)) if floor.is_none() => floor = Some(bytes),
                _ => {
                    let fix = "write a share of the stored bytes and a size, like `10%,50GiB`, or `off`";
                    self.mistake("gc.breaker", "expected a share and a size", fix);
                    return (share_default, floor_default);
                }
            }
        }
        (share.unwrap_or(0), floor.unwrap_or(if share.is_some() { 0 } else { floor_default }))
    }
}

/// What the delays must leave room for.
fn violations(gc: &Gc) -> Vec<Violation> {
    let mut found = Vec::new();
    if gc.promise < gc.grace && gc.promise + STALENESS >= gc.grace {
        let problem = format!(
            "a node without a leader tells of what was deleted up to {} before: with that it does not end before `gc.grace`",
            hours(STALENESS)
        );
        let fix = "make it shorter than `gc.grace` by more than that, or set `gc.unsafedelays`";
        found.push(Violation { key: "gc.promise", problem, fix });
    }
    let readers = STALENESS + URL_LIFE + TRANSFER;
    if gc.delete_delay < readers {
        let problem = format!("readers may hold what is deleted after it: it is less than {}", hours(readers));
        found.push(Violation { key: "gc.deletedelay", problem, fix: "write `24h`, or set `gc.unsafedelays`" });
    }
    let writers = FRESHNESS.min(gc.sweep_delay / 4) + SIGNATURE_LIFE + UPLOAD;
    if gc.sweep_delay <= writers {
        let problem = format!("late writes may reach the store after it: it is not more than {}", hours(writers));
        found.push(Violation { key: "gc.sweepdelay", problem, fix: "write `48h`, or set `gc.unsafedelays`" });
    }
    found
}

fn hours(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    format!("{}h{}m", minutes / 60, minutes % 60)
}

/// Bytes as `50GiB`.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
