//! Section `auth`.

use super::Reader;
use crate::config::Htpasswd;
use serde_json::Value;

impl Reader {
    pub(super) fn htpasswd(&self) -> Option<Htpasswd> {
        let (realm, path) = (self.text("auth.htpasswd.realm"), self.text("auth.htpasswd.path"));
        let methods = self.get("auth").and_then(Value::as_object).map(|auth| auth.keys().cloned().collect::<Vec<_>>());
        if let Some(methods) = methods.filter(|methods| methods.len() > 1) {
            let fix = "keep one; with variables, REGISTRY_AUTH=<method> replaces the method of the file";
            self.mistake("auth", format!("several methods are named: {}", methods.join(", ")), fix);
        }
        self.get("auth.htpasswd")?;
        if path.is_none() {
            self.mistake("auth.htpasswd.path", "the file of users is not named", "name a file made by `htpasswd -B`");
        }
        if realm.is_none() {
            self.mistake("auth.htpasswd.realm", "the realm is not named", "write any text, e.g. `registry`");
        }
        Some(Htpasswd { realm: realm?, path: path?.into() })
    }
}
