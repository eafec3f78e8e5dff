//! Section `log`.

use super::Reader;
use crate::config::{AccessLog, Formatter, Log};
use serde_json::Value;

/// Words that every line has of its own.
const OWN_FIELDS: [&str; 4] = ["timestamp", "level", "target", "message"];

impl Reader {
    pub(super) fn log(&self) -> Log {
        let (level, old) = (self.text("log.level"), self.text("loglevel"));
        let path = if level.is_none() && old.is_some() { "loglevel" } else { "log.level" };
        let from = (level.is_some() || old.is_some()).then_some(path);
        let level = level.or(old).unwrap_or("info".to_owned()).to_ascii_lowercase();
        let level = match level.as_str() {
            "warning" => "warn",
            "fatal" | "panic" => "error",
            level => level,
        };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            self.mistake(path, "there is no such level", "write error, warn, info or debug");
        }
        self.has_no_effect("loglevel");
        self.uses("log.level", level, from);
        let formatter = self.text_or("log.formatter", "text");
        let formatter = match formatter.as_str() {
            "text" => Formatter::Text,
            "json" | "logstash" => Formatter::Json,
            _ => {
                self.mistake("log.formatter", "there is no such formatter", "write text or json");
                Formatter::Text
            }
        };
        Log { level: level.to_owned(), formatter, access_log: self.access_log(), fields: self.fields() }
    }

    /// As registry:2 names them: a field that every line has anyway is called `fields.<name>`.
    fn fields(&self) -> Vec<(String, Value)> {
        match self.set("log.fields") {
            None => Vec::new(),
            Some(Value::Object(map)) => {
                let name = |name: &String| match OWN_FIELDS.contains(&name.as_str()) {
                    true => format!("fields.{name}"),
                    false => name.clone(),
                };
                map.iter().map(|(key, value)| (name(key), value.clone())).collect()
            }
            Some(_) => {
                self.mistake("log.fields", "expected a map", "write names and values below it");
                Vec::new()
            }
        }
    }

    fn access_log(&self) -> AccessLog {
        let format = match self.text_or("log.accesslog.formatter", "structured").as_str() {
            "structured" => AccessLog::Structured,
            "combined" => AccessLog::Combined,
            _ => {
                self.mistake("log.accesslog.formatter", "there is no such formatter", "write structured or combined");
                AccessLog::Structured
            }
        };
        if self.boolean("log.accesslog.disabled", false) { AccessLog::Off } else { format }
    }
}
