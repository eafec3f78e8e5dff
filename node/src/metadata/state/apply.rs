//! Applying a log entry: one short match, an arm per command; each arm lives in the file of its noun.

use super::keys::{Table, key};
use super::mutant::Mutant;
use super::records;
use super::tables::{TablesError, TablesMut};
use crate::metadata::{Command, Outcome};
use flotilla_proto::{metadata::FEATURE_LEVEL, wire::metadata as wire};

/// The level at which every log begins, whatever version replays it; higher ones come by `RaiseFeatureLevel`.
const FIRST_LEVEL: u32 = 1;

/// An entry holds a command of a kind that this version does not know. Skipping it would make this node's state differ from
/// the others', so the node must stop.
#[derive(Debug, thiserror::Error)]
#[error("operation {operation} of log entry {index} is of an unknown kind: this node's version is too old")]
pub struct UnknownCommand {
    /// Index of the entry.
    pub index: u64,
    /// Place of the operation in the entry.
    pub operation: usize,
}

/// The cluster is at a feature level that this version does not know: it would apply entries in another way than the others.
#[derive(Debug, thiserror::Error)]
#[error("the cluster is at feature level {level}, this version knows 1 to {FEATURE_LEVEL}: it is too old, or too new")]
pub struct UnknownFeatureLevel {
    /// The cluster's.
    pub level: u32,
}

/// Applies one log entry; one outcome per operation, in order. `index` is the entry's log index.
///
/// Deterministic: equal tables and equal entries give equal tables and outcomes, however operations are batched.
/// On an error (failed or damaged tables, or [`UnknownCommand`] or [`UnknownFeatureLevel`] inside the [`TablesError`]) the
/// tables are half changed: drop the transaction and stop the node.
pub fn apply(tables: &mut dyn TablesMut, index: u64, batch: &wire::Batch) -> Result<Vec<wire::Outcome>, TablesError> {
    run(tables, index, batch, None)
}

/// As [`apply`], with a rule switched off.
#[cfg(test)]
pub(crate) fn apply_broken(
    tables: &mut dyn TablesMut,
    index: u64,
    batch: &wire::Batch,
    mutant: Option<Mutant>,
) -> Result<Vec<wire::Outcome>, TablesError> {
    run(tables, index, batch, mutant)
}

fn run(
    tables: &mut dyn TablesMut,
    index: u64,
    batch: &wire::Batch,
    #[cfg_attr(not(test), expect(unused_variables, reason = "only tests break rules"))] mutant: Option<Mutant>,
) -> Result<Vec<wire::Outcome>, TablesError> {
    let mut commands = Vec::with_capacity(batch.operations.len());
    for (operation, item) in batch.operations.iter().enumerate() {
        let command = item.command.as_ref().and_then(|command| command.kind.as_ref());
        commands.push((item, command.ok_or_else(|| TablesError(Box::new(UnknownCommand { index, operation })))?));
    }
    let before: Option<wire::Cluster> = records::get(tables, &key(Table::Cluster, &[]))?;
    let new = || wire::Cluster { feature_level: FIRST_LEVEL, ..wire::Cluster::default() };
    let cluster = before.clone().unwrap_or_else(new);
    let mut machine = Machine {
        tables,
        index,
        cluster,
        #[cfg(test)]
        mutant,
    };
    machine.knows_level(machine.cluster.feature_level)?;
    let mut outcomes = Vec::with_capacity(commands.len());
    for (operation, command) in commands {
        outcomes.push(machine.operate(operation, command)?);
    }
    if before.as_ref() != Some(&machine.cluster) {
        records::put(machine.tables, &key(Table::Cluster, &[]), &machine.cluster)?;
    }
    Ok(outcomes)
}

/// The state machine while it applies one entry.
pub(super) struct Machine<'a> {
    pub(super) tables: &'a mut dyn TablesMut,
    pub(super) index: u64,
    /// Read once an entry, written back at its end.
    pub(super) cluster: wire::Cluster,
    #[cfg(test)]
    pub(super) mutant: Option<Mutant>,
}

/// What became of a command; an error stops the node.
pub(super) type Applied = Result<Outcome, TablesError>;

