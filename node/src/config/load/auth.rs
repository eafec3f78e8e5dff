//! Section `auth`.

use super::Reader;
use crate::config::{Htpasswd, SigningAlgorithm, TokenAuth};
use serde_json::Value;
use std::path::PathBuf;

impl Reader {
    pub(super) fn htpasswd(&self) -> Option<Htpasswd> {
        let (realm, path) = (self.text("auth.htpasswd.realm"), self.text("auth.htpasswd.path"));
        let methods = self.get("auth").and_then(Value::as_object);
        if methods.is_some_and(|methods| methods.len() > 1 && methods.contains_key("none")) {
            let fix =
                "keep `none` or the others; with variables, REGISTRY_AUTH=<method> replaces the methods of the file";
            self.mistake("auth", "`none` and another method are named", fix);
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

    pub(super) fn token(&self) -> Option<TokenAuth> {
        let required = ["auth.token.realm", "auth.token.service", "auth.token.issuer"];
        let [realm, service, issuer] = required.map(|path| self.text(path));
        let sources = ["auth.token.rootcertbundle", "auth.token.jwks"];
        let [root_certificates, jwks] = sources.map(|path| self.text(path).map(PathBuf::from));
        let algorithms = self.signing_algorithms();
        let redirect = self.boolean("auth.token.autoredirect", false);
        let path = self.text_or("auth.token.autoredirectpath", "/auth/token/");
        self.get("auth.token")?;
        for (path, _) in required.iter().zip([&realm, &service, &issuer]).filter(|(_, value)| value.is_none()) {
            self.mistake(path, "it is required with `auth.token`", "write what the token server is configured with");
        }
        if root_certificates.is_none() && jwks.is_none() {
            let fix = "name the token server's certificates in `rootcertbundle`, or its keys in `jwks`";
            self.mistake(sources[0], "no key of the token server is named", fix);
        }
        if realm.as_ref().is_some_and(|realm| !redirect && !is_url(realm)) {
            self.mistake(required[0], "expected a URL", "write `https://host/path`");
        }
        if redirect && !(path.starts_with('/') && is_quotable(&path)) {
            self.mistake("auth.token.autoredirectpath", "expected an absolute path", "write `/auth/token/`");
        }
        let redirect_path = redirect.then_some(path);
        let (realm, service, issuer) = (realm?, service?, issuer?);
        Some(TokenAuth { realm, service, issuer, root_certificates, jwks, algorithms, redirect_path })
    }

    fn signing_algorithms(&self) -> Vec<SigningAlgorithm> {
        let path = "auth.token.signingalgorithms";
        let names = match self.set(path) {
            None => return SigningAlgorithm::ALL.to_vec(),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
            Some(value) => vec![value.as_str().unwrap_or_default()],
        };
        let known: Option<Vec<_>> = names.iter().map(|name| SigningAlgorithm::named(name)).collect();
        known.filter(|known| !known.is_empty()).unwrap_or_else(|| {
            let problem = match names.contains(&"ES512") {
                true => "ES512 is not built",
                false => "expected names of algorithms with public keys",
            };
            let all = SigningAlgorithm::ALL.map(SigningAlgorithm::name).join(", ");
            self.mistake(path, problem, format!("list some of {all}, or remove the key"));
            Vec::new()
        })
    }
}

/// Whether clients can be sent there.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) && is_quotable(text)
}

/// Whether it can stand in quotes in a header.
fn is_quotable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
