use super::*;
use crate::metadata::state::TablesMut as _;
use crate::raft::{
    log::{self, LogStore},
    snapshot::{Error, Snapshot},
    tables::WriteTables,
    types::{Entry, LeaderId, NodeInfo, Proposal, Vote},
};
use bytes::Bytes;
use flotilla_proto::wire::{
    cluster::{SnapshotChunk, SnapshotFooter, SnapshotFrame, SnapshotHeader, snapshot_chunk::Part},
    metadata as commands,
};
use openraft::{
    EntryPayload, Membership, StorageError,
    storage::{RaftLogStorage as _, RaftLogStorageExt as _, StorageHelper},
    testing::log::{StoreBuilder, Suite},
};
use prost::Message as _;
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

struct Stores;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let log = open_log(dir.path());
        let (machine, _) = open(dir.path());
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn the_stores_keep_openrafts_contract() {
    Suite::test_all(Stores).await.unwrap();
}

fn open(dir: &Path) -> (StateMachine, StateHandle) {
    let options = Options { checkpoint_every: Duration::from_secs(3600), ..Options::new(dir.join("state"), "cluster") };
    StateMachine::open(options).unwrap()
}

fn open_log(dir: &Path) -> LogStore {
    LogStore::open(&dir.join("log"), log::Config::default()).unwrap()
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

fn tick(index: u64) -> Entry {
    let kind = commands::command::Kind::Tick(commands::Tick { elapsed_ms: 10, term: 1 });
    let command = Some(commands::Command { kind: Some(kind) });
    let operation = commands::Operation { command, ..Default::default() };
    normal(index, commands::Batch { operations: vec![operation] }.encode_to_vec())
}

fn normal(index: u64, bytes: Vec<u8>) -> Entry {
    Entry { log_id: log_id(index), payload: EntryPayload::Normal(Proposal(bytes.into())) }
}

fn members(index: u64) -> Entry {
    let node = NodeInfo { address: "a:1".to_owned(), ..NodeInfo::default() };
    let membership = Membership::new(vec![[1].into()], BTreeMap::from([(1, node)])).unwrap();
    Entry { log_id: log_id(index), payload: EntryPayload::Membership(membership) }
}

async fn apply(machine: &mut StateMachine, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
    let items: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
    machine.apply(futures_util::stream::iter(items)).await
}

async fn close(machine: StateMachine, handle: StateHandle) {
    handle.shutdown().await.unwrap();
    drop((machine, handle));
}

/// What a crash would leave: everything on disk now.
fn crash(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for part in ["log", "state"] {
        fs::create_dir(to.path().join(part)).unwrap();
        for item in fs::read_dir(from.join(part)).into_iter().flatten() {
            let item = item.unwrap();
            fs::copy(item.path(), to.path().join(part).join(item.file_name())).unwrap();
        }
    }
    to
}

/// A state directory that holds `pairs` and a membership, as of entry `index`.
async fn state_with(dir: &Path, index: u64, pairs: u32) {
    let database = files::open(&dir.join("state"), "cluster", 1 << 20).unwrap();
    let txn = database.begin_write(false).unwrap();
    let mut tables = WriteTables::new(&txn).unwrap();
    for number in 0..pairs {
        let value = vec![u8::try_from(number % 7).unwrap(); 100 + (number as usize * 37) % 3000];
        tables.put(format!("key-{number:06}").as_bytes(), &value).unwrap();
    }
    drop(tables);
    txn.commit().unwrap();
    drop(database);
    let (mut machine, handle) = open(dir);
    apply(&mut machine, [members(index)]).await.unwrap();
    close(machine, handle).await;
}

fn vote() -> Vote {
    Vote { leader_id: LeaderId { term: 1, node_id: 1 }, committed: true }
}

async fn chunks(machine: &mut StateMachine) -> (SnapshotHeader, Vec<SnapshotFrame>, SnapshotFooter) {
    let snapshot = machine.get_current_snapshot().await.unwrap().unwrap();
    let SnapshotData::View(view) = snapshot.snapshot else { panic!("a view") };
    let parts: Vec<SnapshotChunk> = view.chunks(&vote()).unwrap().collect::<io::Result<_>>().unwrap();
    let (mut header, mut frames, mut footer) = (None, Vec::new(), None);
    for chunk in parts {
        match chunk.part.unwrap() {
            Part::Header(part) => header = Some(part),
            Part::Frame(part) => frames.push(part),
            Part::Footer(part) => footer = Some(part),
        }
    }
    (header.unwrap(), frames, footer.unwrap())
}

fn receive(
    handle: &StateHandle,
    header: &SnapshotHeader,
    frames: &[SnapshotFrame],
    footer: &SnapshotFooter,
) -> Result<Snapshot, Error> {
    let mut staging = handle.stage(header)?;
    for frame in frames {
        staging.frame(frame)?;
    }
    staging.finish(footer)
}

fn state_files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("state")).unwrap().map(|item| item.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn applied_state_is_seen_at_once_and_survives_reopening() {
    let dir = TempDir::new().unwrap();
    let (mut machine, handle) = open(dir.path());
    let mut applied = handle.applied();
    apply(&mut machine, (0..1200).map(|index| if index == 3 { members(3) } else { tick(index) })).await.unwrap();
    assert_eq!(handle.applied_index(), 1199);
    assert_eq!(*applied.wait_for(|id| id.is_some_and(|id| id.index >= 1000)).await.unwrap(), Some(log_id(1199)));
    let hash = handle.hash().await.unwrap();
    close(machine, handle).await;
    let (mut machine, handle) = open(dir.path());
    let (applied, membership) = machine.applied_state().await.unwrap();
    assert_eq!((applied, *membership.log_id()), (Some(log_id(1199)), Some(log_id(3))));
    assert_eq!(handle.hash().await.unwrap(), hash);
    assert_eq!(*handle.durable().borrow(), Some(log_id(1199)));
}

#[tokio::test]
async fn what_a_crash_takes_back_is_applied_again_from_the_log() {
    let dir = TempDir::new().unwrap();
    let (mut machine, handle) = open(dir.path());
    let mut log = open_log(dir.path());
    let entries: Vec<_> = std::iter::once(members(0)).chain((1..=20).map(tick)).collect();
    log.save_vote(&vote()).await.unwrap();
    log.blocking_append(entries[..20].to_vec()).await.unwrap();
    log.save_committed(Some(log_id(15))).await.unwrap();
    log.blocking_append(entries[20..].to_vec()).await.unwrap();
    apply(&mut machine, entries[..8].to_vec()).await.unwrap();
    assert_eq!(*handle.durable().borrow(), None);
    assert_eq!(handle.checkpoint().await.unwrap(), Some(log_id(7)));
    apply(&mut machine, entries[8..16].to_vec()).await.unwrap();
    assert_eq!(*handle.durable().borrow(), Some(log_id(7)), "no checkpoint since");
    let (_, hash) = handle.hash().await.unwrap();

    let crashed = crash(dir.path());
    let (mut machine, handle) = open(crashed.path());
    let mut log = open_log(crashed.path());
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(7)));
    StorageHelper::new(&mut log, &mut machine).with_id(1).get_initial_state().await.unwrap();
    assert_eq!(handle.hash().await.unwrap(), (Some(log_id(15)), hash));
}

