//! The rules of collection, one scene each.

mod damage;

use super::super::apply::UnknownFeatureLevel;
use super::*;
use crate::metadata::local::LocalStore;
use std::time::Duration;
use wire::GcMode;

const G: u64 = 100_000;
const W: u64 = 40_000;
const D: u64 = 50_000;
const Z: u64 = 30_000;

const DELAYS: wire::GcDelays = wire::GcDelays {
    grace_ms: G,
    promise_ms: W,
    delete_ms: D,
    sweep_ms: Z,
    hour_ms: 20_000,
    untagged_ms: 0,
    breaker_permille: 0,
    breaker_floor: 1_000,
};

struct Scene {
    store: LocalStore,
    sessions: u8,
}

impl Scene {
    fn new() -> Self {
        Self::with(DELAYS)
    }

    fn with(delays: wire::GcDelays) -> Self {
        let scene = Self { store: LocalStore::new(), sessions: 0 };
        scene.run(Command::ConfigureGc(wire::ConfigureGc { delays: Some(delays) }));
        scene
    }

    /// Applies a command; every invariant holds after it.
    fn run(&self, command: Command) -> Outcome {
        let outcome = self.store.apply(command).expect("applied");
        self.view();
        outcome
    }

    fn view(&self) -> View {
        let tables = self.store.snapshot();
        assert_eq!(violations(&*tables).expect("readable"), Vec::<String>::new());
        View::new(tables)
    }

    fn wait(&self, ms: u64) {
        self.store.advance(Duration::from_millis(ms)).expect("time");
    }

    /// Pushes blob `d` of `bytes` bytes to repository `r`; its object is named after the session.
    fn push(&mut self, r: u8, d: u8, bytes: u64) -> String {
        self.sessions += 1;
        let n = self.sessions;
        let (idle_ms, hard_ms) = (60_000, 600_000);
        let opened = wire::OpenSession { session_id: id(n), repository: name(r), algorithm: 1, idle_ms, hard_ms };
        self.run(Command::OpenSession(opened));
        let commit = wire::CommitBlob {
            session_id: id(n),
            segment: Some(segment(n, bytes)),
            digest: stored(d),
            size: bytes,
            new_repository_id: id(100 + n),
            ..Default::default()
        };
        assert!(matches!(self.run(Command::CommitBlob(commit)), Outcome::BlobCommitted(_)));
        segment(n, bytes).key
    }

    fn put(&self, d: u8, blobs: &[u8], children: &[u8], subject: Option<u8>, tags: &[&str]) -> Outcome {
        let set = |digests: &[u8]| digests.iter().map(|d| stored(*d)).collect();
        self.run(Command::PutManifest(wire::PutManifest {
            repository: name(0),
            digest: stored(d),
            media_type: "m".to_owned(),
            body: Bytes::from(vec![b' '; usize::from(d)]),
            blobs: set(blobs),
            children: set(children),
            subject: subject.map(stored),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            new_repository_id: id(99),
            ..Default::default()
        }))
    }

    fn delete(&self, d: u8) -> Outcome {
        let command = wire::DeleteManifest { repository: name(0), digest: stored(d), tags_max: 10 };
        self.run(Command::DeleteManifest(command))
    }

    fn undelete(&self, d: u8) -> Outcome {
        let command = wire::UndeleteManifest { repository: name(0), digest: stored(d), tags_max: 1 };
        self.run(Command::UndeleteManifest(command))
    }

    fn untag(&self, tag: &str) -> Outcome {
        self.run(Command::DeleteTag(wire::DeleteTag { repository: name(0), tag: tag.to_owned(), expect: None }))
    }

    fn collect(&self) -> wire::Collected {
        match self.run(Command::Collect(wire::Collect { limit: 100, links: vec![] })) {
            Outcome::Collected(collected) => collected,
            other => panic!("{other:?}"),
        }
    }

    fn sweep(&self, untagged: bool) -> wire::ManifestsSwept {
        match self.run(Command::SweepManifests(wire::SweepManifests { limit: 100, untagged })) {
            Outcome::ManifestsSwept(swept) => swept,
            other => panic!("{other:?}"),
        }
    }

    /// Sweeps as often as it takes for chains of manifests to go.
    fn sweep_long(&self, untagged: bool) {
        for _ in 0..6 {
            self.sweep(untagged);
            self.wait(G);
            self.sweep(untagged);
        }
    }

    fn start_delete(&self) -> u64 {
        match self.run(Command::StartDelete(wire::StartDelete { limit: 100 })) {
            Outcome::Done(done) => done.count,
            other => panic!("{other:?}"),
        }
    }

