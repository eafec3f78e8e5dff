//! Repositories: made by the first thing that lands in them. A deleted one loses its name at once; its record lives on under
//! its id until all that was in it is drained.

use super::apply::{Applied, Machine};
use super::keys::{Table, key};
use super::mutant::Mutant;
use super::records::{damaged, decode, scan};
use super::tables::TablesError;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::{metadata::WORK_MAX, oci::RepositoryName, wire::metadata as wire};

/// A name that fits a key. Its grammar is the proposer's business: it may change, applied entries may not.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= RepositoryName::MAX
}

/// Records that a drain may still touch.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, records: usize) {
        self.0 = self.0.saturating_sub(records);
    }

    fn spent(&self) -> bool {
        self.0 == 0
    }
}

impl Machine<'_> {
    pub(super) fn repository(&self, name: &str) -> Result<Option<wire::Repository>, TablesError> {
        self.get(&key(Table::Repository, &[name.as_bytes()]))
    }

    /// The repository that has an id, deleted or not; something in it has just been read.
    pub(super) fn repository_by_id(&self, id: &[u8]) -> Result<wire::Repository, TablesError> {
        let index = key(Table::RepositoryName, &[id]);
        let record = match self.tables.get(&index)? {
            Some(name) => key(Table::Repository, &[&name]),
            None => key(Table::Draining, &[id]),
        };
        self.get(&record)?.ok_or_else(|| damaged("repository of an id", &index))
    }

    pub(super) fn put_repository(&mut self, repository: &wire::Repository) -> Result<(), TablesError> {
        let record = match repository.draining {
            true => key(Table::Draining, &[&repository.id]),
            false => key(Table::Repository, &[repository.name.as_bytes()]),
        };
        self.put(&record, repository)
    }

    /// The repository, or a new one that the caller must write.
    pub(super) fn repository_or_new(&mut self, name: &str, new_id: &Bytes) -> Result<wire::Repository, TablesError> {
        if let Some(repository) = self.repository(name)? {
            return Ok(repository);
        }
        self.cluster.repositories += 1;
        let created_wall = self.cluster.wall;
        self.tables.put(&key(Table::RepositoryName, &[new_id]), name.as_bytes())?;
        Ok(wire::Repository { id: new_id.clone(), name: name.to_owned(), created_wall, ..Default::default() })
    }

    pub(super) fn delete_repository(&mut self, command: &wire::DeleteRepository) -> Applied {
        let Some(mut repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        self.delete(&key(Table::Repository, &[repository.name.as_bytes()]))?;
        self.delete(&key(Table::RepositoryName, &[&repository.id]))?;
        self.cluster.repositories = self.cluster.repositories.saturating_sub(1);
        repository.draining = true;
        self.put_repository(&repository)?;
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }

    /// Tags go first, then manifests, then links, so that nothing ever points to what is gone.
    pub(super) fn drain_repository(&mut self, command: &wire::DrainRepository) -> Applied {
        if !self.collects() {
            return Ok(Outcome::Done(wire::Done { count: 0 }));
        }
        let record = key(Table::Draining, &[&command.repository_id]);
        let Some(mut repository) = self.get::<wire::Repository>(&record)? else {
            return Ok(Outcome::Done(wire::Done { count: 0 }));
        };
        let limit = usize::try_from(command.limit).unwrap_or(WORK_MAX).clamp(1, WORK_MAX);
        let mut budget = Budget(limit);
        self.drain_tags(&mut repository, &mut budget)?;
        self.drain_manifests(&mut repository, &mut budget)?;
        self.drain_links(&mut repository, &mut budget)?;
        self.drain_trash(&repository.id, &mut budget)?;
        match budget.spent() && !self.broken(Mutant::DrainOnce) {
            true => self.put_repository(&repository)?,
            false => self.delete(&record)?,
        }
        Ok(Outcome::Done(wire::Done { count: (limit - budget.0) as u64 }))
    }

    fn drain_tags(&mut self, repository: &mut wire::Repository, budget: &mut Budget) -> Result<(), TablesError> {
        let id = repository.id.clone();
        let prefix = key(Table::Tag, &[&id]).len();
        while !budget.spent() {
            let Some((entry, value)) = scan(&*self.tables, Table::Tag, &[&id], 1)?.pop() else { break };
            let tag: wire::Tag = decode(&entry, value)?;
            self.untag(&id, &tag.digest, &entry[prefix..])?;
            self.delete(&entry)?;
            repository.tags = repository.tags.saturating_sub(1);
            budget.spend(4);
        }
        Ok(())
    }

    fn drain_manifests(&mut self, repository: &mut wire::Repository, budget: &mut Budget) -> Result<(), TablesError> {
        let id = repository.id.clone();
        let prefix = key(Table::Manifest, &[&id]).len();
        while !budget.spent() {
            let Some((entry, value)) = scan(&*self.tables, Table::Manifest, &[&id], 1)?.pop() else { break };
            let mut manifest: wire::Manifest = decode(&entry, value)?;
            self.drop_manifest(repository, &entry[prefix..], &mut manifest)?;
            budget.spend(4 + 2 * manifest.blobs.len() + manifest.children.len());
        }
        Ok(())
    }

    fn drain_links(&mut self, repository: &mut wire::Repository, budget: &mut Budget) -> Result<(), TablesError> {
        let id = repository.id.clone();
        let prefix = key(Table::Link, &[&id]).len();
        while !budget.spent() {
            let Some((entry, value)) = scan(&*self.tables, Table::Link, &[&id], 1)?.pop() else { break };
            let link: wire::Link = decode(&entry, value)?;
            self.drop_link(repository, &entry[prefix..], link)?;
            budget.spend(4);
        }
        Ok(())
    }

    fn drain_trash(&mut self, id: &[u8], budget: &mut Budget) -> Result<(), TablesError> {
        let prefix = 1 + id.len();
        while !budget.spent() {
            let Some((entry, value)) = scan(&*self.tables, Table::Trash, &[id], 1)?.pop() else { break };
            let trashed: wire::Trashed = decode(&entry, value)?;
            self.forget_manifest(id, &entry[prefix..], trashed.until_mono)?;
            budget.spend(3);
        }
        while !budget.spent() {
            let Some((entry, value)) = scan(&*self.tables, Table::TrashTag, &[id], 1)?.pop() else { break };
            let trashed: wire::TrashedTag = decode(&entry, value)?;
            self.forget_tag(id, &entry[prefix..], &trashed)?;
            budget.spend(3);
        }
        while !budget.spent() {
            let Some((entry, _)) = scan(&*self.tables, Table::Bereaved, &[id], 1)?.pop() else { break };
            self.delete(&entry)?;
            budget.spend(1);
        }
        Ok(())
    }
}
