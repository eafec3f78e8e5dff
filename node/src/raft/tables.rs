//! The metadata key space and Raft's own records in one redb file.

use super::types::{LogId, StoredMembership};
use super::types::{log_id_from_wire, log_id_to_wire, stored_membership_from_wire, stored_membership_to_wire};
use crate::metadata::state::tables::{Pair, Tables, TablesError, TablesMut};
use flotilla_proto::wire::cluster as wire;
use prost::Message as _;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use std::{
    fs::File,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Layout version of the file; a newer one is refused.
const FORMAT: u32 = 1;

const METADATA: TableDefinition<'_, &'static [u8], &'static [u8]> = TableDefinition::new("metadata");
const RAFT: TableDefinition<'_, &'static str, &'static [u8]> = TableDefinition::new("raft");

const APPLIED: &str = "applied";
const CHECKPOINT: &str = "checkpoint";
const CLUSTER_ID: &str = "cluster_id";
const FORMAT_KEY: &str = "format";
const MEMBERSHIP: &str = "membership";

/// An open state file. Readers hold it; once [`Database::doom`]ed, the last of them deletes it.
pub(super) struct Database {
    redb: redb::Database,
    path: PathBuf,
    doomed: AtomicBool,
}

impl Database {
    /// Creates `path` for `cluster_id`, durably; it must not exist.
    pub(super) fn create(path: &Path, cluster_id: &str, cache_bytes_max: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let database = Self::at(path, redb::Builder::new().set_cache_size(cache_bytes_max).create_file(file))?;
        let txn = database.begin_write(false)?;
        txn.open_table(METADATA).map_err(io_error)?;
        let mut raft = txn.open_table(RAFT).map_err(io_error)?;
        raft.insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice()).map_err(io_error)?;
        raft.insert(CLUSTER_ID, cluster_id.as_bytes()).map_err(io_error)?;
        drop(raft);
        txn.commit().map_err(io_error)?;
        Ok(database)
    }

    /// Opens `path`; refuses another cluster's file and a newer layout.
    pub(super) fn open(path: &Path, cluster_id: &str, cache_bytes_max: usize) -> io::Result<Self> {
        let database = Self::at(path, redb::Builder::new().set_cache_size(cache_bytes_max).open(path))?;
        let raft = database.begin_read()?.open_table(RAFT).map_err(io_error)?;
        let format = raft.get(FORMAT_KEY).map_err(io_error)?.map(|format| format.value().to_vec());
        if format.as_deref() != Some(FORMAT.to_be_bytes().as_slice()) {
            return Err(invalid("the state file has an unknown format"));
        }
        let owner = raft.get(CLUSTER_ID).map_err(io_error)?;
        if owner.is_none_or(|owner| owner.value() != cluster_id.as_bytes()) {
            return Err(invalid("the state file belongs to another cluster"));
        }
        Ok(database)
    }

    fn at(path: &Path, redb: Result<redb::Database, redb::DatabaseError>) -> io::Result<Self> {
        Ok(Self { redb: redb.map_err(io_error)?, path: path.to_owned(), doomed: AtomicBool::new(false) })
    }

    /// The file was renamed.
    pub(super) fn moved_to(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Deletes the file when the last reader drops.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }

    /// Begins a write: volatile (visible at once, lost by a crash), or durable with everything committed before it.
    pub(super) fn begin_write(&self, volatile: bool) -> io::Result<WriteTransaction> {
        let mut txn = self.redb.begin_write().map_err(io_error)?;
        if volatile {
            txn.set_durability(redb::Durability::None).map_err(io_error)?;
        } else {
            txn.set_quick_repair(true);
        }
        Ok(txn)
    }

    /// Begins a read of one consistent state.
    pub(super) fn begin_read(&self) -> io::Result<ReadTransaction> {
        self.redb.begin_read().map_err(io_error)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Relaxed)
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // Not lost: the next start removes it.
            tracing::warn!(path = %self.path.display(), %error, "replaced state file could not be deleted");
        }
    }
}

/// How far the state of a transaction is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The last applied entry.
    pub(super) applied: Option<LogId>,
    /// The last applied membership.
    pub(super) membership: StoredMembership,
}

