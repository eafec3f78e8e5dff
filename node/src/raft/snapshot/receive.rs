use super::{Error, FORMAT, FRAME_BYTES_LIMIT, Snapshot, SnapshotData, SnapshotMeta, SnapshotView, take_part};
use crate::metadata::state::TablesMut as _;
use crate::raft::{
    state_machine::files,
    tables::{Database, Position, WriteTables, io_error},
    types::{log_id_from_wire, stored_membership_from_wire},
};
use flotilla_proto::wire::cluster::{SnapshotFooter, SnapshotFrame, SnapshotHeader, snapshot_chunk::Part};
use sha2::{Digest as _, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where snapshots are received.
pub(in crate::raft) struct StagingRoom {
    pub(in crate::raft) dir: PathBuf,
    pub(in crate::raft) cluster_id: String,
    pub(in crate::raft) cache_bytes_max: usize,
    pub(in crate::raft) busy: Arc<AtomicBool>,
}

/// The right to stage, given back on drop.
struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A snapshot on its way in. Every call writes to disk and may block. Dropping it deletes the file.
pub struct Staging {
    // Dropped before the database, which it borrows from inside.
    txn: redb::WriteTransaction,
    file: StagedFile,
    position: Position,
    last_key: Vec<u8>,
    sum: Sha256,
    pairs: u64,
}

/// A file being filled or complete, deleted on drop unless it was installed.
struct StagedFile {
    database: Option<Database>,
    path: PathBuf,
    _turn: Turn,
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            database.doom();
        }
    }
}

impl Staging {
    /// Checks the header and creates the file.
    pub(in crate::raft) fn begin(room: StagingRoom, header: &SnapshotHeader) -> Result<Self, Error> {
        if header.format != FORMAT {
            return Err(Error::Format(header.format));
        }
        if header.cluster_id != room.cluster_id {
            return Err(Error::Cluster(header.cluster_id.clone()));
        }
        let membership = header.membership.as_ref().map(stored_membership_from_wire).transpose()?.unwrap_or_default();
        let position = Position { applied: header.last_log_id.as_ref().map(log_id_from_wire), membership };
        Self::create(room, position)
    }

    fn create(room: StagingRoom, position: Position) -> Result<Self, Error> {
        if room.busy.swap(true, Ordering::Acquire) {
            return Err(Error::Busy);
        }
        let turn = Turn(room.busy);
        let path = room.dir.join(files::file_name(position.applied)).with_extension("tmp");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let database = Database::create(&path, &room.cluster_id, room.cache_bytes_max)?;
        let txn = database.begin_write(false)?;
        let file = StagedFile { database: Some(database), path, _turn: turn };
        Ok(Self { txn, file, position, last_key: Vec::new(), sum: Sha256::new(), pairs: 0 })
    }

    /// Takes the next frame.
    pub fn frame(&mut self, frame: &SnapshotFrame) -> Result<(), Error> {
        if crc32fast::hash(&frame.payload) != frame.crc32 {
            return Err(Error::Damaged("checksum of a frame"));
        }
        let raw_length = usize::try_from(frame.raw_length).unwrap_or(usize::MAX);
        if raw_length > FRAME_BYTES_LIMIT {
            return Err(Error::Damaged("size of a frame"));
        }
        let raw = lz4_flex::block::decompress(&frame.payload, raw_length);
        let raw = raw.ok().filter(|raw| raw.len() == raw_length).ok_or(Error::Damaged("compression of a frame"))?;
        self.sum.update(&raw);
        let mut tables = WriteTables::new(&self.txn)?;
        let (mut rest, mut pairs) = (raw.as_slice(), 0);
        while !rest.is_empty() {
            let key = take_part(&mut rest).ok_or(Error::Damaged("length inside a frame"))?;
            let value = take_part(&mut rest).ok_or(Error::Damaged("length inside a frame"))?;
            if self.pairs + pairs > 0 && key <= self.last_key.as_slice() {
                return Err(Error::Damaged("order of keys"));
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            tables.put(key, value).map_err(io::Error::other)?;
            pairs += 1;
        }
        if pairs != frame.pairs {
            return Err(Error::Damaged("number of pairs in a frame"));
        }
        self.pairs += pairs;
        Ok(())
    }

    /// Checks the whole and makes it durable; the answer is for `Raft::install_full_snapshot`.
    pub fn finish(self, footer: &SnapshotFooter) -> Result<Snapshot, Error> {
        let staged = Box::new(self.complete(footer)?);
        let Position { applied, membership } = staged.position.clone();
        let meta = SnapshotMeta { last_log_id: applied, last_membership: membership };
        Ok(Snapshot { meta, snapshot: SnapshotData::Staged(staged) })
    }

    fn complete(self, footer: &SnapshotFooter) -> Result<Staged, Error> {
        if self.pairs != footer.pairs {
            return Err(Error::Damaged("number of pairs"));
        }
        if self.sum.finalize().as_slice() != footer.sha256.as_ref() {
            return Err(Error::Damaged("sha256"));
        }
        self.position.save(&self.txn, &Position::default())?;
        self.position.save_checkpoint(&self.txn)?;
        self.txn.commit().map_err(io_error)?;
        Ok(Staged { file: self.file, position: self.position })
    }
}

/// A complete and durable state that is not current yet. Dropping it deletes the file.
pub struct Staged {
    file: StagedFile,
    position: Position,
}

impl Staged {
    pub(in crate::raft) fn position(&self) -> &Position {
        &self.position
    }

    /// Makes it the current file of `dir`.
    pub(in crate::raft) fn install(mut self, dir: &Path) -> io::Result<(Database, Position)> {
        let path = files::install(dir, &self.file.path, self.position.applied)?;
        let mut database = self.file.database.take().ok_or_else(|| io::Error::other("staged twice"))?;
        database.moved_to(path);
        Ok((database, self.position.clone()))
    }
}

impl SnapshotView {
    /// Copies the view into a staged file, by the same way a peer's would take.
    pub(in crate::raft) fn copy(&self, room: StagingRoom) -> io::Result<Staged> {
        let position = Position { applied: self.meta().last_log_id, membership: self.meta().last_membership.clone() };
        let mut staging = Staging::create(room, position)?;
        for chunk in self.chunks_from(None)? {
            match chunk?.part {
                Some(Part::Frame(frame)) => staging.frame(&frame)?,
                Some(Part::Footer(footer)) => return Ok(staging.complete(&footer)?),
                Some(Part::Header(_)) | None => {}
            }
        }
        Err(Error::Damaged("no footer").into())
    }
}
