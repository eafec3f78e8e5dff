//! `REGISTRY_*` variables over the tree of the file, by registry:2's rules: lexical order, values are YAML, list elements
//! by index, deeper keys make the missing maps.

use super::{
    keys::{is_section, join},
    mistake::{Mistake, Notice, shown},
    value,
};
use serde_json::{Map, Value};

const PREFIX: &str = "REGISTRY_";
/// Not settings: the file argument, and the format of the file.
const EXCEPT: [&str; 2] = ["REGISTRY_CONFIGURATION_PATH", "REGISTRY_VERSION"];

/// What the variables did beside changing the tree.
#[derive(Default)]
pub(super) struct Applied {
    /// Path of the key, name of the variable, its text as given.
    pub(super) origins: Vec<(String, String, String)>,
    pub(super) notices: Vec<Notice>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Applies the variables whose names begin with `REGISTRY_`.
pub(super) fn apply(tree: &mut Value, env: impl IntoIterator<Item = (String, String)>) -> Applied {
    let mut variables: Vec<_> = env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    let mut applied = Applied::default();
    let (links, variables): (Vec<_>, Vec<_>) = variables.into_iter().partition(|(name, text)| service_link(name, text));
    if !links.is_empty() {
        let key = links.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        let text = "this is how Kubernetes tells of a Service, and no setting".to_owned();
        applied.notices.push(Notice { key, text });
    }
    scalar_sections(tree);
    for (name, text) in variables {
        if EXCEPT.contains(&name.as_str()) {
            if name == "REGISTRY_VERSION" {
                let text = "a variable cannot override `version`".to_owned();
                applied.notices.push(Notice { key: name, text });
            }
            continue;
        }
        let words: Vec<&str> = name[PREFIX.len()..].split('_').collect();
        // Passwords and the like need not be quoted: what is no YAML stands for itself.
        let new = value::parse(&text).unwrap_or_else(|_| Value::String(text.clone()));
        let mut path = String::new();
        match place(tree, &words, &mut path) {
            Ok(slot) => {
                let driver = (path == "storage" || path == "auth").then(|| new.as_str()).flatten();
                match (driver, &mut *slot) {
                    (Some(driver), slot) => {
                        replace_choice(&path, slot, driver);
                        // The other keys of the section are not this variable's doing.
                        path = join(&path, driver);
                    }
                    (None, slot) => *slot = new,
                }
                applied.origins.push((path, name, text));
            }
            Err(Misplaced::Element) => applied.mistakes.push(Mistake {
                // By the whole name: the path ends where the list does, and would not say that the value is a secret.
                value: Some(shown(&words.join("."), &new)),
                key: name,
                problem: format!("there is no such element in the list at `{path}`"),
                fix: "number the elements from 0 without gaps".to_owned(),
            }),
            Err(Misplaced::BelowValue) => {
                let text = format!("`{path}` is one value and has nothing below it");
                applied.notices.push(Notice { key: name, text });
            }
        }
    }
    scalar_sections(tree);
    applied
}

/// Whether a variable is one of those that Kubernetes (and Docker's old links) makes in every container for a Service, here
/// one whose name begins with `registry`: `REGISTRY_PORT=tcp://10.0.0.1:5000`, `REGISTRY_AUTH_SERVICE_HOST`,
/// `REGISTRY_SERVICE_PORT_HTTPS`, `REGISTRY_PORT_5000_TCP_ADDR`.
fn service_link(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let words: Vec<&str> = name[PREFIX.len()..].split('_').collect();
    let url =
        value.split_once("://").is_some_and(|(scheme, _)| PROTOCOLS.iter().any(|p| p.eq_ignore_ascii_case(scheme)));
    match words.as_slice() {
        [.., "PORT"] if url => return true,
        [.., "SERVICE", "HOST"] => return true,
        [.., "PORT", port, protocol] if number(port) && PROTOCOLS.contains(protocol) => return true,
        [.., "PORT", port, protocol, "ADDR" | "PORT" | "PROTO"] if number(port) && PROTOCOLS.contains(protocol) => {
            return true;
        }
        _ => {}
    }
    words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]) && number(value)
}

/// `storage: s3` and `auth: none` are short for a map with that one key.
fn scalar_sections(tree: &mut Value) {
    for section in ["storage", "auth"] {
        if let Some(slot) = tree.get_mut(section)
            && let Some(name) = slot.as_str().map(str::to_owned)
        {
            *slot = Value::Object(Map::new());
            replace_choice(section, slot, &name);
        }
    }
}

/// The chosen driver (or auth method) replaces another; the section's general keys stay.
fn replace_choice(section: &str, slot: &mut Value, name: &str) {
    let mut map = slot.as_object().cloned().unwrap_or_default();
    map.retain(|key, _| section == "storage" && super::GENERAL_STORAGE_KEYS.contains(&key.as_str()));
    if !name.is_empty() {
        map.insert(name.to_owned(), Value::Object(Map::new()));
    }
    *slot = Value::Object(map);
}

/// Why a variable has no place in the tree.
enum Misplaced {
    /// The list has no such element.
    Element,
    /// A setting with one value is above it.
    BelowValue,
}

/// The slot that `words` name, made if missing. `path` receives its name, or that of the last part there is.
fn place<'a>(tree: &'a mut Value, words: &[&str], path: &mut String) -> Result<&'a mut Value, Misplaced> {
    let mut slot = tree;
    for (depth, word) in words.iter().enumerate() {
        let index = word.parse::<usize>().ok();
        if !slot.is_object() && !slot.is_array() {
            if !slot.is_null() && index.is_none() && depth > 0 && !is_section(path) {
                return Err(Misplaced::BelowValue);
            }
            *slot = match index {
                Some(0) if depth > 0 => Value::Array(Vec::new()),
                _ => Value::Object(Map::new()),
            };
        }
        let step = match slot {
            Value::Array(items) => {
                let index = index.filter(|index| *index <= items.len()).ok_or(Misplaced::Element)?;
                if index == items.len() {
                    items.push(Value::Null);
                }
                slot = &mut items[index];
                index.to_string()
            }
            Value::Object(map) => {
                let known = map.keys().find(|key| key.eq_ignore_ascii_case(word)).cloned();
                // Header names keep their spelling.
                let new = || if path == "http.headers" { (*word).to_owned() } else { word.to_ascii_lowercase() };
                let key = known.unwrap_or_else(new);
                slot = map.entry(key.clone()).or_insert(Value::Null);
                key
            }
            _ => return Err(Misplaced::Element),
        };
        *path = join(path, &step);
    }
    Ok(slot)
}
