//! Log lines leave through a bounded queue and a thread of their own: a reader of our stderr that stops reading must not
//! stop Raft. What does not fit is dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};
use tracing_subscriber::fmt::MakeWriter;

const LINES_MAX: usize = 8192;
const BYTES_MAX: usize = 8 << 20;

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
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let counts = Arc::<Counts>::default();
        let shared = counts.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || drain(&lines, out, &shared))?;
        Ok(Self { queue, counts })
    }

    /// Lines that were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    /// Waits until what was queued is written; `false` if `limit` passed first.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.queue.try_send(Message::Flush(done)).is_ok()
            && !matches!(wait.recv_timeout(limit), Err(RecvTimeoutError::Timeout))
    }
}

fn drain(lines: &Receiver<Message>, out: impl Write, counts: &Counts) {
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
            let _ = writeln!(out, "{{\"level\":\"WARN\",\"message\":\"dropped {} log lines\"}}", dropped - reported);
            reported = dropped;
        }
        let _ = out.flush();
    }
}

impl Write for LogWriter {
    /// Takes a whole line; never blocks.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let before = self.counts.queued_bytes.fetch_add(line.len(), Relaxed);
        if before + line.len() > BYTES_MAX || self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.counts.queued_bytes.fetch_sub(line.len(), Relaxed);
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
}
