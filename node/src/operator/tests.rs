//! Operators over a store in memory.

use super::*;
use crate::auth::{Caller, Grant, Policy, Push};
use crate::blobstore::{BlobStore, Hasher, Key, memory::Memory};
use crate::lifecycle::Lifecycle;
use crate::metadata::{Command, MetadataStore, local::LocalStore};
use crate::registry::{Chunk, Registry, Settings};
use bytes::Bytes;
use flotilla_proto::admin::{Collect, Collected, Verification, Verify};
use flotilla_proto::oci::{Algorithm, Digest};
use flotilla_proto::wire::metadata as wire;
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};

const NAME: &str = "team/app";

const DELAYS: wire::GcDelays = wire::GcDelays {
    grace_ms: 60_000,
    promise_ms: 15_000,
    delete_ms: 30_000,
    sweep_ms: 20_000,
    hour_ms: 10_000,
    untagged_ms: 0,
    breaker_permille: 0,
    breaker_floor: 1_000,
};

struct World {
    metadata: Arc<LocalStore>,
    store: Arc<Memory>,
    registry: Registry,
    grant: Grant<Push>,
    desk: Desk,
}

impl World {
    fn new() -> Self {
        let (metadata, store) = (Arc::new(LocalStore::new()), Arc::new(Memory::new()));
        let created = wire::CreateStore { cluster_id: "c".into(), incarnation: "i".into(), token: "t".into() };
        metadata.apply(Command::CreateStore(created)).unwrap();
        metadata.apply(Command::ConfigureGc(wire::ConfigureGc { delays: Some(DELAYS) })).unwrap();
        let registry = Registry::new(metadata.clone(), store.clone(), Lifecycle::new(), Settings::default());
        let grant = Policy::open().grant(&Caller::Anonymous, &NAME.parse().unwrap()).expect("open to all");
        let desk = Desk::new(metadata.clone());
        Self { metadata, store, registry, grant, desk }
    }

    async fn push(&self, bytes: &'static [u8]) -> Digest {
        let digest = digest(bytes);
        let body = stream::iter([Ok(Bytes::from_static(bytes))]).boxed();
        self.registry.upload(&self.grant, digest, Chunk { body, length: None, range: None }).await.unwrap();
        digest
    }

    /// A manifest named by its content, which nobody parses.
    fn put(&self, body: &'static [u8], blobs: &[Digest], children: &[Digest], tags: &[&str]) -> Digest {
        let set = |digests: &[Digest]| digests.iter().map(|digest| digest.to_bytes().into()).collect();
        let put = wire::PutManifest {
            repository: NAME.into(),
            digest: digest(body).to_bytes().into(),
            media_type: "m".into(),
            body: Bytes::from_static(body),
            blobs: set(blobs),
            children: set(children),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            new_repository_id: Bytes::from_static(&[7; 16]),
            ..Default::default()
        };
        let outcome = self.metadata.apply(Command::PutManifest(put)).unwrap();
        assert!(matches!(outcome, crate::metadata::Outcome::ManifestPut(_)), "{outcome:?}");
        digest(body)
    }

    fn delete(&self, digest: &Digest) {
        let command = wire::DeleteManifest { repository: NAME.into(), digest: digest.to_bytes().into(), tags_max: 100 };
        self.metadata.apply(Command::DeleteManifest(command)).unwrap();
    }

    fn wait(&self, seconds: u64) {
        self.metadata.advance(Duration::from_secs(seconds)).unwrap();
    }

