//! The state machine against a naive model, and the rules that need a scene of their own.

mod collect;
mod model;
mod rules;
mod space;
mod token_keys;

use super::invariants::violations;
use super::keys::{Table, key};
use super::records;
use super::{MemoryTables, apply};
use crate::metadata::{Command, Outcome, View};
use bytes::Bytes;
use flotilla_proto::metadata::{batch_of, operation};
use flotilla_proto::oci::{Algorithm, Digest};
use flotilla_proto::wire::metadata as wire;
use model::{Machine, Model};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc};

fn id(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[n; 16])
}

fn digest(n: u8) -> Digest {
    Digest::new(Algorithm::Sha256, &[n; 32]).expect("32 bytes")
}

fn stored(n: u8) -> Bytes {
    digest(n).to_bytes().into()
}

fn name(n: u8) -> String {
    format!("team/app{n}")
}

fn segment(n: u8, length: u64) -> wire::Segment {
    wire::Segment { key: format!("object-{n}"), length }
}

/// Ids of repositories are minted by proposers: each proposal brings a new one.
fn new_repository(serial: usize) -> Bytes {
    Bytes::copy_from_slice(&(serial as u128 + 1).to_be_bytes())
}

/// Short enough for a few ticks.
const DELAYS: wire::GcDelays = wire::GcDelays {
    grace_ms: 40_000,
    promise_ms: 15_000,
    delete_ms: 20_000,
    sweep_ms: 10_000,
    hour_ms: 9_000,
    untagged_ms: 0,
    breaker_permille: 100,
    breaker_floor: 4,
};

/// A command whose offsets are right, if `exact`, whatever the model says they are.
#[derive(Clone, Debug)]
struct Step {
    request: u8,
    exact: bool,
    command: Command,
}

fn numbers(max: u8) -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::btree_set(0..max, 0..3).prop_map(|set| set.into_iter().map(stored).collect())
}

fn expectation() -> impl Strategy<Value = Option<wire::TagExpectation>> {
    use wire::tag_expectation::Kind;
    let kind = prop_oneof![Just(Kind::Absent(true)), (10..14_u8).prop_map(|d| Kind::Digest(stored(d)))];
    prop_oneof![3 => Just(None), 1 => kind.prop_map(|kind| Some(wire::TagExpectation { kind: Some(kind) }))]
}

