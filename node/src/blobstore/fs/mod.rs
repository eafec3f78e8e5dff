//! Objects as files under a directory: for one machine, or a shared file system with `fsync` and atomic renames.
//!
//! A file is written under a temporary name in its final folder, synced and renamed; a crash leaves at most temporaries.
//! All file I/O runs on the blocking pool, in hops as few and as large as possible. Read `writer` next.

mod delete;
mod direct;
mod durable;
mod list;
mod pieces;
mod reader;
mod writer;

use super::{BlobStore, ByteStream, Deleted, Error, Key, Metrics, ObjectWriter, Operation, Page, Upload};
use crate::lifecycle::Lifecycle;
use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::Errno;
use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

const MARKER: &str = "flotilla.json";
/// Longest marker that is read.
const MARKER_MAX: u64 = 64 * 1024;

/// The directory store.
#[derive(Clone)]
pub struct Filesystem(Arc<Shared>);

struct Shared {
    root: PathBuf,
    folders: durable::Folders,
    lifecycle: Lifecycle,
    metrics: Metrics,
    direct: direct::Pool,
    pieces: pieces::Pieces,
    /// Received bytes that no file has yet, of all writers.
    held: AtomicUsize,
    /// Whether this process has seen the marker: if it is gone later, the directory is not mounted.
    marked: AtomicBool,
}

impl Filesystem {
    /// A store under `root`, which is made if it does not exist.
    pub async fn open(root: PathBuf, lifecycle: Lifecycle, metrics: Metrics) -> Result<Self, Error> {
        let shared = blocking(move || {
            let root = std::path::absolute(&root).map_err(|source| failed(&root, source))?;
            let folders = durable::Folders::new(root.clone());
            folders.create(&root).and_then(|()| folders.sync(&root)).map_err(|source| failed(&root, source))?;
            let (held, marked) = (AtomicUsize::new(0), AtomicBool::new(root.join(MARKER).exists()));
            let (direct, pieces) = (direct::Pool::new(), pieces::Pieces::default());
            Ok(Shared { root, folders, lifecycle, metrics, direct, pieces, held, marked })
        });
        Ok(Self(Arc::new(shared.await?)))
    }
}

impl Shared {
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// What a file that is not there means: no such object, or no store at all.
    fn missing(&self, key: &Key) -> Error {
        self.lost().unwrap_or_else(|| Error::NotFound { key: key.to_string() })
    }

    /// Why there is no store under the root.
    fn lost(&self) -> Option<Error> {
        let lost = if self.marked.load(Ordering::Relaxed) { self.root.join(MARKER) } else { self.root.clone() };
        let context = || format!("{} is gone: is the directory mounted?", lost.display());
        (!lost.exists()).then(|| Error::Unavailable { context: context(), source: None })
    }

    fn read_marker(&self) -> Result<Option<Bytes>, Error> {
        let path = self.root.join(MARKER);
        match fs::metadata(&path) {
            Ok(found) if found.len() <= MARKER_MAX => {}
            Ok(_) => return Err(Error::Refused { context: format!("{} is too long", path.display()), source: None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        }
        let marker = fs::read(&path).map_err(|source| failed(&path, source))?;
        self.marked.store(true, Ordering::Relaxed);
        Ok(Some(marker.into()))
    }

    fn write_marker(&self, marker: &[u8]) -> Result<(), Error> {
        let path = self.root.join(MARKER);
        let temporary = self.root.join(format!(".{MARKER}.{}.tmp", uuid::Uuid::new_v4().simple()));
        let write = || {
            use io::Write as _;
            let mut file = fs::File::create_new(&temporary)?;
            file.write_all(marker)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            durable::sync_folder(&self.root)
        };
        write().map_err(|source| {
            // The error to report is the first one; a temporary left behind is the sweep's.
            fs::remove_file(&temporary).unwrap_or_default();
            failed(&path, source)
        })?;
        self.marked.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl BlobStore for Filesystem {
    async fn writer(&self, key: Key) -> Result<Box<dyn ObjectWriter>, Error> {
        Ok(Box::new(writer::Writer::new(self.0.clone(), &key)))
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<ByteStream, Error> {
        self.0.metrics.time(Operation::Read, reader::read(self.0.clone(), key.clone(), range)).await
    }

    async fn length(&self, key: &Key) -> Result<Option<u64>, Error> {
        let (shared, key) = (self.0.clone(), key.clone());
        let length = blocking(move || match fs::metadata(shared.path(&key)) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match shared.missing(&key) {
                Error::NotFound { .. } => Ok(None),
                lost => Err(lost),
            },
            Err(error) => Err(failed(&shared.path(&key), error)),
        });
        self.0.metrics.time(Operation::Length, length).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Vec<Deleted> {
        let (shared, all) = (self.0.clone(), keys.clone());
        let deleted = blocking(move || Ok(shared.delete(all)));
        match self.0.metrics.time(Operation::Delete, deleted).await {
            Ok(deleted) => deleted,
            Err(error) => {
                let failed = |key| Deleted { key, result: Err(unavailable(&error.to_string())) };
                keys.into_iter().map(failed).collect()
            }
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        let (shared, prefix, after) = (self.0.clone(), prefix.to_owned(), after.map(str::to_owned));
        let listed = blocking(move || shared.list(&prefix, after.as_deref()));
        self.0.metrics.time(Operation::List, listed).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Error> {
        let (shared, prefix) = (self.0.clone(), prefix.to_owned());
        self.0.metrics.time(Operation::List, blocking(move || shared.temporaries(&prefix))).await
    }

    async fn abort(&self, upload: &Upload) -> Result<(), Error> {
        let (shared, key) = (self.0.clone(), upload.key.clone());
        self.0.metrics.time(Operation::Abort, blocking(move || shared.remove_temporary(&key))).await
    }

    async fn tidy(&self, prefix: &str) -> Result<(), Error> {
        let (shared, prefix) = (self.0.clone(), prefix.to_owned());
        blocking(move || shared.tidy(&prefix)).await
    }

    async fn hazards(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    async fn presign(&self, _key: &Key, _life: Duration) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn read_marker(&self) -> Result<Option<Bytes>, Error> {
        let shared = self.0.clone();
        blocking(move || shared.read_marker()).await
    }

    async fn write_marker(&self, marker: Bytes) -> Result<(), Error> {
        let shared = self.0.clone();
        blocking(move || shared.write_marker(&marker)).await
    }

    async fn holds_distribution_layout(&self) -> Result<bool, Error> {
        let path = self.0.root.join("docker/registry/v2");
        blocking(move || path.try_exists().map_err(|source| failed(&path, source))).await
    }

    fn describe(&self) -> String {
        format!("directory {}", self.0.root.display())
    }
}

/// One hop to the blocking pool.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(Error::Unavailable { context: "file I/O was cut short".to_owned(), source: Some(error.into()) })
        }
    }
}

fn unavailable(context: &str) -> Error {
    Error::Unavailable { context: context.to_owned(), source: None }
}

/// What a failed call on `path` means.
fn failed(path: &Path, source: io::Error) -> Error {
    let context = format!("{}: {source}", path.display());
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Error::Full { context },
        // Waiting mends none of these; EIO is a damaged disk.
        Some(
            Errno::ACCESS
            | Errno::PERM
            | Errno::ROFS
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::EXIST
            | Errno::IO
            | Errno::LOOP
            | Errno::NAMETOOLONG,
        ) => Error::Refused { context, source: Some(source.into()) },
        _ => Error::Unavailable { context, source: Some(source.into()) },
    }
}

#[cfg(test)]
mod tests;
