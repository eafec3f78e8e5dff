use super::*;
use crate::metadata::local::LocalStore;
use crate::metadata::state::UnknownCommand;
use std::time::Duration;

fn open(store: &LocalStore, n: u8) {
    let (idle_ms, hard_ms) = (60_000, 600_000);
    let opened = wire::OpenSession { session_id: id(n), repository: name(0), algorithm: 1, idle_ms, hard_ms };
    assert!(matches!(store.apply(Command::OpenSession(opened)), Ok(Outcome::SessionOpened(_))));
}

fn commit(store: &LocalStore, session: u8, key: u8, d: u8) -> Outcome {
    let command = wire::CommitBlob {
        session_id: id(session),
        at: 0,
        segment: Some(segment(key, 5)),
        digest: stored(d),
        size: 5,
        new_repository_id: id(100 + session),
    };
    store.apply(Command::CommitBlob(command)).expect("applied")
}

fn healthy(store: &LocalStore) -> View {
    let tables = store.snapshot();
    assert_eq!(violations(&*tables).expect("readable"), Vec::<String>::new());
    View::new(tables)
}

#[test]
fn a_repeated_commit_gets_the_same_answer_and_its_bytes_go() {
    let store = LocalStore::new();
    open(&store, 1);
    let first = commit(&store, 1, 1, 7);
    assert_eq!(first, Outcome::BlobCommitted(wire::BlobCommitted { digest: stored(7), size: 5, existed: false }));
    assert_eq!(commit(&store, 1, 2, 7), first);
    assert_eq!(healthy(&store).deleting(None, 10).expect("read"), ["object-2"]);
    store.advance(Duration::from_secs(3_600)).expect("time");
    assert_eq!(commit(&store, 1, 3, 7), Outcome::SessionUnknown(wire::SessionUnknown { ended: None }));
    assert_eq!(healthy(&store).ended(&[1; 16]).expect("read"), None);
}

#[test]
fn a_suspect_blob_is_hidden_until_new_bytes_replace_it() {
    let store = LocalStore::new();
    open(&store, 1);
    commit(&store, 1, 1, 7);
    let mut tables = MemoryTables::clone(&store.snapshot());
    let mark = wire::MarkSuspect { digest: stored(7), segment_list: id(1) };
    one(&mut tables, 8, operation(Bytes::new(), 0, Command::MarkSuspect(mark)));

    let mount =
        wire::MountBlob { to: name(1), digest: stored(7), new_repository_id: id(9), ..wire::MountBlob::default() };
    let put = wire::PutManifest {
        repository: name(0),
        digest: stored(10),
        blobs: vec![stored(7)],
        new_repository_id: id(9),
        ..Default::default()
    };
    let commit = wire::CommitBlob {
        session_id: id(2),
        segment: Some(segment(2, 5)),
        digest: stored(7),
        size: 5,
        new_repository_id: id(9),
        ..Default::default()
    };
    let opened = wire::OpenSession { session_id: id(2), repository: name(0), algorithm: 1, idle_ms: 1, hard_ms: 1 };
    let mut run = |command| one(&mut tables, 9, operation(Bytes::new(), 0, command));
    assert_eq!(run(Command::MountBlob(mount)), Outcome::BlobUnknown(wire::BlobUnknown {}));
    assert!(matches!(run(Command::PutManifest(put.clone())), Outcome::ManifestRejected(_)));
    run(Command::OpenSession(opened));
    let committed = wire::BlobCommitted { digest: stored(7), size: 5, existed: false };
    assert_eq!(run(Command::CommitBlob(commit)), Outcome::BlobCommitted(committed));
    assert!(matches!(run(Command::PutManifest(put)), Outcome::ManifestPut(_)));
    assert_eq!(violations(&tables).expect("readable"), Vec::<String>::new());

    let view = View::new(Arc::new(tables));
    let healed = view.blob_anywhere(&digest(7)).expect("read").expect("a blob");
    assert!(!healed.suspect);
    assert_eq!(view.segments(&healed.segment_list, healed.segments).expect("read"), [segment(2, 5)]);
    assert!(!view.garbage_waits().expect("read"), "readers of the old bytes may be in flight");
}

#[test]
fn time_moves_by_what_one_leader_measured_and_by_little_at_once() {
    let store = LocalStore::new();
    let tick = |elapsed_ms, term| store.apply_as([0; 16], Command::Tick(wire::Tick { elapsed_ms, term })).map(drop);
    let mut tables = MemoryTables::new();
    let mut mono = |elapsed_ms, term| {
        one(&mut tables, 1, operation(Bytes::new(), 0, Command::Tick(wire::Tick { elapsed_ms, term })));
        View::new(Arc::new(tables.clone())).mono().expect("read")
    };
    assert_eq!(mono(5_000, 3), 0);
    assert_eq!(mono(5_000, 3), 5_000);
    assert_eq!(mono(u64::MAX, 3), 20_000);
    assert_eq!(mono(5_000, 4), 20_000);
    assert_eq!(mono(5_000, 3), 20_000, "a deposed leader's time does not count");
    tick(1, 1).expect("applied");
}

