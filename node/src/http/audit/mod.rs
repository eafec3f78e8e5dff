//! Who changed what, who came in, who was turned away: one JSON line each, apart from the access log. `event` derives a
//! line from what the router knows, so that no handler can forget it, `operator` one from what an operator asks; here lines
//! are written.

mod event;
mod operator;

pub(super) use event::line;
pub use operator::Operator;
pub(super) use operator::operator_line;

use crate::{
    auth::Caller,
    clock, config,
    telemetry::{AppendFile, LogWriter},
};
use anyhow::Context;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::Instant};
use tracing::error;

/// How long a request waits for room if nobody takes the lines. Then its line is lost: a registry that stands still because
/// of a full disk would be worse.
const ROOM_LIMIT: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last lines.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Lost lines are reported once in this time.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Where the lines go. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    writer: LogWriter,
    lost: Counter,
    reported: Arc<Mutex<Option<Instant>>>,
}

impl Audit {
    /// Opens the file.
    ///
    /// # Errors
    /// If it cannot be written to.
    pub fn open(place: &config::Audit, figures: &mut Registry) -> anyhow::Result<Self> {
        let lost = Counter::default();
        let help = "Lines of the audit log that could not be written";
        figures.register("flotilla_audit_lines_dropped", help, lost.clone());
        let writer = match place {
            config::Audit::Stdout => {
                let counted = Counted { to: io::stdout(), lost: lost.clone(), fails: false };
                LogWriter::with_gaps("audit", counted, gap)
            }
            config::Audit::File(path) => {
                let file = AppendFile::open(path, lost.clone());
                LogWriter::with_gaps("audit", file.with_context(|| path.display().to_string())?, gap)
            }
        };
        Ok(Self { writer: writer.context("cannot start a thread")?, lost, reported: Arc::default() })
    }

    /// Queues a line.
    pub(super) async fn write(&self, line: Vec<u8>) {
        if self.writer.write_within(&line, ROOM_LIMIT).await {
            return;
        }
        self.lost.inc();
        let mut reported = self.reported.lock().expect("no holder panics");
        if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            *reported = Some(Instant::now());
            error!(lost = self.lost.get(), "the audit log is not written fast enough: lines are lost");
        }
    }

    /// Waits until all lines are written, a while at most.
    pub async fn flush(&self) {
        let writer = self.writer.clone();
        if !spawn_blocking(move || writer.flush(FLUSH_LIMIT)).await.unwrap_or(false) {
            error!("the last lines of the audit log may be lost");
        }
    }
}

/// Counts the lines that a pipe does not take: its reader may be gone.
struct Counted<W> {
    to: W,
    lost: Counter,
    fails: bool,
}

impl<W: Write> Write for Counted<W> {
    /// Takes whole lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let written = self.to.write_all(lines).and_then(|()| self.to.flush());
        if let Err(error) = &written {
            self.lost.inc_by(lines.iter().filter(|byte| **byte == b'\n').count() as u64);
            if !self.fails {
                error!(%error, "cannot write the audit log to standard output; its lines are lost");
            }
        }
        self.fails = written.is_err();
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stands where lines are missing.
fn gap(lines: u64) -> String {
    let time = clock::rfc3339(clock::wall_ms());
    format!(r#"{{"time":"{time}","event":"lost","outcome":"failed","lines":{lines}}}"#)
}

/// Who sent a request, found out while it was answered.
#[derive(Default)]
pub(super) struct Who(OnceLock<Sender>);

enum Sender {
    Known(Caller),
    /// Not verified; the name is one of a user.
    Claimed(Option<String>),
}

impl Who {
    pub(super) fn is(&self, caller: &Caller) {
        let _first_counts = self.0.set(Sender::Known(caller.clone()));
    }

    pub(super) fn claims_to_be(&self, user: Option<String>) {
        let _first_counts = self.0.set(Sender::Claimed(user));
    }

    /// The caller, if that was verified (or said nothing).
    fn caller(&self) -> Option<&Caller> {
        match self.0.get()? {
            Sender::Known(caller) => Some(caller),
            Sender::Claimed(_) => None,
        }
    }

    /// The caller's name, if it is beyond doubt.
    pub(super) fn verified(&self) -> Option<&str> {
        self.caller()?.name()
    }

    fn name(&self) -> Option<&str> {
        match self.0.get()? {
            Sender::Known(Caller::Anonymous) => Some("anonymous"),
            Sender::Known(caller) => caller.name(),
            Sender::Claimed(user) => user.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_reads_are_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let mut counted = Counted { to: writer, lost: Counter::default(), fails: false };
        counted.write_all(b"one\n").unwrap();
        assert_eq!(counted.lost.get(), 0);
        drop(reader);
        counted.write_all(b"two\nthree\n").unwrap();
        assert_eq!((counted.lost.get(), counted.fails), (2, true));
    }
}
