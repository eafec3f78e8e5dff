//! Reused memory for reading large objects: fresh memory costs page faults, and reused pieces stay in the processor's cache
//! between the copy out of the page cache and the copy into the socket.

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a piece.
pub(super) const PIECE: usize = 256 * 1024;
/// Pieces kept for reuse.
const KEPT_MAX: usize = 32;

/// The memory of one store.
#[derive(Clone, Default)]
pub(super) struct Pieces(Arc<Mutex<Vec<Box<[u8]>>>>);

/// One piece, filled up to `filled`; its memory goes back when the last reader of its bytes drops.
pub(super) struct Piece {
    memory: Box<[u8]>,
    wanted: usize,
    filled: usize,
    home: Pieces,
}

impl Pieces {
    /// A piece for at most `wanted` bytes.
    pub(super) fn piece(&self, wanted: u64) -> Piece {
        let reused = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = reused.unwrap_or_else(|| vec![0; PIECE].into_boxed_slice());
        let wanted = usize::try_from(wanted).unwrap_or(PIECE).min(PIECE);
        Piece { memory, wanted, filled: 0, home: self.clone() }
    }
}

impl Piece {
    /// Reads what the page cache has at `start`, maybe less than wanted; `AGAIN` if it has nothing.
    pub(super) fn read_cached(&mut self, file: &File, start: u64) -> rustix::io::Result<()> {
        let mut into = [IoSliceMut::new(&mut self.memory[..self.wanted])];
        match rustix::io::preadv2(file, &mut into, start, ReadWriteFlags::NOWAIT) {
            // The end of the file, or (Linux 5.9, some network file systems) nothing in the cache: a plain read tells.
            Ok(0) => Err(Errno::AGAIN),
            Ok(count) => {
                self.filled = count;
                Ok(())
            }
            // Some file systems say so for a file that is read past its end.
            Err(Errno::INVAL) => Err(Errno::OPNOTSUPP),
            Err(error) => Err(error),
        }
    }

    /// Reads all that is wanted at `start`, less only at the end of the file.
    pub(super) fn read(mut self, file: &File, start: u64) -> io::Result<Self> {
        while self.filled < self.wanted {
            match file.read_at(&mut self.memory[self.filled..self.wanted], start + self.filled as u64) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }

    /// As bytes, without copying.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.memory));
        }
    }
}