#[tokio::test]
async fn a_crash_before_the_first_checkpoint_leaves_an_empty_state() {
    let dir = TempDir::new().unwrap();
    let (mut machine, _handle) = open(dir.path());
    apply(&mut machine, [members(0), tick(1)]).await.unwrap();
    let crashed = crash(dir.path());
    let (mut machine, _) = open(crashed.path());
    assert_eq!(machine.applied_state().await.unwrap(), (None, StoredMembership::default()));
}

#[tokio::test]
async fn a_snapshot_is_always_durable() {
    let dir = TempDir::new().unwrap();
    let (mut machine, handle) = open(dir.path());
    assert!(machine.get_current_snapshot().await.unwrap().is_none());
    apply(&mut machine, [members(0), tick(1)]).await.unwrap();
    let current = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta.last_log_id, Some(log_id(1)));
    assert_eq!(*handle.durable().borrow(), Some(log_id(1)));
    let crashed = crash(dir.path());
    let (mut machine, _) = open(crashed.path());
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(1)));
}

#[tokio::test]
async fn many_changes_force_a_checkpoint() {
    let dir = TempDir::new().unwrap();
    let options = Options { checkpoint_bytes: 0, ..Options::new(dir.path(), "cluster") };
    let (mut machine, handle) = StateMachine::open(options).unwrap();
    apply(&mut machine, [tick(0)]).await.unwrap();
    assert_eq!(*handle.durable().borrow(), Some(log_id(0)));
}

