//! From the configuration to how callers show who they are, and what they may do.

use crate::{
    auth::{Access, Htpasswd, Passwords, Policy, Right, Rule, Who},
    config::{self, AccessRule, Config, Users},
};
use anyhow::Context;

/// Opens the password file.
pub(super) fn open(config: &Config) -> anyhow::Result<Access> {
    let passwords = config.htpasswd.as_ref().map(passwords).transpose()?;
    let policy = match &config.access.rules {
        Some(rules) => Policy::new(rules.iter().map(rule).collect()),
        None if passwords.is_some() => Policy::authenticated(),
        None => Policy::open(),
    };
    Ok(Access::new(policy, passwords, None))
}

/// Half of the processors may verify passwords, so that guessing does not stop the rest.
fn passwords(htpasswd: &config::Htpasswd) -> anyhow::Result<Passwords> {
    let parallel = std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    let users = Htpasswd::open(&htpasswd.path, parallel).context("auth.htpasswd")?;
    Ok(Passwords { realm: htpasswd.realm.clone(), users })
}

fn rule(rule: &AccessRule) -> Rule {
    let who = rule.users.iter().map(|users| match users {
        Users::Anyone => Who::Anyone,
        Users::Authenticated => Who::Authenticated,
        Users::Named(name) => Who::User(name.clone()),
    });
    let rights = rule.rights.iter().map(|right| match right {
        config::Right::Pull => Right::Pull,
        config::Right::Push => Right::Push,
        config::Right::Delete => Right::Delete,
    });
    Rule { repositories: rule.repositories.clone(), who: who.collect(), rights: rights.collect() }
}
