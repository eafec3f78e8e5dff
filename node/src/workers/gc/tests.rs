mod world;

pub(crate) use world::settle;

use super::*;
use crate::{blobstore::Key, workers::Worker};
use std::sync::atomic::Ordering::Relaxed;
use tokio_util::sync::CancellationToken;
use world::{MARKER, World, passes, setup};

const HOUR: Duration = Duration::from_secs(3_600);
const MS: Duration = Duration::from_millis(1);

fn delays() -> wire::GcDelays {
    flotilla_proto::metadata::GC_DELAYS
}

fn pause(world: &World) {
    let mode = wire::GcMode::Paused.into();
    world.apply(Command::SetGcMode(wire::SetGcMode { mode, reason: "a test".to_owned() }));
}

#[tokio::test]
async fn a_dead_blob_goes_after_the_delays_and_a_live_one_stays() {
    let mut world = World::new().await;
    let (live, dead) = (world.push("live").await, world.push("dead").await);
    world.put_manifest("v1", &[live]);
    assert_eq!(world.keys().len(), 2);
    world.advance(24 * HOUR - MS);
    world.collect().await;
    assert!(world.view().blob_anywhere(&dead).unwrap().is_some());
    // Due, and waits for others for a while.
    world.advance(HOUR);
    world.collect().await;
    assert!(world.view().blob_anywhere(&dead).unwrap().is_some());
    world.advance(MS);
    world.collect().await;
    assert!(world.view().blob_anywhere(&dead).unwrap().is_none());
    assert_eq!(world.keys().len(), 2, "readers may hold it");
    world.advance(24 * HOUR - MS);
    world.collect().await;
    assert_eq!(world.keys().len(), 2);
    world.advance(MS);
    world.collect().await;
    assert_eq!(world.keys().len(), 1);
    world.advance(1_000 * HOUR);
    world.collect().await;
    assert_eq!(world.keys().len(), 1);
    assert!(world.view().blob_anywhere(&live).unwrap().is_some());
    assert_eq!(world.view().due_hours(10).unwrap(), [0; 0]);
}

#[tokio::test]
async fn two_thousand_dead_blobs_cost_a_handful_of_entries_and_requests() {
    let mut world = World::new().await;
    for n in 0..2_000_u32 {
        world.push(n.to_be_bytes().to_vec()).await;
    }
    let live = world.push("live").await;
    world.put_manifest("v1", &[live]);
    world.spent();
    let mut all = (0, 0);
    for _ in 0..60 {
        world.advance(HOUR);
        world.collect().await;
        let (entries, deletes, _) = world.spent();
        all = (all.0 + entries, all.1 + deletes);
    }
    assert_eq!(world.keys().len(), 1);
    assert!(all.0 <= 20 && all.1 <= 20, "more than 0.01 a blob: {all:?}");
    assert_eq!(all, (6, 2), "two Collect, one StartDelete, two DeletesDone, one HoursSwept; two requests");
}

#[tokio::test]
async fn what_reached_the_store_late_is_swept_and_the_hour_forgotten() {
    let mut world = World::new().await;
    let live = world.push("live").await;
    world.put_manifest("v1", &[live]);
    let live = world.keys();
    world.advance(2 * HOUR);
    let late = |n| Key::new("c", "i", 0, "late", "boot", n).unwrap();
    for n in 0..1_500 {
        let mut writer = world.store.writer(late(n)).await.unwrap();
        writer.write("late".into()).await.unwrap();
        writer.finish().await.unwrap();
    }
    std::mem::forget(world.store.writer(late(2_000)).await.unwrap()); // its node died
    world.advance(45 * HOUR);
    world.collect().await;
    assert_eq!(world.keys().len(), 1_501, "late writes may still come");
    world.advance(HOUR);
    assert_eq!(world.view().due_hours(10).unwrap(), [0]);
    world.spent();
    world.collect().await;
    assert_eq!(world.keys(), live);
    assert_eq!(world.store.uploads("c/i/").await.unwrap(), []);
    assert_eq!(world.view().due_hours(10).unwrap(), [0; 0]);
    let (entries, deletes, lists) = world.spent();
    assert_eq!((entries, deletes, lists), (1, 2, 3), "two pages, and one that is clean");
}

