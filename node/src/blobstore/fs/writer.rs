use super::{
    Shared,
    direct::{self, Buffer, Seat},
    durable, failed,
};
use crate::blobstore::{Error, Key, ObjectWriter, Operation};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, IoSlice, Write as _},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};
use tokio::task::JoinHandle;

/// Received bytes that are worth a hop to the blocking pool.
const BATCH: usize = 256 * 1024;
/// Received bytes at which a writer waits for its running hop.
const HELD_MAX: usize = 512 * 1024;
/// Received bytes of all writers at which each writes what it has at once, and waits for it.
const HELD_BY_ALL_MAX: usize = 32 * 1024 * 1024;
/// Bytes after which a sync is started beside the stream, so that the last one is short.
const SYNC_EVERY: u64 = 32 * 1024 * 1024;
/// Slices of one vectored write; Linux takes 1,024.
const SLICES_MAX: usize = 512;

/// Streams one object into a temporary file. The file is opened by the first hop, so a small object takes one hop.
///
/// A large object, if a seat is free, is copied into aligned buffers and written past the page cache (see `direct`).
pub(super) struct Writer {
    shared: Arc<Shared>,
    direct: Option<Direct>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    target: State,
    sync: Option<JoinHandle<io::Result<()>>>,
    unsynced: u64,
}

/// A large object's way past the page cache.
struct Direct {
    seat: Seat,
    filling: Buffer,
}

enum State {
    Idle(Target),
    Writing(JoinHandle<(Target, io::Result<()>)>),
    /// A hop failed; the temporary is gone.
    Failed,
}

/// The file being written. Dropping it before it is renamed removes the temporary: only on the blocking pool.
struct Target {
    shared: Arc<Shared>,
    temporary: PathBuf,
    path: PathBuf,
    file: Option<Arc<File>>,
    length: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, key: &Key) -> Self {
        let path = shared.path(key);
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let target = Target { shared: shared.clone(), temporary: temporary.into(), path, file: None, length: 0 };
        let (pending, target) = (Vec::new(), State::Idle(target));
        Self { shared, direct: None, pending, pending_bytes: 0, target, sync: None, unsynced: 0 }
    }

    /// Waits for the running hop, if there is one.
    async fn settle(&mut self) -> Result<(), Error> {
        let running = match &mut self.target {
            State::Idle(_) => return Ok(()),
            State::Writing(running) => running,
            State::Failed => return Err(super::unavailable("an earlier write of this object failed")),
        };
        match running.await {
            Ok((target, Ok(()))) => {
                self.target = State::Idle(target);
                Ok(())
            }
            Ok((target, Err(error))) => {
                let path = target.path.clone();
                self.target = State::Failed;
                discard(target);
                Err(failed(&path, error))
            }
            Err(error) => {
                self.target = State::Failed;
                Err(Error::Unavailable { context: "file I/O was cut short".to_owned(), source: Some(error.into()) })
            }
        }
    }

    /// Hands what was received to the blocking pool; the writer is idle.
    async fn start(&mut self) -> Result<(), Error> {
        self.sync_beside().await?;
        let State::Idle(mut target) = std::mem::replace(&mut self.target, State::Failed) else {
            return Err(super::unavailable("an earlier write of this object failed"));
        };
        let batch = self.take_pending();
        self.unsynced += batch.bytes as u64;
        self.target = State::Writing(tokio::task::spawn_blocking(move || {
            let result = target.append(batch);
            (target, result)
        }));
        Ok(())
    }

    /// Moves to the way past the cache, if the object has no file yet and a seat is free.
    async fn go_direct(&mut self) -> Result<bool, Error> {
        if !matches!(self.target, State::Idle(Target { file: None, .. })) {
            return Ok(false);
        }
        let Some(seat) = self.shared.direct.seat() else { return Ok(false) };
        self.direct = Some(Direct { filling: seat.buffer(), seat });
        let mut batch = self.take_pending();
        for bytes in std::mem::take(&mut batch.slices) {
            self.fill(&bytes).await?;
        }
        Ok(true)
    }

    /// Copies bytes into the aligned buffers; a full one is handed to the blocking pool when the one before is written.
    async fn fill(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(direct) = self.direct.as_mut().filter(|_| !bytes.is_empty()) {
            let count = direct.filling.fill(bytes);
            bytes = &bytes[count..];
            if direct.filling.is_full() {
                let full = std::mem::replace(&mut direct.filling, direct.seat.buffer());
                self.settle().await?;
                // Past the cache there is next to nothing to sync; where a file system went through it after all, there is.
                self.sync_beside().await?;
                self.unsynced += direct::BUFFER as u64;
                let State::Idle(mut target) = std::mem::replace(&mut self.target, State::Failed) else {
                    return Err(super::unavailable("an earlier write of this object failed"));
                };
                self.target = State::Writing(tokio::task::spawn_blocking(move || {
                    let result = target.append_direct(&full);
                    (target, result)
                }));
            }
        }
        Ok(())
    }

    /// Starts a sync of what the file has, or reports the one that ended: an error of a sync is told once only.
    async fn sync_beside(&mut self) -> Result<(), Error> {
        if let Some(running) = self.sync.take_if(|running| running.is_finished()) {
            self.synced(running).await?;
        }
        if let (None, State::Idle(Target { file: Some(file), .. })) = (&self.sync, &self.target)
            && self.unsynced >= SYNC_EVERY
        {
            let file = file.clone();
            self.sync = Some(tokio::task::spawn_blocking(move || file.sync_data()));
            self.unsynced = 0;
        }
        Ok(())
    }

    async fn synced(&mut self, running: JoinHandle<io::Result<()>>) -> Result<(), Error> {
        let result = running.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        result.map_err(|error| failed(&self.shared.root, error))
    }

    fn take_pending(&mut self) -> Batch {
        let slices = std::mem::take(&mut self.pending).into();
        Batch { shared: self.shared.clone(), slices, bytes: std::mem::take(&mut self.pending_bytes) }
    }

    async fn finish_now(&mut self) -> Result<u64, Error> {
        self.settle().await?;
        if let Some(running) = self.sync.take() {
            self.synced(running).await?;
        }
        let State::Idle(mut target) = std::mem::replace(&mut self.target, State::Failed) else {
            return Err(super::unavailable("an earlier write of this object failed"));
        };
        let batch = self.take_pending();
        let direct = self.direct.take();
        let length = super::blocking(move || {
            let appended = match direct {
                Some(direct) => target.append_direct(&direct.filling),
                None => target.append(batch),
            };
            let result = appended.and_then(|()| target.publish());
            result.map_err(|error| failed(&target.path, error))
        });
        let length = length.await?;
        self.shared.metrics.written.inc_by(length);
        Ok(length)
    }
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.direct.is_some() {
            return self.fill(&bytes).await;
        }
        let held = self.shared.held.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        let crowded = held > HELD_BY_ALL_MAX;
        let idle = match &self.target {
            State::Writing(running) => running.is_finished(),
            State::Idle(_) | State::Failed => true,
        };
        if self.pending_bytes >= BATCH && self.go_direct().await? {
            return Ok(());
        }
        if crowded || self.pending_bytes >= HELD_MAX || (idle && self.pending_bytes >= BATCH) {
            self.settle().await?;
            self.start().await?;
        }
        if crowded {
            self.settle().await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, Error> {
        let metrics = self.shared.metrics.clone();
        metrics.time(Operation::Put, self.finish_now()).await
    }

    async fn abort(mut self: Box<Self>) {
        // What the running hop says does not matter any more; its file is removed either way.
        self.settle().await.unwrap_or_default();
        if let State::Idle(target) = std::mem::replace(&mut self.target, State::Failed) {
            super::blocking(move || {
                drop(target);
                Ok(())
            })
            .await
            .unwrap_or_default();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.take_pending());
        match std::mem::replace(&mut self.target, State::Failed) {
            State::Idle(target) => discard(target),
            State::Writing(running) if tokio::runtime::Handle::try_current().is_ok() => {
                self.shared.lifecycle.spawn(async move {
                    if let Ok((target, _)) = running.await {
                        tokio::task::spawn_blocking(move || drop(target)).await.unwrap_or_default();
                    }
                });
            }
            // Without a runtime, the thread that runs the hop drops its result, and so the temporary.
            State::Writing(_) | State::Failed => {}
        }
    }
}

