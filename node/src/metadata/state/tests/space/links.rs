//! A blob that a client asks for and mounts into another repository, a manifest that comes and goes, and a collector whose
//! proposals come late.

use super::*;

#[derive(Clone)]
pub(in super::super) struct Links;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum LinksAct {
    Head,
    Touch,
    /// Into the repository where it is, or into another one.
    Mount(u8),
    Put,
    Delete,
    /// The collector looks …
    Look,
    /// … and its proposal is applied.
    Collect,
}

const W: u64 = 2;
/// The repository that the blob is mounted into, and its id.
const OTHER: (u8, u8) = (1, 51);

impl Scene for Links {
    type Act = LinksAct;
    const GOALS: &'static [&'static str] = &["push", "expiry"];
    const UNTIL: u64 = 7;
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
        world.store.insert("0/a".to_owned(), 1);
        world.apply(Broken::default(), open_session(1, 100));
        let segment = wire::Segment { key: "0/a".to_owned(), length: 1 };
        world.apply(Broken::default(), commit(1, 0, Some(segment), 1));
    }

    fn acts(&self, world: &World, _: Broken, acts: &mut Vec<LinksAct>) {
        acts.extend([LinksAct::Head, LinksAct::Look, LinksAct::Mount(0)]);
        // Once, at whatever time, to keep the scene small.
        if world.at("mount") == 0 {
            acts.push(LinksAct::Mount(OTHER.0));
        }
        // Putting it again would count up the tag for ever.
        if !world.has(Table::Manifest, &[&id(50), &stored(10)]) {
            acts.push(LinksAct::Put);
        }
        acts.extend(
            [("touch", LinksAct::Touch), ("collect", LinksAct::Collect)]
                .into_iter()
                .filter_map(|(actor, act)| (world.at(actor) > 0).then_some(act)),
        );
        if world.at("delete") < 2 {
            acts.push(LinksAct::Delete);
        }
    }

    fn act(&self, world: &mut World, broken: Broken, act: &LinksAct) {
        let promise_in = |world: &mut World, repository: u8| {
            let until = world.mono() + W;
            world.promises.insert((id(repository), stored(1)), until);
        };
        let promise = |world: &mut World| promise_in(world, 50);
        match act {
            LinksAct::Head => {
                let view = world.view();
                let Some(repository) = view.repository(&name(0).parse().expect("name")).expect("read") else { return };
                if view.blob(repository.id, &digest(1)).expect("read").is_none() {
                    return;
                }
                // The node asks the same question as the state machine, broken or not.
                let link = view.link(repository.id, &digest(1)).expect("read").expect("a link");
                let promised = world.mono() + W;
                let late = broken.rule == Some(Mutant::RenewLate);
                let ends = if late { link.eligible_mono < promised } else { link.eligible_mono <= promised };
                if link.references == 0 && ends {
                    world.at.insert("touch", 1);
                } else {
                    promise(world);
                }
            }
            LinksAct::Touch => {
                world.at.remove("touch");
                let touch = wire::TouchLinks { repository: name(0), digests: vec![stored(1)] };
                if let Outcome::LinksTouched(touched) = world.apply(broken, Command::TouchLinks(touch))
                    && touched.missing.is_empty()
                {
                    promise(world);
                }
            }
            LinksAct::Mount(to) => {
                let new = if *to == OTHER.0 { OTHER.1 } else { 50 };
                let (from, to, digest) = (Some(name(0)), name(*to), stored(1));
                let mount = wire::MountBlob { from, to, digest, new_repository_id: id(new) };
                if let Outcome::BlobMounted(_) = world.apply(broken, Command::MountBlob(mount)) {
                    promise_in(world, new);
                    if new == OTHER.1 {
                        world.step("mount");
                    }
                }
            }
            LinksAct::Put => {
                // The same layer twice, as clients do.
                if let Outcome::ManifestPut(_) = world.apply(broken, manifest(10, &[1, 1], &[], None, &["v1"])) {
                    world.reached.insert("push");
                }
            }
            LinksAct::Delete => {
                if world.has(Table::Manifest, &[&id(50), &stored(10)]) {
                    world.step("delete");
                    world.apply(broken, delete_manifest(10));
                }
            }
            LinksAct::Look => {
                if !world.view().due_links(9).expect("read").is_empty() {
                    world.at.insert("collect", 1);
                }
            }
            LinksAct::Collect => {
                world.at.remove("collect");
                let link = |repository| wire::LinkId { repository_id: id(repository), digest: stored(1) };
                let links = vec![link(50), link(OTHER.1)];
                let collect = Command::Collect(wire::Collect { limit: 0, links });
                if let Outcome::Collected(wire::Collected { links: 1.., blobs, .. }) = world.apply(broken, collect) {
                    world.reached.insert(if blobs > 0 { "expiry" } else { "unlinked" });
                }
            }
        }
    }
}