fn put_manifest() -> impl Strategy<Value = wire::PutManifest> {
    let tags = prop::collection::vec((0..4_u8).prop_map(|n| format!("v{n}")), 0..3);
    let sets = (numbers(3), prop_oneof![3 => Just(vec![]), 1 => Just(vec![stored(10)])], tags);
    (0..2_u8, 10..14_u8, sets, expectation(), any::<bool>(), any::<bool>()).prop_map(
        |(repository, d, (blobs, children, tags), expect, allow_missing_children, refers)| wire::PutManifest {
            repository: name(repository),
            digest: stored(d),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            body: Bytes::from(vec![b' '; usize::from(d)]),
            blobs,
            // As digests are of bodies, no manifest lists itself.
            children: if d == 10 { vec![] } else { children },
            subject: refers.then(|| stored(13)).filter(|_| d != 13),
            expect: expect.filter(|_| tags.len() == 1),
            tags,
            allow_missing_children,
            ..Default::default()
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let repository = || (0..2_u8).prop_map(name);
    let session = || (0..5_u8).prop_map(id);
    let some_segment = || (0..40_u8, 0..3_u64).prop_map(|(n, length)| segment(n, length));
    prop_oneof![
        6 => (0..3_u64, prop_oneof![6 => Just(1), 1 => 0..3_u64])
            .prop_map(|(steps, term)| Command::Tick(wire::Tick { elapsed_ms: steps * 9_000, term })),
        1 => "[ab]".prop_map(|token| Command::CreateStore(wire::CreateStore { token, ..Default::default() })),
        1 => "[ab]".prop_map(|token| Command::MarkStore(wire::MarkStore { token })),
        6 => (session(), repository(), 0..40_000_u64).prop_map(|(session_id, repository, idle_ms)| {
            let hard_ms = 30_000;
            Command::OpenSession(wire::OpenSession { session_id, repository, algorithm: 1, idle_ms, hard_ms })
        }),
        1 => (session(), 0..40_000_u64)
            .prop_map(|(session_id, idle_ms)| Command::TouchSession(wire::TouchSession { session_id, idle_ms })),
        5 => (session(), 0..3_u64, some_segment()).prop_map(|(session_id, from, segment)| {
            let (segment, idle_ms) = (Some(segment), 20_000);
            Command::RecordChunk(wire::RecordChunk { session_id, from, segment, idle_ms, ..Default::default() })
        }),
        8 => (session(), 0..3_u64, prop::option::of(some_segment()), 0..3_u8).prop_map(
            |(session_id, at, segment, d)| {
                let digest = stored(d);
                Command::CommitBlob(wire::CommitBlob { session_id, at, segment, digest, ..Default::default() })
            }
        ),
        1 => (session(), repository()).prop_map(|(session_id, repository)| {
            Command::CancelSession(wire::CancelSession { session_id, repository })
        }),
        1 => prop::collection::vec(session(), 0..5)
            .prop_map(|session_ids| Command::ExpireSessions(wire::ExpireSessions { session_ids })),
        1 => some_segment()
            .prop_map(|segment| Command::DiscardObject(wire::DiscardObject { segment: Some(segment) })),
        3 => (prop::option::of(repository()), repository(), 0..3_u8).prop_map(|(from, to, d)| {
            Command::MountBlob(wire::MountBlob { from, to, digest: stored(d), ..Default::default() })
        }),
        2 => (repository(), 0..3_u8).prop_map(|(repository, d)| {
            Command::DeleteBlobLink(wire::DeleteBlobLink { repository, digest: stored(d) })
        }),
        8 => put_manifest().prop_map(Command::PutManifest),
        2 => (repository(), 10..14_u8, 0..3_u32).prop_map(|(repository, d, tags_max)| {
            Command::DeleteManifest(wire::DeleteManifest { repository, digest: stored(d), tags_max })
        }),
        2 => (repository(), 0..4_u8, expectation()).prop_map(|(repository, tag, expect)| {
            Command::DeleteTag(wire::DeleteTag { repository, tag: format!("v{tag}"), expect })
        }),
        2 => (0..4_u32).prop_map(|limit| Command::StartDelete(wire::StartDelete { limit })),
        2 => (repository(), prop::collection::vec(0..4_u8, 0..3)).prop_map(|(repository, digests)| {
            Command::TouchLinks(wire::TouchLinks { repository, digests: digests.into_iter().map(stored).collect() })
        }),
        4 => (0..4_u32, prop::collection::vec((0..40_usize, 0..3_u8), 0..4)).prop_map(|(limit, links)| {
            let link = |(serial, d)| wire::LinkId { repository_id: new_repository(serial), digest: stored(d) };
            Command::Collect(wire::Collect { limit, links: links.into_iter().map(link).collect() })
        }),
        3 => (0..3_u8, session(), any::<bool>()).prop_map(|(d, segment_list, mark)| {
            let digest = stored(d);
            match mark {
                true => Command::MarkSuspect(wire::MarkSuspect { digest, segment_list }),
                false => Command::ClearSuspect(wire::ClearSuspect { digest, segment_list }),
            }
        }),
        2 => (repository(), 10..14_u8).prop_map(|(repository, d)| {
            Command::TouchManifest(wire::TouchManifest { repository, digest: stored(d) })
        }),
        4 => (1..9_u32, prop::bool::weighted(0.3))
            .prop_map(|(limit, untagged)| Command::SweepManifests(wire::SweepManifests { limit: limit * 20, untagged })),
        2 => (repository(), 10..14_u8, 0..3_u32).prop_map(|(repository, d, tags_max)| {
            Command::UndeleteManifest(wire::UndeleteManifest { repository, digest: stored(d), tags_max })
        }),
        1 => (repository(), 0..4_u8).prop_map(|(repository, tag)| {
            Command::UndeleteTag(wire::UndeleteTag { repository, tag: format!("v{tag}") })
        }),
        1 => Just(Command::PurgeTrash(wire::PurgeTrash { limit: 100 })),
        1 => repository().prop_map(|repository| Command::DeleteRepository(wire::DeleteRepository { repository })),
        1 => (0..60_usize).prop_map(|serial| {
            let repository_id = new_repository(serial);
            Command::DrainRepository(wire::DrainRepository { repository_id, limit: 1_000 })
        }),
        1 => prop::collection::vec(0..9_u64, 0..9).prop_map(|hours| Command::HoursSwept(wire::HoursSwept { hours })),
        1 => (0..2_u64).prop_map(|on| {
            let delays = wire::GcDelays { untagged_ms: on * 50_000, ..DELAYS };
            Command::ConfigureGc(wire::ConfigureGc { delays: Some(delays) })
        }),
        1 => prop_oneof![3 => Just(0), 1 => 1..3_i32]
            .prop_map(|mode| Command::SetGcMode(wire::SetGcMode { mode, reason: String::new() })),
        1 => prop::collection::vec((0..40_u8).prop_map(|n| segment(n, 0).key), 0..10)
            .prop_map(|keys| Command::DeletesDone(wire::DeletesDone { keys })),
        2 => (0..20_u8, 0..30_000_u64, 0..60_000_u64).prop_map(|(n, rotate_ms, keep_ms)| {
            let secret = Bytes::from(vec![n; 32]);
            Command::AddTokenKey(wire::AddTokenKey { key_id: id(n), secret, rotate_ms, keep_ms })
        }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<u8>(), prop::bool::weighted(0.8), command());
    let step = step.prop_map(|(request, exact, command)| Step { request, exact, command });
    let configure = Command::ConfigureGc(wire::ConfigureGc { delays: Some(DELAYS) });
    let configure = Step { request: u8::MAX, exact: true, command: configure };
    prop::collection::vec(step, 1..160).prop_map(move |mut steps| {
        steps.insert(0, configure.clone());
        steps
    })
}

/// The step as a proposer that knows the state would propose it.
fn propose(step: &Step, serial: usize, model: &Model) -> wire::Operation {
    let mut command = step.command.clone();
    let offset = |session: &Bytes| model.sessions.get(session).map_or(0, |session| session.offset);
    match &mut command {
        Command::RecordChunk(c) if step.exact => c.from = offset(&c.session_id),
        Command::CommitBlob(c) => {
            if step.exact {
                c.at = offset(&c.session_id);
            }
            c.size = c.at + c.segment.as_ref().map_or(0, |segment| segment.length);
            c.new_repository_id = new_repository(serial);
        }
        Command::MountBlob(c) => c.new_repository_id = new_repository(serial),
        Command::PutManifest(c) => c.new_repository_id = new_repository(serial),
        _ => {}
    }
    // Most request ids are their own; a few come twice.
    let request = if step.request < 16 { u128::from(step.request) } else { serial as u128 + 1_000 };
    operation(Bytes::copy_from_slice(&request.to_be_bytes()), serial as u64, command)
}

fn one(tables: &mut MemoryTables, index: u64, operation: wire::Operation) -> Outcome {
    let mut outcomes = apply(tables, index, &batch_of(operation)).expect("memory does not fail");
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0).kind.expect("an outcome")
}

/// What clients see is what the model has.
fn compare(tables: &MemoryTables, model: &Model) {
    let view = View::new(Arc::new(tables.clone()));
    let cluster = view.cluster().expect("cluster");
    assert_eq!(cluster.mono, model.mono);
    assert_eq!(cluster.blobs as usize, model.blobs.len());
    assert_eq!(view.gc().expect("read").0, model.delays());
    let named = model.repositories.keys().filter(|name| !name.starts_with('!'));
    let mut names: Vec<_> = named.map(|name| name.parse().expect("a name")).collect();
    names.sort();
    assert_eq!(view.repositories(None, 100).expect("names"), names);
    for name in &names {
        let repository = view.repository(name).expect("read").expect("listed");
        let tags: Vec<_> = model.tags.iter().filter(|((r, _), _)| r == name.as_str()).collect();
        assert_eq!(view.tags(repository.id, None, 100).expect("tags").len(), tags.len());
        for ((_, tag), (digest, version)) in tags {
            let tagged = view.tag(repository.id, &tag.parse().expect("a tag")).expect("read").expect("a tag");
            assert_eq!((tagged.digest.to_bytes(), tagged.version), (digest.to_vec(), *version));
        }
        for d in 0..3 {
            let linked = model.links.contains_key(&(name.to_string(), stored(d)));
            let blob = view.blob(repository.id, &digest(d)).expect("read");
            assert_eq!(blob.is_some(), linked);
            if let Some(blob) = blob {
                let expected = &model.blobs[&stored(d)];
                assert_eq!((blob.size, blob.suspect), (expected.size, expected.suspect));
                let segments = view.segments(&blob.segment_list, blob.segments).expect("read");
                assert_eq!(segments.into_iter().map(|s| s.key).collect::<Vec<_>>(), expected.keys);
            }
        }
        for d in 10..14 {
            let expected = model.manifests.get(&(name.to_string(), stored(d)));
            let body = view.manifest_body(repository.id, &digest(d)).expect("read");
            assert_eq!(body, expected.map(|manifest| manifest.body.clone()));
        }
        let refers =
            |(at, m): &(&(String, Bytes), &wire::PutManifest)| at.0 == name.as_str() && m.subject == Some(stored(13));
        let referrers = view.referrers(repository.id, &digest(13), None, 100).expect("read");
        assert_eq!(referrers.len(), model.manifests.iter().filter(refers).count());
    }
    let mut keys: Vec<_> = model.token_keys.iter().map(|key| (key.id.to_vec(), key.replaced)).collect();
    keys.sort();
    let stored = view.token_keys().expect("read").into_iter();
    assert_eq!(stored.map(|(id, key)| (id.to_vec(), key.replaced_mono)).collect::<Vec<_>>(), keys);
    let mut deleting: Vec<_> = model.deleting.iter().cloned().collect();
    deleting.sort();
    assert_eq!(view.deleting(None, 1_000).expect("read"), deleting);
}

/// Left alone for long, the state holds what tags reach, and nothing else.
fn everything_that_nothing_holds_goes(mut tables: MemoryTables, model: Model) {
    let mut index = 1_000;
    let mut run = |tables: &mut MemoryTables, command| {
        index += 1;
        one(tables, index, operation(Bytes::new(), 0, command))
    };
    let kept = |at: &(String, Bytes)| !at.0.starts_with('!') && model.held_by_a_tag(at);
    let manifests: Vec<_> = model.manifests.iter().filter(|(at, _)| kept(at)).collect();
    let blobs: BTreeSet<_> = manifests.iter().flat_map(|(_, manifest)| manifest.blobs.clone()).collect();
    let segments: usize = blobs.iter().map(|blob| model.blobs[blob].keys.len()).sum();
    let sessions = (0..5).map(id).collect();
    for _ in 0..12 {
        for _ in 0..5 {
            run(&mut tables, Command::Tick(wire::Tick { elapsed_ms: 15_000, term: 9 }));
        }
        let mode = wire::SetGcMode { mode: 0, reason: String::new() };
        run(&mut tables, Command::SetGcMode(mode)); // the breaker may have paused it
        run(&mut tables, Command::ExpireSessions(wire::ExpireSessions { session_ids: Vec::clone(&sessions) }));
        for serial in 0..200 {
            let repository_id = new_repository(serial);
            run(&mut tables, Command::DrainRepository(wire::DrainRepository { repository_id, limit: 1_000 }));
        }
        run(&mut tables, Command::SweepManifests(wire::SweepManifests { limit: 1_000, untagged: true }));
        run(&mut tables, Command::PurgeTrash(wire::PurgeTrash { limit: 1_000 }));
        run(&mut tables, Command::Collect(wire::Collect { limit: 1_000, links: vec![] }));
        run(&mut tables, Command::StartDelete(wire::StartDelete { limit: 2_000 }));
        let keys = View::new(Arc::new(tables.clone())).deleting(None, 1_000).expect("read");
        run(&mut tables, Command::DeletesDone(wire::DeletesDone { keys }));
        run(&mut tables, Command::HoursSwept(wire::HoursSwept { hours: (0..500).collect() }));
        assert_eq!(violations(&tables).expect("readable"), Vec::<String>::new());
    }
    let count = |table| records::scan(&tables, table, &[], 10_000).expect("read").len();
    assert_eq!(count(Table::Manifest), manifests.len());
    for ((repository, digest), _) in manifests {
        let record = key(Table::Manifest, &[&model.repositories[repository], digest]);
        assert!(tables.contains_key(&record));
    }
    assert_eq!((count(Table::Blob), count(Table::Segment), count(Table::Object)), (blobs.len(), segments, segments));
    let (queues, none) = ([Table::LinkDue, Table::ManifestDue, Table::Untagged, Table::Trash, Table::TrashTag], 0);
    for table in queues.into_iter().chain([Table::Session, Table::Garbage, Table::Condemned, Table::Draining]) {
        assert_eq!(count(table), none, "{table:?}");
    }
}

/// `FLOTILLA_CASES` asks for more than CI has time for.
fn cases() -> u32 {
    std::env::var("FLOTILLA_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_machine_does_what_the_model_does(steps in steps()) {
        let (mut tables, mut model) = (MemoryTables::new(), Model::default());
        for (serial, step) in steps.iter().enumerate() {
            let operation = propose(step, serial, &model);
            let outcome = one(&mut tables, serial as u64 + 1, operation.clone());
            let view = View::new(Arc::new(tables.clone()));
            let expected = model.operate(&operation, &Machine { view: &view, outcome: outcome.clone() });
            prop_assert_eq!(outcome, expected.clone());
            prop_assert_eq!(violations(&tables).expect("readable"), Vec::<String>::new());
            if !operation.request_id.is_empty() {
                let before = tables.clone();
                prop_assert_eq!(one(&mut tables, 1_000, operation), expected);
                prop_assert!(before == tables || matches!(step.command, Command::Tick(_)), "a replay changes nothing");
            }
        }
        compare(&tables, &model);
        everything_that_nothing_holds_goes(tables, model);
    }

    #[test]
    fn batches_do_not_matter(steps in steps(), cut in 1..9_usize) {
        let (mut single, mut batched, model) = (MemoryTables::new(), MemoryTables::new(), Model::default());
        let operations: Vec<_> = steps.iter().enumerate().map(|(serial, step)| propose(step, serial, &model)).collect();
        let mut outcomes = Vec::new();
        for (serial, operation) in operations.iter().enumerate() {
            outcomes.push(one(&mut single, serial as u64, operation.clone()));
        }
        let mut together = Vec::new();
        for (index, operations) in operations.chunks(cut).enumerate() {
            let batch = wire::Batch { operations: operations.to_vec() };
            together.extend(apply(&mut batched, index as u64, &batch).expect("memory does not fail"));
        }
        prop_assert_eq!(outcomes, together.into_iter().filter_map(|outcome| outcome.kind).collect::<Vec<_>>());
        prop_assert!(single == batched);
    }
}
