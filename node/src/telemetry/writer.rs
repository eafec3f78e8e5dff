//! Lines of logs leave through a bounded queue and a thread of their own: a reader of our stderr that stops reading must not
//! stop Raft. What does not fit is dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};
use tracing_subscriber::fmt::MakeWriter;

const LINES_MAX: usize = 8192;
const BYTES_MAX: usize = 8 << 20;
/// Between two looks for room in the queue.
const ROOM_POLL: Duration = Duration::from_millis(20);

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The near end of the queue. Cheap to clone.
#[derive(Clone)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl LogWriter {
    /// Starts the thread that writes log lines to `out`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with_gaps("log", out, |lines| format!("{{\"level\":\"WARN\",\"message\":\"dropped {lines} log lines\"}}"))
    }

    /// As [`LogWriter::start`], in a thread of this name. Where lines were dropped, it writes what `gap` makes of their number.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn with_gaps(name: &str, out: impl Write + Send + 'static, gap: fn(u64) -> String) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let counts = Arc::<Counts>::default();
        let shared = counts.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || drain(&lines, out, &shared, gap))?;
        Ok(Self { queue, counts })
    }

    /// Lines that were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    /// Waits until what was queued is written; `false` if `limit` passed first.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (done, wait) = sync_channel(1);
        while self.queue.try_send(Message::Flush(done.clone())).is_err() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(ROOM_POLL);
        }
        drop(done);
        let left = deadline.saturating_duration_since(Instant::now());
        !matches!(wait.recv_timeout(left), Err(RecvTimeoutError::Timeout))
    }

    /// Queues a whole line, if there is room within `limit`; `false` if it was dropped.
    pub async fn write_within(&self, line: &[u8], limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        while !self.offer(line) {
            if tokio::time::Instant::now() >= deadline {
                self.counts.dropped.fetch_add(1, Relaxed);
                return false;
            }
            tokio::time::sleep(ROOM_POLL).await;
        }
        true
    }

    fn offer(&self, line: &[u8]) -> bool {
        let before = self.counts.queued_bytes.fetch_add(line.len(), Relaxed);
        let fits = before + line.len() <= BYTES_MAX && self.queue.try_send(Message::Line(line.to_vec())).is_ok();
        if !fits {
            self.counts.queued_bytes.fetch_sub(line.len(), Relaxed);
        }
        fits
    }
}

fn drain(lines: &Receiver<Message>, out: impl Write, counts: &Counts, gap: fn(u64) -> String) {
    let mut out = io::BufWriter::with_capacity(64 << 10, out);
    let mut reported = 0;
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            // Errors (a closed pipe) have nowhere to go.
            match message {
                Message::Line(line) => {
                    let _ = out.write_all(&line);
                    counts.queued_bytes.fetch_sub(line.len(), Relaxed);
                }
                Message::Flush(done) => {
                    let _ = out.flush();
                    let _ = done.try_send(());
                }
            }
            next = lines.try_recv().ok();
        }
        let dropped = counts.dropped.load(Relaxed);
        if dropped > reported {
            let _ = writeln!(out, "{}", gap(dropped - reported));
            reported = dropped;
        }
        let _ = out.flush();
    }
}

impl Write for LogWriter {
    /// Takes a whole line; never blocks.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.offer(line) {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks for ever, like a pipe that nobody reads.
    struct Stuck(Receiver<()>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_never_blocks() {
        let (release, stuck) = sync_channel(0);
        let mut writer = LogWriter::start(Stuck(stuck)).unwrap();
        for _ in 0..LINES_MAX * 3 {
            writer.write_all(&[b'x'; 1024]).unwrap();
        }
        assert!(writer.dropped() > 0);
        drop(release);
        while !writer.flush(Duration::from_secs(5)) {}
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_lose_a_line_waits_for_room_but_not_for_ever() {
        let (release, stuck) = sync_channel(0);
        let writer = LogWriter::start(Stuck(stuck)).unwrap();
        let waited = loop {
            let began = tokio::time::Instant::now();
            if !writer.write_within(b"x\n", Duration::from_secs(1)).await {
                break began.elapsed();
            }
        };
        assert_eq!((waited, writer.dropped()), (Duration::from_secs(1), 1));
        assert!(!writer.flush(Duration::from_millis(50)), "nothing is written");
        drop(release);
        assert!(writer.flush(Duration::from_secs(10)));
        assert!(writer.write_within(b"x\n", Duration::from_secs(1)).await);
    }
}
