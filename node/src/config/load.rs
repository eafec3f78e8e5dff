//! File and variables to a checked [`Config`], or every mistake at once.

mod access;
mod audit;
mod auth;
mod cluster;
mod effective;
mod gc;
mod headers;
mod health;
mod http;
mod limits;
mod log;
mod pages;
mod storage;
mod tls;
mod validation;

use super::{
    Config, Driver, address,
    inspect::{Inspected, Setting},
    keys::{self, Rule, join},
    mistake::{Mistake, Mistakes, Notice, shown},
    overrides, value,
};
use regex::Regex;
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a file is looked for when no argument names one; none there: defaults and variables only.
pub const DEFAULT_FILES: [&str; 2] = ["/etc/docker/registry/config.yml", "/etc/distribution/config.yml"];

/// Sections that registry:2 does not have: an unknown key in them is a mistake.
pub(super) const OURS: [&str; 5] = ["access", "audit", "cluster", "gc", "limits"];

/// A configuration and what an operator should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// Settings without effect, each once.
    pub notices: Vec<Notice>,
}

/// Loads the file that `REGISTRY_CONFIGURATION_PATH` names, else `file`, else the first of [`DEFAULT_FILES`] that exists,
/// and lays the `REGISTRY_*` variables of `env` over it.
pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Mistakes> {
    inspect(file, env).map(|inspected| inspected.loaded)
}

/// As [`load`], with the source of every value.
pub fn inspect(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Inspected, Mistakes> {
    inspect_among(file, env, &DEFAULT_FILES)
}

pub(super) fn inspect_among(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    defaults: &[&str],
) -> Result<Inspected, Mistakes> {
    let env: Vec<(String, String)> = env.into_iter().collect();
    let named = env.iter().find(|(name, value)| name == "REGISTRY_CONFIGURATION_PATH" && !value.is_empty());
    let file = named.map(|(_, path)| PathBuf::from(path)).or_else(|| file.map(Path::to_owned));
    let file = file.or_else(|| defaults.iter().map(PathBuf::from).find(|path| path.exists()));
    let unusable = |path: &Path, problem: String, fix: &str| {
        let (value, fix) = (Some(path.display().to_string()), fix.to_owned());
        Mistakes(vec![Mistake { key: "configuration file".to_owned(), value, problem, fix }])
    };
    let text = match &file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| unusable(path, error.to_string(), "name a readable file: flotilla serve CONFIG"))?,
        None => String::new(),
    };
    let path = file.clone().unwrap_or_default();
    let tree = value::parse(&text).map_err(|error| unusable(&path, error.to_string(), "correct the YAML"))?;
    let inspected = from_tree(tree, env).map_err(|mut mistakes| {
        let driver = mistakes.0.iter_mut().find(|mistake| mistake.key == "storage" && mistake.value.is_none());
        if let (None, Some(driver)) = (&file, driver) {
            driver.problem = "there is no configuration file, and no storage driver is named".to_owned();
            driver.fix = "name the file: flotilla serve CONFIG; or set REGISTRY_STORAGE=filesystem (or s3)".to_owned();
        }
        mistakes
    })?;
    Ok(Inspected { file, ..inspected })
}

