//! An index and what it lists, in a cycle through its subject, below another index; they are asked for, deleted and swept.

use super::*;

#[derive(Clone)]
pub(in super::super) struct Manifests;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum ManifestsAct {
    Put,
    /// The listed one gets a tag, and so holds the index that refers to it.
    TagChild,
    Delete,
    Untag(&'static str),
    Head(u8),
    Touch(u8),
    Sweep(bool),
}

const W: u64 = 1;
/// The listed one, the index that lists it and refers to it, the index above, which has a tag.
const CHILD: u8 = 10;
const INDEX: u8 = 11;
const ROOT: u8 = 12;

fn has(world: &World, d: u8) -> bool {
    world.has(Table::Manifest, &[&id(50), &stored(d)])
}

fn tagged(world: &World, d: u8) -> bool {
    !records::scan(&world.tables, Table::TagOf, &[&id(50), &stored(d)], 1).expect("readable").is_empty()
}

/// What a tag reaches, downwards and to referrers.
fn held(world: &World) -> Vec<u8> {
    let (root, child) = (tagged(world, ROOT), tagged(world, CHILD));
    let index = has(world, INDEX) && (root || child);
    [(ROOT, root), (INDEX, index), (CHILD, child || index && has(world, CHILD))]
        .into_iter()
        .filter_map(|(d, held)| held.then_some(d))
        .collect()
}

impl Scene for Manifests {
    type Act = ManifestsAct;
    const GOALS: &'static [&'static str] = &["push", "cycle gone"];
    const UNTIL: u64 = 6;
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

    fn begin(&self, world: &mut World) {
        world.apply(Broken::default(), manifest(CHILD, &[], &[], None, &[]));
        world.apply(Broken::default(), manifest(INDEX, &[], &[CHILD], Some(CHILD), &[]));
    }

    fn acts(&self, world: &World, _: Broken, acts: &mut Vec<ManifestsAct>) {
        if world.at("root") == 0 {
            acts.push(ManifestsAct::Put);
        }
        // One promise, at whatever time, to keep the scene small.
        if world.promises.is_empty() {
            acts.extend([ManifestsAct::Head(CHILD), ManifestsAct::Head(INDEX)]);
        }
        if let touch @ 1.. = world.at("touch") {
            acts.push(ManifestsAct::Touch(touch));
        }
        acts.extend([ManifestsAct::Sweep(false), ManifestsAct::Sweep(true)]);
        if world.at("tag") == 0 && has(world, CHILD) {
            acts.push(ManifestsAct::TagChild);
        }
        if world.at("delete") < 2 {
            acts.extend([ManifestsAct::Delete, ManifestsAct::Untag("root"), ManifestsAct::Untag("child")]);
        }
    }

    fn act(&self, world: &mut World, broken: Broken, act: &ManifestsAct) {
        let promise = |world: &mut World, d: u8| {
            let until = world.mono() + W;
            world.promises.insert((id(50), stored(d)), until);
        };
        match act {
            ManifestsAct::Put => {
                let put = manifest(ROOT, &[], &[INDEX], None, &["root"]);
                if let Outcome::ManifestPut(_) = world.apply(broken, put) {
                    world.step("root");
                    world.reached.insert("push");
                }
            }
            ManifestsAct::TagChild => {
                world.step("tag");
                world.apply(broken, manifest(CHILD, &[], &[], None, &["child"]));
            }
            ManifestsAct::Delete => {
                if has(world, ROOT) {
                    world.step("delete");
                    world.apply(broken, delete_manifest(ROOT));
                }
            }
            ManifestsAct::Untag(tag) => {
                let untag = wire::DeleteTag { repository: name(0), tag: (*tag).to_owned(), expect: None };
                if let Outcome::Done(_) = world.apply(broken, Command::DeleteTag(untag)) {
                    world.step("delete");
                }
            }
            ManifestsAct::Head(d) => {
                let view = world.view();
                let Some(repository) = view.repository(&name(0).parse().expect("name")).expect("read") else { return };
                let Some(manifest) = view.manifest(repository.id, &digest(*d)).expect("read") else { return };
                let ahead = std::time::Duration::ZERO;
                let must = view.manifest_must_renew(&manifest, ahead).expect("read");
                // A node asks the same question as the state machine, broken or not.
                let exactly = match manifest.waits {
                    Some(wire::manifest::Waits::LostMono(at)) => at == world.mono() + W,
                    Some(wire::manifest::Waits::UntaggedMono(since)) => since + W + 1 == world.mono() + W,
                    None => false,
                };
                if must && !(broken.rule == Some(Mutant::RenewLate) && exactly) {
                    world.at.insert("touch", *d);
                } else {
                    promise(world, *d);
                }
            }
            ManifestsAct::Touch(d) => {
                world.at.remove("touch");
                let touch = wire::TouchManifest { repository: name(0), digest: stored(*d) };
                if let Outcome::Done(_) = world.apply(broken, Command::TouchManifest(touch)) {
                    promise(world, *d);
                }
            }
            ManifestsAct::Sweep(untagged) => {
                let held = held(world);
                let sweep = wire::SweepManifests { limit: 9, untagged: *untagged };
                world.apply(broken, Command::SweepManifests(sweep));
                if held.iter().any(|d| !has(world, *d)) {
                    world.broken.insert("S2");
                }
                if !has(world, CHILD) && !has(world, INDEX) {
                    world.reached.insert("cycle gone");
                }
            }
        }
    }
}