    fn has(&self, d: u8) -> bool {
        let view = self.view();
        let repository = view.repository(&name(0).parse().expect("name")).expect("read").expect("a repository");
        view.manifest(repository.id, &digest(d)).expect("read").is_some()
    }

    fn references(&self, d: u8) -> Option<u64> {
        let view = self.view();
        let repository = view.repository(&name(0).parse().expect("name")).expect("read").expect("a repository");
        view.references(repository.id, &digest(d)).expect("read")
    }

    fn mode(&self) -> (GcMode, bool) {
        let gc = self.view().gc().expect("read").1;
        (gc.mode(), gc.breaker)
    }

    fn set_mode(&self, mode: GcMode) {
        self.run(Command::SetGcMode(wire::SetGcMode { mode: mode.into(), reason: "a test".to_owned() }));
    }
}

fn done(count: u64) -> Outcome {
    Outcome::Done(wire::Done { count })
}

// ---------------------------------------------------------------- links

#[test]
fn a_blob_that_nobody_references_goes_in_three_steps() {
    let mut scene = Scene::new();
    let object = scene.push(0, 1, 5);
    scene.wait(G - 1);
    assert_eq!(scene.collect(), wire::Collected::default());
    scene.wait(1);
    assert_eq!(scene.view().due_links(9).expect("read").len(), 1);
    assert_eq!(scene.collect(), wire::Collected { links: 1, blobs: 1, bytes: 5 });
    assert!(scene.view().blob_anywhere(&digest(1)).expect("read").is_none());
    scene.wait(D - 1);
    assert_eq!(scene.start_delete(), 0, "readers may be in flight");
    scene.wait(1);
    assert!(scene.view().condemned_waits().expect("read"));
    assert_eq!(scene.view().due_condemned(9).expect("read").first().map(|list| (list.since, list.bytes)), Some((G, 5)));
    assert_eq!(scene.start_delete(), 1);
    assert_eq!(scene.view().deleting(None, 9).expect("read"), std::slice::from_ref(&object));
    assert_eq!(scene.run(Command::DeletesDone(wire::DeletesDone { keys: vec![object.clone()] })), done(1));
    assert!(scene.view().object(&object).expect("read").is_none());
}

#[test]
fn references_keep_a_link_and_the_last_one_to_go_starts_the_grace() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.put(10, &[1, 1], &[], None, &["a"]);
    scene.put(11, &[1], &[], None, &["b"]);
    assert_eq!(scene.references(1), Some(2), "a set counts once");
    scene.wait(3 * G);
    assert_eq!(scene.collect().links, 0);
    scene.delete(10);
    scene.wait(G);
    assert_eq!(scene.collect().links, 0);
    scene.delete(11);
    scene.wait(G - 1);
    assert_eq!(scene.collect().links, 0);
    scene.wait(1);
    assert_eq!(scene.collect().links, 1);
}

#[test]
fn collect_checks_the_links_it_is_named() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.push(0, 2, 5);
    scene.put(10, &[1], &[], None, &["a"]);
    scene.wait(G - 1);
    let links = [1, 2, 3].map(|d| wire::LinkId { repository_id: id(101), digest: stored(d) }).to_vec();
    let named = || scene.run(Command::Collect(wire::Collect { limit: 0, links: links.clone() }));
    let collected = |links, blobs, bytes| Outcome::Collected(wire::Collected { links, blobs, bytes });
    assert_eq!(named(), collected(0, 0, 0));
    scene.wait(1);
    assert_eq!(named(), collected(1, 1, 5));
    assert_eq!(scene.references(1), Some(1));
}

#[test]
fn a_lease_is_renewed_only_when_it_ends_within_the_promise() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    let touch = |digests: &[u8]| {
        let digests = digests.iter().map(|d| stored(*d)).collect();
        scene.run(Command::TouchLinks(wire::TouchLinks { repository: name(0), digests }))
    };
    let touched = |renewed, missing: &[u8]| {
        Outcome::LinksTouched(wire::LinksTouched { renewed, missing: missing.iter().map(|d| stored(*d)).collect() })
    };
    let must_renew = || {
        let view = scene.view();
        let repository = view.repository(&name(0).parse().expect("name")).expect("read").expect("a repository");
        view.link_must_renew(repository.id, &digest(1), Duration::ZERO).expect("read")
    };
    scene.wait(G - W - 1);
    assert!(!must_renew());
    assert_eq!(touch(&[1]), touched(0, &[]));
    scene.wait(1);
    assert!(must_renew(), "it would end with the promise");
    assert_eq!(touch(&[1, 2]), touched(1, &[2]));
    assert!(!must_renew());
    scene.wait(G - 1);
    assert_eq!(scene.collect().links, 0);
    scene.wait(1);
    assert_eq!(scene.collect().links, 1);
    assert_eq!(touch(&[1]), touched(0, &[1]));
}

