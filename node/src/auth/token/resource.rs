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

#[cfg(test)]
mod tests {
    use super::*;

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