#[tokio::test]
async fn time_forces_a_checkpoint() {
    let dir = TempDir::new().unwrap();
    let options = Options { checkpoint_every: Duration::from_millis(5), ..Options::new(dir.path(), "cluster") };
    let (mut machine, handle) = StateMachine::open(options).unwrap();
    let mut durable = handle.durable();
    apply(&mut machine, [tick(0)]).await.unwrap();
    durable.wait_for(Option::is_some).await.unwrap();
}

#[tokio::test]
async fn an_entry_not_understood_stops_the_state_machine() {
    let unknown = commands::Batch { operations: vec![commands::Operation::default()] }.encode_to_vec();
    for bytes in [unknown, vec![0xff; 3]] {
        let dir = TempDir::new().unwrap();
        let (mut machine, handle) = open(dir.path());
        apply(&mut machine, [tick(0)]).await.unwrap();
        assert!(apply(&mut machine, [tick(1), normal(2, bytes)]).await.is_err());
        assert_eq!(handle.applied_index(), 0);
        assert!(apply(&mut machine, [tick(1)]).await.is_err(), "it must not go on");
        assert!(handle.checkpoint().await.is_err());
    }
}

#[tokio::test]
async fn a_snapshot_arrives_as_the_same_state_and_old_views_stay_readable() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    state_with(from.path(), 50, 2000).await;
    state_with(to.path(), 5, 10).await;
    let (mut sender, sender_handle) = open(from.path());
    let (mut receiver, handle) = open(to.path());
    let (header, frames, footer) = chunks(&mut sender).await;
    assert!(frames.len() > 2, "{}", frames.len());
    let sent = sender_handle.hash().await.unwrap();
    assert_eq!(footer.sha256.as_ref(), sent.1);

    let old_view = handle.view().unwrap();
    let snapshot = receive(&handle, &header, &frames, &footer).unwrap();
    assert_eq!(snapshot.meta, sender.get_current_snapshot().await.unwrap().unwrap().meta);
    receiver.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(handle.hash().await.unwrap(), sent);
    assert_eq!((handle.applied_index(), *handle.durable().borrow()), (50, Some(log_id(50))));
    assert!(old_view.tables().get(b"key-000011").unwrap().is_none());
    assert!(handle.view().unwrap().tables().get(b"key-000011").unwrap().is_some());
    assert_eq!(state_files(to.path()), ["CURRENT", "state.0-0-0.redb", "state.1-1-50.redb"]);
    drop(old_view);
    assert_eq!(state_files(to.path()), ["CURRENT", "state.1-1-50.redb"]);

    apply(&mut receiver, [tick(51)]).await.unwrap();
    let hash = handle.hash().await.unwrap();
    close(receiver, handle).await;
    let (_receiver, handle) = open(to.path());
    assert_eq!(handle.hash().await.unwrap(), hash);
}

