//! What is written of every answer: an event among the others, or a line in the combined format of Apache that other
//! programs read. Of a request's target only the path: a query may carry what is nobody's business.

use crate::{clock, config, telemetry::LogWriter};
use http::{HeaderName, Version, header, request::Parts};
use std::{borrow::Cow, fmt::Write as _, io::Write as _, net::IpAddr, time::Duration};
use tracing::{Level, event};

/// Answered to nobody: the client went away first.
pub(super) const CLIENT_GONE: u16 = 499;

/// Where answers are noted.
#[derive(Clone)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Among the process's events, with the target `access`.
    Structured,
    /// As lines.
    Combined(LogWriter),
}

impl AccessLog {
    /// As configured; lines go to stdout, as those of registry:2.
    ///
    /// # Errors
    /// If the thread that writes lines cannot be started.
    pub fn open(config: config::AccessLog) -> std::io::Result<Self> {
        Ok(match config {
            config::AccessLog::Off => Self::Off,
            config::AccessLog::Structured => Self::Structured,
            config::AccessLog::Combined => Self::Combined(LogWriter::start(std::io::stdout())?),
        })
    }

    /// Waits until what was noted is written, at most for `limit`.
    pub fn flush(&self, limit: Duration) {
        if let Self::Combined(writer) = self {
            writer.flush(limit);
        }
    }

    pub(super) fn note(&self, entry: &Entry<'_>) {
        match self {
            Self::Off => {}
            Self::Structured => entry.event(),
            Self::Combined(writer) => {
                // Without a place for it the line is lost, and counted.
                let _ = writer.clone().write_all(entry.combined(clock::wall_ms()).as_bytes());
            }
        }
    }
}

/// One answer.
pub(super) struct Entry<'a> {
    pub(super) id: &'a str,
    pub(super) head: &'a Parts,
    pub(super) client: Option<IpAddr>,
    pub(super) user: Option<&'a str>,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

impl Entry<'_> {
    fn event(&self) {
        let agent = self.head.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let micros = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX);
        event!(
            target: "access",
            Level::INFO,
            request.id = %self.id,
            client.address = self.client.map(tracing::field::display),
            user.name = self.user,
            http.method = %self.head.method,
            http.path = %shown(self.head.uri.path()),
            http.status = self.status,
            http.bytes = self.bytes,
            http.agent = agent,
            micros,
            "answered"
        );
    }

    fn combined(&self, now_ms: u64) -> String {
        let mut line = String::with_capacity(256);
        match self.client {
            Some(client) => line.push_str(&client.to_string()),
            None => line.push('-'),
        }
        line.push_str(" - ");
        match self.user.filter(|user| !user.is_empty()) {
            // A user is a word.
            Some(user) => push_escaped(&mut line, user.as_bytes(), b' '),
            None => line.push('-'),
        }
        push_time(&mut line, now_ms);
        push_escaped(&mut line, self.head.method.as_str().as_bytes(), b' ');
        line.push(' ');
        push_escaped(&mut line, self.head.uri.path().as_bytes(), b' ');
        let version = match self.head.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        // Writing to a text cannot fail.
        let _ = write!(line, " {version}\" {} {}", self.status, self.bytes);
        for name in [header::REFERER, header::USER_AGENT] {
            line.push_str(" \"");
            push_escaped(&mut line, self.field(&name), 0);
            line.push('"');
        }
        line.push('\n');
        line
    }

    fn field(&self, name: &HeaderName) -> &[u8] {
        let value = self.head.headers.get(name).map(|value| value.as_bytes()).filter(|value| !value.is_empty());
        // A page's address has a query, too.
        let end = |value: &[u8]| value.iter().position(|byte| *name == header::REFERER && *byte == b'?');
        value.map_or(b"-", |value| &value[..end(value).unwrap_or(value.len())])
    }
}

/// Nothing that ends a quoted text or a line, or that a terminal takes for a command; nor `also`.
fn push_escaped(line: &mut String, text: &[u8], also: u8) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => {
                line.push('\\');
                line.push(char::from(byte));
            }
            b' '..=b'~' if byte != also => line.push(char::from(byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

/// ` [21/Nov/2026:10:55:27 +0000] "`
fn push_time(line: &mut String, unix_ms: u64) {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the odd day is the last one; 400 of them are an era of 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
    let (year, month) = (era * 400 + year + later, MONTHS[month as usize % 12]);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let _ = write!(line, " [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \"");
}

/// A path for the log: what a terminal could take for a command is escaped.
fn shown(path: &str) -> Cow<'_, str> {
    match path.is_ascii() {
        true => Cow::Borrowed(path),
        false => Cow::Owned(path.escape_default().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn line(request: http::request::Builder, user: Option<&str>) -> String {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let client = Some("2001:db8::1".parse().unwrap());
        let entry = Entry { id: "1", head: &head, client, user, status: 200, bytes: 17, took: Duration::ZERO };
        entry.combined(1_795_258_527_000)
    }

    #[test]
    fn a_line_is_apaches_and_has_no_query() {
        let request = Request::get("/v2/a/tags/list?_state=hush&n=1")
            .header("user-agent", "docker/27.0")
            .header("referer", "https://ui/?token=hush");
        let expected = "2001:db8::1 - ann [21/Nov/2026:10:55:27 +0000] \"GET /v2/a/tags/list HTTP/1.1\" 200 17 \
                        \"https://ui/\" \"docker/27.0\"\n";
        assert_eq!(line(request, Some("ann")), expected);
        let bare = line(Request::get("/"), None);
        assert_eq!(bare, "2001:db8::1 - - [21/Nov/2026:10:55:27 +0000] \"GET / HTTP/1.1\" 200 17 \"-\" \"-\"\n");
    }

    #[test]
    fn no_header_and_no_name_makes_a_line_of_its_own() {
        let agent = http::HeaderValue::from_bytes(b"x\" 200 1\xff\t\\\x1b")
            .unwrap_or_else(|_| http::HeaderValue::from_bytes(b"x\" 200 1\xff\t\\").unwrap());
        let request = Request::get("/a\"b\\c").header("user-agent", agent).header("referer", "\"\"");
        let line = line(request, Some("a b\"\n\u{e9}\u{1b}[2J"));
        assert!(line.contains(" - a\\x20b\\\"\\x0a\\xc3\\xa9\\x1b[2J ["), "{line}");
        assert!(line.contains("\"x\\\" 200 1\\xff\\x09\\\\\"\n"), "{line}");
        assert!(line.contains(" \"\\\"\\\"\" "), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.trim_end().bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
    }

    #[test]
    fn days_are_counted_through_leap_years() {
        for (seconds, expected) in [
            (0_u64, " [01/Jan/1970:00:00:00 +0000] \""),
            (951_782_400, " [29/Feb/2000:00:00:00 +0000] \""),
            (951_868_800, " [01/Mar/2000:00:00:00 +0000] \""),
            (1_709_164_800, " [29/Feb/2024:00:00:00 +0000] \""),
            (1_767_225_599, " [31/Dec/2025:23:59:59 +0000] \""),
            (4_107_542_400, " [01/Mar/2100:00:00:00 +0000] \""),
        ] {
            let mut text = String::new();
            push_time(&mut text, seconds * 1_000);
            assert_eq!(text, expected);
        }
    }
}
