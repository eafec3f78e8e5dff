//! An upload whose write reaches the store late, perhaps after its session ended, and the sweep of its hour.

use super::*;

#[derive(Clone)]
pub(in super::super) struct Sweeps;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum SweepsAct {
    Write,
    Commit,
    Expire,
    Unlink,
    Start,
    Delete,
    /// Lists the hour and looks every key up …
    List,
    /// … deletes what is not recorded, and says so.
    Sweep,
}

const Z: u64 = 2;
const DIGEST: u8 = 1;
const KEYS: [&str; 2] = ["0/0", "0/1"];

/// When the session ended, if it did.
fn ended(world: &World) -> Option<u64> {
    let ended = world.tables.get(&key(Table::Ended, &[&id(1)]))?;
    Some(records::decode::<wire::Ended>(b"ended", ended.clone()).expect("a record").at_mono)
}

impl Scene for Sweeps {
    type Act = SweepsAct;
    const GOALS: &'static [&'static str] = &["push", "expiry", "reclaim", "late write swept"];
    const UNTIL: u64 = 7;
    const DELAYS: wire::GcDelays = wire::GcDelays {
        grace_ms: 50,
        promise_ms: 40,
        delete_ms: 1,
        sweep_ms: Z,
        hour_ms: 1,
        untagged_ms: 0,
        breaker_permille: 1_000,
        breaker_floor: 100,
    };

    fn begin(&self, world: &mut World) {
        world.apply(Broken::default(), open_session(1, 2));
    }

    /// What was signed before the session ended may land a little later, but not for ever.
    fn may_land(&self, world: &World) -> bool {
        ended(world).is_none_or(|ended| world.mono() < ended + Z)
    }

    fn acts(&self, world: &World, _: Broken, acts: &mut Vec<SweepsAct>) {
        let open = world.has(Table::Session, &[&id(1)]);
        let writes = world.at("write");
        let written = writes > 0 && world.store.contains_key(KEYS[0]);
        let choices = [
            // A second write: of a handler whose client went away.
            (SweepsAct::Write, open && writes < 2),
            (SweepsAct::Commit, open && written),
            (SweepsAct::Expire, open),
            (SweepsAct::Unlink, world.has(Table::Link, &[&id(50), &stored(DIGEST)])),
            (SweepsAct::Start, !world.is_empty(Table::Condemned) || !world.is_empty(Table::Garbage)),
            (SweepsAct::Delete, !world.deleting().is_empty()),
            (SweepsAct::List, world.at("listed") == 0 && ended(world).is_some()),
            (SweepsAct::Sweep, world.at("listed") > 0),
        ];
        acts.extend(choices.into_iter().filter_map(|(act, can)| can.then_some(act)));
    }

    fn act(&self, world: &mut World, broken: Broken, act: &SweepsAct) {
        match act {
            SweepsAct::Write => {
                let n = world.at("write");
                world.step("write");
                world.send((KEYS[usize::from(n)].to_owned(), Some(DIGEST)));
            }
            SweepsAct::Commit => {
                let segment = wire::Segment { key: KEYS[0].to_owned(), length: 1 };
                world.apply(broken, commit(1, 0, Some(segment), DIGEST));
                world.reached.insert("push");
            }
            SweepsAct::Expire => {
                let expire = wire::ExpireSessions { session_ids: vec![id(1)] };
                if world.apply(broken, Command::ExpireSessions(expire)) == Outcome::Done(wire::Done { count: 1 }) {
                    world.reached.insert("expiry");
                }
            }
            SweepsAct::Unlink => {
                let (repository, digest) = (name(0), stored(DIGEST));
                world.apply(broken, Command::DeleteBlobLink(wire::DeleteBlobLink { repository, digest }));
            }
            SweepsAct::Start => drop(world.apply(broken, Command::StartDelete(wire::StartDelete { limit: 9 }))),
            SweepsAct::Delete => {
                let keys = world.deleting();
                if broken.worker != Some(Careless::ReportsUnnamed) {
                    world.store.retain(|key, _| !keys.contains(key));
                }
                world.apply(broken, Command::DeletesDone(wire::DeletesDone { keys }));
                if world.store.is_empty() && world.is_empty(Table::Object) {
                    world.reached.insert("reclaim");
                }
            }
            SweepsAct::List => {
                // A worker sweeps what the state calls due, by the delay that the state knows.
                let short = u64::from(broken.rule == Some(Mutant::ShortSweep));
                if ended(world).is_some_and(|ended| ended + Z - short <= world.mono()) {
                    world.at.insert("listed", 1);
                    for (n, key) in KEYS.iter().enumerate() {
                        let live = broken.worker == Some(Careless::SweepsLive);
                        if world.store.contains_key(*key) && (live || !world.known.contains(*key)) {
                            world.at.insert(["stray 0", "stray 1"][n], 1);
                        }
                    }
                }
            }
            SweepsAct::Sweep => {
                world.at.remove("listed");
                let unseen = broken.worker == Some(Careless::SweepsUnseen);
                for (n, stray) in ["stray 0", "stray 1"].into_iter().enumerate() {
                    if world.at.remove(stray).is_some() && !unseen {
                        world.store.remove(KEYS[n]);
                        world.reached.insert("late write swept");
                    }
                }
                world.apply(broken, Command::HoursSwept(wire::HoursSwept { hours: vec![0] }));
            }
        }
    }
}