#[tokio::test]
async fn a_tampered_snapshot_is_refused_and_leaves_nothing() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    state_with(from.path(), 50, 2000).await;
    let (mut sender, _keep) = open(from.path());
    let (_receiver, handle) = open(to.path());
    let (header, frames, footer) = chunks(&mut sender).await;

    let refused = |header: &SnapshotHeader, frames: &[SnapshotFrame], footer: &SnapshotFooter| {
        let error = receive(&handle, header, frames, footer).err().expect("refused");
        assert_eq!(state_files(to.path()), ["CURRENT", "state.0-0-0.redb"], "{error}");
        error.to_string()
    };
    let with = |change: &dyn Fn(&mut Vec<SnapshotFrame>)| {
        let mut frames = frames.clone();
        change(&mut frames);
        refused(&header, &frames, &footer)
    };
    let resealed = |frame: &mut SnapshotFrame, change: &dyn Fn(&mut Vec<u8>)| {
        let mut raw = lz4_flex::block::decompress(&frame.payload, frame.raw_length as usize).unwrap();
        change(&mut raw);
        frame.payload = Bytes::from(lz4_flex::block::compress(&raw));
        frame.crc32 = crc32fast::hash(&frame.payload);
        frame.raw_length = u32::try_from(raw.len()).unwrap();
    };

    assert!(with(&|frames| frames[1].crc32 ^= 1).contains("checksum"));
    assert!(with(&|frames| frames[0].payload = Bytes::from_static(b"other")).contains("checksum"));
    assert!(with(&|frames| frames[0].raw_length += 1).contains("compression"));
    assert!(with(&|frames| frames[0].raw_length = u32::MAX).contains("size"));
    assert!(with(&|frames| frames[0].pairs += 1).contains("pairs in a frame"));
    assert!(with(&|frames| frames.swap(0, 1)).contains("order"));
    assert!(with(&|frames| frames.push(frames[0].clone())).contains("order"));
    assert!(with(&|frames| frames.truncate(1)).contains("number of pairs"));
    assert!(with(&|frames| resealed(&mut frames[0], &|raw| *raw.last_mut().unwrap() ^= 1)).contains("sha256"));
    assert!(with(&|frames| resealed(&mut frames[0], &|raw| raw[0] = 0x7f)).contains("length"));
    assert!(with(&|frames| resealed(&mut frames[0], &|raw| raw.truncate(raw.len() - 1))).contains("length"));
    assert!(refused(&SnapshotHeader { format: 2, ..header.clone() }, &frames, &footer).contains("format 2"));
    let stranger = SnapshotHeader { cluster_id: "other".to_owned(), ..header.clone() };
    assert!(refused(&stranger, &frames, &footer).contains("other"));
    let short = SnapshotFooter { pairs: footer.pairs - 1, ..footer.clone() };
    assert!(refused(&header, &frames, &short).contains("number of pairs"));

    let first = handle.stage(&header).unwrap();
    assert!(matches!(handle.stage(&header), Err(Error::Busy)));
    drop(first);
    receive(&handle, &header, &frames, &footer).unwrap();
}

#[tokio::test]
async fn a_crash_while_installing_leaves_the_old_state_or_the_new_one() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    state_with(from.path(), 50, 100).await;
    state_with(to.path(), 5, 10).await;
    let (mut sender, sender_handle) = open(from.path());
    let new = sender_handle.hash().await.unwrap();
    let (_receiver, handle) = open(to.path());
    let old = handle.hash().await.unwrap();
    let (header, frames, footer) = chunks(&mut sender).await;
    let snapshot = receive(&handle, &header, &frames, &footer).unwrap();

    let staged = crash(to.path());
    assert_eq!(state_files(staged.path()).len(), 3);
    let renamed = crash(to.path());
    let state = renamed.path().join("state");
    fs::rename(state.join("state.1-1-50.tmp"), state.join("state.1-1-50.redb")).unwrap();
    fs::write(state.join("CURRENT.tmp"), "state.1-").unwrap();
    let pointed = crash(renamed.path());
    fs::write(pointed.path().join("state").join("CURRENT"), "state.1-1-50.redb").unwrap();
    drop(snapshot);

    for (dir, expected, file) in
        [(staged, old, "state.0-0-0.redb"), (renamed, old, "state.0-0-0.redb"), (pointed, new, "state.1-1-50.redb")]
    {
        let (_machine, handle) = open(dir.path());
        assert_eq!(handle.hash().await.unwrap(), expected);
        let files = state_files(dir.path());
        assert_eq!(files.iter().filter(|name| name.starts_with("state.")).collect::<Vec<_>>(), [file]);
    }
}

#[tokio::test]
async fn the_state_of_another_cluster_is_refused() {
    let dir = TempDir::new().unwrap();
    let (machine, handle) = open(dir.path());
    close(machine, handle).await;
    assert!(StateMachine::open(Options::new(dir.path().join("state"), "other")).is_err());
}
