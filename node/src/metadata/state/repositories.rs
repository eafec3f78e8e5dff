//! Repositories: made by the first thing that lands in them.

use super::apply::Machine;
use super::keys::{Table, key};
use super::tables::TablesError;
use bytes::Bytes;
use flotilla_proto::{oci::RepositoryName, wire::metadata as wire};

/// A name that fits a key. Its grammar is the proposer's business: it may change, applied entries may not.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= RepositoryName::MAX
}

impl Machine<'_> {
    pub(super) fn repository(&self, name: &str) -> Result<Option<wire::Repository>, TablesError> {
        self.get(&key(Table::Repository, &[name.as_bytes()]))
    }

    pub(super) fn put_repository(&mut self, repository: &wire::Repository) -> Result<(), TablesError> {
        self.put(&key(Table::Repository, &[repository.name.as_bytes()]), repository)
    }

    /// The repository, or a new one that the caller must write.
    pub(super) fn repository_or_new(&mut self, name: &str, new_id: &Bytes) -> Result<wire::Repository, TablesError> {
        if let Some(repository) = self.repository(name)? {
            return Ok(repository);
        }
        self.cluster.repositories += 1;
        let created_wall = self.cluster.wall;
        Ok(wire::Repository { id: new_id.clone(), name: name.to_owned(), created_wall, ..Default::default() })
    }
}