#[test]
fn a_mount_and_a_duplicate_upload_renew_the_lease() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.wait(G - W);
    scene.push(0, 1, 5);
    scene.wait(G - 1);
    assert_eq!(scene.collect().links, 0);
    let mount = wire::MountBlob { from: None, to: name(0), digest: stored(1), new_repository_id: id(9) };
    scene.run(Command::MountBlob(mount));
    scene.wait(G - 1);
    assert_eq!(scene.collect().links, 0);
    scene.wait(1);
    assert_eq!(scene.collect().links, 1);
}

#[test]
fn a_blob_stays_while_another_repository_links_it() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.wait(G / 2);
    let mount = wire::MountBlob { from: None, to: name(1), digest: stored(1), new_repository_id: id(9) };
    scene.run(Command::MountBlob(mount));
    scene.wait(G / 2);
    assert_eq!(scene.collect(), wire::Collected { links: 1, blobs: 0, bytes: 0 });
    assert!(scene.view().blob_anywhere(&digest(1)).expect("read").is_some());
    scene.wait(G / 2);
    assert_eq!(scene.collect(), wire::Collected { links: 1, blobs: 1, bytes: 5 });
}

#[test]
fn condemned_is_final() {
    let mut scene = Scene::new();
    let old = scene.push(0, 1, 5);
    scene.wait(G);
    scene.collect();
    let new = scene.push(0, 1, 5);
    scene.wait(D);
    scene.start_delete();
    let view = scene.view();
    assert_eq!(view.deleting(None, 9).expect("read"), [old]);
    let blob = view.blob_anywhere(&digest(1)).expect("read").expect("a blob");
    assert_eq!(view.segments(&blob.segment_list, blob.segments).expect("read")[0].key, new);
}

// ---------------------------------------------------------------- modes and the breaker

#[test]
fn nothing_that_had_readers_goes_while_collection_is_paused() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.push(0, 2, 5);
    scene.push(0, 2, 5); // a duplicate: garbage
    scene.put(10, &[], &[], None, &[]);
    scene.wait(G);
    scene.collect();
    scene.push(0, 3, 5);
    for mode in [GcMode::Paused, GcMode::Verify] {
        scene.set_mode(mode);
        scene.wait(2 * G);
        assert_eq!(scene.collect().links, 0);
        assert_eq!(scene.sweep(true).reviewed, 0);
        assert_eq!(scene.start_delete(), u64::from(mode == GcMode::Paused), "what no reader ever had goes");
    }
    scene.set_mode(GcMode::On);
    assert_eq!((scene.collect().links, scene.sweep(true).removed, scene.start_delete()), (1, 1, 2));
}

#[test]
fn the_breaker_pauses_collection_and_a_resume_admits_what_is_due() {
    let mut scene = Scene::new();
    scene.push(0, 1, 600);
    scene.push(0, 2, 300);
    scene.push(0, 3, 200);
    scene.wait(G);
    scene.push(0, 4, 1);
    assert_eq!(scene.collect().bytes, 1_100);
    scene.wait(D);
    assert_eq!(scene.start_delete(), 2, "900 of 1000 bytes");
    assert_eq!(scene.mode(), (GcMode::Paused, true));
    assert!(scene.view().gc().expect("read").1.reason.contains("1100 bytes"));
    assert_eq!(scene.start_delete(), 0);
    scene.set_mode(GcMode::On);
    assert_eq!(scene.start_delete(), 1);
    assert_eq!(scene.mode(), (GcMode::On, false));

    scene.wait(G);
    scene.push(0, 5, 150);
    assert_eq!(scene.collect().bytes, 1);
    scene.wait(D + G);
    assert_eq!((scene.start_delete(), scene.collect().bytes), (1, 150));
    scene.wait(D);
    assert_eq!(scene.start_delete(), 1, "a resume counts anew: 151 bytes");
    scene.push(0, 6, 850);
    scene.wait(G);
    assert_eq!(scene.collect().bytes, 850);
    scene.wait(D);
    assert_eq!(scene.start_delete(), 0, "151 and 850 bytes within a day");
    assert_eq!(scene.mode(), (GcMode::Paused, true));
}

