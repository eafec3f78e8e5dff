//! Stored bytes of every command, outcome and record: what old versions wrote must decode, and must be written alike, for all
//! nodes' states to stay equal. New kinds are added by `FLOTILLA_GOLDEN=write cargo test -p flotilla-proto --test golden`;
//! lines that exist must never change.

use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use prost::Message;
use std::{fmt::Debug, fs, path::PathBuf};
use wire::manifest::Waits;
use wire::{TagExpectation, tag_expectation::Kind as Expect};
use wire::{command::Kind as Command, ended::Result as End, object::State, outcome::Kind as Outcome};

fn bytes(n: u8, length: usize) -> Bytes {
    Bytes::from(vec![n; length])
}

fn id(n: u8) -> Bytes {
    bytes(n, 16)
}

fn digest(n: u8) -> Bytes {
    [[1].as_slice(), &[n; 32]].concat().into()
}

fn name() -> String {
    "team/app".to_owned()
}

fn segment() -> wire::Segment {
    wire::Segment { key: "c/i/1/ab/session-boot-0".to_owned(), length: 1 << 33 }
}

fn delays() -> wire::GcDelays {
    wire::GcDelays {
        grace_ms: 86_400_000,
        promise_ms: 43_200_000,
        delete_ms: 86_400_001,
        sweep_ms: 172_800_000,
        hour_ms: 3_600_000,
        untagged_ms: 604_800_000,
        breaker_permille: 100,
        breaker_floor: 50 << 30,
    }
}

