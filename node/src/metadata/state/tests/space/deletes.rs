//! Readers of a blob that is deleted, pushed again, damaged and healed, while deletes reach the store late and twice.

use super::*;

#[derive(Clone)]
pub(in super::super) struct Deletes;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum DeletesAct {
    Push,
    Read,
    Unlink,
    /// The object is lost behind our back …
    Lose,
    /// … and that is said once more, perhaps when it is healed.
    Mark,
    Start,
    /// A node sends deletes for what is `Deleting`.
    Take,
    /// It reports what the store named as gone.
    Report,
    /// A report that was made up.
    MakeUp,
}

const D: u64 = 2;
const DIGEST: u8 = 1;

fn key_of(push: u8, broken: Broken) -> String {
    let push = if broken.worker == Some(Careless::ReusesKeys) { 0 } else { push };
    format!("0/{push}")
}

impl Scene for Deletes {
    type Act = DeletesAct;
    const GOALS: &'static [&'static str] = &["push", "reclaim", "swap"];
    const UNTIL: u64 = 5;
    const DELAYS: wire::GcDelays = wire::GcDelays {
        grace_ms: 50,
        promise_ms: 40,
        delete_ms: D,
        sweep_ms: 100,
        hour_ms: 100,
        untagged_ms: 0,
        breaker_permille: 1_000,
        breaker_floor: 100,
    };

    fn begin(&self, _: &mut World) {}

    fn acts(&self, world: &World, broken: Broken, acts: &mut Vec<DeletesAct>) {
        let linked = world.has(Table::Link, &[&id(50), &stored(DIGEST)]);
        let suspect = world.cluster().suspects > 0;
        let deleting = world.deleting();
        let gone = deleting.iter().any(|key| world.at("deleted") > 0 && !world.store.contains_key(key));
        let choices = [
            (DeletesAct::Push, world.at("push") < 2),
            (DeletesAct::Read, linked && !suspect && world.readers.is_empty()),
            (DeletesAct::Unlink, linked && world.at("unlink") < 2),
            (DeletesAct::Lose, linked && !suspect && world.at("lose") == 0 && world.readers.is_empty()),
            (DeletesAct::Mark, world.at("lose") > 0 && world.at("mark") == 0),
            (DeletesAct::Start, !world.is_empty(Table::Condemned) || !world.is_empty(Table::Garbage)),
            (DeletesAct::Take, !deleting.is_empty() && world.flights.is_empty()),
            (DeletesAct::Report, gone),
            (DeletesAct::MakeUp, broken.rule == Some(Mutant::DeletesDoneUnasked)),
        ];
        acts.extend(choices.into_iter().filter_map(|(act, can)| can.then_some(act)));
    }

    fn act(&self, world: &mut World, broken: Broken, act: &DeletesAct) {
        let live = |world: &World| -> Option<(Bytes, String)> {
            let blob = world.view().blob_anywhere(&digest(DIGEST)).expect("read")?;
            let segments = world.view().segments(&blob.segment_list, blob.segments).expect("read");
            Some((blob.segment_list, segments.first()?.key.clone()))
        };
        match act {
            DeletesAct::Push => {
                let n = world.at("push");
                world.step("push");
                let key = key_of(n, broken);
                world.store.insert(key.clone(), DIGEST);
                let healed = world.cluster().suspects > 0;
                world.apply(broken, open_session(n, 100));
                world.apply(broken, commit(n, 0, Some(wire::Segment { key, length: 1 }), DIGEST));
                world.reached.insert(if healed { "swap" } else { "push" });
            }
            DeletesAct::Read => {
                if let Some((_, key)) = live(world) {
                    // A stream may be handed out for as long as the delay leaves.
                    let until = world.mono() + D - 1;
                    world.readers.insert(key, until);
                }
            }
            DeletesAct::Unlink => {
                world.step("unlink");
                let (repository, digest) = (name(0), stored(DIGEST));
                world.apply(broken, Command::DeleteBlobLink(wire::DeleteBlobLink { repository, digest }));
            }
            DeletesAct::Lose => {
                if let Some((segment_list, key)) = live(world) {
                    world.step("lose");
                    world.store.remove(&key);
                    // Noticed at once: what is missing meanwhile is no business of the metadata.
                    let digest = stored(DIGEST);
                    world.apply(broken, Command::MarkSuspect(wire::MarkSuspect { digest, segment_list }));
                }
            }
            DeletesAct::Mark => {
                // A mark that comes late: of the segments that were lost, not of those that replaced them.
                world.step("mark");
                let mark = wire::MarkSuspect { digest: stored(DIGEST), segment_list: id(0) };
                world.apply(broken, Command::MarkSuspect(mark));
            }
            DeletesAct::Start => {
                if broken.worker == Some(Careless::DeletesEarly) {
                    let segments = records::scan(&world.tables, Table::Condemned, &[], 1).expect("read");
                    for (entry, _) in segments {
                        for segment in world.view().segments(&entry[9..], 1).expect("read") {
                            world.store.remove(&segment.key);
                        }
                    }
                }
                world.apply(broken, Command::StartDelete(wire::StartDelete { limit: 9 }));
            }
            DeletesAct::Take => {
                world.at.insert("deleted", 0);
                world.deleting().into_iter().for_each(|key| world.send((key, None)));
            }
            DeletesAct::Report => {
                let keys = world.deleting().into_iter().filter(|key| !world.store.contains_key(key)).collect();
                world.apply(broken, Command::DeletesDone(wire::DeletesDone { keys }));
                if world.store.is_empty() && world.is_empty(Table::Object) && world.is_empty(Table::Blob) {
                    world.reached.insert("reclaim");
                }
            }
            DeletesAct::MakeUp => {
                let keys = world.recorded().collect();
                world.apply(broken, Command::DeletesDone(wire::DeletesDone { keys }));
            }
        }
    }
}
