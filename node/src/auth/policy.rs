//! The one place that decides. Nothing is permitted unless a rule says so; no rule forbids.

use super::{
    Caller, Listing, Right,
    grant::{Grant, Kind},
    token::Claims,
};
use flotilla_proto::oci::RepositoryName;
use std::sync::Arc;

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody, without credentials too.
    Anyone,
    /// Every user whose credentials were verified.
    Authenticated,
    /// One user.
    User(String),
}

/// Permits some rights on some repositories to some callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Patterns of names: `*` stands for anything but a slash, `**` for anything.
    pub repositories: Vec<String>,
    /// To whom.
    pub who: Vec<Who>,
    /// Which rights.
    pub rights: Vec<Right>,
}

/// The rules. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy(Arc<[Rule]>);

/// The caller may not do that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller may not {} here", .right.as_str())]
pub struct Denied {
    /// The right that is missing.
    pub right: Right,
    /// On which repository.
    pub repository: RepositoryName,
}

const ALL: &str = "**";

impl Policy {
    /// A policy of `rules`. Who may push to a repository or delete from it may also pull: else answers to those would tell
    /// what is there.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        for rule in &mut rules {
            if !rule.rights.is_empty() && !rule.rights.contains(&Right::Pull) {
                rule.rights.push(Right::Pull);
            }
        }
        Self(rules.into())
    }

    /// Anyone may do anything.
    pub fn open() -> Self {
        Self::all(Who::Anyone)
    }

    /// Every authenticated user may do anything.
    pub fn authenticated() -> Self {
        Self::all(Who::Authenticated)
    }

    fn all(who: Who) -> Self {
        Self::new(vec![Rule { repositories: vec![ALL.into()], who: vec![who], rights: Right::ALL.to_vec() }])
    }

    /// Whether there is anything that the caller may do. The bearer of a token may at least say so.
    pub fn admits(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Guest(_) | Caller::Bearer(_) => true,
            Caller::Anonymous | Caller::User(_) => {
                Right::ALL.iter().any(|right| self.rules_for(caller.name(), *right).next().is_some())
            }
        }
    }

    /// The caller's permission for `repository`.
    pub fn grant<K: Kind>(&self, caller: &Caller, repository: &RepositoryName) -> Result<Grant<K>, Denied> {
        if self.permits(caller, K::RIGHT, repository) {
            return Ok(Grant::new(repository.clone()));
        }
        Err(Denied { right: K::RIGHT, repository: repository.clone() })
    }

    /// What the caller may see of the whole; nothing if it may not ask.
    pub fn listing(&self, caller: &Caller) -> Option<Listing> {
        let may_ask = match caller {
            Caller::Guest(claims) | Caller::Bearer(claims) => claims.allow_catalog(),
            Caller::Anonymous | Caller::User(_) => self.admits(caller),
        };
        may_ask.then(|| Listing::new(self.clone(), caller.clone()))
    }

    /// What the caller may do to `repository`.
    pub fn permitted(&self, caller: &Caller, repository: &RepositoryName) -> Vec<Right> {
        Right::ALL.into_iter().filter(|right| self.permits(caller, *right, repository)).collect()
    }

    fn permits(&self, caller: &Caller, right: Right, repository: &RepositoryName) -> bool {
        let claims_allow = |claims: &Claims| right.needs().iter().all(|right| claims.allow(*right, repository));
        match caller {
            Caller::Anonymous | Caller::User(_) => self.rules_permit(caller.name(), right, repository),
            Caller::Guest(claims) => claims_allow(claims),
            Caller::Bearer(claims) => claims_allow(claims) && self.rules_permit(caller.name(), right, repository),
        }
    }

    fn rules_permit(&self, user: Option<&str>, right: Right, repository: &RepositoryName) -> bool {
        self.rules_for(user, right)
            .any(|rule| rule.repositories.iter().any(|pattern| matches(pattern, repository.as_str())))
    }

    /// Whether a list of repositories shows `repository` to the caller, who may ask for it.
    pub(super) fn shows(&self, caller: &Caller, repository: &RepositoryName) -> bool {
        match caller {
            Caller::Guest(_) => true,
            _ => self.rules_permit(caller.name(), Right::Pull, repository),
        }
    }

    /// Whether the caller may read every repository there can be. A token names its repositories.
    pub(super) fn permits_all(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Guest(_) | Caller::Bearer(_) => false,
            Caller::Anonymous | Caller::User(_) => self
                .rules_for(caller.name(), Right::Pull)
                .any(|rule| rule.repositories.iter().any(|pattern| pattern == ALL)),
        }
    }

    /// The rules that give a user (or somebody unknown) a right somewhere.
    fn rules_for<'a>(&'a self, user: Option<&'a str>, right: Right) -> impl Iterator<Item = &'a Rule> {
        let is_for = move |who: &Who| match (who, user) {
            (Who::Anyone, _) | (Who::Authenticated, Some(_)) => true,
            (Who::User(name), Some(user)) => name == user,
            (Who::Authenticated | Who::User(_), None) => false,
        };
        self.0.iter().filter(move |rule| rule.rights.contains(&right) && rule.who.iter().any(is_for))
    }
}