/// One of each command. The match has no `_` arm: a new kind must be added to the list.
fn commands() -> Vec<(&'static str, Command)> {
    let expect = |kind| Some(TagExpectation { kind: Some(kind) });
    let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
    let all = vec![
        Command::Tick(wire::Tick { elapsed_ms: 5_000, term: 3 }),
        Command::CreateStore(wire::CreateStore { cluster_id, incarnation, token: token.clone() }),
        Command::MarkStore(wire::MarkStore { token }),
        Command::RaiseFeatureLevel(wire::RaiseFeatureLevel { level: 2 }),
        Command::OpenSession(wire::OpenSession {
            session_id: id(1),
            repository: name(),
            algorithm: 2,
            idle_ms: 21_600_000,
            hard_ms: 604_800_000,
        }),
        Command::TouchSession(wire::TouchSession { session_id: id(1), idle_ms: 21_600_000 }),
        Command::RecordChunk(wire::RecordChunk {
            session_id: id(1),
            from: 300,
            hash_state: bytes(9, 40),
            segment: Some(segment()),
            idle_ms: 1,
        }),
        Command::CommitBlob(wire::CommitBlob {
            session_id: id(1),
            at: 300,
            segment: Some(segment()),
            digest: digest(4),
            size: 300 + (1 << 33),
            new_repository_id: id(2),
        }),
        Command::CancelSession(wire::CancelSession { session_id: id(1), repository: name() }),
        Command::ExpireSessions(wire::ExpireSessions { session_ids: vec![id(1), id(2)] }),
        Command::DiscardObject(wire::DiscardObject { segment: Some(segment()) }),
        Command::MountBlob(wire::MountBlob {
            from: Some(name()),
            to: name(),
            digest: digest(4),
            new_repository_id: id(2),
        }),
        Command::DeleteBlobLink(wire::DeleteBlobLink { repository: name(), digest: digest(4) }),
        Command::TouchLinks(wire::TouchLinks { repository: name(), digests: vec![digest(4), digest(6)] }),
        Command::Collect(wire::Collect {
            limit: 1_000,
            links: vec![wire::LinkId { repository_id: id(2), digest: digest(4) }],
        }),
        Command::MarkSuspect(wire::MarkSuspect { digest: digest(4), segment_list: id(1) }),
        Command::ClearSuspect(wire::ClearSuspect { digest: digest(4), segment_list: id(1) }),
        Command::PutManifest(wire::PutManifest {
            repository: name(),
            digest: digest(5),
            media_type: "m".to_owned(),
            body: Bytes::from_static(b"{}"),
            blobs: vec![digest(4), digest(6)],
            children: vec![digest(7)],
            subject: Some(digest(8)),
            artifact_type: Some("a".to_owned()),
            tags: vec!["v1".to_owned()],
            expect: expect(Expect::Absent(true)),
            allow_missing_children: true,
            new_repository_id: id(2),
        }),
        Command::DeleteManifest(wire::DeleteManifest { repository: name(), digest: digest(5), tags_max: 100 }),
        Command::DeleteTag(wire::DeleteTag {
            repository: name(),
            tag: "v1".to_owned(),
            expect: expect(Expect::Digest(digest(5))),
        }),
        Command::TouchManifest(wire::TouchManifest { repository: name(), digest: digest(5) }),
        Command::SweepManifests(wire::SweepManifests { limit: 1_000, untagged: true }),
        Command::UndeleteManifest(wire::UndeleteManifest { repository: name(), digest: digest(5), tags_max: 100 }),
        Command::UndeleteTag(wire::UndeleteTag { repository: name(), tag: "v1".to_owned() }),
        Command::PurgeTrash(wire::PurgeTrash { limit: 1_000 }),
        Command::DeleteRepository(wire::DeleteRepository { repository: name() }),
        Command::DrainRepository(wire::DrainRepository { repository_id: id(2), limit: 1_000 }),
        Command::StartDelete(wire::StartDelete { limit: 1_000 }),
        Command::DeletesDone(wire::DeletesDone { keys: vec![segment().key] }),
        Command::HoursSwept(wire::HoursSwept { hours: vec![3, 400] }),
        Command::ConfigureGc(wire::ConfigureGc { delays: Some(delays()) }),
        Command::SetGcMode(wire::SetGcMode { mode: wire::GcMode::Verify.into(), reason: "why".to_owned() }),
        Command::AllocateNodeId(wire::AllocateNodeId { disk_id: id(3) }),
        Command::AddTokenKey(wire::AddTokenKey {
            key_id: id(4),
            secret: bytes(5, 32),
            rotate_ms: 86_400_000,
            keep_ms: 87_000_000,
        }),
    ];
    let named = |command: Command| {
        let name = match &command {
            Command::Tick(_) => "tick",
            Command::CreateStore(_) => "create_store",
            Command::MarkStore(_) => "mark_store",
            Command::OpenSession(_) => "open_session",
            Command::TouchSession(_) => "touch_session",
            Command::RecordChunk(_) => "record_chunk",
            Command::CommitBlob(_) => "commit_blob",
            Command::CancelSession(_) => "cancel_session",
            Command::ExpireSessions(_) => "expire_sessions",
            Command::DiscardObject(_) => "discard_object",
            Command::MountBlob(_) => "mount_blob",
            Command::DeleteBlobLink(_) => "delete_blob_link",
            Command::RaiseFeatureLevel(_) => "raise_feature_level",
            Command::TouchLinks(_) => "touch_links",
            Command::Collect(_) => "collect",
            Command::MarkSuspect(_) => "mark_suspect",
            Command::ClearSuspect(_) => "clear_suspect",
            Command::TouchManifest(_) => "touch_manifest",
            Command::SweepManifests(_) => "sweep_manifests",
            Command::UndeleteManifest(_) => "undelete_manifest",
            Command::UndeleteTag(_) => "undelete_tag",
            Command::PurgeTrash(_) => "purge_trash",
            Command::DeleteRepository(_) => "delete_repository",
            Command::DrainRepository(_) => "drain_repository",
            Command::HoursSwept(_) => "hours_swept",
            Command::ConfigureGc(_) => "configure_gc",
            Command::SetGcMode(_) => "set_gc_mode",
            Command::PutManifest(_) => "put_manifest",
            Command::DeleteManifest(_) => "delete_manifest",
            Command::DeleteTag(_) => "delete_tag",
            Command::StartDelete(_) => "start_delete",
            Command::DeletesDone(_) => "deletes_done",
            Command::AllocateNodeId(_) => "allocate_node_id",
            Command::AddTokenKey(_) => "add_token_key",
        };
        (name, command)
    };
    all.into_iter().map(named).collect()
}

