//! The applied state on disk: every entry goes through `metadata::state::apply` on one thread, volatile until the next
//! checkpoint; the log holds what a crash takes back. openraft sees only durable states as snapshots, so it never purges
//! an entry before a state that contains it is on disk. `snapshot` moves states between nodes.

pub mod compaction;
pub(super) mod files;
#[cfg(test)]
mod tests;
mod writer;

use super::{
    snapshot::{self, SnapshotData, SnapshotView, Staging, StagingRoom},
    tables::{Database, Position, ReadTables},
    types::{LogId, StoredMembership, TypeConfig},
};
use crate::metadata;
use flotilla_proto::wire::cluster as wire;
use futures_util::{Stream, StreamExt as _};
use openraft::{
    OptionalSend,
    storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine},
    type_config::alias::{SnapshotMetaOf, SnapshotOf},
};
use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicBool},
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};
use writer::{Task, Writer};

/// Entries applied in one commit at most.
const ENTRIES_PER_COMMIT_MAX: usize = 512;
/// Tasks waiting for the thread at most; openraft hands over one at a time.
const TASKS_MAX: usize = 16;

/// Where the state is and when it is made durable.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the state files; nothing else lives there.
    pub dir: PathBuf,
    /// The cluster whose state this is; files and snapshots of another are refused.
    pub cluster_id: String,
    /// Longest time applied entries stay volatile.
    pub checkpoint_every: Duration,
    /// Bytes of changes that force a checkpoint earlier.
    pub checkpoint_bytes: u64,
    /// Page cache, in bytes.
    pub cache_bytes_max: usize,
}

impl Options {
    /// The defaults: a checkpoint every 5 s or 32 MiB, 64 MiB of cache.
    pub fn new(dir: impl Into<PathBuf>, cluster_id: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            cluster_id: cluster_id.into(),
            checkpoint_every: Duration::from_secs(5),
            checkpoint_bytes: 32 << 20,
            cache_bytes_max: 64 << 20,
        }
    }
}

/// What readers, the writer and snapshots share.
struct Shared {
    cluster_id: String,
    database: RwLock<Arc<Database>>,
    applied: watch::Sender<Option<LogId>>,
    durable: watch::Sender<Option<LogId>>,
    staging: Arc<AtomicBool>,
}

impl Shared {
    fn database(&self) -> Arc<Database> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The old file is deleted when its last reader drops.
    fn replace_database(&self, new: Arc<Database>) {
        let old = std::mem::replace(&mut *self.database.write().unwrap_or_else(PoisonError::into_inner), new);
        old.doom();
    }

    fn staging_room(&self, options: &Options) -> StagingRoom {
        StagingRoom {
            dir: options.dir.clone(),
            cluster_id: options.cluster_id.clone(),
            cache_bytes_max: options.cache_bytes_max,
            busy: self.staging.clone(),
        }
    }
}

/// openraft's side of the state.
pub struct StateMachine {
    handle: StateHandle,
}

/// Everybody else's side of the state. The thread below it ends, after a last checkpoint, when the state machine and all
/// handles are gone, or by [`StateHandle::shutdown`].
#[derive(Clone)]
pub struct StateHandle {
    shared: Arc<Shared>,
    options: Arc<Options>,
    tasks: mpsc::Sender<Task>,
}

impl StateMachine {
    /// Opens or creates the state and starts its thread. What a crash took back, openraft applies again from the log.
    pub fn open(options: Options) -> io::Result<(Self, StateHandle)> {
        let database = Arc::new(files::open(&options.dir, &options.cluster_id, options.cache_bytes_max)?);
        let position = Position::load(&database.begin_read()?)?;
        let shared = Arc::new(Shared {
            cluster_id: options.cluster_id.clone(),
            database: RwLock::new(database),
            applied: watch::Sender::new(position.applied),
            durable: watch::Sender::new(position.applied),
            staging: Arc::default(),
        });
        let (tasks, queue) = mpsc::channel(TASKS_MAX);
        let writer = Writer::new(shared.clone(), options.clone(), position);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new().name("state".to_owned()).spawn(move || runtime.block_on(writer.run(queue)))?;
        let handle = StateHandle { shared, options: Arc::new(options), tasks };
        Ok((Self { handle: handle.clone() }, handle))
    }
}