#[test]
fn the_breaker_forgets_after_a_day_and_knows_the_live_share() {
    let delays = wire::GcDelays { breaker_permille: 500, breaker_floor: 10, ..DELAYS };
    let mut scene = Scene::with(delays);
    scene.push(0, 1, 90);
    scene.push(0, 2, 200);
    scene.put(10, &[2], &[], None, &["keep"]);
    scene.wait(G);
    scene.collect();
    scene.wait(D);
    assert_eq!(scene.start_delete(), 1, "90 of 200 live bytes");
    scene.push(0, 3, 90);
    scene.wait(G);
    scene.collect();
    scene.wait(25 * 3_600_000);
    assert_eq!((scene.start_delete(), scene.mode()), (1, (GcMode::On, false)));
}

#[test]
fn delays_that_break_the_promise_are_refused() {
    let scene = Scene::new();
    let refused = Outcome::Unsupported(wire::Unsupported {});
    let bad = [
        wire::GcDelays { promise_ms: G, ..DELAYS },
        wire::GcDelays { promise_ms: 0, ..DELAYS },
        wire::GcDelays { delete_ms: 0, ..DELAYS },
        wire::GcDelays { sweep_ms: 0, ..DELAYS },
        wire::GcDelays { hour_ms: 0, ..DELAYS },
        wire::GcDelays { breaker_permille: 1_001, ..DELAYS },
    ];
    for delays in bad {
        assert_eq!(scene.run(Command::ConfigureGc(wire::ConfigureGc { delays: Some(delays) })), refused);
    }
    assert_eq!(scene.run(Command::ConfigureGc(wire::ConfigureGc { delays: None })), refused);
    assert_eq!(scene.run(Command::ConfigureGc(wire::ConfigureGc { delays: Some(DELAYS) })), done(0));
    assert_eq!(scene.view().gc().expect("read").0, DELAYS);
}

// ---------------------------------------------------------------- manifests

#[test]
fn an_untagged_manifest_stays() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.put(10, &[1], &[], None, &[]);
    scene.put(11, &[], &[], None, &["a"]);
    scene.put(12, &[], &[], None, &["a", "b"]); // moves a
    scene.untag("b");
    scene.untag("a");
    scene.sweep_long(false);
    scene.collect();
    assert!([10, 11, 12].iter().all(|d| scene.has(*d)));
    assert_eq!(scene.references(1), Some(1));
}

#[test]
fn children_and_referrers_of_a_deleted_index_go_after_the_grace() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.put(10, &[1], &[], None, &[]);
    scene.put(11, &[], &[], None, &[]);
    scene.put(12, &[], &[10, 11], None, &["index"]);
    scene.put(13, &[], &[], Some(12), &[]);
    scene.put(14, &[], &[], Some(11), &[]);
    scene.put(15, &[], &[10], None, &["other"]);
    scene.delete(12);
    scene.sweep(false);
    assert_eq!(scene.view().due_manifests(9).expect("read").len(), 0);
    scene.wait(G - 1);
    assert_eq!(scene.sweep(false).removed, 0);
    scene.wait(1);
    let swept = scene.sweep(false);
    assert_eq!((swept.reviewed, swept.removed), (3, 2), "10 is held by another index");
    assert!(scene.has(10) && !scene.has(11) && !scene.has(13));
    assert!(scene.has(14), "its subject went now");
    scene.sweep_long(false);
    assert!(scene.has(10) && !scene.has(14));
}

#[test]
fn a_cycle_through_a_subject_goes_once_nothing_holds_it() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.put(10, &[1], &[], None, &[]);
    scene.put(11, &[], &[10], Some(10), &[]); // holds 10, and is held by it
    scene.put(12, &[], &[11], None, &["root"]);
    scene.sweep_long(true);
    assert!(scene.has(10) && scene.has(11), "held by a tag");
    scene.delete(12);
    scene.sweep_long(false);
    assert!(!scene.has(10) && !scene.has(11));
    scene.wait(G);
    assert_eq!(scene.collect().blobs, 1);
}

#[test]
fn a_cycle_goes_whose_member_was_listed_by_the_root() {
    let scene = Scene::new();
    scene.put(10, &[], &[], None, &["root"]);
    scene.put(11, &[], &[10], Some(10), &[]);
    scene.sweep_long(true); // 11 is found held, and leaves its queue
    assert!(scene.has(11));
    scene.untag("root");
    scene.sweep_long(false);
    assert!(scene.has(10) && scene.has(11), "untagged ones stay");
    scene.sweep_long(true);
    assert!(!scene.has(10) && !scene.has(11));
}

