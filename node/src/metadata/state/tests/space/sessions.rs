//! One upload in chunks, written by two handlers, and retries of everything; a tag that is moved twice by requests that may be
//! delivered again.

use super::*;

#[derive(Clone)]
pub(in super::super) struct Sessions;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum SessionsAct {
    /// A chunk of a handler that read offset 0.
    Chunk,
    /// The commit of a handler that read offset 0, too.
    Commit,
    Cancel,
    /// The first and the second move of the tag, by number; any of them may come again.
    Move(u8),
    Again(u8),
}

const DIGEST: u8 = 2;

fn tag(world: &World) -> Option<wire::Tag> {
    records::get(&world.tables, &key(Table::Tag, &[&id(50), b"v1"])).expect("readable")
}

fn request(n: u8) -> Bytes {
    id(200 + n)
}

impl Scene for Sessions {
    type Act = SessionsAct;
    const GOALS: &'static [&'static str] = &["push", "retry"];
    const UNTIL: u64 = 3;
    const DELAYS: wire::GcDelays = wire::GcDelays {
        grace_ms: 50,
        promise_ms: 40,
        delete_ms: 1,
        sweep_ms: 100,
        hour_ms: 100,
        untagged_ms: 0,
        breaker_permille: 1_000,
        breaker_floor: 100,
    };

    fn begin(&self, world: &mut World) {
        world.apply(Broken::default(), open_session(1, 100));
        world.store.extend([("0/chunk".to_owned(), 1), ("0/whole".to_owned(), DIGEST)]);
    }

    fn acts(&self, world: &World, _: Broken, acts: &mut Vec<SessionsAct>) {
        let moves = world.at("moves");
        let choices = [
            (SessionsAct::Chunk, world.at("chunk") == 0),
            (SessionsAct::Commit, world.at("commit") < 3),
            (SessionsAct::Cancel, world.at("cancel") == 0),
            (SessionsAct::Move(moves), moves < 2),
            (SessionsAct::Again(0), moves > 0),
            (SessionsAct::Again(1), moves > 1),
        ];
        acts.extend(choices.into_iter().filter_map(|(act, can)| can.then_some(act)));
    }

    fn act(&self, world: &mut World, broken: Broken, act: &SessionsAct) {
        match act {
            SessionsAct::Chunk => {
                world.step("chunk");
                let segment = Some(wire::Segment { key: "0/chunk".to_owned(), length: 1 });
                let (session_id, idle_ms) = (id(1), 100);
                let chunk = wire::RecordChunk { session_id, from: 0, segment, idle_ms, ..Default::default() };
                world.apply(broken, Command::RecordChunk(chunk));
            }
            SessionsAct::Commit => {
                // Each try is another request, with an object of its own.
                let n = world.at("commit");
                world.step("commit");
                let key = if n == 0 { "0/whole".to_owned() } else { format!("0/whole {n}") };
                world.store.insert(key.clone(), DIGEST);
                let segment = wire::Segment { key, length: 1 };
                let committed = matches!(
                    world.apply(broken, commit(1, 0, Some(segment), DIGEST)),
                    Outcome::BlobCommitted(wire::BlobCommitted { existed: false, .. })
                );
                match (committed, world.at("committed")) {
                    (true, 0) => {
                        world.reached.insert("push");
                        world.at.insert("committed", 1);
                    }
                    (true, _) => drop(world.reached.insert("retry")),
                    (false, 0) => {}
                    // It was told once that the upload is a blob.
                    (false, _) => drop(world.broken.insert("S8")),
                }
            }
            SessionsAct::Cancel => {
                world.step("cancel");
                let cancel = wire::CancelSession { session_id: id(1), repository: name(0) };
                world.apply(broken, Command::CancelSession(cancel));
            }
            SessionsAct::Move(n) => {
                world.step("moves");
                world.apply_as(broken, request(*n), manifest(10 + n, &[], &[], None, &["v1"]));
            }
            SessionsAct::Again(n) => {
                let before = tag(world);
                world.apply_as(broken, request(*n), manifest(10 + n, &[], &[], None, &["v1"]));
                if tag(world) != before {
                    world.broken.insert("S9");
                }
            }
        }
    }
}
