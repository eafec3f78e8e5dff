//! From the configuration to how callers show who they are, and what they may do.

use crate::{
    auth::{
        Access, Htpasswd, Passwords, Policy, Realm, Right, Rule, Signer, Tokens, Who,
        token::{
            External,
            own::{self, Issuer},
        },
    },
    config::{self, AccessRule, Config, TokenAuth, Users},
    metadata::MetadataStore,
};
use anyhow::Context;
use std::sync::Arc;

/// What our own tokens are for.
const SERVICE: &str = "flotilla";

/// Opens the files of users and of keys.
pub(super) fn open(config: &Config) -> anyhow::Result<Access> {
    let passwords = config.htpasswd.as_ref().map(passwords).transpose()?;
    let tokens = config.token.as_ref().map(tokens).transpose()?;
    let policy = match &config.access.rules {
        Some(rules) => Policy::new(rules.iter().map(rule).collect()),
        // Bearers of tokens from elsewhere are not asked for rules.
        None if passwords.is_some() || tokens.is_some() => Policy::authenticated(),
        None => Policy::open(),
    };
    Ok(Access::new(policy, passwords, tokens))
}

fn tokens(config: &TokenAuth) -> anyhow::Result<Tokens> {
    let verifier = Arc::new(External::open(config).context("auth.token")?);
    let realm = config.redirect_path.clone().map_or_else(|| Realm::Url(config.realm.clone()), Realm::Host);
    Ok(Tokens { verifier, realm, service: config.service.clone(), signer: Signer::External })
}

/// The cluster's own token service, if it is switched on.
pub(super) fn issuer(config: &Config, metadata: &Arc<dyn MetadataStore>, cluster_id: String) -> Option<Arc<Issuer>> {
    let tokens = config.access.tokens.as_ref()?;
    let settings = own::Settings { life: tokens.expiration, ..own::Settings::new(cluster_id, SERVICE) };
    Some(Arc::new(Issuer::new(metadata.clone(), settings)))
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