/// Removes a temporary away from the async threads.
fn discard(target: Target) {
    if target.file.is_none() || tokio::runtime::Handle::try_current().is_err() {
        return drop(target);
    }
    let lifecycle = target.shared.lifecycle.clone();
    let removal = tokio::task::spawn_blocking(move || drop(target));
    // A panic of the removal is reported by the runtime; nobody waits for its result.
    lifecycle.spawn(async move { removal.await.unwrap_or_default() });
}

/// Received bytes on their way to the file, counted as held until they are written or dropped.
struct Batch {
    shared: Arc<Shared>,
    slices: VecDeque<Bytes>,
    bytes: usize,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Target {
    /// Writes a batch without copying it.
    fn append(&mut self, mut batch: Batch) -> io::Result<()> {
        if batch.bytes == 0 && self.file.is_some() {
            return Ok(());
        }
        let mut file: &File = match &mut self.file {
            Some(file) => file,
            none => {
                let new = create(&self.shared, &self.path, || File::create_new(&self.temporary))?;
                none.insert(Arc::new(new))
            }
        };
        self.length += batch.bytes as u64;
        while !batch.slices.is_empty() {
            let slices: Vec<_> = batch.slices.iter().take(SLICES_MAX).map(|bytes| IoSlice::new(bytes)).collect();
            let mut written = match file.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            while let Some(first) = batch.slices.front_mut().filter(|_| written > 0) {
                let step = first.len().min(written);
                bytes::Buf::advance(first, step);
                written -= step;
                if first.is_empty() {
                    batch.slices.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Writes an aligned buffer past the cache.
    fn append_direct(&mut self, buffer: &Buffer) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let new = create(&self.shared, &self.path, || direct::create(&self.temporary))?;
                none.insert(Arc::new(new))
            }
        };
        self.length += buffer.write(file, self.length)?;
        Ok(())
    }

    /// Makes the file durable under its final name, and that name durable.
    fn publish(&mut self) -> io::Result<u64> {
        let file = self.file.as_ref().expect("append opened it");
        file.sync_data()?;
        rename_new(&self.temporary, &self.path)?;
        self.file = None;
        let folder = self.path.parent().expect("a key has folders");
        durable::sync_folder(folder)?;
        self.shared.folders.sync(folder)?;
        Ok(self.length)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = fs::remove_file(&self.temporary)
        {
            tracing::warn!(path = %self.temporary.display(), %error, "could not remove a temporary; the sweep will");
        }
    }
}

/// Opens a temporary with `open`, and makes its folder if it is not there (or was removed as empty in this moment).
fn create(shared: &Shared, path: &std::path::Path, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    let folder = path.parent().expect("a key has folders");
    for _ in 0..3 {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => shared.folders.create(folder)?,
            done => return done,
        }
    }
    open()
}

/// Renames and fails with `EEXIST` if `to` exists.
fn rename_new(from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not every (network) file system has it: a link has the same meaning.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}