/// Whether a name matches a pattern. Linear in both for the patterns people write: of nested stars, only the last one met
/// is tried again.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on if the present attempt fails: behind the star, and one byte later in the name.
    let mut single: Option<(usize, usize)> = None;
    let mut double = single;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            (double, single) = (Some((p, n)), None);
            continue;
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            single = Some((p, n));
            continue;
        }
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(wanted), Some(byte)) if wanted == byte => (p, n) = (p + 1, n + 1),
            _ => match (single, double) {
                (Some((behind, at)), _) if name.get(at).is_some_and(|byte| *byte != b'/') => {
                    (p, n) = (behind, at + 1);
                    single = Some((behind, n));
                }
                (_, Some((behind, at))) if at < name.len() => {
                    (p, n) = (behind, at + 1);
                    (double, single) = (Some((behind, n)), None);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_and_across_slashes() {
        for (pattern, name, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/*", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "a/b/c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "a/b/cc", false),
            ("*/b/*", "a/b/c", true),
            ("*/b/*", "a/x/c", false),
            ("a*c", "abbc", true),
            ("a*c", "ab/c", false),
            ("a**c", "ab/c", true),
            ("**/x-*-y", "a/x-b/x-c-y", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
        assert!(!matches(&"*a".repeat(60), &"a".repeat(200).replace("aa", "ab")));
    }

    #[test]
    fn nothing_is_permitted_that_no_rule_permits() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let rule = |repositories: &str, who, rights: &[Right]| Rule {
            repositories: vec![repositories.into()],
            who: vec![who],
            rights: rights.to_vec(),
        };
        let policy = Policy::new(vec![
            rule("public/**", Who::Anyone, &[Right::Pull]),
            rule("team/**", Who::Authenticated, &[Right::Pull]),
            rule("team/app", Who::User("ann".into()), &[Right::Push]),
        ]);
        let [ann, bob] = ["ann", "bob"].map(|user| Caller::User(user.into()));
        for (caller, right, repository, expected) in [
            (&Caller::Anonymous, Right::Pull, "public/x", true),
            (&Caller::Anonymous, Right::Push, "public/x", false),
            (&Caller::Anonymous, Right::Pull, "team/app", false),
            (&bob, Right::Pull, "team/app", true),
            (&bob, Right::Push, "team/app", false),
            (&ann, Right::Push, "team/app", true),
            (&ann, Right::Delete, "team/app", false),
            (&ann, Right::Push, "team/other", false),
        ] {
            assert_eq!(policy.permits(caller, right, &name(repository)), expected, "{caller:?} {right:?} {repository}");
        }
        assert!(policy.listing(&ann).unwrap().everything().is_none());
        assert!(Policy::open().listing(&ann).unwrap().everything().is_some());
        let denied = policy.grant::<super::super::Push>(&bob, &name("team/app")).unwrap_err();
        assert_eq!(denied, Denied { right: Right::Push, repository: name("team/app") });
    }
}
