use super::{Shared, blocking, failed};
use crate::blobstore::{ByteStream, Error, Key};
use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream};
use rustix::{buffer::spare_capacity, fs::Advice, io::Errno};
use std::{fs::File, io, num::NonZeroU64, ops::Range, sync::Arc};

/// Bytes of one hop to the blocking pool.
const CHUNK: u64 = 256 * 1024;
/// Ranges up to this length come in one piece, read by the hop that opens the file.
const SMALL: u64 = 64 * 1024;
/// The kernel is told of longer ranges, so that it reads ahead further.
const LONG: u64 = 1024 * 1024;

/// A range that is read piece by piece, one piece ahead of the reader.
struct Reader {
    shared: Arc<Shared>,
    key: Key,
    file: Arc<File>,
    rest: Range<u64>,
    ahead: Option<BoxFuture<'static, Result<Bytes, Error>>>,
}

/// Opens the object and reads the first piece in one hop.
pub(super) async fn read(shared: Arc<Shared>, key: Key, range: Range<u64>) -> Result<ByteStream, Error> {
    if range.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let wanted = range.end - range.start;
    let first = if wanted <= SMALL { wanted } else { wanted.min(CHUNK) };
    let (opening, opening_key, start) = (shared.clone(), key.clone(), range.start);
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
        let bytes = read_at(&file, start, first).map_err(|error| failed(&path, error))?;
        Ok((file, bytes))
    })
    .await?;
    shared.metrics.read.inc_by(bytes.len() as u64);
    if bytes.len() as u64 == wanted || (bytes.len() as u64) < first {
        return Ok(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed());
    }
    let rest = range.start + first..range.end;
    let mut reader = Reader { shared, key, file: Arc::new(file), rest, ahead: None };
    reader.read_ahead();
    let first = stream::iter([Ok(bytes)]);
    Ok(first.chain(stream::unfold(reader, Reader::next)).fuse().boxed())
}

impl Reader {
    /// Starts the next hop; it runs while the reader's consumer sends what it has.
    fn read_ahead(&mut self) {
        let length = (self.rest.end - self.rest.start).min(CHUNK);
        if length == 0 {
            return;
        }
        let (shared, key, file, start) = (self.shared.clone(), self.key.clone(), self.file.clone(), self.rest.start);
        self.rest.start += length;
        let task = tokio::task::spawn_blocking(move || {
            let bytes = read_at(&file, start, length).map_err(|error| failed(&shared.path(&key), error))?;
            shared.metrics.read.inc_by(bytes.len() as u64);
            Ok(bytes)
        });
        let short = "file I/O was cut short";
        self.ahead = Some(Box::pin(async move {
            match task.await {
                Ok(result) => result,
                Err(error) => Err(Error::Unavailable { context: short.to_owned(), source: Some(error.into()) }),
            }
        }));
    }

    async fn next(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        match self.ahead.take()?.await {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => {
                // A short piece is the end of the file: the next one is empty and ends the stream.
                self.read_ahead();
                Some((Ok(bytes), self))
            }
            Err(error) => Some((Err(error), self)),
        }
    }
}

/// Reads `length` bytes at `start`, fewer only at the end of the file.
fn read_at(file: &File, start: u64, length: u64) -> io::Result<Bytes> {
    let capacity = usize::try_from(length).map_err(io::Error::other)?;
    let mut out = Vec::with_capacity(capacity);
    while out.len() < capacity {
        let at = start + out.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut out), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // An allocator may round the capacity up.
    out.truncate(capacity);
    Ok(out.into())
}