#[tokio::test]
async fn another_hour_is_not_touched_while_a_session_is_open_in_it() {
    let mut world = World::new().await;
    let upload = world.registry.open_upload(&world.grant, flotilla_proto::oci::Algorithm::Sha256).await.unwrap();
    let key = Key::new("c", "i", 0, &upload.id.as_simple().to_string(), "boot", 1).unwrap();
    let mut writer = world.store.writer(key.clone()).await.unwrap();
    writer.write("unrecorded as yet".into()).await.unwrap();
    world.advance(60 * HOUR);
    world.collect().await;
    assert!(writer.finish().await.is_ok());
    world.collect().await;
    assert_eq!(world.keys(), [key]);
}

#[tokio::test]
async fn a_worker_that_dies_before_its_report_repeats_itself_safely() {
    let mut world = World::new().await;
    let stop = CancellationToken::new();
    world.push("twice").await;
    world.push("twice").await;
    passes(&mut world.workers.start).await;
    assert_eq!(world.view().deleting(None, 10).unwrap().len(), 1);
    world.log.lose_next.store(true, Relaxed);
    assert!(world.workers.delete.pass(&stop).await.is_err());
    assert_eq!((world.keys().len(), world.view().deleting(None, 10).unwrap().len()), (1, 1));
    let mut elsewhere = delete::Delete::new(world.setup.clone());
    assert_eq!(passes(&mut elsewhere).await, 1);
    assert_eq!((world.keys().len(), world.view().deleting(None, 10).unwrap().len()), (1, 0));

    world.advance(50 * HOUR);
    world.log.lose_next.store(true, Relaxed);
    assert!(world.workers.sweep.pass(&stop).await.is_err());
    assert_eq!(world.view().due_hours(10).unwrap(), [0]);
    assert_eq!(passes(&mut sweep::Sweep::new(world.setup.clone())).await, 1);
    assert_eq!(world.view().due_hours(10).unwrap(), [0; 0]);
    assert_eq!(world.keys().len(), 1);
}

#[tokio::test]
async fn two_nodes_share_the_deletes_and_neither_takes_the_others() {
    let world = World::new().await;
    for n in 0..300_u32 {
        world.push(n.to_be_bytes().to_vec()).await;
        world.push(n.to_be_bytes().to_vec()).await;
    }
    passes(&mut start_deletes::StartDeletes::new(world.setup.clone())).await;
    let mut done = Vec::new();
    for index in [0, 1] {
        let setup = world::setup(world.log.clone(), world.store.clone(), index, 2);
        done.push(passes(&mut delete::Delete::new(setup)).await);
    }
    assert_eq!(done.iter().sum::<u64>(), 300);
    assert!(done.iter().all(|done| *done > 50), "{done:?}");
    assert_eq!((world.keys().len(), world.view().deleting(None, 10).unwrap().len()), (300, 0));
    let mut deleted = world.store.deleted.lock().unwrap().clone();
    deleted.sort();
    deleted.dedup();
    assert_eq!((deleted.len(), world.spent().1), (300, 2), "each key once, in one request of each node");
}

#[tokio::test]
async fn a_key_that_the_store_does_not_name_as_gone_is_not_reported() {
    let mut world = World::new().await;
    for n in 0..10_u32 {
        world.push(n.to_be_bytes().to_vec()).await;
        world.push(n.to_be_bytes().to_vec()).await;
    }
    passes(&mut world.workers.start).await;
    let stuck: Key = world.view().deleting(None, 1).unwrap()[0].parse().unwrap();
    world.store.stuck.lock().unwrap().insert(stuck.clone());
    assert_eq!(passes(&mut world.workers.delete).await, 9);
    assert_eq!(world.view().deleting(None, 10).unwrap(), [stuck.to_string()]);
    assert_eq!(passes(&mut world.workers.delete).await, 0, "not again at once");
    assert_eq!(world.spent().1, 1);
    world.store.stuck.lock().unwrap().clear();
    assert_eq!(passes(&mut delete::Delete::new(world.setup.clone())).await, 1);
    assert_eq!((world.keys().len(), world.view().deleting(None, 10).unwrap().len()), (10, 0));
}

