//! Section `log`.

use super::Reader;
use crate::config::{AccessLog, Formatter, Log};

impl Reader {
    pub(super) fn log(&self) -> Log {
        let (level, old) = (self.text("log.level"), self.text("loglevel"));
        let path = if level.is_some() { "log.level" } else { "loglevel" };
        let level = level.or(old).unwrap_or("info".to_owned()).to_ascii_lowercase();
        let level = match level.as_str() {
            "warning" => "warn",
            "fatal" | "panic" => "error",
            level => level,
        };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            self.mistake(path, "there is no such level", "write error, warn, info or debug");
        }
        let formatter = match self.text("log.formatter").as_deref() {
            None | Some("text") => Formatter::Text,
            Some("json" | "logstash") => Formatter::Json,
            Some(_) => {
                self.mistake("log.formatter", "there is no such formatter", "write text or json");
                Formatter::Text
            }
        };
        Log { level: level.to_owned(), formatter, access_log: self.access_log() }
    }

    fn access_log(&self) -> AccessLog {
        let format = match self.text("log.accesslog.formatter").as_deref() {
            None | Some("structured") => AccessLog::Structured,
            Some("combined") => AccessLog::Combined,
            Some(_) => {
                self.mistake("log.accesslog.formatter", "there is no such formatter", "write structured or combined");
                AccessLog::Structured
            }
        };
        if self.boolean("log.accesslog.disabled", false) { AccessLog::Off } else { format }
    }
}
