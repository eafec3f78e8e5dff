use crate::auth::{Caller, Policy, Right};
use flotilla_proto::oci::RepositoryName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An element of a token's claim `access`, and what a `scope` parameter asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// `repository` or `registry`; others mean nothing here.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of the repository, or `catalog`.
    pub name: String,
    /// `pull`, `push`, `delete`, or `*` for all.
    #[serde(default)]
    pub actions: Vec<String>,
}

impl Resource {
    /// Actions on a repository.
    pub fn repository(name: &RepositoryName, actions: &[&str]) -> Self {
        Self::of("repository", name.as_str(), actions)
    }

    /// The list of repositories.
    pub fn catalog() -> Self {
        Self::of("registry", "catalog", &["*"])
    }

    fn of(kind: &str, name: &str, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Self { kind: kind.to_owned(), name: name.to_owned(), actions }
    }

    /// Parses `type:name:action,action`. A type may carry a class, as in `repository(plugin)`, which means nothing here; a
    /// name may hold a host with a port.
    pub fn parse(scope: &str) -> Option<Self> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = kind.split('(').next().unwrap_or_default();
        let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
        (!kind.is_empty() && !name.is_empty()).then(|| Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }

    pub(super) fn is_repository(&self, repository: &RepositoryName) -> bool {
        self.kind == "repository" && self.name == repository.as_str()
    }

    pub(super) fn is_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog"
    }

    pub(super) fn permits(&self, action: &str) -> bool {
        self.actions.iter().any(|own| own == action || own == "*")
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

/// What of `asked` the policy permits `caller` now, each name once. Other kinds, and names outside the grammar, are left out.
pub fn granted(asked: &[Resource], policy: &Policy, caller: &Caller) -> Vec<Resource> {
    let mut granted: Vec<Resource> = Vec::new();
    for resource in asked {
        let permitted: Vec<&str> = match resource.name.parse::<RepositoryName>() {
            Ok(name) if resource.is_repository(&name) => {
                policy.permitted(caller, &name).into_iter().map(Right::as_str).collect()
            }
            // What the list shows is the policy's to say, too.
            Ok(_) | Err(_) if resource.is_catalog() && policy.listing(caller).is_some() => vec!["*"],
            Ok(_) | Err(_) => continue,
        };
        let actions = permitted.into_iter().filter(|action| resource.permits(action)).map(str::to_owned);
        let known = granted.iter_mut().find(|other| other.kind == resource.kind && other.name == resource.name);
        match known {
            Some(known) => {
                let more: Vec<String> = actions.filter(|action| !known.actions.contains(action)).collect();
                known.actions.extend(more);
            }
            None => granted.push(Resource { actions: actions.collect(), ..resource.clone() }),
        }
    }
    granted.retain(|resource| !resource.actions.is_empty());
    granted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Rule, Who};

    #[test]
    fn a_token_holds_what_was_asked_for_and_is_permitted() {
        let rule = |repositories: &str, who, rights: &[Right]| Rule {
            repositories: vec![repositories.into()],
            who: vec![who],
            rights: rights.to_vec(),
        };
        let policy = Policy::new(vec![
            rule("public/**", Who::Anyone, &[Right::Pull]),
            rule("team/**", Who::User("ann".into()), &[Right::Pull, Right::Push]),
            rule("all", Who::Authenticated, &[Right::Pull, Right::Push, Right::Delete]),
        ]);
        let (ann, nobody) = (Caller::User("ann".into()), Caller::Anonymous);
        for (caller, asked, expected) in [
            (&ann, "repository:team/a:pull,push", "repository:team/a:pull,push"),
            (&ann, "repository:team/a:push,pull,delete", "repository:team/a:pull,push"),
            (&ann, "repository:team/a:*", "repository:team/a:pull,push"),
            (&ann, "repository:all:*", "repository:all:pull,push,delete"),
            (&ann, "repository:team/a:pull repository:team/a:push,pull", "repository:team/a:pull,push"),
            (&ann, "repository:other:pull repository:public/x:pull,push", "repository:public/x:pull"),
            (&ann, "repository(plugin):team/a:pull", "repository:team/a:pull"),
            (&ann, "repository:team/a:", ""),
            (&ann, "repository:team/a:PULL", ""),
            (&ann, "repository:TEAM/a:pull repository:team/../a:pull repository:host:5000/team/a:pull", ""),
            (&ann, "thing:team/a:pull registry:team/a:pull", ""),
            (&ann, "registry:catalog:*", "registry:catalog:*"),
            (&ann, "registry:catalog:pull registry:other:*", ""),
            (&ann, "repository:catalog:*", ""),
            (&nobody, "repository:team/a:pull,push repository:public/x:pull,push", "repository:public/x:pull"),
            (&nobody, "repository:all:*", ""),
            (&nobody, "registry:catalog:*", "registry:catalog:*"),
        ] {
            let parsed: Vec<_> = asked.split(' ').filter_map(Resource::parse).collect();
            let granted = granted(&parsed, &policy, caller);
            let texts: Vec<_> =
                granted.iter().map(|r| format!("{}:{}:{}", r.kind, r.name, r.actions.join(","))).collect();
            assert_eq!(texts.join(" "), expected, "{caller:?} asks for {asked}");
        }
        let shut = Policy::authenticated();
        let catalog = Resource::parse("registry:catalog:*").unwrap();
        assert_eq!(granted(&[catalog], &shut, &nobody), []);
    }

    #[test]
    fn scopes_are_read_as_clients_write_them() {
        for (scope, expected) in [
            ("repository:a/b:pull,push", Some(("repository", "a/b", vec!["pull", "push"]))),
            ("repository(plugin):a:pull", Some(("repository", "a", vec!["pull"]))),
            ("repository:host:5000/a:pull", Some(("repository", "host:5000/a", vec!["pull"]))),
            ("registry:catalog:*", Some(("registry", "catalog", vec!["*"]))),
            ("repository:a:", Some(("repository", "a", vec![]))),
            ("repository:a", None),
            ("repository", None),
            ("::", None),
            ("", None),
        ] {
            let parsed = Resource::parse(scope);
            let parsed = parsed.as_ref().map(|r| (&*r.kind, &*r.name, r.actions.iter().map(|a| &**a).collect()));
            assert_eq!(parsed, expected, "{scope}");
        }
    }
}
