//! What the node will use: noted while the reader reads, so that it cannot differ.

use super::{Reader, value};
use crate::config::{
    inspect::{Setting, Source},
    mistake::masked,
};
use serde_json::Value;

/// Sections that are chosen by being there: their defaults have no effect elsewhere.
const CHOICES: [&str; 4] = ["auth.htpasswd.", "auth.token.", "storage.filesystem.", "storage.s3."];

/// A value that the reader handed out.
pub(super) struct Used {
    value: Value,
    /// The key it was read from; `None`: it is the default.
    from: Option<&'static str>,
}

impl Reader {
    /// Notes the value that `path` has, and the key it was read from.
    pub(super) fn uses(&self, path: &'static str, value: impl Into<Value>, from: Option<&'static str>) {
        self.used.borrow_mut().insert(path, Used { value: value.into(), from });
    }

    /// Notes that `path` has its default, and returns it.
    pub(super) fn default(&self, path: &'static str, text: &str) -> String {
        self.uses(path, text, None);
        text.to_owned()
    }

    /// Forgets what was noted for `path` and below: the node does without.
    pub(super) fn has_no_effect(&self, path: &str) {
        let below = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.used.borrow_mut().retain(|key, _| !below(key));
    }

    /// Everything noted, in the order of the keys.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let setting = |(key, used): (&&'static str, &Used)| Setting {
            key: (*key).to_owned(),
            value: value::yaml(&masked(key, &used.value)),
            source: used.from.map_or(Source::Default, |from| self.source(from)),
        };
        let used = self.used.borrow();
        let chosen = |key: &str| {
            CHOICES.iter().all(|choice| !key.starts_with(choice) || self.get(choice.trim_end_matches('.')).is_some())
        };
        used.iter().filter(|(key, _)| chosen(key)).map(setting).collect()
    }

    fn source(&self, path: &str) -> Source {
        let below = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
        let names = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
            let origins = self.origins.iter().filter(|(origin, ..)| wanted(origin));
            origins.map(|(_, name, _)| name.as_str()).collect()
        };
        // Elements of a list come by variables of their own; otherwise the last variable wins.
        let parts = names(&|origin| below(path, origin));
        if !parts.is_empty() {
            return Source::Variable(parts.join(", "));
        }
        match names(&|origin| origin == path || below(origin, path)).last() {
            Some(name) => Source::Variable((*name).to_owned()),
            None => Source::File,
        }
    }
}