#[test]
fn untagged_manifests_go_if_asked_for_and_an_index_before_its_children() {
    let scene = Scene::with(wire::GcDelays { untagged_ms: 2 * G, ..DELAYS });
    scene.put(10, &[], &[], None, &[]);
    scene.put(11, &[], &[10], None, &["a"]);
    scene.put(12, &[], &[], None, &["keep"]);
    scene.wait(3 * G);
    scene.sweep(false);
    scene.untag("a");
    scene.wait(2 * G - 1);
    scene.sweep(false);
    assert!(scene.has(11));
    scene.wait(1);
    scene.sweep(false);
    assert!(!scene.has(11) && scene.has(10));
    scene.wait(G);
    scene.sweep(false);
    assert!(!scene.has(10) && scene.has(12));
}

#[test]
fn whoever_asks_for_a_manifest_that_nothing_holds_gets_the_promise() {
    let scene = Scene::new();
    let touch = |d| scene.run(Command::TouchManifest(wire::TouchManifest { repository: name(0), digest: stored(d) }));
    scene.put(10, &[], &[], None, &[]);
    scene.put(11, &[], &[10], None, &["a"]);
    scene.delete(11);
    assert_eq!((touch(10), touch(11)), (done(0), Outcome::ManifestUnknown(wire::ManifestUnknown {})));
    scene.wait(G - W);
    assert_eq!(touch(10), done(1));
    scene.wait(G - 1);
    assert_eq!(scene.sweep(true).removed, 0);
    scene.wait(1);
    assert_eq!(scene.sweep(false).removed, 1);

    scene.put(12, &[], &[], None, &[]);
    scene.wait(G);
    assert_eq!(touch(12), done(1), "it may be asked for that it goes");
    scene.wait(W);
    assert_eq!(scene.sweep(true).removed, 0);
}

#[test]
fn a_manifest_that_is_put_tagged_or_listed_again_stays() {
    let scene = Scene::new();
    for d in 10..14 {
        scene.put(d, &[], &[], None, &[]);
    }
    scene.put(14, &[], &[10, 11, 12, 13], None, &["a"]);
    scene.delete(14);
    scene.wait(G - 1);
    scene.put(10, &[], &[], None, &[]);
    scene.put(11, &[], &[], None, &["b"]);
    scene.put(15, &[], &[12], None, &["c"]);
    scene.sweep_long(false);
    assert!([10, 11, 12].iter().all(|d| scene.has(*d)) && !scene.has(13));
}

#[test]
fn many_referrers_are_told_a_page_at_a_time() {
    let scene = Scene::new();
    scene.put(10, &[], &[], None, &["a"]);
    for d in 20..30 {
        scene.put(d, &[], &[], Some(10), &[]);
    }
    scene.delete(10);
    let page = || scene.run(Command::SweepManifests(wire::SweepManifests { limit: 4, untagged: false }));
    for _ in 0..4 {
        page();
    }
    scene.wait(G);
    for _ in 0..4 {
        assert!(matches!(page(), Outcome::ManifestsSwept(_)));
    }
    assert!((20..30).all(|d| !scene.has(d)));
}

#[test]
fn what_takes_too_long_to_decide_stays() {
    let scene = Scene::new();
    scene.put(250, &[], &[], None, &[]);
    // A chain upwards of more than a walk may meet, with a tag at its end.
    let mut below = stored(250);
    for n in 0..210_u32 {
        let digest = Digest::new(Algorithm::Sha256, &[&n.to_be_bytes()[..], &[7; 28]].concat()).expect("32 bytes");
        let digest = Bytes::from(digest.to_bytes());
        let put = wire::PutManifest {
            repository: name(0),
            digest: digest.clone(),
            children: vec![below],
            tags: if n == 209 { vec!["top".to_owned()] } else { vec![] },
            new_repository_id: id(99),
            ..Default::default()
        };
        scene.store.apply(Command::PutManifest(put)).expect("applied");
        below = digest;
    }
    scene.put(251, &[], &[250], None, &["x"]);
    scene.delete(251);
    scene.wait(G);
    let swept = scene.sweep(false);
    assert_eq!((swept.reviewed, swept.removed), (1, 0));
    assert!(scene.has(250));
    assert_eq!(scene.sweep(false).reviewed, 0, "it waits for another grace");
    scene.wait(G);
    assert_eq!(scene.sweep(false).reviewed, 1);
}

// ---------------------------------------------------------------- trash

