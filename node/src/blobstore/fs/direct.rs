//! Large objects are written past the page cache: the bytes must reach the disk before the client is answered anyway, so
//! copying them into the cache first costs memory bandwidth and evicts what is being pulled. What this takes is aligned
//! buffers; there are few, they are reused, and an object that finds none is written through the cache.

use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one write.
pub(super) const BUFFER: usize = 1 << 20;
/// Alignment of offsets, lengths and memory that every disk takes.
const BLOCK: usize = 4096;
/// Objects written this way at a time; each has at most two buffers (one fills, one is written).
const OBJECTS_MAX: usize = 16;

/// The buffers of one store.
#[derive(Clone)]
pub(super) struct Pool {
    objects: Arc<Semaphore>,
    free: Arc<Mutex<Vec<Memory>>>,
}

/// An object's right to its buffers.
pub(super) struct Seat {
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

/// `BUFFER` bytes that begin at a block boundary in memory.
struct Memory {
    bytes: Vec<u8>,
    start: usize,
}

/// A buffer that goes back to the pool.
pub(super) struct Buffer {
    memory: Option<Memory>,
    filled: usize,
    pool: Pool,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { objects: Arc::new(Semaphore::new(OBJECTS_MAX)), free: Arc::default() }
    }

    /// A seat, if one is free now.
    pub(super) fn seat(&self) -> Option<Seat> {
        let permit = self.objects.clone().try_acquire_owned().ok()?;
        Some(Seat { pool: self.clone(), _permit: permit })
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Memory>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// An empty buffer.
    pub(super) fn buffer(&self) -> Buffer {
        let reused = self.pool.free().pop();
        let memory = reused.unwrap_or_else(|| {
            let bytes = vec![0; BUFFER + BLOCK];
            let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
            Memory { bytes, start }
        });
        Buffer { memory: Some(memory), filled: 0, pool: self.pool.clone() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.free();
        if let Some(memory) = self.memory.take().filter(|_| free.len() < 2 * OBJECTS_MAX) {
            free.push(memory);
        }
    }
}

impl Buffer {
    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("taken by drop alone")
    }

    fn filled(&self) -> &[u8] {
        let Memory { bytes, start } = self.memory();
        &bytes[*start..*start + self.filled]
    }

    /// Copies the beginning of `bytes` that has room; how many.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let (filled, count) = (self.filled, bytes.len().min(BUFFER - self.filled));
        let memory = self.memory.as_mut().expect("taken by drop alone");
        let from = memory.start + filled;
        memory.bytes[from..from + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        count
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == BUFFER
    }

    /// Writes what is filled at `at`, which is aligned unless the buffer before it was not full. Returns the bytes.
    pub(super) fn write(&self, file: &File, at: u64) -> io::Result<u64> {
        let bytes = self.filled();
        let (blocks, tail) = bytes.split_at(bytes.len() - bytes.len() % BLOCK);
        match file.write_all_at(blocks, at) {
            // A file system that opens files this way and then wants another alignment.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                through_cache(file)?;
                file.write_all_at(blocks, at)?;
            }
            done => done?,
        }
        if !tail.is_empty() {
            through_cache(file)?;
            file.write_all_at(tail, at + blocks.len() as u64)?;
        }
        Ok(bytes.len() as u64)
    }
}

/// Creates a file whose writes go past the cache, where the file system can do that.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
    match OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(path) {
        // Linux makes the file before it finds out.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            OpenOptions::new().write(true).create(true).truncate(true).open(path)
        }
        done => done,
    }
}

fn through_cache(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - OFlags::DIRECT)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_written_as_it_is() {
        let folder = tempfile::tempdir().expect("folder");
        let pool = Pool::new();
        for length in [1, BLOCK - 1, BLOCK, BLOCK + 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 77] {
            let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
            let path = folder.path().join(length.to_string());
            let file = create(&path).expect("created");
            let seat = pool.seat().expect("free");
            let (mut rest, mut at) = (&bytes[..], 0);
            while !rest.is_empty() {
                let mut buffer = seat.buffer();
                let filled = buffer.fill(rest);
                rest = &rest[filled..];
                at += buffer.write(&file, at).expect("written");
            }
            assert!(std::fs::read(&path).expect("read") == bytes, "{length}");
        }
    }

    #[test]
    fn seats_are_few_and_come_back() {
        let pool = Pool::new();
        let seats: Vec<_> = std::iter::from_fn(|| pool.seat()).collect();
        assert_eq!(seats.len(), OBJECTS_MAX);
        drop(seats);
        assert!(pool.seat().is_some());
    }
}
