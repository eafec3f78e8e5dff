//! Changes of a stopped node's state that do not go through its log: for tools that make large states quickly.

use super::{
    error::Error,
    identity::IdentityFile,
    state_machine::files,
    tables::{Database, Position, WriteTables, io_error},
    types::LogId,
};
use crate::{config::Config, metadata::state::TablesMut};
use std::io;

/// Changes the state in the data directory of `config` in one durable step; after an error it is as it was. The node must
/// be stopped, have run before, and be the only member of its cluster. `change` is told the last applied entry, at which
/// the state stays: a node that joined later by the log alone would lack the change. For measuring and tests only.
pub fn change<T>(
    config: &Config,
    cache_bytes_max: usize,
    change: impl FnOnce(&mut dyn TablesMut, LogId) -> io::Result<T>,
) -> Result<T, Error> {
    // Holds the lock on the directory until the end.
    let identity = IdentityFile::open(&config.data_dir)?;
    let founded = || Error::Raft("the node has never run: start it once before".to_owned());
    let member = identity.get().member.filter(|member| member.log_seen).ok_or_else(founded)?;
    let failed = |error| Error::Io("the state could not be changed", error);
    let dir = config.data_dir.join("state");
    let database = files::open(&dir, &member.cluster_id, cache_bytes_max).map_err(failed)?;
    let position = database.begin_read().and_then(|txn| Position::load(&txn)).map_err(failed)?;
    if position.membership.membership().nodes().count() != 1 {
        return Err(Error::Raft("the node is not alone in its cluster".to_owned()));
    }
    let applied = position.applied.ok_or_else(founded)?;
    commit(&database, |tables| change(tables, applied)).map_err(failed)
}

fn commit<T>(database: &Database, change: impl FnOnce(&mut WriteTables<'_>) -> io::Result<T>) -> io::Result<T> {
    let txn = database.begin_write(false)?;
    let changed = change(&mut WriteTables::new(&txn)?)?;
    txn.commit().map_err(io_error)?;
    Ok(changed)
}
