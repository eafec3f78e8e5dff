use super::*;
use crate::raft::types::{LeaderId, Proposal};
use openraft::{EntryPayload, storage::RaftLogStorageExt as _};
use std::fs;
use tempfile::TempDir;

fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let bytes = vec![u8::try_from(index % 251).unwrap(); bytes];
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Proposal(bytes.into())) }
}

fn open(dir: &Path) -> LogStore {
    LogStore::open(dir, Config::default()).unwrap()
}

async fn filled(dir: &Path, config: Config, entries: u64, bytes: usize) -> LogStore {
    let mut log = LogStore::open(dir, config).unwrap();
    for index in 0..entries {
        log.blocking_append([entry(1, index, bytes)]).await.unwrap();
    }
    log
}

async fn indexes(log: &mut LogStore) -> Vec<u64> {
    log.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index).collect()
}

#[tokio::test]
async fn everything_written_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let vote = Vote { leader_id: LeaderId { term: 3, node_id: 1 }, committed: true };
    {
        let mut log = filled(dir.path(), Config::default(), 10, 100).await;
        log.save_vote(&vote).await.unwrap();
        log.save_committed(Some(log_id(1, 4))).await.unwrap();
        log.truncate_after(Some(log_id(1, 7))).await.unwrap();
        log.blocking_append([entry(2, 8, 5)]).await.unwrap();
    }
    {
        let mut log = open(dir.path());
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
        assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 4)));
        assert_eq!(indexes(&mut log).await, (0..=8).collect::<Vec<_>>());
        assert_eq!(log.try_get_log_entries(3..4).await.unwrap(), [entry(1, 3, 100)]);
        assert_eq!(log.try_get_log_entries(8..).await.unwrap(), [entry(2, 8, 5)]);
        log.purge(log_id(1, 3)).await.unwrap();
    }
    {
        let mut log = open(dir.path());
        assert_eq!(indexes(&mut log).await, (4..=8).collect::<Vec<_>>());
        assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 3)));
        log.purge(log_id(2, 20)).await.unwrap();
    }
    let mut log = open(dir.path());
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(2, 20)));
    log.blocking_append([entry(2, 21, 5)]).await.unwrap();
    assert_eq!(indexes(&mut log).await, [21]);
}

#[tokio::test]
async fn a_committed_id_past_the_log_or_in_the_past_is_ignored() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(dir.path(), Config::default(), 3, 1).await;
    for committed in [Some(log_id(1, 9)), None, Some(log_id(1, 2)), Some(log_id(1, 1))] {
        log.save_committed(committed).await.unwrap();
    }
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 2)));
    assert!(log.truncate_after(Some(log_id(1, 0))).await.is_err(), "a committed entry must never go");
}

#[tokio::test]
async fn replication_reads_are_bounded_by_bytes_but_never_empty() {
    let dir = TempDir::new().unwrap();
    let config = Config { read_bytes_max: 1000, cache_bytes_max: 1000, ..Config::default() };
    let mut log = filled(dir.path(), config, 20, 300).await;
    assert_eq!(log.limited_get_log_entries(2, 20).await.unwrap().len(), 3);
    assert_eq!(log.limited_get_log_entries(2, 4).await.unwrap().len(), 2);
    log.blocking_append([entry(1, 20, 5000)]).await.unwrap();
    assert_eq!(log.limited_get_log_entries(20, 21).await.unwrap().len(), 1);
    let streamed: Vec<_> = log.entries_stream(1..21).await.try_collect().await.unwrap();
    assert_eq!(streamed, (1..20).map(|index| entry(1, index, 300)).chain([entry(1, 20, 5000)]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_cut_anywhere_in_its_last_records_opens_as_a_prefix() {
    let dir = TempDir::new().unwrap();
    drop(filled(dir.path(), Config::default(), 8, 50).await);
    let last_file = files(dir.path()).into_iter().max().unwrap();
    let length = fs::metadata(&last_file).unwrap().len();
    let mut seen = Vec::new();
    for cut in (1..length.min(260)).step_by(7) {
        let copy = TempDir::new().unwrap();
        for file in files(dir.path()) {
            fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
        }
        let file = copy.path().join(last_file.file_name().unwrap());
        fs::File::options().write(true).open(file).unwrap().set_len(length - cut).unwrap();
        let mut log = open(copy.path());
        let kept = indexes(&mut log).await;
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
        log.blocking_append([entry(2, kept.len() as u64, 9)]).await.unwrap();
        seen.push(kept.len());
    }
    assert!(seen.is_sorted_by(|a, b| a >= b) && seen.last() < Some(&8), "{seen:?}");
}

#[tokio::test]
async fn damage_before_the_end_is_refused() {
    for chunk_bytes_max in [1000, 1 << 20] {
        let dir = TempDir::new().unwrap();
        drop(filled(dir.path(), Config { chunk_bytes_max, ..Config::default() }, 30, 100).await);
        let first_file = files(dir.path()).into_iter().min().unwrap();
        let mut bytes = fs::read(&first_file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&first_file, bytes).unwrap();
        assert!(LogStore::open(dir.path(), Config::default()).is_err(), "files of {chunk_bytes_max} bytes");
    }
}

#[tokio::test]
async fn purging_keeps_a_tail_by_count_and_by_bytes_and_never_passes_the_durable_state() {
    let dir = TempDir::new().unwrap();
    let config = Config { keep_entries: 10, chunk_bytes_max: 1000, ..Config::default() };
    let mut log = filled(dir.path(), config.clone(), 40, 100).await;
    assert_eq!(log.purge_target(9), None);
    assert_eq!(log.purge_target(30), Some(20));
    let before = log.disk_bytes();
    log.purge(log_id(1, 20)).await.unwrap();
    assert_eq!(log.purge_target(30), None, "purged already");
    drop(log);

    let log = LogStore::open(dir.path(), Config { keep_entries: 1000, keep_bytes: 1500, ..config }).unwrap();
    assert!(log.disk_bytes() < before);
    assert_eq!(log.purge_target(25), Some(25));
    assert!(log.purge_target(39).is_some_and(|target| (25..39).contains(&target)));
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).collect()
}