#[test]
fn only_due_sessions_expire_and_their_bytes_go() {
    let store = LocalStore::new();
    open(&store, 1);
    open(&store, 2);
    let chunk = wire::RecordChunk {
        session_id: id(1),
        segment: Some(segment(1, 3)),
        idle_ms: 60_000,
        ..wire::RecordChunk::default()
    };
    store.apply(Command::RecordChunk(chunk)).expect("applied");
    store.advance(Duration::from_secs(59)).expect("time");
    assert!(healthy(&store).due_sessions(10).expect("read").is_empty());
    store.apply(Command::TouchSession(wire::TouchSession { session_id: id(2), idle_ms: 60_000 })).expect("applied");
    store.advance(Duration::from_secs(1)).expect("time");
    assert_eq!(healthy(&store).due_sessions(10).expect("read"), [[1; 16]]);
    let expired = store.apply(Command::ExpireSessions(wire::ExpireSessions { session_ids: vec![id(1), id(2)] }));
    assert_eq!(expired.expect("applied"), Outcome::Done(wire::Done { count: 1 }));
    assert!(healthy(&store).garbage_waits().expect("read"));
    store.apply(Command::StartDelete(wire::StartDelete { limit: 10 })).expect("applied");
    assert_eq!(healthy(&store).deleting(None, 10).expect("read"), ["object-1"]);
    store.apply(Command::DeletesDone(wire::DeletesDone { keys: vec!["object-1".to_owned()] })).expect("applied");
    let view = healthy(&store);
    assert!(view.deleting(None, 10).expect("read").is_empty() && view.object("object-1").expect("read").is_none());
}

#[test]
fn outcomes_are_remembered_for_ten_minutes_and_then_removed() {
    let store = LocalStore::new();
    let allocate = || {
        let outcome = store.apply_as([7; 16], Command::AllocateNodeId(wire::AllocateNodeId::default()));
        match outcome.expect("applied") {
            Outcome::NodeIdAllocated(allocated) => allocated.node_id,
            other => panic!("{other:?}"),
        }
    };
    let first = allocate();
    store.advance(Duration::from_secs(599)).expect("time");
    assert_eq!(allocate(), first);
    store.advance(Duration::from_secs(1)).expect("time");
    let forgotten = healthy(&store);
    assert!(records::scan(forgotten.tables(), Table::Remembered, &[], 1).expect("read").is_empty());
    assert!(allocate() > first);
}

#[test]
fn node_ids_of_one_entry_differ() {
    let allocate = || operation(Bytes::new(), 0, Command::AllocateNodeId(wire::AllocateNodeId::default()));
    let mut tables = MemoryTables::new();
    let outcomes = apply(&mut tables, 5, &wire::Batch { operations: vec![allocate(), allocate()] }).expect("applied");
    let ids = [65_541, 65_542].map(|node_id| Some(Outcome::NodeIdAllocated(wire::NodeIdAllocated { node_id })));
    assert_eq!(outcomes.into_iter().map(|outcome| outcome.kind).collect::<Vec<_>>(), ids);
}

#[test]
fn an_unknown_command_stops_the_node_before_anything_changes() {
    let known = operation(Bytes::new(), 9, Command::CreateStore(wire::CreateStore::default()));
    let unknown = wire::Operation { command: Some(wire::Command { kind: None }), ..wire::Operation::default() };
    let mut tables = MemoryTables::new();
    let failed = apply(&mut tables, 3, &wire::Batch { operations: vec![known, unknown] }).expect_err("unknown");
    assert!(failed.0.downcast_ref::<UnknownCommand>().is_some_and(|e| (e.index, e.operation) == (3, 1)));
    assert!(tables.is_empty());
}

#[test]
fn malformed_commands_change_nothing_but_drop_their_bytes() {
    let store = LocalStore::new();
    open(&store, 1);
    let before = store.snapshot();
    let odd = wire::CommitBlob {
        session_id: id(1),
        segment: Some(segment(1, 5)),
        digest: Bytes::from_static(b"\x01short"),
        size: 5,
        ..wire::CommitBlob::default()
    };
    let odd = operation(Bytes::new(), 0, Command::CommitBlob(odd));
    let mut tables = MemoryTables::clone(&before);
    assert_eq!(one(&mut tables, 9, odd), Outcome::Unsupported(wire::Unsupported {}));
    assert_eq!(tables.len(), before.len() + 2);
    assert_eq!(View::new(Arc::new(tables)).deleting(None, 9).expect("read"), ["object-1"]);
}

#[test]
fn damaged_records_are_errors() {
    let mut tables = MemoryTables::new();
    tables.insert(key(Table::Cluster, &[]), vec![0xff; 3]);
    let failed = apply(&mut tables, 1, &wire::Batch::default()).expect_err("damaged");
    assert!(failed.0.to_string().contains("damaged record"), "{}", failed.0);
}
