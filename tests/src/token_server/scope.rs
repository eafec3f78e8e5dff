use serde_json::{Value, json};

/// Someone the server knows.
#[derive(Clone, Debug)]
pub struct User {
    pub(super) name: String,
    pub(super) password: String,
    /// Patterns of `type:name` with actions.
    grants: Vec<(String, Vec<String>)>,
}

impl User {
    /// A user who may do nothing yet.
    pub fn new(name: &str, password: &str) -> Self {
        Self { name: name.to_owned(), password: password.to_owned(), grants: Vec::new() }
    }

    /// Whoever shows no password.
    pub fn anyone() -> Self {
        Self::new("", "")
    }

    /// Permits `actions` on `resource`: `type:name`, with `*` at its end for whatever begins so.
    pub fn may(mut self, resource: &str, actions: &[&str]) -> Self {
        self.grants.push((resource.to_owned(), actions.iter().map(|action| (*action).to_owned()).collect()));
        self
    }

    /// What of `wanted` is permitted.
    pub(super) fn granted(&self, wanted: &Value) -> Option<Value> {
        let [kind, name] = ["type", "name"].map(|key| wanted[key].as_str().unwrap_or_default());
        let resource = format!("{kind}:{name}");
        let covers = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => resource.starts_with(start),
            None => resource == pattern,
        };
        let permitted = |action: &&Value| {
            let own = |actions: &Vec<String>| actions.iter().any(|own| Some(own.as_str()) == action.as_str());
            self.grants.iter().any(|(pattern, actions)| covers(pattern) && own(actions))
        };
        let actions: Vec<_> = wanted["actions"].as_array()?.iter().filter(permitted).collect();
        (!actions.is_empty()).then(|| json!({"type": kind, "name": name, "actions": actions}))
    }
}

/// `type:name:action,action` as an element of `access`.
pub(super) fn parse(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
}
