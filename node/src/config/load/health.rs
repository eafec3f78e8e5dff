//! Section `health`.

use super::Reader;
use crate::config::{Check, Checked, Health, HttpService, Pace, address, value};
use serde_json::Value;
use std::time::Duration;

const HTTP_KEYS: [&str; 6] = ["uri", "headers", "statuscode", "timeout", "interval", "threshold"];
/// Checks of one node.
const CHECKS_MAX: usize = 64;
/// Between two looks, if the file does not say; also how long one look may take.
const INTERVAL: Duration = Duration::from_secs(10);
/// Shorter intervals count as this.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long a service may take, if the file does not say.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Reader {
    pub(super) fn health(&self) -> Health {
        let enabled = self.boolean("health.storagedriver.enabled", true);
        let interval = Some(self.duration("health.storagedriver.interval", INTERVAL)).filter(|time| !time.is_zero());
        if self.set("health.storagedriver.threshold").is_none() {
            self.uses("health.storagedriver.threshold", 3, None);
        }
        let threshold = self.number_at("health.storagedriver.threshold", 3, u32::MAX);
        let storage =
            Pace { interval: paced(interval.unwrap_or(INTERVAL)), timeout: INTERVAL, threshold: threshold.max(1) };
        for (path, value) in [
            ("health.storagedriver.interval", Value::from(value::printed(storage.interval))),
            ("health.storagedriver.threshold", Value::from(storage.threshold)),
        ] {
            let from = self.get(path).is_some_and(|value| !value.is_null()).then_some(path);
            self.uses(path, value, from);
        }

        let mut checks = Vec::new();
        for path in self.elements("health.file", &["file", "interval"]) {
            let Some(file) = self.required_at(&path, "file") else { continue };
            let pace = Pace { timeout: INTERVAL, threshold: 1, ..self.pace(&path) };
            checks.push((path, Check { name: file.clone(), what: Checked::File(file.into()), pace }));
        }
        for path in self.elements("health.http", &HTTP_KEYS) {
            let Some(uri) = self.required_at(&path, "uri") else { continue };
            let rest = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://"));
            let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
            if authority.is_empty() || authority.contains('@') || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
                let fix = "write http://host:port/path; a password belongs into `headers`";
                self.mistake(&format!("{path}.uri"), "expected an http(s) URL without user and password", fix);
            }
            let status = self.number_at(&format!("{path}.statuscode"), 200, 599);
            let status = u16::try_from(status).ok().filter(|status| *status != 0).unwrap_or(200);
            let service =
                HttpService { uri: uri.clone(), headers: self.headers_at(&format!("{path}.headers")), status };
            let pace = self.pace(&path);
            checks.push((path, Check { name: uri, what: Checked::Http(service), pace }));
        }
        for path in self.elements("health.tcp", &["addr", "timeout", "interval", "threshold"]) {
            let Some(addr) = self.required_at(&path, "addr") else { continue };
            if address::split(&addr).is_none_or(|(host, _)| host.is_empty()) {
                self.mistake(&format!("{path}.addr"), "expected an address", "write `host:port` or `[ipv6]:port`");
            }
            let pace = self.pace(&path);
            checks.push((path, Check { name: addr.clone(), what: Checked::Tcp(addr), pace }));
        }
        for (at, (path, check)) in checks.iter().enumerate() {
            if checks[..at].iter().any(|(_, earlier)| earlier.name == check.name) {
                self.mistake(path, "this is checked already", "remove one of the two");
            }
        }
        if checks.len() > CHECKS_MAX {
            self.mistake("health", format!("there are more than {CHECKS_MAX} checks"), "remove some");
        }
        Health { storage: enabled.then_some(storage), checks: checks.into_iter().map(|(_, check)| check).collect() }
    }

    /// The paths of a list's elements, which have these keys.
    fn elements(&self, path: &'static str, keys: &[&str]) -> Vec<String> {
        match self.set(path) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                for (n, item) in items.iter().enumerate() {
                    let names = item.as_object().into_iter().flat_map(|map| map.keys());
                    for name in names.filter(|name| !keys.contains(&name.as_str())) {
                        self.notice(&format!("{path}.{n}.{name}"), "there is no such setting");
                    }
                }
                (0..items.len()).map(|n| format!("{path}.{n}")).collect()
            }
            Some(_) => {
                self.mistake(path, "expected a list", "write `- ` before each check");
                Vec::new()
            }
        }
    }

    fn pace(&self, path: &str) -> Pace {
        let interval = self.duration_at(&format!("{path}.interval")).filter(|time| !time.is_zero()).unwrap_or(INTERVAL);
        let timeout = self.duration_at(&format!("{path}.timeout")).filter(|time| !time.is_zero()).unwrap_or(TIMEOUT);
        let threshold = self.number_at(&format!("{path}.threshold"), 1, u32::MAX);
        Pace { interval: paced(interval), timeout, threshold: threshold.max(1) }
    }

    fn text_at(&self, path: &str) -> Option<String> {
        match self.get(path)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => {
                self.mistake(path, "expected one value", "write a text or a number");
                None
            }
        }
    }

    fn required_at(&self, path: &str, key: &str) -> Option<String> {
        let value = self.text_at(&format!("{path}.{key}"));
        if value.is_none() {
            self.mistake(path, format!("a check needs `{key}`"), format!("write `{key}`, or remove the check"));
        }
        value
    }

    fn duration_at(&self, path: &str) -> Option<Duration> {
        let parsed = value::duration(&self.text_at(path)?);
        if parsed.is_none() {
            self.mistake(path, "expected a duration", "write it with units, like `30s`, `1h30m` or `168h`");
        }
        parsed
    }

    fn number_at(&self, path: &str, default: u32, max: u32) -> u32 {
        let Some(text) = self.text_at(path) else { return default };
        text.parse().ok().filter(|number| *number <= max).unwrap_or_else(|| {
            self.mistake(path, "expected a number", format!("write a number, like `{default}`"));
            default
        })
    }

    /// A map of names to a value or a list of values.
    fn headers_at(&self, path: &str) -> Vec<(String, String)> {
        let map = match self.get(path) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                self.mistake(path, "expected names with values", "write `Name: [value]`");
                return Vec::new();
            }
        };
        let mut headers = Vec::new();
        for (name, values) in map {
            let values = match values {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let visible = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            let name_is_sound = !name.is_empty() && name.bytes().all(token);
            for value in values {
                match value.as_str().filter(|text| name_is_sound && visible(text)) {
                    Some(text) => headers.push((name.clone(), text.to_owned())),
                    None => self.mistake(path, "a header is not well-formed", "write `Name: [value]`"),
                }
            }
        }
        headers
    }
}

fn paced(interval: Duration) -> Duration {
    interval.max(INTERVAL_MIN)
}