impl Machine<'_> {
    /// One operation, at most once per request id.
    fn operate(&mut self, operation: &wire::Operation, command: &Command) -> Result<wire::Outcome, TablesError> {
        let id = operation.request_id.as_ref();
        if let Some(first) = self.recall(id)? {
            return Ok(first);
        }
        self.cluster.wall = self.cluster.wall.max(operation.proposed_wall);
        if self.broken(Mutant::MonoFromWall) {
            self.cluster.mono = self.cluster.wall;
        }
        let outcome = wire::Outcome { kind: Some(self.run(command)?) };
        self.remember(id, &outcome)?;
        Ok(outcome)
    }

    fn run(&mut self, command: &Command) -> Applied {
        match command {
            Command::Tick(command) => self.tick(command),
            Command::CreateStore(command) => self.create_store(command),
            Command::MarkStore(command) => self.mark_store(command),
            Command::RaiseFeatureLevel(command) => self.raise_feature_level(command),
            Command::OpenSession(command) => self.open_session(command),
            Command::TouchSession(command) => self.touch_session(command),
            Command::RecordChunk(command) => self.record_chunk(command),
            Command::CommitBlob(command) => self.commit_blob(command),
            Command::CancelSession(command) => self.cancel_session(command),
            Command::ExpireSessions(command) => self.expire_sessions(command),
            Command::DiscardObject(command) => self.discard_object(command),
            Command::MountBlob(command) => self.mount_blob(command),
            Command::DeleteBlobLink(command) => self.delete_blob_link(command),
            Command::TouchLinks(command) => self.touch_links(command),
            Command::Collect(command) => self.collect(command),
            Command::MarkSuspect(command) => self.set_suspect(&command.digest, &command.segment_list, true),
            Command::ClearSuspect(command) => self.set_suspect(&command.digest, &command.segment_list, false),
            Command::PutManifest(command) => self.put_manifest(command),
            Command::DeleteManifest(command) => self.delete_manifest(command),
            Command::DeleteTag(command) => self.delete_tag(command),
            Command::TouchManifest(command) => self.touch_manifest(command),
            Command::SweepManifests(command) => self.sweep_manifests(command),
            Command::UndeleteManifest(command) => self.undelete_manifest(command),
            Command::UndeleteTag(command) => self.undelete_tag(command),
            Command::PurgeTrash(command) => self.purge_trash(command),
            Command::DeleteRepository(command) => self.delete_repository(command),
            Command::DrainRepository(command) => self.drain_repository(command),
            Command::StartDelete(command) => self.start_delete(command),
            Command::DeletesDone(command) => self.deletes_done(command),
            Command::HoursSwept(command) => self.hours_swept(command),
            Command::ConfigureGc(command) => self.configure_gc(command),
            Command::SetGcMode(command) => self.set_gc_mode(command),
            Command::AllocateNodeId(command) => self.allocate_node_id(command),
            Command::AddTokenKey(command) => self.add_token_key(command),
        }
    }

    /// The record under a key.
    pub(super) fn get<M: prost::Message + Default>(&self, key: &[u8]) -> Result<Option<M>, TablesError> {
        records::get(&*self.tables, key)
    }

    /// Writes a record.
    pub(super) fn put(&mut self, key: &[u8], record: &impl prost::Message) -> Result<(), TablesError> {
        records::put(self.tables, key, record)
    }

    /// Writes an index entry.
    pub(super) fn mark(&mut self, key: &[u8]) -> Result<(), TablesError> {
        self.tables.put(key, &[])
    }

    /// Removes a record or an index entry.
    pub(super) fn delete(&mut self, key: &[u8]) -> Result<(), TablesError> {
        self.tables.delete(key)
    }
}

/// The answer to a malformed command.
pub(super) const UNSUPPORTED: Outcome = Outcome::Unsupported(wire::Unsupported {});

/// An id of 16 bytes.
pub(super) fn is_id(id: &[u8]) -> bool {
    id.len() == 16
}

/// A digest in its stored form.
pub(super) fn is_digest(digest: &[u8]) -> bool {
    flotilla_proto::oci::Digest::from_bytes(digest).is_some()
}
