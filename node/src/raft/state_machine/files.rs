//! Which file holds the state: `CURRENT` names it, and only a rename changes that, so a crash leaves the old or the new.

use crate::raft::private;
use crate::raft::tables::Database;
use crate::raft::types::LogId;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

const CURRENT: &str = "CURRENT";

/// Name of the file that began as the state at `log_id`.
pub(in crate::raft) fn file_name(log_id: Option<LogId>) -> String {
    let id = log_id.map_or((0, 0, 0), |id| (id.leader_id.term, id.leader_id.node_id, id.index));
    format!("state.{}-{}-{}.redb", id.0, id.1, id.2)
}

/// Opens the state of `cluster_id` in `dir`, creating it if there is none, and deletes what crashes left behind.
pub(in crate::raft) fn open(dir: &Path, cluster_id: &str, cache_bytes_max: usize) -> io::Result<Database> {
    private::close_dir(dir)?;
    let current = match fs::read_to_string(dir.join(CURRENT)) {
        Ok(name) if name.starts_with("state.") && !name.contains('/') => Some(name),
        Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "CURRENT names no state file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    for item in fs::read_dir(dir)? {
        let item = item?;
        let name = item.file_name();
        let stale = name.to_str().is_some_and(|name| name.starts_with("state.") && Some(name) != current.as_deref());
        if stale {
            fs::remove_file(item.path())?;
        }
    }
    if let Some(name) = current {
        return Database::open(&dir.join(name), cluster_id, cache_bytes_max);
    }
    let name = file_name(None);
    let database = Database::create(&dir.join(&name), cluster_id, cache_bytes_max)?;
    sync_dir(dir)?;
    point_to(dir, &name)?;
    Ok(database)
}

/// Makes the complete, durable file at `staged` the current one, under the name for `log_id`; returns where it is.
pub(in crate::raft) fn install(dir: &Path, staged: &Path, log_id: Option<LogId>) -> io::Result<PathBuf> {
    let name = file_name(log_id);
    let path = dir.join(&name);
    File::open(staged)?.sync_all()?;
    fs::rename(staged, &path)?;
    sync_dir(dir)?;
    point_to(dir, &name)?;
    Ok(path)
}

fn point_to(dir: &Path, name: &str) -> io::Result<()> {
    let new = dir.join("CURRENT.tmp");
    let mut file = File::create(&new)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(CURRENT))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
