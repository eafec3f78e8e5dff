//! `log.fields`: what an operator wants on every line.

use super::LogWriter;
use crate::config::{Formatter, Log};
use std::{
    fmt::Write as _,
    io::{self, Write},
    sync::Arc,
};
use tracing_subscriber::fmt::MakeWriter;

/// Adds the fields to each line that it is given. Cheap to clone.
#[derive(Clone)]
pub(super) struct Labelled<W> {
    to: W,
    /// Behind the opening brace of a JSON line.
    head: Arc<str>,
    /// Before the end of a text line.
    tail: Arc<str>,
}

impl Labelled<LogWriter> {
    pub(super) fn new(to: LogWriter, log: &Log) -> Self {
        Self::over(to, log)
    }
}

impl<W> Labelled<W> {
    fn over(to: W, log: &Log) -> Self {
        let (mut head, mut tail) = (String::new(), String::new());
        for (name, value) in &log.fields {
            // Writing to a text cannot fail.
            let _ = match (log.formatter, value.as_str()) {
                (Formatter::Json, _) => write!(head, "{}:{value},", serde_json::Value::from(name.as_str())),
                (Formatter::Text, Some(text)) if plain(text) => write!(tail, " {name}={text}"),
                (Formatter::Text, _) => write!(tail, " {name}={value}"),
            };
        }
        Self { to, head: head.into(), tail: tail.into() }
    }
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '=')
}

impl<W: Write> Write for Labelled<W> {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (begin, rest) = match line.strip_prefix(b"{") {
            Some(rest) if !self.head.is_empty() => (b"{".as_slice(), rest),
            _ => ([].as_slice(), line),
        };
        let (middle, end) = match rest.strip_suffix(b"\n") {
            Some(middle) if !self.tail.is_empty() => (middle, b"\n".as_slice()),
            _ => (rest, [].as_slice()),
        };
        let head = if begin.is_empty() { "" } else { &*self.head };
        let tail = if end.is_empty() { "" } else { &*self.tail };
        self.to.write_all(&[begin, head.as_bytes(), middle, tail.as_bytes(), end].concat())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<'a, W: Write + Clone + 'a> MakeWriter<'a> for Labelled<W> {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessLog;
    use serde_json::json;

    fn written(formatter: Formatter, fields: &[(&str, serde_json::Value)], line: &str) -> String {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let log = Log { level: "info".to_owned(), formatter, access_log: AccessLog::Off, fields };
        let mut to = Labelled::over(Vec::new(), &log);
        assert_eq!(to.write(line.as_bytes()).unwrap(), line.len());
        String::from_utf8(to.to).unwrap()
    }

    #[test]
    fn every_line_carries_the_fields_and_json_stays_json() {
        let fields = [("service", json!("registry")), ("zone", json!("a \"b\"")), ("rack", json!({"row": 1}))];
        let line = written(Formatter::Json, &fields, "{\"message\":\"x\"}\n");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read, json!({"service": "registry", "zone": "a \"b\"", "rack": {"row": 1}, "message": "x"}));
        assert!(line.ends_with("}\n"));
        let line = written(Formatter::Text, &fields, "INFO {x}\n");
        assert_eq!(line, "INFO {x} service=registry zone=\"a \\\"b\\\"\" rack={\"row\":1}\n");
    }

    #[test]
    fn without_fields_a_line_is_what_it_was() {
        for formatter in [Formatter::Json, Formatter::Text] {
            assert_eq!(written(formatter, &[], "{\"message\":\"x\"}\n"), "{\"message\":\"x\"}\n");
        }
    }
}