#[test]
fn a_deleted_manifest_comes_back_with_its_tags_within_the_grace() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.put(10, &[1], &[], None, &["a", "b", "c"]);
    scene.untag("c");
    scene.delete(10);
    scene.put(11, &[], &[], None, &["b"]);
    let repository = |view: &View| view.repository(&name(0).parse().expect("name")).expect("read").expect("one").id;
    let view = scene.view();
    assert_eq!(view.deleted_manifests(repository(&view), None, 9).expect("read")[0].until, G);
    assert_eq!(view.deleted_tags(repository(&view), None, 9).expect("read").len(), 3);
    scene.wait(G - 1);
    scene.collect();
    let undeleted = |tags, more| Outcome::Undeleted(wire::Undeleted { tags, more });
    assert_eq!(scene.undelete(10), undeleted(1, true));
    assert_eq!(scene.undelete(10), undeleted(0, false), "b is another one's now");
    assert_eq!(scene.undelete(10), Outcome::ManifestUnknown(wire::ManifestUnknown {}));
    let view = scene.view();
    let tag = |name: &str| view.tag(repository(&view), &name.parse().expect("a tag")).expect("read");
    assert_eq!(tag("a").map(|tag| (tag.digest, tag.version)), Some((digest(10), 2)));
    assert_eq!(tag("b").map(|tag| tag.digest), Some(digest(11)));
    assert_eq!(tag("c"), None, "it was not deleted with the manifest");
    assert_eq!(view.manifest_body(repository(&view), &digest(10)).expect("read").map(|body| body.len()), Some(10));
    assert_eq!(scene.references(1), Some(1));
}

#[test]
fn what_was_deleted_is_forgotten_after_the_grace() {
    let scene = Scene::new();
    scene.put(10, &[], &[], None, &["a", "b"]);
    scene.untag("b");
    scene.delete(10);
    scene.wait(G);
    assert_eq!(scene.undelete(10), Outcome::ManifestUnknown(wire::ManifestUnknown {}));
    assert!(scene.view().trash_waits().expect("read"));
    assert_eq!(scene.run(Command::PurgeTrash(wire::PurgeTrash { limit: 10 })), done(3));
    assert!(!scene.view().trash_waits().expect("read"));
}

#[test]
fn a_deleted_tag_comes_back_unless_its_place_is_taken() {
    let scene = Scene::new();
    let undelete = || scene.run(Command::UndeleteTag(wire::UndeleteTag { repository: name(0), tag: "a".to_owned() }));
    scene.put(10, &[], &[], None, &["a"]);
    scene.untag("a");
    scene.put(11, &[], &[], None, &["a"]);
    assert_eq!(undelete(), Outcome::TagTaken(wire::TagTaken { digest: stored(11) }));
    scene.untag("a");
    scene.wait(G - 1);
    assert_eq!(undelete(), Outcome::Undeleted(wire::Undeleted { tags: 1, more: false }));
    assert_eq!(undelete(), Outcome::TagUnknown(wire::TagUnknown {}));
    scene.untag("a");
    scene.delete(11);
    assert_eq!(undelete(), Outcome::ManifestUnknown(wire::ManifestUnknown {}));
    scene.wait(G);
    assert_eq!(undelete(), Outcome::TagUnknown(wire::TagUnknown {}));
}

#[test]
fn a_manifest_does_not_come_back_without_what_it_needs() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.put(9, &[], &[], None, &[]);
    scene.put(10, &[1], &[9], None, &["a"]);
    scene.delete(10);
    scene.run(Command::DeleteBlobLink(wire::DeleteBlobLink { repository: name(0), digest: stored(1) }));
    scene.delete(9);
    let missing = wire::ManifestRejected { missing_blobs: vec![stored(1)], missing_children: vec![stored(9)] };
    assert_eq!(scene.undelete(10), Outcome::ManifestRejected(missing));
    scene.undelete(9);
    scene.push(0, 1, 5);
    assert!(matches!(scene.undelete(10), Outcome::Undeleted(_)));
}

// ---------------------------------------------------------------- repositories

