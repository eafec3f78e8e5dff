//! A repository that is deleted and drained in small steps, while others push to its name again and mount what is in it.

use super::*;

#[derive(Clone)]
pub(in super::super) struct Repositories;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum RepositoriesAct {
    Push,
    Put,
    /// Into another repository.
    Mount,
    Delete,
    Drain,
    Collect,
}

const W: u64 = 1;
const DIGEST: u8 = 1;
const OTHER: u8 = 60;

/// Each repository of the name has an id of its own.
fn home(world: &World) -> Bytes {
    id(50 + world.at("delete"))
}

impl Scene for Repositories {
    type Act = RepositoriesAct;
    const GOALS: &'static [&'static str] = &["push", "expiry", "drained"];
    const UNTIL: u64 = 3;
    const DELAYS: wire::GcDelays = wire::GcDelays {
        grace_ms: W + 1,
        promise_ms: W,
        delete_ms: 1,
        sweep_ms: 1,
        hour_ms: 100,
        untagged_ms: 0,
        breaker_permille: 1_000,
        breaker_floor: 100,
    };

    fn begin(&self, _: &mut World) {}

    fn acts(&self, world: &World, _: Broken, acts: &mut Vec<RepositoriesAct>) {
        let linked = world.has(Table::Link, &[&home(world), &stored(DIGEST)]);
        let choices = [
            (RepositoriesAct::Push, world.at("push") < 2),
            (RepositoriesAct::Put, linked && world.at("put") < 2),
            (RepositoriesAct::Mount, linked && world.at("mount") < 1),
            (RepositoriesAct::Delete, linked && world.at("delete") < 2),
            (RepositoriesAct::Drain, !world.is_empty(Table::Draining)),
            (RepositoriesAct::Collect, !world.is_empty(Table::LinkDue)),
        ];
        acts.extend(choices.into_iter().filter_map(|(act, can)| can.then_some(act)));
    }

    fn act(&self, world: &mut World, broken: Broken, act: &RepositoriesAct) {
        let home = home(world);
        let promise = |world: &mut World, repository: Bytes| {
            let until = world.mono() + W;
            world.promises.insert((repository, stored(DIGEST)), until);
        };
        match act {
            RepositoriesAct::Push => {
                let n = world.at("push");
                world.step("push");
                let key = format!("0/{n}");
                world.store.insert(key.clone(), DIGEST);
                world.apply(broken, open_session(n, 100));
                let mut commit = commit(n, 0, Some(wire::Segment { key, length: 1 }), DIGEST);
                if let Command::CommitBlob(commit) = &mut commit {
                    commit.new_repository_id = home.clone();
                }
                if let Outcome::BlobCommitted(_) = world.apply(broken, commit) {
                    promise(world, home);
                }
            }
            RepositoriesAct::Put => {
                world.step("put");
                if let Outcome::ManifestPut(_) = world.apply(broken, manifest(10, &[DIGEST], &[], None, &["v1"])) {
                    world.reached.insert("push");
                }
            }
            RepositoriesAct::Mount => {
                world.step("mount");
                let (from, to, digest) = (Some(name(0)), name(1), stored(DIGEST));
                let mount = wire::MountBlob { from, to, digest, new_repository_id: id(OTHER) };
                if let Outcome::BlobMounted(_) = world.apply(broken, Command::MountBlob(mount)) {
                    promise(world, id(OTHER));
                }
            }
            RepositoriesAct::Delete => {
                let delete = wire::DeleteRepository { repository: name(0) };
                if let Outcome::Done(_) = world.apply(broken, Command::DeleteRepository(delete)) {
                    world.step("delete");
                    // Whoever deletes a repository takes back what was promised in it.
                    world.promises.retain(|(repository, _), _| *repository != home);
                }
            }
            RepositoriesAct::Drain => {
                let draining = records::scan(&world.tables, Table::Draining, &[], 1).expect("readable");
                let repository_id = Bytes::copy_from_slice(&draining[0].0[1..]);
                let drain = wire::DrainRepository { repository_id, limit: 1 };
                world.apply(broken, Command::DrainRepository(drain));
                if world.is_empty(Table::Draining) {
                    world.reached.insert("drained");
                }
            }
            RepositoriesAct::Collect => {
                let collect = Command::Collect(wire::Collect { limit: 9, links: vec![] });
                if let Outcome::Collected(wire::Collected { links: 1.., .. }) = world.apply(broken, collect) {
                    world.reached.insert("expiry");
                }
            }
        }
    }
}