impl Position {
    /// Writes what differs from `before`.
    pub(super) fn save(&self, txn: &WriteTransaction, before: &Self) -> io::Result<()> {
        let mut raft = txn.open_table(RAFT).map_err(io_error)?;
        if self.membership != before.membership {
            let membership = stored_membership_to_wire(&self.membership).encode_to_vec();
            raft.insert(MEMBERSHIP, membership.as_slice()).map_err(io_error)?;
        }
        if self.applied != before.applied {
            self.put_applied(&mut raft, APPLIED)?;
        }
        Ok(())
    }

    /// Notes that the transaction makes this position durable.
    pub(super) fn save_checkpoint(&self, txn: &WriteTransaction) -> io::Result<()> {
        self.put_applied(&mut txn.open_table(RAFT).map_err(io_error)?, CHECKPOINT)
    }

    fn put_applied(&self, raft: &mut Table<'_, &'static str, &'static [u8]>, key: &str) -> io::Result<()> {
        if let Some(applied) = &self.applied {
            let applied = log_id_to_wire(applied).encode_to_vec();
            raft.insert(key, applied.as_slice()).map_err(io_error)?;
        }
        Ok(())
    }

    /// The position inside a read.
    pub(super) fn load(txn: &ReadTransaction) -> io::Result<Self> {
        let raft = txn.open_table(RAFT).map_err(io_error)?;
        let applied = match raft.get(APPLIED).map_err(io_error)? {
            Some(bytes) => Some(log_id_from_wire(&wire::LogId::decode(bytes.value()).map_err(invalid)?)),
            None => None,
        };
        let membership = match raft.get(MEMBERSHIP).map_err(io_error)? {
            Some(bytes) => {
                stored_membership_from_wire(&wire::StoredMembership::decode(bytes.value()).map_err(invalid)?)?
            }
            None => StoredMembership::default(),
        };
        Ok(Self { applied, membership })
    }
}

/// One consistent state.
pub(super) struct ReadTables {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    // Dropped after the table: closes, and perhaps deletes, the file.
    _database: Arc<Database>,
}

impl ReadTables {
    /// The tables inside `txn`, a read of `database`.
    pub(super) fn new(database: Arc<Database>, txn: &ReadTransaction) -> io::Result<Self> {
        Ok(Self { table: txn.open_table(METADATA).map_err(io_error)?, _database: database })
    }

    /// All pairs, ascending.
    pub(super) fn iter(&self) -> io::Result<redb::Range<'static, &'static [u8], &'static [u8]>> {
        self.table.range::<&[u8]>(..).map_err(io_error)
    }
}

impl Tables for ReadTables {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError> {
        get(&self.table, key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, TablesError> {
        scan(&self.table, start, end, limit)
    }
}

/// The state inside a write; counts what it changes.
pub(super) struct WriteTables<'txn> {
    table: Table<'txn, &'static [u8], &'static [u8]>,
    /// Bytes of the keys and values written and of the keys removed.
    pub(super) changed_bytes: u64,
}

impl<'txn> WriteTables<'txn> {
    pub(super) fn new(txn: &'txn WriteTransaction) -> io::Result<Self> {
        Ok(Self { table: txn.open_table(METADATA).map_err(io_error)?, changed_bytes: 0 })
    }
}

impl Tables for WriteTables<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError> {
        get(&self.table, key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, TablesError> {
        scan(&self.table, start, end, limit)
    }
}

impl TablesMut for WriteTables<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        self.changed_bytes += (key.len() + value.len()) as u64;
        self.table.insert(key, value).map(drop).map_err(tables_error)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), TablesError> {
        self.changed_bytes += key.len() as u64;
        self.table.remove(key).map(drop).map_err(tables_error)
    }
}

fn get(table: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, TablesError> {
    let value = table.get(key).map_err(tables_error)?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    start: &[u8],
    end: &[u8],
    limit: usize,
) -> Result<Vec<Pair>, TablesError> {
    let mut pairs = Vec::new();
    if start >= end {
        return Ok(pairs);
    }
    for pair in table.range::<&[u8]>(start..end).map_err(tables_error)?.take(limit) {
        let (key, value) = pair.map_err(tables_error)?;
        pairs.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(pairs)
}

fn tables_error(error: redb::StorageError) -> TablesError {
    TablesError(Box::new(error))
}

/// Any redb error, as openraft wants it.
pub(super) fn io_error(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
