//! A token server of the kind that registries are used with: it knows users, what each may do, and signs tokens that say so.
//! It signs whatever else a test wants, too.

mod key;
mod scope;
mod service;

pub use key::{Named, Signed};
pub use scope::User;

use crate::ports;
use anyhow::Result;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use key::Key;
use serde_json::{Value, json};
use service::answer;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

/// What its tokens name as issuer.
pub const ISSUER: &str = "Acme auth server";
/// What its tokens are for.
pub const SERVICE: &str = "registry.example";

/// A running token server.
pub struct TokenServer {
    /// `host:port` it listens on.
    pub listen: String,
    authority: Arc<Authority>,
    dir: TempDir,
    _task: JoinSet<()>,
}

/// What makes tokens.
struct Authority {
    key: Key,
    users: Vec<User>,
    /// In seconds.
    life: AtomicU64,
    issued: AtomicU64,
}

impl TokenServer {
    /// Starts one whose tokens are signed so and name their key so.
    pub async fn start(signed: Signed, named: Named, users: Vec<User>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let key = Key::new(signed, named)?;
        std::fs::write(dir.path().join("bundle.pem"), key.bundle())?;
        let listen = ports::address();
        let listener = TcpListener::bind(&listen).await?;
        let authority = Arc::new(Authority { key, users, life: AtomicU64::new(300), issued: AtomicU64::new(0) });
        let asked = authority.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let authority = asked.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(&authority, &request);
                        async move { anyhow::Ok(answer) }
                    });
                    // A connection that its client breaks off is no news here.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { listen, authority, dir, _task: task })
    }

    /// Section `auth` of a registry that trusts this server, for distribution as for us.
    pub fn section(&self) -> String {
        let bundle = self.bundle();
        format!(
            "auth:\n  token:\n    realm: http://{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n",
            self.listen,
            bundle.display()
        )
    }

    /// The certificates and keys that its tokens are verified by.
    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle.pem")
    }

    /// How long tokens are good from now on.
    pub fn tokens_live(&self, seconds: u64) {
        self.authority.life.store(seconds, Ordering::Relaxed);
    }

    /// How many tokens clients were given.
    pub fn issued(&self) -> u64 {
        self.authority.issued.load(Ordering::Relaxed)
    }

    /// The header of good tokens.
    pub fn header(&self) -> Value {
        self.authority.key.header()
    }

    /// The payload of a good token for `scopes` (`repository:name:pull,push`).
    pub fn payload(&self, subject: &str, scopes: &[&str]) -> Value {
        self.authority.payload(subject, scopes.iter().filter_map(|scope| scope::parse(scope)).collect())
    }

    /// Signs a token, whatever it says. `alg` in the header does not change how.
    pub fn sign(&self, header: &Value, payload: &Value) -> Result<String> {
        self.authority.key.sign(header, payload)
    }

    /// A good token for `scopes`.
    pub fn token(&self, subject: &str, scopes: &[&str]) -> Result<String> {
        self.sign(&self.header(), &self.payload(subject, scopes))
    }
}

impl Authority {
    fn payload(&self, subject: &str, access: Vec<Value>) -> Value {
        let now = now();
        let id: u128 = rand::random();
        json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "jti": format!("{id:x}"),
            "exp": now + self.life.load(Ordering::Relaxed), "nbf": now - 10, "iat": now, "access": access,
        })
    }
}

/// Unix seconds.
#[expect(clippy::disallowed_methods, reason = "the times in tokens are of the wall clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{empty, exchange};
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use http::{Method, Request, StatusCode};

    async fn asked(server: &TokenServer, method: Method, query: &str, user: Option<&str>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("/token?{query}"));
        if let Some(user) = user {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(user)));
        }
        let answer = exchange(&server.listen, request.body(empty()).unwrap()).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let payload = body["token"].as_str().and_then(|token| token.split('.').nth(1)).unwrap_or_default();
        (answer.status, serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_token_says_what_was_asked_for_and_is_granted() {
        let users = vec![
            User::new("ann", "secret").may("repository:team/*", &["pull", "push"]).may("registry:catalog", &["*"]),
            User::anyone().may("repository:public/*", &["pull"]),
        ];
        let server = TokenServer::start(Signed::Es256, Named::Libtrust, users).await.unwrap();
        let query = "service=registry.example&scope=repository%3Ateam%2Fapp%3Apull%2Cpush%2Cdelete&scope=repository:x:pull+registry:catalog:*";
        let (status, payload) = asked(&server, Method::GET, query, Some("ann:secret")).await;
        assert_eq!((status, &payload["sub"], &payload["aud"]), (StatusCode::OK, &json!("ann"), &json!(SERVICE)));
        let expected = json!([
            {"type": "repository", "name": "team/app", "actions": ["pull", "push"]},
            {"type": "registry", "name": "catalog", "actions": ["*"]},
        ]);
        assert_eq!(payload["access"], expected);
        let (_, payload) = asked(&server, Method::GET, "scope=repository:public/a:pull,push", None).await;
        assert_eq!((&payload["sub"], &payload["access"][0]["actions"]), (&json!(""), &json!(["pull"])));
        assert_eq!(server.issued(), 2);
        for (method, user, expected) in [
            (Method::GET, Some("ann:wrong"), StatusCode::UNAUTHORIZED),
            (Method::GET, Some("eve:secret"), StatusCode::UNAUTHORIZED),
            (Method::GET, Some(":"), StatusCode::UNAUTHORIZED),
            (Method::POST, Some("ann:secret"), StatusCode::NOT_FOUND),
        ] {
            assert_eq!(asked(&server, method, "", user).await.0, expected, "{user:?}");
        }
    }
}