    async fn dry_run(&self) -> Collected {
        self.desk.collect(Collect { dry_run: true, delete_untagged: false }).await.unwrap()
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

fn refused<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    let error = result.expect_err("refused");
    assert!(error.downcast_ref::<Refused>().is_some(), "{error:#}");
    error.to_string()
}

#[tokio::test]
async fn a_dry_run_says_what_a_run_collects_and_changes_nothing() {
    let world = World::new();
    let (kept, dead) = (world.push(b"kept").await, world.push(b"dead").await);
    world.put(b"{}", &[kept], &[], &["v1"]);
    assert_eq!(world.dry_run().await, Collected { marked: 2, ..Collected::default() });
    world.wait(61);
    let before = world.metadata.snapshot();
    let wanted = Collected { marked: 1, blobs: vec![dead.to_string()], bytes: 4, links: 1, ..Collected::default() };
    assert_eq!(world.dry_run().await, wanted);
    assert_eq!(world.metadata.snapshot(), before);
    assert_eq!(world.desk.collect(Collect::default()).await.unwrap(), wanted);
    assert_eq!(world.dry_run().await, Collected { marked: 1, ..Collected::default() });
    world.wait(31);
    let lists = Collected { marked: 1, lists: 1, list_bytes: 4, ..Collected::default() };
    assert_eq!(world.dry_run().await, lists);
    assert_eq!(world.desk.collect(Collect::default()).await.unwrap(), lists);
    assert_eq!(world.metadata.view().unwrap().deleting(None, 9).unwrap().len(), 1);
}

#[tokio::test]
async fn untagged_manifests_go_if_asked_for() {
    let world = World::new();
    let blob = world.push(b"layer").await;
    let manifest = world.put(b"{}", &[blob], &[], &[]);
    world.wait(61);
    assert_eq!(world.dry_run().await.manifests, Vec::<String>::new());
    let asked = |dry_run| Collect { dry_run, delete_untagged: true };
    let would = world.desk.collect(asked(true)).await.unwrap();
    assert_eq!((would.manifests.clone(), would.links), (vec![manifest.to_string()], 0));
    assert_eq!(world.desk.collect(asked(false)).await.unwrap(), would);
    world.wait(61);
    assert_eq!(world.desk.collect(asked(false)).await.unwrap().blobs, [blob.to_string()]);
}

#[tokio::test]
async fn while_collection_is_paused_a_run_is_refused_with_the_reason_and_a_dry_run_is_not() {
    let world = World::new();
    world.push(b"dead").await;
    world.wait(61);
    let paused = world.desk.set_mode("paused", "moving the bucket").await.unwrap();
    assert_eq!((paused.mode.as_str(), paused.reason.as_str()), ("paused", "moving the bucket"));
    let why = refused(world.desk.collect(Collect::default()).await);
    assert!(why.contains("moving the bucket") && why.contains("nothing was deleted"), "{why}");
    assert_eq!(world.dry_run().await.blobs.len(), 1);
    assert_eq!(world.desk.set_mode("on", "").await.unwrap().mode, "on");
    assert_eq!(world.desk.collect(Collect::default()).await.unwrap().blobs.len(), 1);
    refused(world.desk.set_mode("off", "").await);
    refused(world.desk.set_mode("paused", &"x".repeat(2_000)).await);
}

#[tokio::test]
async fn mode_verify_tells_what_would_go_whenever_that_changes_and_nothing_goes() {
    let world = World::new();
    let mut rehearsal = Rehearsal::new(world.metadata.clone());
    let dead = world.push(b"dead").await;
    world.wait(61);
    assert_eq!(rehearsal.news().await.unwrap(), None, "collection is on");
    world.desk.set_mode("verify", "a look").await.unwrap();
    let told = rehearsal.news().await.unwrap().unwrap();
    assert_eq!((told.blobs, told.bytes), (vec![dead.to_string()], 4));
    assert_eq!(rehearsal.news().await.unwrap(), None, "nothing new");
    let why = refused(world.desk.collect(Collect::default()).await);
    assert!(why.contains("collection is in mode verify (a look): nothing was deleted"), "{why}");
    world.push(b"dead too").await;
    world.wait(61);
    assert_eq!(rehearsal.news().await.unwrap().unwrap().blobs.len(), 2);
    assert_eq!(world.metadata.view().unwrap().cluster().unwrap().blobs, 2);
    let why = world.desk.why(None, &dead.to_string()).await.unwrap();
    assert!(why.paused && why.blob.is_some(), "{why:?}");
}

#[tokio::test]
async fn a_run_that_trips_the_breaker_says_so() {
    let world = World::new();
    world.push(&[0; 1_001]).await;
    world.wait(61);
    assert_eq!(world.desk.collect(Collect::default()).await.unwrap().breaker, None);
    world.wait(31);
    let tripped = world.desk.collect(Collect::default()).await.unwrap();
    assert_eq!(tripped.lists, 0);
    assert!(tripped.breaker.is_some_and(|why| why.contains("1001 bytes")), "and why");
}

#[tokio::test]
async fn queues_tell_what_waits_and_how_late_it_is() {
    let world = World::new();
    world.push(b"dead").await;
    let links = || {
        let collection = world.desk.collection().unwrap();
        collection.queues.into_iter().find(|queue| queue.name == "links").unwrap()
    };
    assert_eq!((links().waiting, links().due, links().oldest_due_ms), (1, 0, None));
    world.wait(65);
    assert_eq!((links().waiting, links().due, links().oldest_due_ms), (1, 1, Some(5_000)));
}

#[tokio::test]
async fn why_names_everything_that_holds_a_blob_and_a_manifest() {
    let world = World::new();
    let blob = world.push(b"layer").await;
    let why = world.desk.why(None, &blob.to_string()).await.unwrap();
    assert_eq!(why.places[0].link.as_ref().unwrap().lease_ms, Some(60_000));
    let object = why.blob.unwrap().objects.remove(0);
    assert_eq!(world.desk.why(None, &object).await.unwrap().object.unwrap().state, "blob");

    let image = world.put(b"{image}", &[blob], &[], &["v1"]);
    let index = world.put(b"{index}", &[], &[image], &["all"]);
    let why = world.desk.why(Some(NAME), &blob.to_string()).await.unwrap();
    let link = why.places[0].link.clone().unwrap();
    assert_eq!((link.references, link.manifests, link.lease_ms), (1, vec![image.to_string()], None));
    let why = world.desk.why(Some(NAME), &image.to_string()).await.unwrap();
    let held = why.places[0].manifest.clone().unwrap();
    assert_eq!((held.tags, held.parents), (vec!["v1".to_owned()], vec![index.to_string()]));

    world.delete(&index);
    let why = world.desk.why(None, &index.to_string()).await.unwrap();
    let trash = why.places[0].trash.clone().unwrap();
    assert_eq!((trash.left_ms, trash.tags), (60_000, vec!["all".to_owned()]));
    let elsewhere = world.desk.why(Some("team/app2"), &index.to_string()).await.unwrap();
    assert!(elsewhere.places.is_empty());
    refused(world.desk.why(None, "latest").await);
    // A key of the bucket is that after its root directory: without that, no answer would be better than "unknown".
    refused(world.desk.why(None, &format!("root/{object}")).await);
}

#[tokio::test]
async fn an_object_is_followed_to_its_end() {
    let world = World::new();
    let dead = world.push(b"dead").await;
    let object = world.desk.why(None, &dead.to_string()).await.unwrap().blob.unwrap().objects.remove(0);
    world.wait(61);
    world.desk.collect(Collect::default()).await.unwrap();
    world.wait(10);
    let condemned = world.desk.why(None, &object).await.unwrap().object.unwrap();
    assert_eq!(
        (condemned.state.as_str(), condemned.age_ms, condemned.left_ms),
        ("condemned", Some(10_000), Some(20_000))
    );
    let why = world.desk.why(None, &dead.to_string()).await.unwrap();
    assert!(why.blob.is_none() && why.places.is_empty(), "{why:?}");
    let gone = &why.condemned[0];
    assert_eq!((gone.bytes, gone.age_ms, gone.left_ms), (4, 10_000, 20_000));
    assert_eq!(gone.objects, std::slice::from_ref(&object));
    assert!(!why.paused && !why.more);
    // A push brings objects of its own.
    assert_eq!(world.push(b"dead").await, dead);
    let why = world.desk.why(None, &dead.to_string()).await.unwrap();
    assert_ne!(why.blob.unwrap().objects, why.condemned[0].objects);
    world.wait(20);
    world.desk.collect(Collect::default()).await.unwrap();
    let why = world.desk.why(None, &dead.to_string()).await.unwrap();
    assert!(why.blob.is_some() && why.condemned.is_empty(), "{why:?}");
    assert_eq!(world.desk.why(None, &object).await.unwrap().object.unwrap().state, "deleting");
    let keys = vec![object.clone()];
    world.metadata.apply(Command::DeletesDone(wire::DeletesDone { keys })).unwrap();
    assert_eq!(world.desk.why(None, &object).await.unwrap().object.unwrap().state, "unknown");
}

#[tokio::test]
async fn what_was_deleted_comes_back_within_the_grace() {
    let world = World::new();
    let blob = world.push(b"layer").await;
    let image = world.put(b"{image}", &[blob], &[], &["v1", "v2"]);
    world.delete(&image);
    assert_eq!(world.desk.undelete_manifest(NAME, &image.to_string()).await.unwrap().tags, 2);
    let why = world.desk.why(None, &image.to_string()).await.unwrap();
    assert_eq!(why.places[0].manifest.as_ref().unwrap().tags, ["v1", "v2"]);

    let untag = wire::DeleteTag { repository: NAME.into(), tag: "v1".into(), expect: None };
    world.metadata.apply(Command::DeleteTag(untag)).unwrap();
    let other = world.put(b"{other}", &[blob], &[], &["v1"]);
    let taken = refused(world.desk.undelete_tag(NAME, "v1").await);
    assert!(taken.contains(&other.to_string()), "{taken}");

    world.delete(&image);
    world.wait(61);
    refused(world.desk.undelete_manifest(NAME, &image.to_string()).await);
    refused(world.desk.undelete_tag("no/such", "v1").await);
    refused(world.desk.undelete_tag(NAME, "not a tag").await);
}

#[tokio::test]
async fn the_trash_of_a_repository_names_what_can_be_put_back() {
    let world = World::new();
    let blob = world.push(b"layer").await;
    let (image, other) = (world.put(b"{image}", &[blob], &[], &["v1", "v2"]), world.put(b"{}", &[blob], &[], &["old"]));
    assert_eq!(world.desk.trash(NAME).await.unwrap(), flotilla_proto::admin::Deleted::default());
    world.delete(&image);
    world.wait(10);
    let untag = wire::DeleteTag { repository: NAME.into(), tag: "old".into(), expect: None };
    world.metadata.apply(Command::DeleteTag(untag)).unwrap();
    let trash = world.desk.trash(NAME).await.unwrap();
    assert_eq!((trash.manifests.len(), trash.tags.len(), trash.more), (1, 1, false));
    let manifest = &trash.manifests[0];
    assert_eq!((&manifest.digest, manifest.trash.left_ms), (&image.to_string(), 50_000));
    assert_eq!(manifest.trash.tags, ["v1", "v2"]);
    let tag = &trash.tags[0];
    assert_eq!((tag.tag.as_str(), &tag.digest, tag.left_ms), ("old", &other.to_string(), 60_000));
    refused(world.desk.trash("no/such").await);
}

#[tokio::test]
async fn a_deleted_repository_is_gone_at_once() {
    let world = World::new();
    let blob = world.push(b"layer").await;
    world.desk.delete_repository(NAME).await.unwrap();
    refused(world.desk.delete_repository(NAME).await);
    let why = world.desk.why(None, &blob.to_string()).await.unwrap();
    assert!(why.places[0].deleted, "{why:?}");
}

// ---------------------------------------------------------------- verification

async fn verified(world: &World, hash: bool) -> Verification {
    verified_at(world, Verify { hash, rate: None }).await
}

async fn verified_at(world: &World, verify: Verify) -> Verification {
    let lifecycle = Lifecycle::new();
    let verifier = Verifier::new(world.metadata.clone(), world.store.clone(), lifecycle.clone());
    assert!(verifier.start(verify).unwrap().running);
    assert!(verifier.start(verify).is_err(), "one at a time");
    while verifier.look().running {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seen = verifier.look();
    lifecycle.stop();
    seen
}

#[tokio::test(start_paused = true)]
async fn a_sound_cluster_verifies() {
    let world = World::new();
    let blobs = [world.push(b"one").await, world.push(b"two").await];
    world.put(b"{}", &blobs, &[], &["v1"]);
    let seen = verified(&world, true).await;
    assert!(seen.is_clean(), "{seen:?}");
    assert_eq!((seen.blobs, seen.blobs_all, seen.bytes, seen.keys), (2, 2, 6, 2));
}

#[tokio::test(start_paused = true)]
async fn bytes_are_read_at_a_rate() {
    let world = World::new();
    world.push(&[1; 3_000]).await;
    world.push(&[2; 2_000]).await;
    let began = tokio::time::Instant::now();
    let seen = verified_at(&world, Verify { hash: true, rate: Some(100) }).await;
    assert!(seen.is_clean() && seen.bytes == 5_000, "{seen:?}");
    assert!((50..52).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(verified(&world, true).await.is_clean());
    assert!(began.elapsed().as_secs() < 53, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_verification_ends_when_the_node_drains() {
    let world = World::new();
    world.push(b"one").await;
    let lifecycle = Lifecycle::new();
    let verifier = Verifier::new(world.metadata.clone(), world.store.clone(), lifecycle.clone());
    verifier.start(Verify { hash: true, rate: Some(1) }).unwrap();
    lifecycle.drain();
    assert!(lifecycle.drained(Duration::from_secs(60)).await);
    let seen = verifier.look();
    assert!(!seen.running && !seen.is_clean(), "{seen:?}");
    assert!(seen.error.is_some_and(|error| error.contains("the node stops")));
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_told_unless_it_is_known_as_suspect() {
    let world = World::new();
    let blob = world.push(b"one").await;
    let keys = world.store.keys();
    world.store.delete(keys.clone()).await;
    let seen = verified(&world, false).await;
    assert_eq!(seen.differences, [format!("S1: {blob}: object {} is missing", keys[0])]);
    assert!(!seen.is_clean());
    let segment_list = world.metadata.view().unwrap().blob_anywhere(&blob).unwrap().unwrap().segment_list;
    let mark = wire::MarkSuspect { digest: blob.to_bytes().into(), segment_list };
    world.metadata.apply(Command::MarkSuspect(mark)).unwrap();
    let seen = verified(&world, false).await;
    assert!(seen.is_clean() && seen.suspects == 1, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_cannot_be_read_is_told_and_does_not_end_the_run() {
    let world = World::new();
    let blobs = [world.push(b"one").await, world.push(b"two").await, world.push(b"three").await];
    let why = world.desk.why(None, &blobs[0].to_string()).await.unwrap();
    world.store.refuse([why.blob.unwrap().objects[0].parse().unwrap()]);
    let seen = verified(&world, false).await;
    assert_eq!((seen.blobs, seen.keys, seen.differences.len()), (3, 3, 0), "{seen:?}");
    assert!(!seen.is_clean() && seen.error.unwrap().contains(&format!("{} (length of ", blobs[0])));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_ends_the_run() {
    let world = World::new();
    for n in 0..150_u32 {
        world.push(n.to_string().leak().as_bytes()).await;
    }
    world.store.refuse(world.store.keys());
    let seen = verified(&world, false).await;
    assert_eq!((seen.keys, seen.phase.as_str()), (0, "blobs"), "{seen:?}");
    assert!(seen.error.is_some_and(|error| error.starts_with("too many blobs could not be looked at: ")));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_a_difference() {
    let world = World::new();
    world.push(b"one").await;
    world.metadata.corrupt(|tables| {
        let record = tables.keys().find(|record| record[0] == 0x21).cloned().expect("a link");
        tables.insert(record, vec![0xff; 9]);
    });
    let seen = verified(&world, false).await;
    assert!(seen.differences.len() == 1 && seen.differences[0].starts_with("unreadable: "), "{seen:?}");
    assert_eq!((seen.blobs, seen.keys, seen.phase.as_str()), (1, 1, "done"), "it goes on: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn runs_are_told_apart() {
    let world = World::new();
    let (one, other) = (verified(&world, false).await, verified(&world, false).await);
    assert!(one.run != other.run && !one.run.is_empty(), "{one:?} {other:?}");
}

#[tokio::test(start_paused = true)]
async fn damaged_bytes_are_found_by_their_digest_alone() {
    let world = World::new();
    world.push(b"one").await;
    let key = Key::new("c", "i", 0, "s", "b", 1).unwrap();
    let mut writer = world.store.writer(key.clone()).await.unwrap();
    writer.write(Bytes::from_static(b"twx")).await.unwrap();
    writer.finish().await.unwrap();
    let session_id = Bytes::from_static(&[9; 16]);
    let open = wire::OpenSession {
        session_id: session_id.clone(),
        repository: NAME.into(),
        algorithm: 1,
        idle_ms: 60_000,
        hard_ms: 60_000,
    };
    world.metadata.apply(Command::OpenSession(open)).unwrap();
    let commit = wire::CommitBlob {
        session_id,
        segment: Some(wire::Segment { key: key.to_string(), length: 3 }),
        digest: digest(b"two").to_bytes().into(),
        size: 3,
        new_repository_id: Bytes::from_static(&[8; 16]),
        ..Default::default()
    };
    world.metadata.apply(Command::CommitBlob(commit)).unwrap();
    assert!(verified(&world, false).await.is_clean());
    let seen = verified(&world, true).await;
    let wanted = format!("S1: {}: its bytes have the digest {}", digest(b"two"), digest(b"twx"));
    assert_eq!(seen.differences, [wanted]);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_store_is_recorded_or_still_to_be_swept() {
    let world = World::new();
    let one = world.push(b"one").await;
    let hour = world.metadata.view().unwrap().cluster().unwrap().hour;
    let stray = async |hour: u64| {
        let key = Key::new("c", "i", hour, "s", "b", hour).unwrap();
        let mut writer = world.store.writer(key.clone()).await.unwrap();
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        writer.finish().await.unwrap();
        key.to_string()
    };
    let unswept = stray(hour).await;
    assert!(verified(&world, false).await.is_clean());

    // The next session opens in a later bucket; then the first one is forgotten.
    world.wait(61);
    world.push(b"two").await;
    world.metadata.apply(Command::HoursSwept(wire::HoursSwept { hours: vec![hour] })).unwrap();
    // Somebody writes under it still.
    let recorded: Key = world.desk.why(None, &one.to_string()).await.unwrap().blob.unwrap().objects[0].parse().unwrap();
    let _again = world.store.writer(recorded.clone()).await.unwrap();
    let _late = world.store.writer(Key::new("c", "i", hour, "s", "b", 99).unwrap()).await.unwrap();
    let seen = verified(&world, false).await;
    assert!(seen.differences[0].contains(&unswept), "{seen:?}");
    assert_eq!(seen.differences_all, 3, "{seen:?}");
    assert!(seen.differences.iter().any(|it| it.contains("s-b-99")), "{seen:?}");
    let left = format!("S5: an upload of parts to {recorded} was left in the store");
    assert!(seen.differences.contains(&left), "{seen:?}");
}

#[tokio::test]
async fn figures_show_queues_and_the_cause_of_a_pause() {
    let world = World::new();
    world.push(b"dead").await;
    world.wait(65);
    world.desk.set_mode("paused", "a test").await.unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(Figures::new(world.metadata.clone())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for wanted in [
        "flotilla_gc_paused{cause=\"operator\"} 1",
        "flotilla_gc_paused{cause=\"breaker\"} 0",
        "flotilla_gc_queue_due_entries{queue=\"links\"} 1",
        "flotilla_gc_queue_late_seconds{queue=\"links\"} 5",
        "flotilla_gc_day_bytes_max 1000",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}
