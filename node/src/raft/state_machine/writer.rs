//! The one thread that changes the state: applies, checkpoints and installs, in the order they are asked for.

use super::{Options, Shared};
use crate::metadata::state;
use crate::raft::{
    snapshot::{SnapshotData, SnapshotView, Staged},
    tables::{Position, WriteTables},
    types::{Reply, StoredMembership, TypeConfig},
};
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use openraft::{EntryPayload, storage::EntryResponder};
use prost::Message as _;
use std::{io, sync::Arc};
use tokio::sync::{mpsc, oneshot};

type Answer<T> = oneshot::Sender<io::Result<T>>;

/// What the thread is asked to do. It answers everything; a dropped answer means it stopped.
pub(super) enum Task {
    /// Applies committed entries in one volatile commit, then answers their proposers.
    Apply(Vec<EntryResponder<TypeConfig>>, Answer<()>),
    /// Makes everything applied durable and answers with a view of exactly that state.
    Checkpoint(Answer<SnapshotView>),
    /// Replaces the state.
    Install(Box<Staged>, Answer<()>),
    /// Checkpoints and ends the thread.
    Stop(Answer<()>),
}

/// What the thread owns.
pub(super) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    position: Position,
    /// Bytes changed since the last checkpoint; `None` if nothing was.
    changed_bytes: Option<u64>,
    /// After a failed write nothing but the error is true.
    failed: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, options: Options, position: Position) -> Self {
        Self { shared, options, position, changed_bytes: None, failed: false }
    }

    /// Runs until stopped or until nobody can ask any more.
    pub(super) async fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        let every = self.options.checkpoint_every;
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let task = tokio::select! {
                task = tasks.recv() => task,
                _ = ticks.tick() => {
                    self.on_tick();
                    continue;
                }
            };
            match task {
                Some(Task::Apply(entries, answer)) => reply(answer, self.attempt(|writer| writer.apply(entries))),
                Some(Task::Checkpoint(answer)) => reply(answer, self.attempt(Self::checkpoint_view)),
                Some(Task::Install(staged, answer)) => reply(answer, self.attempt(|writer| writer.install(*staged))),
                Some(Task::Stop(answer)) => return self.on_stop(answer),
                None => return self.on_abandoned(),
            }
        }
    }

    /// Once answered, only handles and views hold the database.
    fn on_stop(mut self, answer: Answer<()>) {
        let result = self.attempt(Self::checkpoint);
        drop(self);
        reply(answer, result);
    }

    fn on_tick(&mut self) {
        if !self.failed
            && self.changed_bytes.is_some()
            && let Err(error) = self.attempt(Self::checkpoint)
        {
            tracing::error!(%error, "checkpoint failed; the metadata state takes no more changes");
        }
    }

    fn on_abandoned(mut self) {
        if let Err(error) = self.attempt(Self::checkpoint) {
            tracing::warn!(%error, "last checkpoint failed; the log will be applied again");
        }
    }

    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Err(io::Error::other("the state machine failed before"));
        }
        let result = work(self);
        self.failed = result.is_err();
        result
    }

    fn apply(&mut self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let database = self.shared.database();
        let mut position = self.position.clone();
        let mut answers = Vec::new();
        let txn = database.begin_write(true)?;
        let mut tables = WriteTables::new(&txn)?;
        for (entry, responder) in entries {
            let reply = match entry.payload {
                EntryPayload::Blank => Reply::default(),
                EntryPayload::Normal(proposal) => apply_batch(&mut tables, entry.log_id.index, proposal.0)?,
                EntryPayload::Membership(membership) => {
                    position.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Reply::default()
                }
            };
            position.applied = Some(entry.log_id);
            answers.extend(responder.map(|responder| (responder, reply)));
        }
        let changed_bytes = tables.changed_bytes;
        drop(tables);
        position.save(&txn, &self.position)?;
        txn.commit().map_err(crate::raft::tables::io_error)?;
        self.position = position;
        self.shared.applied.send_replace(self.position.applied);
        for (responder, reply) in answers {
            responder.send(reply);
        }
        let changed_bytes = self.changed_bytes.unwrap_or(0) + changed_bytes;
        self.changed_bytes = Some(changed_bytes);
        if changed_bytes >= self.options.checkpoint_bytes {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> io::Result<()> {
        if self.changed_bytes.is_some() {
            let txn = self.shared.database().begin_write(false)?;
            self.position.save_checkpoint(&txn)?;
            txn.commit().map_err(crate::raft::tables::io_error)?;
            self.changed_bytes = None;
            self.shared.durable.send_replace(self.position.applied);
        }
        Ok(())
    }

    fn checkpoint_view(&mut self) -> io::Result<SnapshotView> {
        self.checkpoint()?;
        SnapshotView::open(self.shared.database(), &self.shared.cluster_id)
    }

    fn install(&mut self, staged: Staged) -> io::Result<()> {
        if staged.position().applied <= self.position.applied {
            // Committed history is one: a state at or past this point contains it.
            return Ok(());
        }
        let (database, position) = staged.install(&self.options.dir)?;
        self.shared.replace_database(Arc::new(database));
        self.position = position;
        self.changed_bytes = None;
        self.shared.applied.send_replace(self.position.applied);
        self.shared.durable.send_replace(self.position.applied);
        Ok(())
    }
}

/// Whoever asked may have gone meanwhile; the work is done all the same.
fn reply<T>(answer: Answer<T>, result: io::Result<T>) {
    drop(answer.send(result));
}

/// An entry this version does not understand must stop the node: skipping it would make its state differ.
fn apply_batch(tables: &mut WriteTables<'_>, index: u64, bytes: Bytes) -> io::Result<Reply> {
    let batch = wire::Batch::decode(bytes).map_err(|error| refused(index, error))?;
    if batch.operations.iter().any(|operation| operation.command.as_ref().is_none_or(|command| command.kind.is_none()))
    {
        return Err(refused(index, "unknown command: this version is too old for the log"));
    }
    let outcomes = state::apply(tables, index, &batch).map_err(io::Error::other)?;
    Ok(Reply(outcomes.iter().map(|outcome| Bytes::from(outcome.encode_to_vec())).collect()))
}

fn refused(index: u64, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log entry {index} cannot be applied: {}", error.into()))
}

/// The staged form of `data`: a view (only tests and a restore install one) is copied into a file first.
pub(super) fn staged(data: SnapshotData, shared: &Arc<Shared>, options: &Options) -> io::Result<Staged> {
    match data {
        SnapshotData::Staged(staged) => Ok(*staged),
        SnapshotData::View(view) => view.copy(shared.staging_room(options)),
    }
}
