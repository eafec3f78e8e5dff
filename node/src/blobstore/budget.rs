use super::{Error, Hasher, Metrics};
use bytes::Bytes;
use flotilla_proto::oci::Algorithm;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of the budget.
pub const PAGE: usize = 1024 * 1024;
/// The most that one buffer takes.
pub const BUFFER_MAX: usize = 16 * PAGE;
/// Upload buffers of a process in memory.
pub const MEMORY_DEFAULT: usize = 64 * 1024 * 1024;
/// Upload buffers of a process on disk.
pub const SPILL_DEFAULT: usize = 2 * 1024 * 1024 * 1024;
/// How long a buffer waits for a page before its rest goes to disk: pages of parts in flight come back, those of
/// stalled clients do not.
const PATIENCE: Duration = Duration::from_millis(25);
/// Spilled bytes of one hop to the blocking pool.
const BATCH: usize = 256 * 1024;

/// The memory that all upload buffers of a process share, and the disk they spill to. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    memory: Arc<Semaphore>,
    disk: Arc<Semaphore>,
    folder: PathBuf,
    /// Memory of pages that nobody uses: an allocator would keep more of it, after one thread took and another gave it back.
    free: Mutex<Vec<Vec<u8>>>,
    metrics: Metrics,
}

impl Budget {
    /// `memory` and `disk` are bytes, rounded down to pages; `folder` must be local and is made if missing.
    pub fn new(memory: usize, disk: usize, folder: PathBuf, metrics: Metrics) -> Self {
        let pages = |bytes: usize| Arc::new(Semaphore::new((bytes / PAGE).clamp(1, Semaphore::MAX_PERMITS)));
        let (memory, disk, free) = (pages(memory), pages(disk.max(BUFFER_MAX)), Mutex::default());
        Self(Arc::new(Inner { memory, disk, folder, free, metrics }))
    }

    /// An empty buffer; it takes its first page with its first byte.
    pub(super) fn buffer(&self) -> Buffer {
        Buffer {
            budget: self.clone(),
            hasher: Hasher::new(Algorithm::Sha256),
            length: 0,
            segments: Vec::new(),
            page: None,
            leases: Vec::new(),
            spill: None,
        }
    }
}

/// Pages of the budget, given back on drop.
struct Lease {
    permit: OwnedSemaphorePermit,
    metrics: Metrics,
    on_disk: bool,
}

impl Lease {
    fn new(permit: OwnedSemaphorePermit, budget: &Budget, on_disk: bool) -> Self {
        let lease = Self { permit, metrics: budget.0.metrics.clone(), on_disk };
        lease.gauge().inc_by(lease.bytes());
        lease
    }

    fn bytes(&self) -> i64 {
        (self.permit.num_permits() * PAGE) as i64
    }

    fn gauge(&self) -> &prometheus_client::metrics::gauge::Gauge<i64> {
        if self.on_disk { &self.metrics.spilled } else { &self.metrics.buffered }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.gauge().dec_by(self.bytes());
    }
}

/// A page in memory: its memory goes back to the budget when the last of its bytes is let go.
struct Page {
    memory: Vec<u8>,
    budget: Budget,
    _lease: Lease,
}

impl Page {
    fn new(permit: OwnedSemaphorePermit, budget: &Budget) -> Self {
        let reused = budget.0.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = reused.unwrap_or_else(|| Vec::with_capacity(PAGE));
        Self { memory, budget: budget.clone(), _lease: Lease::new(permit, budget, false) }
    }

