//! The Raft log on disk: one write-ahead log holds entries, votes, committed ids, truncations and purges, in that order of
//! writing, flushed by one thread. Knows nothing of what entries mean; `state_machine` applies them.

mod record;
#[cfg(test)]
mod tests;

use super::types::{self, Entry, LogId, TypeConfig, Vote};
use bytes::Bytes;
use flotilla_proto::wire::cluster as wire;
use futures_util::{Stream, TryStreamExt as _, stream};
use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use prost::Message as _;
use raft_log::{RaftLog, api::raft_log_writer::RaftLogWriter as _};
use record::{Flushed, Payload, StoredLogId, Types};
use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

/// Sizes of the log.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long the flush thread waits for more writes to share an fsync. Zero gives every append its own fsync.
    pub flush_wait: Duration,
    /// Size of one file, in bytes; files are deleted whole once purged.
    pub chunk_bytes_max: usize,
    /// Entries kept in memory, in bytes.
    pub cache_bytes_max: usize,
    /// Entry bytes of one answer to a replication read; one entry is always returned.
    pub read_bytes_max: usize,
    /// Entries kept behind the durable state, so that a peer away for minutes catches up without a snapshot.
    pub keep_entries: u64,
    /// Bound on the bytes those kept entries take on disk, at the granularity of a chunk.
    pub keep_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            flush_wait: Duration::from_micros(150),
            chunk_bytes_max: 64 << 20,
            cache_bytes_max: 32 << 20,
            read_bytes_max: 1 << 20,
            keep_entries: 100_000,
            keep_bytes: 256 << 20,
        }
    }
}

/// The log of this node. Clones share it. A failed fsync stops its flush thread for good: openraft then stops the node.
#[derive(Clone)]
pub struct LogStore {
    // Held for memory work and, when an entry has left the cache, one bounded read; never across an await or an fsync.
    log: Arc<RwLock<RaftLog<Types>>>,
    config: Arc<Config>,
}

impl LogStore {
    /// Opens or creates the log in `dir`, which it locks. A torn record at the very end is cut; other damage is refused.
    pub fn open(dir: &Path, config: Config) -> io::Result<Self> {
        super::private::close_dir(dir)?;
        let dir = dir.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "log path is not UTF-8"))?;
        let mut settings = raft_log::Config::new(dir);
        settings.wal.flush_batch_wait = Some(config.flush_wait);
        settings.wal.chunk_max_size = Some(config.chunk_bytes_max);
        settings.wal.truncate_incomplete_record = Some(true);
        settings.wal.read_buffer_size = Some(1 << 20);
        settings.log_cache_capacity = Some(config.cache_bytes_max);
        let log = RaftLog::open(Arc::new(settings))?;
        Ok(Self { log: Arc::new(RwLock::new(log)), config: Arc::new(config) })
    }

    /// The index up to which the log may be purged once everything up to `durable` is in the durable state: what lies
    /// before the kept tail. `None` if nothing may go.
    pub fn purge_target(&self, durable: u64) -> Option<u64> {
        let log = self.read();
        let by_count = durable.checked_sub(self.config.keep_entries);
        let mut kept = 0;
        let stat = log.stat();
        kept += stat.open_chunk.size;
        let mut by_bytes = None;
        for chunk in stat.closed_chunks.iter().rev() {
            kept += chunk.size;
            if kept > self.config.keep_bytes {
                by_bytes = chunk.log_state.last().map(|last| last.index);
                break;
            }
        }
        let target = by_count.max(by_bytes)?.min(durable);
        let purged = log.log_state().purged().map(|id| id.index);
        (Some(target) > purged).then_some(target)
    }

    /// Bytes of the log's files.
    pub fn disk_bytes(&self) -> u64 {
        self.read().on_disk_size()
    }

    fn read(&self) -> RwLockReadGuard<'_, RaftLog<Types>> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A writer that panicked may have left a record half applied: every later write is refused.
    fn write(&self) -> io::Result<RwLockWriteGuard<'_, RaftLog<Types>>> {
        self.log.write().map_err(|_| io::Error::other("the log failed before"))
    }

    /// Entries from `start` on, before `end`, until their encoded bytes exceed `bytes_max`; at least one if there is one.
    fn entries(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let mut payloads: Vec<Bytes> = Vec::new();
        {
            let log = self.read();
            let mut bytes = 0;
            for item in log.read(start, end) {
                let (_, payload) = item?;
                bytes += payload.0.len();
                if bytes > bytes_max && !payloads.is_empty() {
                    break;
                }
                payloads.push(payload.0);
            }
        }
        payloads.into_iter().map(decode).collect()
    }

    /// Writes a record by `change`, flushes it and waits until it is on disk.
    async fn write_durably(&self, change: impl FnOnce(&mut RaftLog<Types>) -> io::Result<()>) -> io::Result<()> {
        let (sender, flushed) = tokio::sync::oneshot::channel();
        {
            let mut log = self.write()?;
            change(&mut log)?;
            log.flush(true, Some(Flushed::Call(sender)))?;
        }
        flushed.await.map_err(|_| io::Error::other("the log's flush thread stopped"))?
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    /// Reads on while the caller consumes, so that a long replay needs little memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = limits(&range);
        let pages = stream::try_unfold((self.clone(), start), move |(log, start)| async move {
            let page = log.entries(start, end, log.config.read_bytes_max)?;
            Ok::<_, io::Error>(page.last().map(|last| last.log_id.index + 1).map(|next| {
                let page = stream::iter(page.into_iter().map(Ok::<_, io::Error>));
                (page, (log, next))
            }))
        });
        Box::pin(pages.try_flatten())
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = limits(&range);
        self.entries(start, end, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.read().log_state().vote().copied().map(Vote::from))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.entries(start, end, self.config.read_bytes_max)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let log = self.read();
        let state = log.log_state();
        Ok(LogState {
            last_purged_log_id: state.purged().copied().map(LogId::from),
            last_log_id: state.last().copied().map(LogId::from),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write_durably(|log| log.save_vote((*vote).into()).map(drop)).await
    }

    /// Not synced by itself: it rides on the next append. It only spares work after a restart.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed.map(StoredLogId::from) else { return Ok(()) };
        let mut log = self.write()?;
        let state = log.log_state();
        // A snapshot may commit past this log; the state it installs says so by itself.
        if Some(&committed) > state.last() || Some(&committed) <= state.committed() {
            return Ok(());
        }
        log.commit(committed)?;
        log.flush(false, None)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.read().log_state().committed().copied().map(LogId::from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> =
            entries.into_iter().map(|entry| (StoredLogId::from(entry.log_id), encode(&entry))).collect();
        let mut log = self.write()?;
        log.append(entries)?;
        log.flush(true, Some(Flushed::Append(callback)))
    }

    /// Synced with the append that follows it; past the end there is nothing to do.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let first_removed = last_log_id.map_or(0, |id| id.index + 1);
        let mut log = self.write()?;
        if log.log_state().last().is_none_or(|last| last.index < first_removed) {
            return Ok(());
        }
        log.truncate(first_removed)?;
        log.flush(false, None)
    }

    /// Files that hold only purged entries are deleted after the purge is on disk.
    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.write_durably(|log| log.purge(log_id.into()).map(drop)).await
    }
}

fn limits(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn encode(entry: &Entry) -> Payload {
    Payload(Bytes::from(types::entry_to_wire(entry).encode_to_vec()))
}

fn decode(bytes: Bytes) -> io::Result<Entry> {
    let entry = wire::Entry::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(types::entry_from_wire(entry)?)
}