fn committed() -> wire::BlobCommitted {
    wire::BlobCommitted { digest: digest(4), size: 300, existed: true }
}

fn ended() -> wire::Ended {
    wire::Ended { repository: name(), result: Some(End::Committed(committed())), at_mono: 77 }
}

/// One of each outcome; no `_` arm either.
fn outcomes() -> Vec<(&'static str, Outcome)> {
    let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
    let all = vec![
        Outcome::Done(wire::Done { count: 3 }),
        Outcome::StoreCreated(wire::StoreCreated { cluster_id, incarnation, token }),
        Outcome::SessionOpened(wire::SessionOpened { hour: 12 }),
        Outcome::ChunkRecorded(wire::ChunkRecorded { offset: 300 }),
        Outcome::SessionUnknown(wire::SessionUnknown { ended: Some(ended()) }),
        Outcome::OffsetMismatch(wire::OffsetMismatch { offset: 300 }),
        Outcome::SessionFull(wire::SessionFull { offset: 300 }),
        Outcome::BlobCommitted(committed()),
        Outcome::BlobMounted(wire::BlobMounted { size: 300 }),
        Outcome::BlobUnknown(wire::BlobUnknown {}),
        Outcome::BlobReferenced(wire::BlobReferenced { references: 2 }),
        Outcome::LinksTouched(wire::LinksTouched { renewed: 2, missing: vec![digest(4)] }),
        Outcome::Collected(wire::Collected { links: 3, blobs: 2, bytes: 1 << 33 }),
        Outcome::ManifestPut(wire::ManifestPut { digest: digest(5), created: true }),
        Outcome::ManifestRejected(wire::ManifestRejected {
            missing_blobs: vec![digest(4)],
            missing_children: vec![digest(7)],
        }),
        Outcome::PreconditionFailed(wire::PreconditionFailed { actual: Some(digest(5)) }),
        Outcome::ManifestUnknown(wire::ManifestUnknown {}),
        Outcome::ManifestReferenced(wire::ManifestReferenced { parents: vec![digest(7)] }),
        Outcome::ManifestShrunk(wire::ManifestShrunk {}),
        Outcome::TagUnknown(wire::TagUnknown {}),
        Outcome::ManifestsSwept(wire::ManifestsSwept { reviewed: 3, removed: 2, more: true }),
        Outcome::Undeleted(wire::Undeleted { tags: 2, more: true }),
        Outcome::TagTaken(wire::TagTaken { digest: digest(5) }),
        Outcome::NodeIdAllocated(wire::NodeIdAllocated { node_id: 65_541 }),
        Outcome::RepositoryUnknown(wire::RepositoryUnknown {}),
        Outcome::Unsupported(wire::Unsupported {}),
    ];
    let named = |outcome: Outcome| {
        let name = match &outcome {
            Outcome::Done(_) => "done",
            Outcome::StoreCreated(_) => "store_created",
            Outcome::SessionOpened(_) => "session_opened",
            Outcome::ChunkRecorded(_) => "chunk_recorded",
            Outcome::SessionUnknown(_) => "session_unknown",
            Outcome::OffsetMismatch(_) => "offset_mismatch",
            Outcome::SessionFull(_) => "session_full",
            Outcome::BlobCommitted(_) => "blob_committed",
            Outcome::BlobMounted(_) => "blob_mounted",
            Outcome::BlobUnknown(_) => "blob_unknown",
            Outcome::BlobReferenced(_) => "blob_referenced",
            Outcome::LinksTouched(_) => "links_touched",
            Outcome::Collected(_) => "collected",
            Outcome::ManifestsSwept(_) => "manifests_swept",
            Outcome::Undeleted(_) => "undeleted",
            Outcome::TagTaken(_) => "tag_taken",
            Outcome::ManifestPut(_) => "manifest_put",
            Outcome::ManifestRejected(_) => "manifest_rejected",
            Outcome::PreconditionFailed(_) => "precondition_failed",
            Outcome::ManifestUnknown(_) => "manifest_unknown",
            Outcome::ManifestReferenced(_) => "manifest_referenced",
            Outcome::ManifestShrunk(_) => "manifest_shrunk",
            Outcome::TagUnknown(_) => "tag_unknown",
            Outcome::NodeIdAllocated(_) => "node_id_allocated",
            Outcome::RepositoryUnknown(_) => "repository_unknown",
            Outcome::Unsupported(_) => "unsupported",
        };
        (name, outcome)
    };
    all.into_iter().map(named).collect()
}

