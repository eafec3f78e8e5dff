//! Values as registry:2 writes them.

use serde_json::{Map, Value};
use std::time::Duration;

/// A Go duration: `30s`, `168h`, `1h30m`, `1.5s`, `0`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(sum)
}

/// A duration as text that [`duration`] reads.
pub(super) fn printed(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds, 0) if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (seconds, 0) if seconds > 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        (_, nanos) => format!("{}s{nanos}ns", time.as_secs()),
    }
}

/// One line of YAML in ASCII. Texts are quoted where they could be read as something else.
pub(super) fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let safe = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
            let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || "/:".contains(c) || text.contains(':'))
                && !text.starts_with(['-', '.', '_'])
                && text.chars().all(safe)
                && !text.ends_with(':')
                && parse(text).is_ok_and(|read| read == *value)
                && boolean(value).is_none();
            if plain || duration(text).is_some() && text != "0" { text.clone() } else { quoted(text) }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", quoted(key), inner(value));
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn inner(value: &Value) -> String {
    value.as_str().map_or_else(|| yaml(value), quoted)
}

/// A double-quoted text in which no character is special.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out + "\""
}

/// A YAML 1.1 boolean, as Go's parser reads it.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a value asks for something: not null, false, zero, nor empty all the way down.
pub(super) fn effective(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(items) => items.iter().any(effective),
        Value::Object(map) => map.values().any(effective),
        Value::Bool(_) | Value::String(_) => boolean(value).unwrap_or(value.as_str() != Some("")),
    }
}

/// YAML to the tree that the rest works on: keys are texts, tags are dropped.
pub(super) fn tree(yaml: serde_yaml_ng::Value) -> Value {
    use serde_yaml_ng::Value as Yaml;
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(b) => Value::Bool(b),
        Yaml::Number(number) => serde_json::to_value(&number).unwrap_or(Value::Null),
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(tree).collect()),
        Yaml::Tagged(tagged) => tree(tagged.value),
        Yaml::Mapping(mapping) => Value::Object(
            mapping
                .into_iter()
                .map(|(key, value)| match tree(key) {
                    Value::String(key) => (key, tree(value)),
                    key => (key.to_string(), tree(value)),
                })
                .collect::<Map<_, _>>(),
        ),
    }
}

/// Parses YAML text.
pub(super) fn parse(text: &str) -> Result<Value, serde_yaml_ng::Error> {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
    yaml.apply_merge()?;
    Ok(tree(yaml))
}