/// As [`load`], from YAML text.
pub fn from_yaml(text: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Mistakes> {
    inspect_yaml(text, env).map(|inspected| inspected.loaded)
}

/// As [`inspect`], from YAML text.
pub fn inspect_yaml(text: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Inspected, Mistakes> {
    let tree = value::parse(text).map_err(|error| {
        let (key, fix) = ("configuration".to_owned(), "correct the YAML".to_owned());
        Mistakes(vec![Mistake { key, value: None, problem: error.to_string(), fix }])
    })?;
    from_tree(tree, env)
}

fn from_tree(mut tree: Value, env: impl IntoIterator<Item = (String, String)>) -> Result<Inspected, Mistakes> {
    let mut applied = overrides::apply(&mut tree, env);
    if let Some(Value::Object(storage)) = tree.get_mut("storage")
        && !storage.contains_key("s3")
        && let Some(settings) = storage.remove("s3aws")
    {
        storage.insert("s3".to_owned(), settings);
        for (origin, ..) in &mut applied.origins {
            if let Some(rest) = origin.strip_prefix("storage.s3aws") {
                *origin = format!("storage.s3{rest}");
            }
        }
    }
    let mut reader = Reader::new(tree);
    reader.origins = applied.origins;
    reader.mistakes = RefCell::new(applied.mistakes);
    let mut notices = applied.notices;
    reader.walk("", &reader.tree, &mut notices);
    let config = reader.config();
    notices.extend(reader.notices.take());
    notices.extend(reader.deprecated());
    let settings: Vec<Setting> = reader.settings();
    let mistakes = reader.mistakes.into_inner();
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    Ok(Inspected { loaded: Loaded { config, notices }, settings, file: None })
}

/// Reads typed values out of the tree; a mistake is noted and a default goes on, so that all are found in one pass.
pub(super) struct Reader {
    tree: Value,
    origins: Vec<(String, String, String)>,
    mistakes: RefCell<Vec<Mistake>>,
    notices: RefCell<Vec<Notice>>,
    pub(super) asked: RefCell<BTreeSet<&'static str>>,
    used: RefCell<BTreeMap<&'static str, effective::Used>>,
}

impl Reader {
    #[cfg(test)]
    pub(super) fn asked_by(tree: Value) -> BTreeSet<&'static str> {
        let reader = Self::new(tree);
        reader.config();
        reader.asked.into_inner()
    }

    fn new(tree: Value) -> Self {
        Self {
            tree,
            origins: Vec::new(),
            mistakes: RefCell::default(),
            notices: RefCell::default(),
            asked: RefCell::default(),
            used: RefCell::default(),
        }
    }

    /// Decides every key that is present by the table.
    fn walk(&self, path: &str, node: &Value, notices: &mut Vec<Notice>) {
        let section = path.is_empty() || keys::is_section(path);
        match node {
            Value::Object(map) if section => {
                for (name, inner) in map {
                    self.walk(&join(path, name), inner, notices);
                }
                if path != "storage"
                    && map.is_empty()
                    && keys::find(path).is_some_and(|k| !matches!(k.rule, Rule::Honoured))
                {
                    notices.push(Notice { key: path.to_owned(), text: "it is empty".to_owned() });
                }
                return;
            }
            Value::Null if section => return,
            _ => {}
        }
        match keys::find(path) {
            Some(key) => match key.rule {
                Rule::Honoured if key.path == path => {}
                Rule::Refused(takes_effect) if takes_effect(node) => self.mistake(path, key.text, key.fix),
                Rule::Ignored | Rule::Refused(_) => {
                    notices.push(Notice { key: path.to_owned(), text: key.text.to_owned() })
                }
                Rule::Honoured => {
                    self.mistake(path, "this setting is one value and has nothing below it", "correct the key")
                }
            },
            None if OURS.contains(&keys::first(path)) && (!path.contains('.') || !section) => {
                let problem = "there is no such key in this section of ours";
                self.mistake(path, problem, "correct or remove it; see docs/config.md");
            }
            None if section => self.mistake(path, "a section is a map of keys", "write keys below it, or remove it"),
            None => {
                let variable =
                    self.origins.iter().find(|(origin, ..)| origin == path || origin.starts_with(&format!("{path}.")));
                let from = variable.map(|(_, name, _)| format!(" (variable {name})")).unwrap_or_default();
                let nested = if path.ends_with('"') { "; write a map below a map, without dots" } else { "" };
                notices.push(Notice { key: path.to_owned(), text: format!("there is no such setting{from}{nested}") });
            }
        }
    }

    fn mistake(&self, path: &str, problem: impl Into<String>, fix: impl Into<String>) {
        let value = self.get(path).map(|value| shown(path, value));
        let below = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let origin = self.origins.iter().rev().find(|(origin, ..)| below(path, origin) || below(origin, path));
        let mut problem = problem.into();
        if let Some((_, name, _)) = origin {
            problem.push_str(&format!(" (set by variable {name})"));
        }
        self.mistakes.borrow_mut().push(Mistake { key: path.to_owned(), value, problem, fix: fix.into() });
    }

    fn notice(&self, path: &str, text: impl Into<String>) {
        self.notices.borrow_mut().push(Notice { key: path.to_owned(), text: text.into() });
    }

    fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.tree, |node, name| match node {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => node.get(name),
        })
    }

    fn set(&self, path: &'static str) -> Option<&Value> {
        self.asked.borrow_mut().insert(path);
        let value = self.get(path).filter(|value| !value.is_null());
        if let Some(value) = value {
            self.uses(path, value.clone(), Some(path));
        }
        value
    }

    fn text(&self, path: &'static str) -> Option<String> {
        let value = self.set(path)?;
        match value {
            Value::String(text) if text.is_empty() => {
                self.has_no_effect(path);
                None
            }
            Value::String(text) => Some(text.clone()),
            // `0123`, `1e3` and `True` in a variable are meant as written.
            Value::Number(_) | Value::Bool(_) => {
                let raw = self.origins.iter().rev().find(|(origin, ..)| origin == path);
                let plain = value.to_string();
                let text = raw.map_or_else(|| plain.clone(), |(.., text)| text.trim().to_owned());
                if text != plain {
                    self.uses(path, text.as_str(), Some(path));
                }
                Some(text)
            }
            _ => {
                self.mistake(path, "expected a text", "write one value");
                None
            }
        }
    }

    fn text_or(&self, path: &'static str, default: &str) -> String {
        self.text(path).unwrap_or_else(|| self.default(path, default))
    }

    fn boolean(&self, path: &'static str, default: bool) -> bool {
        let Some(value) = self.set(path) else {
            self.uses(path, default, None);
            return default;
        };
        let parsed = value::boolean(value).unwrap_or_else(|| {
            self.mistake(path, "expected true or false", "write `true` or `false`");
            default
        });
        self.uses(path, parsed, Some(path));
        parsed
    }

    fn duration(&self, path: &'static str, default: Duration) -> Duration {
        let Some(text) = self.text(path) else {
            self.uses(path, value::printed(default), None);
            return default;
        };
        value::duration(&text).unwrap_or_else(|| {
            self.mistake(path, "expected a duration", "write it with units, like `30s`, `1h30m` or `168h`");
            default
        })
    }

    fn address(&self, path: &'static str, default: &str) -> String {
        let Some(text) = self.text(path) else {
            return if default.is_empty() { String::new() } else { self.default(path, default) };
        };
        if address::split(&text).is_none() {
            self.mistake(path, "expected an address", "write `host:port`, `[ipv6]:port` or `:port`");
        }
        text
    }

    fn config(&self) -> Config {
        if let Some(version) = self.text("version")
            && version != "0.1"
        {
            self.mistake("version", "this version of the format is unknown", "write `version: 0.1`");
        }
        let (log, http, limits) = (self.log(), self.http(), self.limits());
        let (storage, cluster) = (self.storage(), self.cluster());
        let (htpasswd, token) = (self.htpasswd(), self.token());
        let data_dir = match (&cluster, &storage.driver) {
            (Some(_), _) => PathBuf::from(self.text_or("cluster.datadir", "/var/lib/flotilla")),
            (None, Driver::Filesystem(filesystem)) => filesystem.root_directory.join("flotilla"),
            (None, Driver::S3(_)) => PathBuf::from("/var/lib/registry/flotilla"),
        };
        Config {
            log,
            audit: self.audit(),
            http,
            limits,
            gc: self.gc(),
            storage,
            validation: self.validation(),
            pages: self.pages(),
            access: self.access(htpasswd.is_some(), token.is_some()),
            htpasswd,
            token,
            health: self.health(),
            cluster,
            data_dir,
        }
    }

    /// A number from 1 to a million.
    fn count(&self, path: &'static str, default: usize) -> usize {
        let Some(text) = self.text(path) else {
            self.uses(path, default, None);
            return default;
        };
        text.parse().ok().filter(|count| (1..=1_000_000).contains(count)).unwrap_or_else(|| {
            self.mistake(path, "expected a number from 1 to 1000000", format!("write a number, like `{default}`"));
            default
        })
    }

    /// A list of regular expressions.
    fn patterns(&self, path: &'static str) -> Vec<Regex> {
        let items = match self.set(path) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
            Some(value) => vec![value.as_str().unwrap_or_default()],
        };
        let patterns = items.into_iter().map(|item| Some(item).filter(|item| !item.is_empty()).map(Regex::new));
        let parsed: Option<Vec<Regex>> = patterns.map(|pattern| pattern?.ok()).collect();
        parsed.unwrap_or_else(|| {
            self.mistake(path, "expected a list of regular expressions", "write `[^https://example\\.com/]`");
            Vec::new()
        })
    }

    /// A list of texts, or one text.
    fn texts(&self, path: &'static str) -> Vec<String> {
        let items: Option<Vec<&str>> = match self.set(path) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
            Some(value) => value.as_str().map(|text| vec![text]),
        };
        let items = items.unwrap_or_else(|| {
            self.mistake(path, "expected a list of texts", "write `[first, second]`");
            Vec::new()
        });
        items.into_iter().filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn deprecated(&self) -> Option<Notice> {
        let text = "deprecated; use log.level".to_owned();
        let used = self.get("loglevel").is_some_and(|level| !level.is_null());
        used.then(|| Notice { key: "loglevel".to_owned(), text })
    }
}