/// Compares `values` with the lines `name hex` of a file.
fn check<M: Message + Default + PartialEq + Debug>(file: &str, values: &[(&str, M)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let mut stored = fs::read_to_string(&path).unwrap_or_default();
    for (name, value) in values {
        let line = stored.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let Some(line) = line else {
            assert_eq!(std::env::var("FLOTILLA_GOLDEN").as_deref(), Ok("write"), "{file} lacks {name}");
            stored += &format!("{name} {}\n", hex::encode(value.encode_to_vec()));
            continue;
        };
        let golden = hex::decode(line).expect("hexadecimal");
        let decoded = M::decode(golden.as_slice()).expect("old bytes decode");
        assert_eq!(decoded, *value, "{name} decodes to another value");
        assert_eq!(hex::encode(decoded.encode_to_vec()), line, "{name} is encoded in another way");
    }
    let known = |line: &&str| values.iter().any(|(name, _)| line.split(' ').next() == Some(*name));
    assert_eq!(stored.lines().filter(known).count(), stored.lines().count(), "{file} has lines no value checks");
    if std::env::var("FLOTILLA_GOLDEN").as_deref() == Ok("write") {
        fs::write(&path, stored).expect("golden file is writable");
    }
}

fn check_record<M: Message + Default + PartialEq + Debug>(name: &str, record: M) {
    check(&format!("record_{name}.txt"), &[(name, record)]);
}

#[test]
fn commands_keep_their_bytes() {
    let operation = |command| wire::Operation {
        request_id: id(8),
        proposed_wall: 1_700_000_000_000,
        command: Some(wire::Command { kind: Some(command) }),
    };
    let batches: Vec<_> = commands()
        .into_iter()
        .map(|(name, command)| (name, wire::Batch { operations: vec![operation(command)] }))
        .collect();
    check("commands.txt", &batches);
}

#[test]
fn outcomes_keep_their_bytes() {
    let wrapped = |(name, outcome)| (name, wire::Outcome { kind: Some(outcome) });
    check("outcomes.txt", &outcomes().into_iter().map(wrapped).collect::<Vec<_>>());
}

#[test]
fn records_keep_their_bytes() {
    let (cluster_id, incarnation, token) = ("c".to_owned(), "i".to_owned(), "t".to_owned());
    let cluster = wire::Cluster {
        mono: 1,
        wall: 2,
        feature_level: 3,
        store: Some(wire::Store { cluster_id, incarnation, token, marked: true }),
        tick_term: 4,
        repositories: 5,
        blobs: 6,
        blob_bytes: 7,
        sessions: 8,
        last_node_id: 65_541,
        ..wire::Cluster::default()
    };
    let gc = wire::Gc {
        delays: Some(delays()),
        mode: wire::GcMode::Paused.into(),
        reason: "why".to_owned(),
        breaker: true,
        mode_wall: 1,
        admitted_mono: 2,
    };
    let collecting = wire::Cluster { hour: 9, hour_began_mono: 10, suspects: 11, gc: Some(gc), ..cluster.clone() };
    check("record_cluster.txt", &[("cluster", cluster), ("collecting", collecting)]);
    let (tags, manifests, links) = (2, 3, 4);
    let repository = wire::Repository {
        id: id(2),
        name: name(),
        created_wall: 1,
        tags,
        manifests,
        links,
        bytes: 5,
        draining: false,
    };
    let draining = wire::Repository { draining: true, ..repository.clone() };
    check("record_repository.txt", &[("repository", repository), ("draining", draining)]);
    check_record(
        "session",
        wire::Session {
            repository: name(),
            hour: 1,
            offset: 2,
            hash_state: bytes(9, 40),
            algorithm: 1,
            segments: 3,
            idle_by_mono: 4,
            hard_by_mono: 5,
            opened_wall: 6,
        },
    );
    check_record("segment", segment());
    check_record("hour", wire::Hour { open: 1, last_end_mono: 2 });
    let end = |result| wire::Ended { result: Some(result), ..ended() };
    check(
        "record_ended.txt",
        &[("committed", ended()), ("cancelled", end(End::Cancelled(true))), ("expired", end(End::Expired(true)))],
    );
    check_record("blob", wire::Blob { size: 300, segment_list: id(1), segments: 2, links: 3, suspect: true });
    let link = |references, eligible_mono| wire::Link { references, eligible_mono };
    check("record_link.txt", &[("link", link(3, 0)), ("due", link(0, 86_400_000))]);
    let manifest = wire::Manifest {
        media_type: "m".to_owned(),
        size: 2,
        blobs: vec![digest(4)],
        children: vec![digest(7)],
        subject: Some(digest(8)),
        artifact_type: Some("a".to_owned()),
        tags: 1,
        created_wall: 2,
        waits: None,
    };
    let waits = |waits| wire::Manifest { waits: Some(waits), tags: 0, ..manifest.clone() };
    let (lost, untagged) = (waits(Waits::LostMono(5)), waits(Waits::UntaggedMono(0)));
    let trashed = wire::Trashed { manifest: Some(manifest.clone()), until_mono: 3, at_wall: 4, sparse: true };
    check("record_manifest.txt", &[("manifest", manifest), ("lost", lost), ("untagged", untagged)]);
    check_record("trashed", trashed);
    let (until_mono, at_wall) = (3, 4);
    check_record(
        "trashed_tag",
        wire::TrashedTag { digest: digest(5), version: 2, until_mono, at_wall, with_manifest: true },
    );
    check_record("tag", wire::Tag { digest: digest(5), version: 2, at_wall: 3 });
    let object = |state| wire::Object { state: Some(state) };
    let deleting = State::Deleting(wire::Deleting { tries: 2 });
    check("record_object.txt", &[("live", object(State::Live(id(1)))), ("deleting", object(deleting))]);
    check_record("garbage_list", wire::GarbageList { next: 1, segments: 2 });
    let condemned = |next, bytes, digest| wire::CondemnedList { segments: 2, next, bytes, digest };
    check(
        "record_condemned_list.txt",
        &[
            ("condemned_list", condemned(0, 0, Bytes::new())),
            ("deleting", condemned(1, 1 << 33, Bytes::new())),
            ("of_a_digest", condemned(0, 1 << 33, digest(5))),
        ],
    );
    check_record("breaker", wire::Breaker { hours: vec![wire::BreakerHour { hour: 3, bytes: 1 << 33 }] });
    let token_key = |replaced_mono| wire::TokenKey { secret: bytes(5, 32), made_mono: 1, replaced_mono };
    check("record_token_key.txt", &[("newest", token_key(None)), ("replaced", token_key(Some(2)))]);
    let outcome = Some(wire::Outcome { kind: Some(Outcome::Done(wire::Done { count: 1 })) });
    check_record("remembered", wire::Remembered { outcome, at_mono: 5 });
}
