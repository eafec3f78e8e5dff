//! Two indexes that list the same manifest, and a signature of one of them: deleted and put back, while collection works or is
//! paused. What is put back within the grace, or in a pause that began within it, finds all that belongs to it.

use super::*;

#[derive(Clone)]
pub(in super::super) struct Trash;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum TrashAct {
    Delete(usize),
    Undelete(usize),
    Pause,
    Resume,
    Sweep,
    Collect,
    Purge,
}

const G: u8 = 2;
const BLOB: u8 = 1;
const CHILD: u8 = 10;
const INDEXES: [u8; 2] = [11, 12];
const SIGNATURE: u8 = 13;
/// When the grace of a deleted index ends, and whether collection is paused since before that.
const ENDS: [&str; 2] = ["first ends", "second ends"];
const KEPT: [&str; 2] = ["first kept", "second kept"];
const DELETED: [&str; 2] = ["first deleted", "second deleted"];

fn has(world: &World, d: u8) -> bool {
    world.has(Table::Manifest, &[&id(50), &stored(d)])
}

fn paused(world: &World) -> bool {
    world.at("paused") > 0
}

fn within_grace(world: &World, n: usize) -> bool {
    u64::from(world.at(ENDS[n])) > world.mono()
}

impl Scene for Trash {
    type Act = TrashAct;
    const GOALS: &'static [&'static str] = &["put back", "expiry"];
    const UNTIL: u64 = 4;
    const DELAYS: wire::GcDelays = wire::GcDelays {
        grace_ms: G as u64,
        promise_ms: 1,
        delete_ms: 1,
        sweep_ms: 1,
        hour_ms: 100,
        untagged_ms: 0,
        breaker_permille: 1_000,
        breaker_floor: 100,
    };

    fn begin(&self, world: &mut World) {
        let whole = Broken::default();
        world.store.insert("0/a".to_owned(), BLOB);
        world.apply(whole, open_session(1, 100));
        world.apply(whole, commit(1, 0, Some(wire::Segment { key: "0/a".to_owned(), length: 1 }), BLOB));
        world.apply(whole, manifest(CHILD, &[BLOB], &[], None, &[]));
        for (index, tag) in INDEXES.into_iter().zip(["first", "second"]) {
            world.apply(whole, manifest(index, &[], &[CHILD], None, &[tag]));
        }
        world.apply(whole, manifest(SIGNATURE, &[], &[], Some(INDEXES[0]), &[]));
    }

    fn acts(&self, world: &World, _: Broken, acts: &mut Vec<TrashAct>) {
        for (n, index) in INDEXES.into_iter().enumerate() {
            // The first one twice: what was put back may be deleted again.
            let most = [2, 1][n];
            let choices = [
                (TrashAct::Delete(n), has(world, index) && world.at(DELETED[n]) < most),
                (TrashAct::Undelete(n), !has(world, index)),
            ];
            acts.extend(choices.into_iter().filter_map(|(act, can)| can.then_some(act)));
        }
        acts.extend(match (paused(world), world.at("pauses")) {
            (true, _) => Some(TrashAct::Resume),
            (false, 0) => Some(TrashAct::Pause),
            (false, _) => None,
        });
        acts.extend([TrashAct::Sweep, TrashAct::Collect, TrashAct::Purge]);
    }

    fn act(&self, world: &mut World, broken: Broken, act: &TrashAct) {
        let set_mode = |world: &mut World, mode: wire::GcMode| {
            world.apply(broken, Command::SetGcMode(wire::SetGcMode { mode: mode.into(), reason: String::new() }));
        };
        match act {
            TrashAct::Delete(n) => {
                world.step(DELETED[*n]);
                let ends = u8::try_from(world.mono()).expect("a short scene") + G;
                world.at.insert(ENDS[*n], ends);
                if paused(world) {
                    world.at.insert(KEPT[*n], 1);
                }
                if *n == 0 {
                    world.at.insert("signed", u8::from(has(world, SIGNATURE)));
                }
                world.apply(broken, delete_manifest(INDEXES[*n]));
            }
            TrashAct::Undelete(n) => {
                let promised = within_grace(world, *n) || world.at(KEPT[*n]) > 0;
                let (repository, digest) = (name(0), stored(INDEXES[*n]));
                let undelete = wire::UndeleteManifest { repository, digest, tags_max: 9 };
                let back = matches!(world.apply(broken, Command::UndeleteManifest(undelete)), Outcome::Undeleted(_));
                let signed = has(world, SIGNATURE) || world.at("signed") == 0;
                let whole = back && has(world, CHILD) && (*n > 0 || signed);
                if promised && !whole {
                    world.broken.insert("undelete");
                }
                if back {
                    world.reached.insert("put back");
                    world.at.remove(ENDS[*n]);
                    world.at.remove(KEPT[*n]);
                }
            }
            TrashAct::Pause => {
                world.step("pauses");
                world.step("paused");
                for n in (0..INDEXES.len()).filter(|n| within_grace(world, *n)).collect::<Vec<_>>() {
                    world.at.insert(KEPT[n], 1);
                }
                set_mode(world, wire::GcMode::Paused);
            }
            TrashAct::Resume => {
                for flag in ["paused", KEPT[0], KEPT[1]] {
                    world.at.remove(flag);
                }
                set_mode(world, wire::GcMode::On);
            }
            TrashAct::Sweep => {
                let sweep = wire::SweepManifests { limit: 9, untagged: false };
                world.apply(broken, Command::SweepManifests(sweep));
            }
            TrashAct::Collect => {
                let collect = wire::Collect { limit: 9, links: vec![] };
                if let Outcome::Collected(wire::Collected { links: 1.., .. }) =
                    world.apply(broken, Command::Collect(collect))
                {
                    world.reached.insert("expiry");
                }
            }
            TrashAct::Purge => drop(world.apply(broken, Command::PurgeTrash(wire::PurgeTrash { limit: 9 }))),
        }
    }
}
