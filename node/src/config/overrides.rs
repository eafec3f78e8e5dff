//! `REGISTRY_*` variables over the tree of the file, by registry:2's rules: lexical order, values are YAML, list elements
//! by index, deeper keys make the missing maps.

use super::{
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
    let mut variables: Vec<_> =
        env.into_iter().filter(|(name, _)| name.to_ascii_uppercase().starts_with(PREFIX)).collect();
    variables.sort();
    let mut applied = Applied::default();
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
            Some(slot) => {
                let driver = (path == "storage" || path == "auth").then(|| new.as_str()).flatten();
                match (driver, &mut *slot) {
                    (Some(driver), slot) => replace_choice(&path, slot, driver),
                    (None, slot) => *slot = new,
                }
                applied.origins.push((path, name, text));
            }
            None => applied.mistakes.push(Mistake {
                // By the whole name: the path ends where the list does, and would not say that the value is a secret.
                value: Some(shown(&words.join("."), &new)),
                key: name,
                problem: format!("there is no such element in the list at `{path}`"),
                fix: "number the elements from 0 without gaps".to_owned(),
            }),
        }
    }
    scalar_sections(tree);
    applied
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

/// The slot that `words` name, made if missing; `None` if a list has no such element. `path` receives its name.
fn place<'a>(tree: &'a mut Value, words: &[&str], path: &mut String) -> Option<&'a mut Value> {
    let mut slot = tree;
    for (depth, word) in words.iter().enumerate() {
        let index = word.parse::<usize>().ok();
        if !slot.is_object() && !slot.is_array() {
            *slot = match index {
                Some(0) if depth > 0 => Value::Array(Vec::new()),
                _ => Value::Object(Map::new()),
            };
        }
        let step = match slot {
            Value::Array(items) => {
                let index = index.filter(|index| *index <= items.len())?;
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
            _ => return None,
        };
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&step);
    }
    Some(slot)
}
