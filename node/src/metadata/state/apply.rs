//! Applying a log entry: one short match, an arm per command; each arm lives in the file of its noun.

use super::keys::{Table, key};
use super::records;
use super::tables::{TablesError, TablesMut};
use crate::metadata::{Command, Outcome};
use flotilla_proto::wire::metadata as wire;

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

/// Applies one log entry; one outcome per operation, in order. `index` is the entry's log index.
///
/// Deterministic: equal tables and equal entries give equal tables and outcomes, however operations are batched.
/// On an error (failed or damaged tables, or [`UnknownCommand`] inside the [`TablesError`]) the tables are half changed:
/// drop the transaction and stop the node.
pub fn apply(tables: &mut dyn TablesMut, index: u64, batch: &wire::Batch) -> Result<Vec<wire::Outcome>, TablesError> {
    let mut commands = Vec::with_capacity(batch.operations.len());
    for (operation, item) in batch.operations.iter().enumerate() {
        let command = item.command.as_ref().and_then(|command| command.kind.as_ref());
        commands.push((item, command.ok_or_else(|| TablesError(Box::new(UnknownCommand { index, operation })))?));
    }
    let before: wire::Cluster = records::get(tables, &key(Table::Cluster, &[]))?.unwrap_or_default();
    let mut machine = Machine { tables, index, cluster: before.clone() };
    let mut outcomes = Vec::with_capacity(commands.len());
    for (operation, command) in commands {
        outcomes.push(machine.operate(operation, command)?);
    }
    if machine.cluster != before {
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
        let outcome = wire::Outcome { kind: Some(self.run(command)?) };
        self.remember(id, &outcome)?;
        Ok(outcome)
    }

    fn run(&mut self, command: &Command) -> Applied {
        match command {
            Command::Tick(command) => self.tick(command),
            Command::CreateStore(command) => self.create_store(command),
            Command::MarkStore(command) => self.mark_store(command),
            Command::OpenSession(command) => self.open_session(command),
            Command::TouchSession(command) => self.touch_session(command),
            Command::RecordChunk(command) => self.record_chunk(command),
            Command::CommitBlob(command) => self.commit_blob(command),
            Command::CancelSession(command) => self.cancel_session(command),
            Command::ExpireSessions(command) => self.expire_sessions(command),
            Command::DiscardObject(command) => self.discard_object(command),
            Command::MountBlob(command) => self.mount_blob(command),
            Command::DeleteBlobLink(command) => self.delete_blob_link(command),
            Command::PutManifest(command) => self.put_manifest(command),
            Command::DeleteManifest(command) => self.delete_manifest(command),
            Command::DeleteTag(command) => self.delete_tag(command),
            Command::StartDelete(command) => self.start_delete(command),
            Command::DeletesDone(command) => self.deletes_done(command),
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