impl StateHandle {
    /// A view of the state now. Never blocks on the writer.
    pub fn view(&self) -> Result<metadata::View, metadata::Error> {
        let database = self.shared.database();
        let tables = database.begin_read().and_then(|txn| ReadTables::new(database.clone(), &txn));
        match tables {
            Ok(tables) => Ok(metadata::View::new(Arc::new(tables))),
            Err(error) => Err(metadata::Error::Storage(Arc::new(error))),
        }
    }

    /// Index of the last applied entry; 0 before the first.
    pub fn applied_index(&self) -> u64 {
        self.shared.applied.borrow().as_ref().map_or(0, |id| id.index)
    }

    /// The last applied entry, as it advances; a view opened afterwards contains it.
    pub fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.shared.applied.subscribe()
    }

    /// The last entry that a crash would not take back, as it advances. The log may be purged up to it, not further.
    pub fn durable(&self) -> watch::Receiver<Option<LogId>> {
        self.shared.durable.subscribe()
    }

    /// Makes everything applied durable and returns the entry it ends with.
    pub async fn checkpoint(&self) -> io::Result<Option<LogId>> {
        Ok(self.ask(Task::Checkpoint).await?.meta().last_log_id)
    }

    /// The last applied entry of one view, and sha256 over all its pairs (see [`SnapshotView::hash`]). Reads everything.
    pub async fn hash(&self) -> io::Result<(Option<LogId>, [u8; 32])> {
        let view = SnapshotView::open(self.shared.database(), &self.shared.cluster_id)?;
        let work = tokio::task::spawn_blocking(move || Ok((view.meta().last_log_id, view.hash()?)));
        work.await.map_err(io::Error::other)?
    }

    /// Begins to receive a snapshot; one at a time. Creates a file, so call it where blocking is allowed.
    pub fn stage(&self, header: &wire::SnapshotHeader) -> Result<Staging, snapshot::Error> {
        Staging::begin(self.shared.staging_room(&self.options), header)
    }

    /// Checkpoints and ends the thread; the file closes with the last handle and view. Stop openraft before.
    pub async fn shutdown(&self) -> io::Result<()> {
        self.ask(Task::Stop).await
    }

    async fn ask<T>(&self, task: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Task) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let stopped = || io::Error::other("the state machine's thread stopped");
        self.tasks.send(task(answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let position = Position::load(&self.handle.shared.database().begin_read()?)?;
        Ok((position.applied, position.membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(ENTRIES_PER_COMMIT_MAX);
        while let Some(batch) = batches.next().await {
            let batch = batch.into_iter().collect::<io::Result<Vec<_>>>()?;
            self.handle.ask(|answer| Task::Apply(batch, answer)).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { handle: self.handle.clone() }
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMetaOf<TypeConfig>, data: SnapshotData) -> io::Result<()> {
        let (shared, options) = (self.handle.shared.clone(), self.handle.options.clone());
        let work = tokio::task::spawn_blocking(move || writer::staged(data, &shared, &options));
        let staged = Box::new(work.await.map_err(io::Error::other)??);
        self.handle.ask(|answer| Task::Install(staged, answer)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotData>>> {
        if self.handle.shared.applied.borrow().is_none() {
            return Ok(None);
        }
        self.handle.snapshot().await.map(Some)
    }
}

impl StateHandle {
    /// The durable state as a snapshot: the checkpoint is the snapshot, nothing is copied.
    async fn snapshot(&self) -> io::Result<SnapshotOf<TypeConfig, SnapshotData>> {
        let view = self.ask(Task::Checkpoint).await?;
        Ok(SnapshotOf::<TypeConfig, _> { meta: view.meta().clone(), snapshot: SnapshotData::View(Box::new(view)) })
    }
}

/// Makes the state durable; that is all a snapshot takes.
pub struct SnapshotBuilder {
    handle: StateHandle,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, SnapshotData>> {
        self.handle.snapshot().await
    }
}