#[test]
fn a_deleted_repository_is_gone_at_once_and_drained_in_pages() {
    let mut scene = Scene::new();
    for d in 1..6 {
        scene.push(0, d, 10);
        scene.put(10 + d, &[d], &[], None, &[&format!("v{d}")]);
    }
    scene.put(20, &[], &[11, 12], Some(13), &["index"]);
    scene.delete(15);
    scene.put(21, &[], &[], Some(22), &[]);
    let mount = wire::MountBlob { from: None, to: name(1), digest: stored(1), new_repository_id: id(9) };
    scene.run(Command::MountBlob(mount));
    let old = scene.view().repository(&name(0).parse().expect("name")).expect("read").expect("one").id;
    let drop = || scene.run(Command::DeleteRepository(wire::DeleteRepository { repository: name(0) }));
    assert_eq!(drop(), done(1));
    assert_eq!(drop(), Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
    assert_eq!(scene.view().draining(9).expect("read"), [old]);

    scene.put(10, &[], &[], None, &["v1"]);
    let view = scene.view();
    let new = view.repository(&name(0).parse().expect("name")).expect("read").expect("one");
    assert!(new.id != old && (new.tags, new.manifests, new.links) == (1, 1, 0));
    let mut pages = 0;
    while !scene.view().draining(9).expect("read").is_empty() {
        let id = Bytes::copy_from_slice(old.as_bytes());
        scene.run(Command::DrainRepository(wire::DrainRepository { repository_id: id, limit: 5 }));
        pages += 1;
    }
    assert!(pages > 5, "{pages}");
    let left = records::scan(scene.view().tables(), Table::Segment, &[], 99).expect("read").len();
    assert_eq!(left, 5, "condemned, or mounted elsewhere");
    assert!(scene.view().blob_anywhere(&digest(1)).expect("read").is_some());
    assert!(scene.view().blob_anywhere(&digest(2)).expect("read").is_none());
    scene.wait(D);
    assert_eq!(scene.start_delete(), 4);
}

// ---------------------------------------------------------------- suspects

#[test]
fn a_suspect_blob_is_marked_unless_it_was_healed_meanwhile() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    scene.put(10, &[1], &[], None, &["a"]);
    scene.put(11, &[], &[10], None, &["b"]);
    let list = |scene: &Scene| scene.view().blob_anywhere(&digest(1)).expect("read").expect("a blob").segment_list;
    let old = list(&scene);
    let mark = |scene: &Scene, segment_list: &Bytes| {
        let mark = wire::MarkSuspect { digest: stored(1), segment_list: segment_list.clone() };
        scene.run(Command::MarkSuspect(mark))
    };
    let needs = |scene: &Scene, d| {
        let view = scene.view();
        let repository = view.repository(&name(0).parse().expect("name")).expect("read").expect("one");
        view.needs_suspect(repository.id, &digest(d)).expect("read")
    };
    assert!(!needs(&scene, 11));
    assert_eq!((mark(&scene, &old), mark(&scene, &old)), (done(1), done(0)));
    assert!(needs(&scene, 10) && needs(&scene, 11));
    let touch = wire::TouchLinks { repository: name(0), digests: vec![stored(1)] };
    let missing = wire::LinksTouched { renewed: 0, missing: vec![stored(1)] };
    assert_eq!(scene.run(Command::TouchLinks(touch)), Outcome::LinksTouched(missing));
    let again = scene.put(10, &[1], &[], None, &["a"]);
    assert!(matches!(again, Outcome::ManifestRejected(_)), "{again:?}");

    scene.push(0, 1, 5);
    assert!(!needs(&scene, 11));
    assert_eq!(mark(&scene, &old), done(0), "it has other bytes now");
    assert!(matches!(scene.put(10, &[1], &[], None, &["a"]), Outcome::ManifestPut(_)));
    let new = list(&scene);
    mark(&scene, &new);
    let clear = wire::ClearSuspect { digest: stored(1), segment_list: new };
    assert_eq!(scene.run(Command::ClearSuspect(clear)), done(1));
    assert!(!needs(&scene, 10));
    scene.wait(D);
    assert_eq!(scene.start_delete(), 1, "the old bytes");
}

// ---------------------------------------------------------------- hours, features

#[test]
fn an_hour_is_forgotten_when_nothing_can_appear_under_it_any_more() {
    let mut scene = Scene::new();
    let swept =
        |scene: &Scene, hours: &[u64]| scene.run(Command::HoursSwept(wire::HoursSwept { hours: hours.to_vec() }));
    scene.push(0, 1, 5);
    let opened = wire::OpenSession { session_id: id(90), repository: name(0), algorithm: 1, idle_ms: Z, hard_ms: Z };
    scene.run(Command::OpenSession(opened));
    scene.wait(Z);
    assert_eq!(scene.view().due_hours(9).expect("read"), Vec::<u64>::new());
    assert_eq!(swept(&scene, &[0]), done(0), "a session is open");
    scene.run(Command::ExpireSessions(wire::ExpireSessions { session_ids: vec![id(90)] }));
    scene.push(0, 2, 5);
    scene.wait(Z - 1);
    assert_eq!(swept(&scene, &[0, 1, 2]), done(0));
    scene.wait(1);
    let due = scene.view().due_hours(9).expect("read");
    assert_eq!(due.len(), 2, "{due:?}");
    assert_eq!(swept(&scene, &due), done(2));
    assert_eq!(swept(&scene, &due), done(0));
}

