//! Section `access`.

use super::Reader;
use crate::config::{Access, AccessRule, Right, TokenService, Users};
use serde_json::Value;
use std::time::Duration;

/// Rules of one file, at most: each request looks at them.
const RULES_MAX: usize = 1_000;
const RULES: &str = "access.rules";
const ENABLED: &str = "access.tokens.enabled";
const EXPIRATION: &str = "access.tokens.expiration";

impl Reader {
    /// `has_users`: there are users with passwords; `has_tokens`: an external server makes tokens.
    pub(super) fn access(&self, has_users: bool, has_tokens: bool) -> Access {
        let rules = self.access_rules();
        let is_for = |wanted: fn(&Users) -> bool| rules.iter().flatten().any(|rule| rule.users.iter().any(wanted));
        if !has_users && is_for(|users| *users != Users::Anyone) {
            let fix = "name a password file in `auth.htpasswd`, or write `users: [$all]`";
            self.mistake(RULES, "a rule is for users, and there are none", fix);
        }
        if rules.is_some() && has_tokens && !has_users {
            let fix = "remove the rules, or use `auth.htpasswd` and `access.tokens` instead of `auth.token`";
            self.mistake(RULES, "an external token server decides what its bearers may do", fix);
        }
        // docker shows its password only where it was asked to at `/v2/`: without tokens it could not push to a registry in
        // which anybody may pull.
        let mixed = has_users && !has_tokens && is_for(|users| *users == Users::Anyone);
        let tokens = self.boolean(ENABLED, mixed).then(|| {
            if !has_users {
                self.mistake(ENABLED, "tokens are made for users, and there are none", "set `auth.htpasswd` too");
            }
            if has_tokens {
                let fix = "keep `auth.token` or `access.tokens`";
                self.mistake(ENABLED, "clients are sent to the token server of `auth.token`", fix);
            }
        });
        let life = self.duration(EXPIRATION, Duration::from_secs(300));
        if !(Duration::from_secs(60)..=Duration::from_secs(24 * 3600)).contains(&life) {
            self.mistake(EXPIRATION, "expected a minute to a day", "write a duration, like `5m`");
        }
        Access { rules, tokens: tokens.map(|()| TokenService { expiration: life }) }
    }

    fn access_rules(&self) -> Option<Vec<AccessRule>> {
        let form = "write a list of `{repositories: [...], users: [...], rights: [pull, push, delete]}`";
        let Some(items) = self.set(RULES)?.as_array().filter(|items| items.len() <= RULES_MAX) else {
            self.mistake(RULES, format!("expected a list of at most {RULES_MAX} rules"), form);
            return None;
        };
        let rules = items.iter().enumerate().map(|(n, item)| {
            access_rule(item).map_err(|problem| self.mistake(RULES, format!("rule {n} (from 0): {problem}"), form)).ok()
        });
        // All mistakes, then all or nothing.
        let rules: Vec<_> = rules.collect();
        rules.into_iter().collect()
    }
}

fn access_rule(item: &Value) -> Result<AccessRule, String> {
    let map = item.as_object().ok_or("expected a map")?;
    if let Some(key) = map.keys().find(|key| !["repositories", "users", "rights"].contains(&key.as_str())) {
        return Err(format!("there is no key `{key}` in a rule"));
    }
    Ok(AccessRule {
        repositories: texts(map.get("repositories"), "repositories", |text| is_pattern(text).then(|| text.to_owned()))?,
        users: texts(map.get("users"), "users", |text| match text {
            "$all" => Some(Users::Anyone),
            "$authenticated" => Some(Users::Authenticated),
            name => (!name.is_empty() && !name.starts_with('$') && !name.contains(':'))
                .then(|| Users::Named(name.to_owned())),
        })?,
        rights: texts(map.get("rights"), "rights", |text| match text {
            "pull" => Some(Right::Pull),
            "push" => Some(Right::Push),
            "delete" => Some(Right::Delete),
            _ => None,
        })?,
    })
}

/// One text or a list of texts, each read by `parse`.
fn texts<T>(value: Option<&Value>, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let items = match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    if items.is_empty() {
        return Err(format!("`{name}` is missing"));
    }
    let parsed = items.iter().map(|item| match item {
        Value::String(text) => parse(text).ok_or_else(|| format!("`{text}` does not belong in `{name}`")),
        Value::Number(number) => parse(&number.to_string()).ok_or_else(|| format!("no number belongs in `{name}`")),
        _ => Err(format!("`{name}` is a list of texts")),
    });
    parsed.collect()
}

/// Whether it can match a repository name.
fn is_pattern(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/*".contains(&b);
    (1..=255).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('/') && !text.ends_with('/')
}