    fn room(&self) -> usize {
        PAGE - self.memory.len()
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        memory.clear();
        self.budget.0.free.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

/// Bytes on their way to one request: pages in memory, then, if memory was spent, an unlinked file.
pub(super) struct Buffer {
    budget: Budget,
    hasher: Hasher,
    length: usize,
    segments: Vec<Segment>,
    page: Option<Page>,
    /// Of the spilled bytes.
    leases: Vec<Lease>,
    spill: Option<Spill>,
}

/// The tail of a buffer that memory had no page for.
struct Spill {
    file: Arc<File>,
    written: usize,
    pending: Vec<Bytes>,
    pending_bytes: usize,
}

/// A piece of a payload.
#[derive(Clone)]
pub(super) enum Segment {
    Memory(Bytes),
    File { file: Arc<File>, length: usize },
}

/// A full buffer: can be sent any number of times. Its pages return when the last clone goes.
#[derive(Clone)]
pub(super) struct Payload(Arc<Frozen>);

struct Frozen {
    segments: Vec<Segment>,
    length: usize,
    sha256: String,
    _leases: Vec<Lease>,
}

impl Payload {
    pub(super) fn segments(&self) -> &[Segment] {
        &self.0.segments
    }

    pub(super) fn len(&self) -> usize {
        self.0.length
    }

    /// In hexadecimal.
    pub(super) fn sha256(&self) -> &str {
        &self.0.sha256
    }
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Takes `bytes`; waits for the budget.
    pub(super) async fn push(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        self.hasher.update(&bytes);
        self.length += bytes.len();
        while !bytes.is_empty() && self.spill.is_none() {
            match self.page.as_mut().filter(|page| page.room() > 0) {
                None => self.turn_page().await?,
                Some(page) => {
                    let piece = bytes.split_to(bytes.len().min(page.room()));
                    page.memory.extend_from_slice(&piece);
                }
            }
        }
        match &mut self.spill {
            Some(_) if bytes.is_empty() => Ok(()),
            Some(spill) => {
                spill.pending_bytes += bytes.len();
                spill.pending.push(bytes);
                if spill.pending_bytes >= BATCH { self.write_spill().await } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    /// The page is full (or the first is missing): takes another one, or starts to spill.
    async fn turn_page(&mut self) -> Result<(), Error> {
        let memory = self.budget.0.memory.clone();
        // No page is waited for while none is owed: the queue is fair, and a try that jumps it would not be.
        let permit = match memory.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => tokio::time::timeout(PATIENCE, memory.acquire_owned()).await.ok().and_then(Result::ok),
        };
        self.keep_page();
        match permit {
            Some(permit) => self.page = Some(Page::new(permit, &self.budget)),
            None => {
                // For all that may still come, at once: buffers that each held some and waited for more would wait for
                // one another for ever.
                let rest = (BUFFER_MAX / PAGE).saturating_sub(self.segments.len()).max(1) as u32;
                let permit = self.budget.0.disk.clone().acquire_many_owned(rest).await;
                let permit = permit.expect("the budget's semaphores are never closed");
                self.leases.push(Lease::new(permit, &self.budget, true));
                let folder = self.budget.0.folder.clone();
                let file = blocking(move || unlinked(&folder)).await?;
                self.budget.0.metrics.spills.inc();
                let pending = Vec::new();
                self.spill = Some(Spill { file: Arc::new(file), written: 0, pending, pending_bytes: 0 });
            }
        }
        Ok(())
    }

    fn keep_page(&mut self) {
        if let Some(page) = self.page.take() {
            self.segments.push(Segment::Memory(Bytes::from_owner(page)));
        }
    }

    async fn write_spill(&mut self) -> Result<(), Error> {
        let Some(spill) = &mut self.spill else { return Ok(()) };
        let length = std::mem::take(&mut spill.pending_bytes);
        let pieces = std::mem::take(&mut spill.pending);
        let file = spill.file.clone();
        spill.written += length;
        blocking(move || pieces.iter().try_for_each(|piece| (&*file).write_all(piece))).await
    }

    /// Ends the buffer.
    pub(super) async fn freeze(mut self) -> Result<Payload, Error> {
        self.keep_page();
        self.write_spill().await?;
        if let Some(spill) = self.spill.take() {
            self.segments.push(Segment::File { file: spill.file, length: spill.written });
        }
        let Self { segments, length, leases, hasher, .. } = self;
        Ok(Payload(Arc::new(Frozen { segments, length, sha256: hasher.finish().hex(), _leases: leases })))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    let result = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    result.map_err(|source| {
        let context = "spilling an upload buffer to the local disk".to_owned();
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Error::Full { context },
            _ => Error::Unavailable { context, source: Some(source.into()) },
        }
    })
}

/// A file without a name: it is gone with its last handle, also after a crash.
fn unlinked(folder: &Path) -> io::Result<File> {
    let open = || rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    let opened = match open() {
        Err(Errno::NOENT) => std::fs::create_dir_all(folder).map(|()| open())?,
        other => other,
    };
    match opened {
        Ok(file) => Ok(file.into()),
        // Not every file system can do that.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let path = folder.join(format!("spill-{}", uuid::Uuid::new_v4().simple()));
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn content(payload: &Payload) -> Vec<u8> {
        let mut out = Vec::new();
        for segment in payload.segments() {
            match segment {
                Segment::Memory(bytes) => out.extend_from_slice(bytes),
                Segment::File { file, length } => {
                    let at = out.len();
                    out.resize(at + length, 0);
                    file.read_exact_at(&mut out[at..], 0).unwrap();
                }
            }
        }
        out
    }

    #[tokio::test]
    async fn stalled_buffers_do_not_stop_others() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::default();
        let budget = Budget::new(4 * PAGE, 64 * PAGE, folder.path().join("spill"), metrics.clone());
        let mut stalled = Vec::new();
        for _ in 0..6 {
            let mut buffer = budget.buffer();
            buffer.push(Bytes::from(vec![7; 700_000])).await.unwrap();
            stalled.push(buffer);
        }
        let bytes: Vec<u8> = (0..5_000_000u32).map(|at| (at % 253) as u8).collect();
        let mut buffer = budget.buffer();
        for piece in bytes.chunks(99_999) {
            buffer.push(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let payload = buffer.freeze().await.unwrap();
        assert_eq!(payload.len(), bytes.len());
        assert!(content(&payload) == bytes);
        assert!(metrics.spilled.get() > 0 && metrics.buffered.get() == 4 * PAGE as i64);
        drop((payload, stalled));
        assert_eq!((metrics.spilled.get(), metrics.buffered.get()), (0, 0));
        assert_eq!(std::fs::read_dir(folder.path().join("spill")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn buffers_that_spill_never_wait_for_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::new(PAGE, 32 * PAGE, folder.path().to_owned(), Metrics::default());
        let fill = |budget: Budget| async move {
            let mut buffer = budget.buffer();
            for _ in 0..BUFFER_MAX / 65_536 {
                buffer.push(Bytes::from(vec![7; 65_536])).await.unwrap();
                tokio::task::yield_now().await;
            }
            buffer.freeze().await.unwrap().len()
        };
        let all = futures_util::future::join_all((0..5).map(|_| fill(budget.clone())));
        let lengths = tokio::time::timeout(Duration::from_secs(20), all).await.expect("no deadlock");
        assert_eq!(lengths, [BUFFER_MAX; 5]);
    }

    #[tokio::test]
    async fn pages_are_used_again() {
        let budget = Budget::new(MEMORY_DEFAULT, SPILL_DEFAULT, "/nowhere".into(), Metrics::default());
        for _ in 0..3 {
            let mut buffer = budget.buffer();
            for _ in 0..9 {
                buffer.push(Bytes::from(vec![3; 300_000])).await.unwrap();
            }
            drop(buffer.freeze().await.unwrap());
            let free = budget.0.free.lock().unwrap();
            assert_eq!(free.iter().map(Vec::capacity).collect::<Vec<_>>(), [PAGE; 3]);
        }
    }

    #[tokio::test]
    async fn a_buffer_in_memory_holds_its_bytes_and_their_digest() {
        let budget = Budget::new(MEMORY_DEFAULT, SPILL_DEFAULT, "/nowhere".into(), Metrics::default());
        let mut buffer = budget.buffer();
        let bytes = vec![3; 2 * PAGE + 1];
        buffer.push(Bytes::from(bytes.clone())).await.unwrap();
        assert_eq!(buffer.len(), bytes.len());
        let payload = buffer.freeze().await.unwrap();
        assert!(content(&payload) == bytes);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&bytes);
        assert_eq!(payload.sha256(), hasher.finish().hex());
    }
}