#[tokio::test]
async fn while_collection_is_paused_nothing_is_proposed_but_the_end_of_what_nobody_read() {
    let mut world = World::new().await;
    world.push("twice").await;
    world.push("twice").await;
    pause(&world);
    world.spent();
    world.advance(200 * HOUR);
    assert_eq!(world.collect().await, 2, "the duplicate");
    assert_eq!(world.spent(), (2, 1, 0));
    assert_eq!(world.keys().len(), 1);
    let mode = wire::GcMode::On.into();
    world.apply(Command::SetGcMode(wire::SetGcMode { mode, reason: String::new() }));
    world.collect().await;
    world.advance(Duration::from_millis(delays().delete_ms));
    world.collect().await;
    assert!(world.keys().is_empty());
}

#[tokio::test]
async fn a_deleted_repository_is_drained_and_its_blobs_go() {
    let mut world = World::new().await;
    let mut blobs = Vec::new();
    for n in 0..1_200_u32 {
        blobs.push(world.push(n.to_be_bytes().to_vec()).await);
    }
    world.put_manifest("v1", &blobs[..600]);
    world.apply(Command::DeleteRepository(wire::DeleteRepository { repository: "team/app".to_owned() }));
    pause(&world);
    assert_eq!(passes(&mut world.workers.drain).await, 0);
    let mode = wire::GcMode::On.into();
    world.apply(Command::SetGcMode(wire::SetGcMode { mode, reason: String::new() }));
    assert!(passes(&mut world.workers.drain).await > 1_200);
    assert_eq!(world.view().draining(1).unwrap(), []);
    world.advance(Duration::from_millis(delays().delete_ms));
    world.collect().await;
    assert!(world.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_blob_whose_object_is_missing_twice_is_suspect_and_heals_by_a_push() {
    let mut world = World::new().await;
    let (lost, kept) = (world.push("lost").await, world.push("kept").await);
    world.put_manifest("v1", &[lost, kept]);
    world.store.memory.delete(vec![world.key_of(&lost)]).await;
    let stop = CancellationToken::new();
    passes(&mut world.workers.scrub).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    world.workers.scrub.pass(&stop).await.unwrap();
    assert!(!world.is_suspect(&lost), "one miss is none");
    tokio::time::advance(Duration::from_secs(2)).await;
    world.store.blind.store(true, Relaxed);
    assert!(world.workers.scrub.pass(&stop).await.is_err());
    assert!(!world.is_suspect(&lost), "a refusal is no miss");
    world.store.blind.store(false, Relaxed);
    assert_eq!(world.workers.scrub.pass(&stop).await.unwrap().done, 0, "it is asked for later");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(world.workers.scrub.pass(&stop).await.unwrap().done, 1);
    assert!(world.is_suspect(&lost) && !world.is_suspect(&kept));
    world.push("lost").await;
    assert!(!world.is_suspect(&lost));
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(world.workers.scrub.pass(&stop).await.unwrap().done, 0);
    assert!(!world.is_suspect(&lost));
}

#[tokio::test]
async fn the_walk_deletes_what_came_after_its_hour_was_swept_and_nothing_else() {
    let mut world = World::new().await;
    let live = world.push("live").await;
    world.put_manifest("v1", &[live]);
    world.advance(60 * HOUR);
    world.collect().await;
    let mut expected = world.keys();
    world.push("of an hour that is not over").await;
    let late = |hour| Key::new("c", "i", hour, "late", "boot", 1).unwrap();
    let now = world.view().cluster().unwrap().hour;
    for hour in [0, now] {
        let writer = world.store.writer(late(hour)).await.unwrap();
        writer.finish().await.unwrap();
    }
    expected.extend(world.keys().into_iter().filter(|key| key.hour() == now));
    passes(&mut world.workers.scrub).await;
    expected.sort();
    assert_eq!(world.keys(), expected);
}

/// A state that was put back to an older copy knows nothing of what was pushed since.
#[tokio::test]
async fn the_walk_leaves_time_to_notice_that_the_state_is_an_older_one() {
    let mut world = World::new().await;
    let writer = world.store.writer(Key::new("c", "i", 3, "later", "boot", 1).unwrap()).await.unwrap();
    writer.finish().await.unwrap();
    std::mem::forget(world.store.writer(Key::new("c", "i", 3, "later", "boot", 2).unwrap()).await.unwrap());
    let (mut kept, mut gone) = (0, 0);
    for _ in 0..60 {
        world.advance(HOUR);
        passes(&mut world.workers.scrub).await;
        let hour = world.view().cluster().unwrap().hour;
        match (world.keys().len(), world.store.uploads("c/i/").await.unwrap().len()) {
            (1, 1) if hour <= 3 + 49 => kept += 1,
            (0, 0) if hour > 3 + 49 => gone += 1,
            left => panic!("{left:?} in bucket {hour}"),
        }
    }
    assert!(kept > 48 && gone > 5, "{kept} {gone}");
}

#[tokio::test(start_paused = true)]
async fn a_suspect_blob_whose_object_came_back_is_whole_again() {
    let mut world = World::new().await;
    let (lost, kept) = (world.push("lost").await, world.push("kept").await);
    world.put_manifest("v1", &[lost, kept]);
    let key = world.key_of(&lost);
    world.store.memory.delete(vec![key.clone()]).await;
    passes(&mut world.workers.scrub).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(passes(&mut world.workers.scrub).await, 1);
    let mut heal = heal::Heal::new(world.setup.clone());
    assert_eq!(passes(&mut heal).await, 0);
    for (bytes, healed) in [("lots", 0), ("lost", 1)] {
        world.store.memory.delete(vec![key.clone()]).await;
        let mut writer = world.store.writer(key.clone()).await.unwrap();
        writer.write(bytes.into()).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(passes(&mut heal).await, healed, "{bytes}");
        assert_eq!(world.is_suspect(&lost), healed == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_walk_comes_round_to_what_was_before_its_beginning() {
    // It begins anywhere: wherever that is, all objects are seen.
    for _ in 0..20 {
        let mut world = World::new().await;
        for n in 0..3_u32 {
            world.push(n.to_be_bytes().to_vec()).await;
            world.advance(HOUR);
        }
        let keys = world.keys();
        world.store.memory.delete(keys.clone()).await;
        passes(&mut world.workers.scrub).await;
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(passes(&mut world.workers.scrub).await, 3, "{keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_marked_while_the_store_is_another_one() {
    let mut world = World::new().await;
    let lost = world.push("lost").await;
    world.store.memory.delete(vec![world.key_of(&lost)]).await;
    let stop = CancellationToken::new();
    passes(&mut world.workers.scrub).await;
    for marker in [r#"{"cluster_id":"c","incarnation":"i","token":"another"}"#, "{}", "no JSON"] {
        tokio::time::advance(Duration::from_secs(61)).await;
        world.store.memory.write_marker(marker.into()).await.unwrap();
        assert!(world.workers.scrub.pass(&stop).await.is_err(), "{marker}");
        assert!(!world.is_suspect(&lost));
    }
    world.store.memory.write_marker(MARKER.into()).await.unwrap();
    assert_eq!(world.workers.scrub.pass(&stop).await.unwrap().done, 1, "the miss is not forgotten");
    assert!(world.is_suspect(&lost));
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_was_collected_between_the_two_looks_is_not_marked() {
    let mut world = World::new().await;
    let (dead, kept) = (world.push("dead").await, world.push("kept").await);
    world.put_manifest("v1", &[kept]);
    let key = world.key_of(&dead);
    world.store.memory.delete(vec![key.clone()]).await;
    passes(&mut world.workers.scrub).await;
    world.advance(26 * HOUR);
    world.collect().await;
    assert!(world.view().blob_anywhere(&dead).unwrap().is_none());
    assert!(world.view().object(key.as_str()).unwrap().is_some(), "condemned, and recorded");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(passes(&mut world.workers.scrub).await, 0);
    // A new blob of the digest has its own object.
    world.push("dead").await;
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(passes(&mut world.workers.scrub).await, 0);
    assert!(!world.is_suspect(&dead));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_asked_for_does_not_hold_up_the_walk() {
    let mut world = World::new().await;
    let mut lost = Vec::new();
    for n in 0..250_u32 {
        lost.push(world.push(n.to_be_bytes().to_vec()).await);
    }
    let mut keys = world.keys();
    world.store.memory.delete(keys.clone()).await;
    keys.sort();
    world.store.memory.refuse(keys[..3].iter().cloned());
    let stop = CancellationToken::new();
    for _ in 0..30 {
        // It fails while those are refused, and goes on with the others.
        drop(world.workers.scrub.pass(&stop).await);
        tokio::time::advance(Duration::from_secs(61)).await;
    }
    assert_eq!(lost.iter().filter(|lost| !world.is_suspect(lost)).count(), 3, "more than one page of looks");
    world.store.memory.refuse([]);
    for _ in 0..4 {
        drop(world.workers.scrub.pass(&stop).await);
        tokio::time::advance(Duration::from_secs(61)).await;
    }
    assert!(lost.iter().all(|lost| world.is_suspect(lost)));
}

#[tokio::test]
async fn an_hour_that_cannot_be_cleaned_does_not_hold_up_the_others() {
    let mut world = World::new().await;
    let mut stuck = Vec::new();
    for hour in 0..30 {
        world.push(format!("of hour {hour}")).await;
        let key = Key::new("c", "i", hour, "late", "boot", 1).unwrap();
        world.store.writer(key.clone()).await.unwrap().finish().await.unwrap();
        if hour < 26 {
            stuck.push(key);
        }
        world.advance(HOUR);
    }
    world.store.stuck.lock().unwrap().extend(stuck.iter().cloned());
    world.advance(60 * HOUR);
    assert_eq!(world.view().due_hours(100).unwrap(), (0..30).collect::<Vec<_>>());
    for _ in 0..2 {
        assert!(world.workers.sweep.pass(&CancellationToken::new()).await.is_err(), "some are left");
    }
    assert_eq!(world.view().due_hours(100).unwrap(), (0..26).collect::<Vec<_>>());
    world.store.stuck.lock().unwrap().clear();
    passes(&mut world.workers.sweep).await;
    assert_eq!(world.view().due_hours(100).unwrap(), [0; 0]);
    assert!(stuck.iter().all(|key| !world.keys().contains(key)));
}

/// A count in the state that is too low, as a bug would leave it.
fn miscount(world: &World) {
    world.log.store.corrupt(|tables| {
        let record = tables.keys().find(|record| record[0] == 0x21).cloned().expect("a link");
        let link = wire::Link { references: 7, eligible_mono: 0 };
        tables.insert(record, prost::Message::encode_to_vec(&link));
    });
}

fn recount_of(world: &World, index: usize, of: usize) -> recount::Recount {
    let setup = setup(world.log.clone(), world.store.clone(), index, of);
    recount::Recount::new(setup, 24 * HOUR)
}

fn mode_of(world: &World) -> (wire::GcMode, String) {
    let gc = world.view().gc().unwrap().1;
    (gc.mode(), gc.reason)
}

#[tokio::test(start_paused = true)]
async fn a_wrong_count_pauses_collection_and_says_which() {
    let world = World::new().await;
    let blob = world.push("blob").await;
    world.put_manifest("v1", &[blob]);
    let mut recount = recount_of(&world, 1, 3);
    assert_eq!(passes(&mut recount).await, 0, "not yet");
    assert_eq!(recount.metrics(), (0, 0));
    tokio::time::advance(HOUR).await;
    assert_eq!(passes(&mut recount).await, 0);
    assert_eq!((recount.metrics(), mode_of(&world).0), ((1, 0), wire::GcMode::On), "all is well");

    miscount(&world);
    tokio::time::advance(23 * HOUR).await;
    assert_eq!(passes(&mut recount).await, 0, "once a day");
    tokio::time::advance(HOUR).await;
    assert_eq!(passes(&mut recount).await, 1);
    let (mode, reason) = mode_of(&world);
    assert_eq!(mode, wire::GcMode::Paused);
    assert_eq!(reason, "recount: S3: team/app counts other references");
    assert_eq!(recount.metrics(), (2, 1));

    // It never lets collection go on, and leaves another's pause as it is.
    pause(&world);
    tokio::time::advance(24 * HOUR).await;
    assert_eq!(passes(&mut recount).await, 1);
    assert_eq!(mode_of(&world), (wire::GcMode::Paused, "a test".to_owned()));
    let mode = wire::GcMode::On.into();
    world.apply(Command::SetGcMode(wire::SetGcMode { mode, reason: String::new() }));
    tokio::time::advance(24 * HOUR).await;
    assert_eq!(passes(&mut recount).await, 1);
    assert_eq!(mode_of(&world).0, wire::GcMode::Paused, "still wrong");
}

#[tokio::test(start_paused = true)]
async fn damage_is_told_until_the_cluster_has_heard_and_in_place_of_the_breaker() {
    let mut world = World::new().await;
    let strict = wire::GcDelays { breaker_permille: 0, breaker_floor: 1, ..delays() };
    world.apply(Command::ConfigureGc(wire::ConfigureGc { delays: Some(strict) }));
    let blob = world.push("blob").await;
    world.put_manifest("v1", &[blob]);
    world.push("dead").await;
    for _ in 0..60 {
        world.advance(HOUR);
        world.collect().await;
    }
    let breaker = |world: &World| world.view().gc().unwrap().1.breaker;
    assert!(breaker(&world) && mode_of(&world).0 == wire::GcMode::Paused);

    miscount(&world);
    let (mut recount, stop) = (recount_of(&world, 1, 3), CancellationToken::new());
    tokio::time::advance(HOUR).await;
    world.log.lose_next.store(true, Relaxed);
    assert!(recount.pass(&stop).await.is_err());
    assert!(breaker(&world), "nobody has heard of it yet");
    recount.pass(&stop).await.unwrap();
    assert_eq!(recount.metrics(), (1, 1), "it need not count again for that");
    assert!(!breaker(&world));
    assert_eq!(mode_of(&world), (wire::GcMode::Paused, "recount: S3: team/app counts other references".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_pauses_collection_too() {
    let world = World::new().await;
    world.push("blob").await;
    world.log.store.corrupt(|tables| {
        let record = tables.keys().find(|record| record[0] == 0x20).cloned().expect("a blob");
        tables.insert(record, vec![0xff; 9]);
    });
    let mut recount = recount_of(&world, 1, 3);
    tokio::time::advance(HOUR).await;
    assert_eq!(passes(&mut recount).await, 1);
    let (mode, reason) = mode_of(&world);
    assert!(mode == wire::GcMode::Paused && reason.starts_with("recount: unreadable: "), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn the_leader_leaves_the_recount_to_the_others_unless_it_is_alone() {
    let world = World::new().await;
    let blob = world.push("blob").await;
    world.put_manifest("v1", &[blob]);
    miscount(&world);
    let (mut leader, mut alone) = (recount_of(&world, 0, 3), recount_of(&world, 0, 1));
    for _ in 0..48 {
        tokio::time::advance(HOUR).await;
        assert_eq!(passes(&mut leader).await, 0);
    }
    assert_eq!((leader.metrics(), mode_of(&world).0), ((0, 0), wire::GcMode::On));
    assert_eq!(passes(&mut alone).await, 1);
    assert_eq!(mode_of(&world).0, wire::GcMode::Paused);
}

#[tokio::test(start_paused = true)]
async fn a_blob_whose_bytes_are_others_by_two_readings_is_suspect_and_the_rest_is_not() {
    let world = World::new().await;
    let (damaged, kept, gone) = (world.push("damaged").await, world.push("kept").await, world.push("gone").await);
    let key = world.key_of(&damaged);
    world.store.memory.delete(vec![key.clone(), world.key_of(&gone)]).await;
    let mut writer = world.store.writer(key).await.unwrap();
    writer.write("DAMAGED".into()).await.unwrap();
    writer.finish().await.unwrap();
    let mut rehash = rehash::Rehash::new(world.setup.clone(), 1 << 20);
    let began = Instant::now();
    // To the end from where it began, and once more from the beginning.
    assert_eq!(passes(&mut rehash).await + passes(&mut rehash).await, 2);
    assert!(began.elapsed() >= Duration::from_secs(120), "two readings, a minute apart");
    assert!(world.is_suspect(&damaged) && world.is_suspect(&gone) && !world.is_suspect(&kept));
}