#[test]
fn the_current_hour_is_never_forgotten() {
    let mut scene = Scene::with(wire::GcDelays { hour_ms: 10 * G, ..DELAYS });
    scene.push(0, 1, 5);
    scene.wait(5 * G);
    assert_eq!(scene.run(Command::HoursSwept(wire::HoursSwept { hours: vec![0] })), done(0));
    scene.wait(5 * G);
    assert_eq!(scene.view().due_hours(9).expect("read"), [0]);
    assert_eq!(scene.run(Command::HoursSwept(wire::HoursSwept { hours: vec![0] })), done(1));
}

#[test]
fn a_feature_level_that_this_version_does_not_know_stops_the_node() {
    let mut tables = MemoryTables::new();
    let raise = |level| operation(Bytes::new(), 0, Command::RaiseFeatureLevel(wire::RaiseFeatureLevel { level }));
    let level = u64::from(flotilla_proto::metadata::FEATURE_LEVEL);
    assert_eq!(one(&mut tables, 1, raise(0)), done(level), "levels only rise");
    let newer = apply(&mut tables, 2, &batch_of(raise(1_000))).expect_err("unknown level");
    assert!(newer.0.downcast_ref::<UnknownFeatureLevel>().is_some());
    let mut cluster: wire::Cluster = records::get(&tables, &key(Table::Cluster, &[])).expect("read").expect("one");
    for level in [0, 1_000] {
        cluster.feature_level = level;
        records::put(&mut tables, &key(Table::Cluster, &[]), &cluster).expect("written");
        assert!(apply(&mut tables, 3, &wire::Batch::default()).is_err());
    }
}

#[test]
fn what_two_indexes_listed_stays_until_the_grace_of_the_last() {
    let scene = Scene::new();
    scene.put(1, &[], &[], None, &[]);
    scene.put(2, &[], &[1], None, &["a"]);
    scene.put(3, &[], &[1], None, &["b"]);
    scene.delete(2);
    scene.wait(G - 1);
    scene.delete(3);
    scene.wait(1);
    assert_eq!(scene.sweep(false).removed, 0);
    scene.wait(G - 2);
    assert!(matches!(scene.undelete(3), Outcome::Undeleted(_)), "all that it lists is there");
    scene.delete(3);
    scene.wait(G);
    assert_eq!(scene.sweep(false).removed, 1);
    assert!(!scene.has(1));
}

#[test]
fn while_collection_is_paused_nothing_is_forgotten_and_all_can_be_undeleted() {
    let mut scene = Scene::new();
    scene.push(0, 9, 5);
    scene.put(1, &[9], &[], None, &["a"]);
    scene.put(2, &[9], &[], None, &["b"]);
    scene.delete(1);
    scene.untag("b");
    scene.set_mode(GcMode::Paused);
    scene.wait(3 * G);
    assert_eq!(scene.run(Command::PurgeTrash(wire::PurgeTrash { limit: 10 })), Outcome::Done(wire::Done { count: 0 }));
    assert!(matches!(scene.undelete(1), Outcome::Undeleted(wire::Undeleted { tags: 1, .. })));
    let tag = wire::UndeleteTag { repository: name(0), tag: "b".to_owned() };
    assert!(matches!(scene.run(Command::UndeleteTag(tag)), Outcome::Undeleted(_)));
    scene.delete(1);
    scene.wait(G);
    scene.set_mode(GcMode::On);
    assert_eq!(scene.undelete(1), Outcome::ManifestUnknown(wire::ManifestUnknown {}));
}

#[test]
fn a_deleted_repository_is_not_drained_while_collection_is_paused() {
    let mut scene = Scene::new();
    scene.push(0, 1, 5);
    let deleted = scene.view().repository(&name(0).parse().expect("name")).expect("read").expect("a repository").id;
    scene.run(Command::DeleteRepository(wire::DeleteRepository { repository: name(0) }));
    let drain = || {
        let repository_id = Bytes::copy_from_slice(deleted.as_bytes());
        Command::DrainRepository(wire::DrainRepository { repository_id, limit: 100 })
    };
    scene.set_mode(GcMode::Paused);
    assert_eq!(scene.run(drain()), Outcome::Done(wire::Done { count: 0 }));
    assert!(scene.view().blob_anywhere(&digest(1)).expect("read").is_some());
    scene.set_mode(GcMode::On);
    scene.run(drain());
    assert!(scene.view().blob_anywhere(&digest(1)).expect("read").is_none());
}
