//! A file of lines that others rotate.

use prometheus_client::metrics::counter::Counter;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tracing::error;

/// A disk that fails is reported once in this time, not for each line.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Appends whole lines to a file, which may be renamed or removed meanwhile: then it is made anew. Writing never fails: what
/// cannot be written is counted.
pub struct AppendFile {
    path: PathBuf,
    file: File,
    lost: Counter,
    reported: Option<Instant>,
    /// The file ends with a part of a line.
    torn: bool,
}

impl AppendFile {
    /// Opens the file, or makes it, for its owner only. Lines that cannot be written are counted in `lost`.
    ///
    /// # Errors
    /// If it cannot be written to.
    pub fn open(path: &Path, lost: Counter) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, lost, reported: None, torn: false })
    }

    /// Whether the path still leads to the open file.
    fn is_in_place(&self) -> bool {
        let id = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let now = id(fs::metadata(&self.path));
        now.is_some() && now == id(self.file.metadata())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.torn = false;
        Ok(())
    }

    /// Writes whole lines; tells how many bytes of whole lines are written when it fails.
    fn append(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut at = 0;
        let failed = |file: &mut Self, at: usize, error| {
            let whole = lines[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            file.torn |= whole < at;
            (whole, error)
        };
        if self.torn {
            match self.file.write_all(b"\n") {
                Ok(()) => self.torn = false,
                Err(error) => return Err((0, error)),
            }
        }
        while at < lines.len() {
            match self.file.write(&lines[at..]) {
                Ok(0) => return Err(failed(self, at, io::ErrorKind::WriteZero.into())),
                Ok(more) => at += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(self, at, error)),
            }
        }
        Ok(())
    }

    fn try_write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if !self.is_in_place() {
            // If it cannot be made anew, the old one is better than none.
            if let Err(error) = self.reopen() {
                self.report(0, &error);
            }
        }
        let Err((written, _)) = self.append(lines) else { return Ok(()) };
        // Another handle may do: of a file system that went away and came back, for one.
        let torn = self.torn;
        let rest = match self.reopen() {
            Ok(()) => {
                self.torn = torn;
                self.append(&lines[written..])
            }
            Err(error) => Err((0, error)),
        };
        rest.map_err(|(more, error)| (written + more, error))
    }

    fn report(&mut self, lost: u64, error: &io::Error) {
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            self.reported = Some(Instant::now());
            error!(path = %self.path.display(), %error, lost, "cannot write lines to a file; they are lost");
        }
    }
}

impl Write for AppendFile {
    /// Takes whole lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if let Err((written, error)) = self.try_write(lines) {
            let lost = lines[written..].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.lost.inc_by(lost);
            self.report(lost, &error);
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_was_renamed_or_removed_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        fs::write(&path, "before\n").unwrap();
        let mut file = AppendFile::open(&path, Counter::default()).unwrap();
        file.write_all(b"one\n").unwrap();
        fs::rename(&path, dir.path().join("lines.1")).unwrap();
        file.write_all(b"two\nthree\n").unwrap();
        assert_eq!((read("lines.1").as_str(), read("lines").as_str()), ("before\none\n", "two\nthree\n"));
        fs::remove_file(&path).unwrap();
        file.write_all(b"four\n").unwrap();
        assert_eq!(read("lines"), "four\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.lost.get(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_ones_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut file = AppendFile::open(&path, Counter::default()).unwrap();
        file.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(file.lost.get(), 2);
        fs::remove_file(&path).unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), file.lost.get()), ("three\n", 2));
    }

    #[test]
    fn while_it_cannot_be_made_anew_the_old_file_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, moved) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&folder).unwrap();
        let mut file = AppendFile::open(&folder.join("lines"), Counter::default()).unwrap();
        fs::rename(&folder, &moved).unwrap();
        file.write_all(b"one\n").unwrap();
        assert_eq!((fs::read_to_string(moved.join("lines")).unwrap().as_str(), file.lost.get()), ("one\n", 0));
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let mut file = AppendFile::open(&path, Counter::default()).unwrap();
        file.file.write_all(b"par").unwrap();
        file.torn = true;
        file.write_all(b"whole\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "par\nwhole\n");
    }
}
