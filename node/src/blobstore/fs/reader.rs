use super::{
    Shared, blocking, failed,
    pieces::{PIECE, Piece},
};
use crate::blobstore::{ByteStream, Error, Key};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustix::{fs::Advice, io::Errno};
use std::{fs::File, io, num::NonZeroU64, ops::Range, sync::Arc};

/// Ranges up to this length come in one piece, read by the hop that opens the file.
const SMALL: u64 = 64 * 1024;
/// The kernel is told of longer ranges, so that it reads ahead further.
const LONG: u64 = 1024 * 1024;

/// A range that is read piece by piece as its consumer asks. What the page cache has is read on the spot, which takes a few
/// microseconds; only what the disk must bring takes a hop to the blocking pool.
struct Reader {
    shared: Arc<Shared>,
    key: Key,
    file: Arc<File>,
    rest: Range<u64>,
}

/// Opens the object and reads the first piece in one hop.
pub(super) async fn read(shared: Arc<Shared>, key: Key, range: Range<u64>) -> Result<ByteStream, Error> {
    if range.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let wanted = range.end - range.start;
    let (opening, opening_key, start) = (shared.clone(), key.clone(), range.start);
    // Taken here, not on the blocking pool: an idle thread of it would keep what this one gives back.
    let memory = if wanted <= SMALL { vec![0; usize::try_from(wanted).unwrap_or_default()] } else { Vec::new() };
    let (file, bytes) = blocking(move || {
        let path = opening.path(&opening_key);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => opening.missing(&opening_key),
            _ => failed(&path, error),
        })?;
        if wanted > LONG {
            // Advice only: a file system that does not take it reads just the same.
            rustix::fs::fadvise(&file, start, NonZeroU64::new(wanted), Advice::Sequential).unwrap_or_default();
        }
        let first = if wanted <= SMALL {
            small(&file, start, memory)
        } else {
            opening.pieces.piece(wanted).read(&file, start).map(Piece::into_bytes)
        };
        Ok((file, first.map_err(|error| failed(&path, error))?))
    })
    .await?;
    shared.metrics.read.inc_by(bytes.len() as u64);
    if bytes.is_empty() || bytes.len() as u64 == wanted {
        return Ok(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed());
    }
    let rest = range.start + bytes.len() as u64..range.end;
    let reader = Reader { shared, key, file: Arc::new(file), rest };
    let first = stream::iter([Ok(bytes)]);
    Ok(first.chain(stream::unfold(reader, Reader::next)).fuse().boxed())
}

impl Reader {
    /// The next piece; `None` at the end of the range or of the file.
    async fn next(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        let length = (self.rest.end - self.rest.start).min(PIECE as u64);
        if length == 0 {
            return None;
        }
        let mut piece = self.shared.pieces.piece(length);
        match piece.read_cached(&self.file, self.rest.start) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => {
                let (file, start) = (self.file.clone(), self.rest.start);
                let (shared, key) = (self.shared.clone(), self.key.clone());
                let read = move || piece.read(&file, start).map_err(|error| failed(&shared.path(&key), error));
                match blocking(read).await {
                    Ok(read) => piece = read,
                    Err(error) => return Some((Err(error), self)),
                }
            }
            Err(error) => {
                let error = failed(&self.shared.path(&self.key), error.into());
                return Some((Err(error), self));
            }
        }
        let bytes = piece.into_bytes();
        if bytes.is_empty() {
            return None;
        }
        self.rest.start += bytes.len() as u64;
        self.shared.metrics.read.inc_by(bytes.len() as u64);
        Some((Ok(bytes), self))
    }
}

/// Fills `out` from `start`, less only at the end of the file.
fn small(file: &File, start: u64, mut out: Vec<u8>) -> io::Result<Bytes> {
    use std::os::unix::fs::FileExt as _;
    let mut filled = 0;
    while filled < out.len() {
        match file.read_at(&mut out[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.truncate(filled);
    Ok(out.into())
}
