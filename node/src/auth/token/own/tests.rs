use super::*;
use crate::metadata::{Error as MetadataError, View, local::LocalStore};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

const LIFE: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn settings() -> Settings {
    Settings::new("cluster-1", "registry.example")
}

fn issuer(store: &Arc<LocalStore>) -> Issuer {
    Issuer::new(store.clone(), settings())
}

fn access(scopes: &[&str]) -> Vec<Resource> {
    scopes.iter().map(|scope| Resource::parse(scope).unwrap()).collect()
}

async fn token_of(issuer: &Issuer) -> String {
    issuer.issue(Some("ann"), access(&["repository:team/app:pull,push"])).await.unwrap().token
}

/// Replicated time, and enough of this process's own for it to be read again.
async fn pass(store: &LocalStore, time: Duration) {
    store.advance(time).unwrap();
    tokio::time::advance(FRESH).await;
}

fn keys(store: &LocalStore) -> Vec<Key> {
    let keys = store.view().unwrap().token_keys().unwrap();
    keys.iter().map(|(id, key)| Key::new(id, key)).collect()
}

fn payload() -> Payload {
    Payload {
        iss: "cluster-1".into(),
        aud: "registry.example".into(),
        sub: None,
        iat: 0,
        nbf: 0,
        exp: 0,
        flt_exp: u64::MAX,
        access: vec![],
    }
}

/// A token with a header of the attacker's choice over a payload that is fine, signed with the true secret.
fn forged(store: &LocalStore, header: &str, algorithm: Algorithm) -> String {
    let (_, key) = store.view().unwrap().token_keys().unwrap().remove(0);
    let payload = serde_json::to_vec(&payload()).unwrap();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(&key.secret), algorithm).unwrap();
    format!("{signed}.{signature}")
}

/// A node whose state is as old as its last barrier.
struct Lagging {
    store: Arc<LocalStore>,
    seen: Mutex<View>,
    barriers: AtomicU64,
    cut_off: bool,
}

impl Lagging {
    fn new(store: &Arc<LocalStore>, cut_off: bool) -> Arc<Self> {
        let seen = Mutex::new(store.view().unwrap());
        Arc::new(Self { store: store.clone(), seen, barriers: AtomicU64::new(0), cut_off })
    }

    fn barriers(&self) -> u64 {
        self.barriers.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl MetadataStore for Lagging {
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, MetadataError> {
        if self.cut_off {
            return Err(MetadataError::NoQuorum("cut off".into()));
        }
        let outcome = self.store.propose(command, deadline).await;
        *self.seen.lock().unwrap() = self.store.view()?;
        outcome
    }

    async fn barrier(&self, _deadline: Instant) -> Result<(), MetadataError> {
        self.barriers.fetch_add(1, Ordering::Relaxed);
        if self.cut_off {
            return Err(MetadataError::NoQuorum("cut off".into()));
        }
        *self.seen.lock().unwrap() = self.store.view()?;
        Ok(())
    }

    fn fresh_age(&self) -> Option<Duration> {
        None
    }

    fn view(&self) -> Result<View, MetadataError> {
        Ok(self.seen.lock().unwrap().clone())
    }
}

#[tokio::test]
async fn a_token_says_what_it_was_made_for() {
    let store = Arc::new(LocalStore::new());
    let issuer = issuer(&store);
    let scopes = access(&["repository:team/app:pull,push", "registry:catalog:*"]);
    let Issued { token, expires_in } = issuer.issue(Some("änn"), scopes.clone()).await.unwrap();
    assert_eq!(expires_in, LIFE);
    let claims = issuer.verify(&token).await.unwrap();
    assert_eq!(claims, Claims { subject: Some("änn".into()), access: scopes });
    let anyone = issuer.issue(None, vec![]).await.unwrap().token;
    assert_eq!(issuer.verify(&anyone).await.unwrap(), Claims { subject: None, access: vec![] });
    assert_eq!(store.view().unwrap().token_keys().unwrap().len(), 1, "one first key");
    assert!(token.len() < 700, "{}", token.len());
}

#[tokio::test]
async fn every_change_of_a_token_is_noticed() {
    let store = Arc::new(LocalStore::new());
    let issuer = issuer(&store);
    let token = token_of(&issuer).await;
    issuer.verify(&token).await.unwrap();
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        issuer.verify(&changed).await.expect_err(&changed);
        issuer.verify(&token[..at]).await.expect_err("a part of it");
    }
    for odd in [format!("{token}A"), format!("{token}="), format!("{token}."), format!(" {token}"), format!(".{token}")]
    {
        issuer.verify(&odd).await.expect_err(&odd);
    }
    // The payload of one under the signature of another.
    let other = issuer.issue(Some("root"), vec![]).await.unwrap().token;
    let (signed, _) = other.rsplit_once('.').unwrap();
    let (_, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(issuer.verify(&format!("{signed}.{signature}")).await, Err(TokenError::Signature));
}

#[tokio::test]
async fn a_header_is_ours_letter_by_letter() {
    let store = Arc::new(LocalStore::new());
    let issuer = issuer(&store);
    token_of(&issuer).await;
    let kid = format!("flt.{}", hex::encode(store.view().unwrap().token_keys().unwrap()[0].0));
    let other = format!("flt.{}", "00".repeat(16));
    let fine = format!(r#"{{"typ":"flotilla+jwt","alg":"HS256","kid":"{kid}"}}"#);
    let good = forged(&store, &fine, Algorithm::HS256);
    assert_eq!(issuer.verify(&good).await.unwrap(), Claims { subject: None, access: vec![] });
    let change = |from: &str, to: &str| {
        assert!(fine.contains(from), "{from}");
        fine.replace(from, to)
    };
    for (header, algorithm, expected) in [
        (change("HS256", "none"), Algorithm::HS256, TokenError::Algorithm),
        (change("HS256", "HS512"), Algorithm::HS512, TokenError::Algorithm),
        (change("HS256", "RS256"), Algorithm::HS256, TokenError::Algorithm),
        (change("HS256", "hs256"), Algorithm::HS256, TokenError::Algorithm),
        (change(r#""alg":"HS256","#, ""), Algorithm::HS256, TokenError::Malformed),
        (change("flotilla+jwt", "JWT"), Algorithm::HS256, TokenError::Malformed),
        (change(r#""typ":"flotilla+jwt","#, ""), Algorithm::HS256, TokenError::Malformed),
        (change("{", r#"{"crit":["x"],"#), Algorithm::HS256, TokenError::Malformed),
        (change("{", r#"{"jwk":{},"#), Algorithm::HS256, TokenError::Malformed),
        (change("{", "{ "), Algorithm::HS256, TokenError::Malformed),
        (change(&kid, &kid.to_uppercase()), Algorithm::HS256, TokenError::UnknownKey),
        (change(&kid, &other), Algorithm::HS256, TokenError::UnknownKey),
        (change(&kid, "flt."), Algorithm::HS256, TokenError::UnknownKey),
        (change(&kid, "ABCD:EFGH"), Algorithm::HS256, TokenError::UnknownKey),
        (change(&format!(r#","kid":"{kid}""#), ""), Algorithm::HS256, TokenError::UnknownKey),
        ("null".into(), Algorithm::HS256, TokenError::Malformed),
        ("x".repeat(2_000), Algorithm::HS256, TokenError::Malformed),
        (String::new(), Algorithm::HS256, TokenError::Malformed),
    ] {
        let token = forged(&store, &header, algorithm);
        assert_eq!(issuer.verify(&token).await, Err(expected), "{header}");
    }
    // Without a signature at all.
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    assert_eq!(issuer.verify(&unsigned).await, Err(TokenError::Signature));
    for garbage in ["", ".", "..", "a.b", "a.b.c", "ä.ö.ü", &"x".repeat(20_000), &format!("{}.b.c", "e".repeat(9_000))]
    {
        assert_eq!(issuer.verify(garbage).await, Err(TokenError::Malformed), "{garbage}");
    }
}

#[tokio::test]
async fn tokens_of_other_clusters_and_for_other_services_are_refused() {
    let store = Arc::new(LocalStore::new());
    let ours = issuer(&store);
    let with = |cluster: &str, service: &str| Issuer::new(store.clone(), Settings::new(cluster, service));
    let cluster = token_of(&with("cluster-2", "registry.example")).await;
    assert_eq!(ours.verify(&cluster).await, Err(TokenError::Issuer));
    let service = token_of(&with("cluster-1", "other.example")).await;
    assert_eq!(ours.verify(&service).await, Err(TokenError::Audience));
    let elsewhere = token_of(&issuer(&Arc::new(LocalStore::new()))).await;
    assert_eq!(ours.verify(&elsewhere).await, Err(TokenError::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_by_replicated_time() {
    let store = Arc::new(LocalStore::new());
    let issuer = issuer(&store);
    let token = token_of(&issuer).await;
    // This process's own time does nothing.
    tokio::time::advance(DAY * 30).await;
    issuer.verify(&token).await.unwrap();
    pass(&store, LIFE).await;
    issuer.verify(&token).await.unwrap();
    pass(&store, SLACK - Duration::from_millis(1)).await;
    issuer.verify(&token).await.unwrap();
    pass(&store, Duration::from_millis(1)).await;
    assert_eq!(issuer.verify(&token).await, Err(TokenError::Expired));
    issuer.verify(&token_of(&issuer).await).await.unwrap();
}

#[tokio::test]
async fn a_wall_clock_a_year_off_changes_nothing() {
    let store = Arc::new(LocalStore::new());
    let issuer = issuer(&store);
    token_of(&issuer).await;
    store.advance(Duration::from_secs(1)).unwrap();
    let key = keys(&store).remove(0);
    let (now, year) = (clock::wall_ms() / 1_000, 365 * 24 * 3600);
    for made in [0, now - year, now + year, u64::MAX - 900] {
        let token = |flt_exp| key.sign(&Payload { iat: made, nbf: made, exp: made + 900, flt_exp, ..payload() });
        assert!(issuer.verify(&token(u64::MAX)).await.is_ok(), "made at {made}");
        assert_eq!(issuer.verify(&token(0)).await, Err(TokenError::Expired), "made at {made}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_key_verifies_until_its_tokens_have_ended() {
    let store = Arc::new(LocalStore::new());
    let settings = Settings { life: LIFE_MAX * 2, ..settings() };
    let (first, second) = (Issuer::new(store.clone(), settings), issuer(&store));
    assert!(first.rotate().await.unwrap());
    assert!(!first.rotate().await.unwrap() && !second.rotate().await.unwrap());
    // The last moment of the first key, and the longest life there is.
    pass(&store, DAY).await;
    let Issued { token, expires_in } = first.issue(Some("ann"), vec![]).await.unwrap();
    assert_eq!(expires_in, LIFE_MAX);
    assert!(second.rotate().await.unwrap());
    let new = token_of(&second).await;
    assert_ne!(new.split('.').next(), token.split('.').next(), "signed by the new key");
    first.verify(&new).await.unwrap();
    pass(&store, DAY).await;
    assert!(first.rotate().await.unwrap());
    for issuer in [&first, &second] {
        issuer.verify(&token).await.unwrap();
    }
    pass(&store, SLACK).await;
    assert_eq!(second.verify(&token).await, Err(TokenError::Expired));
    pass(&store, DAY).await;
    assert!(first.rotate().await.unwrap());
    assert_eq!(second.verify(&token).await, Err(TokenError::UnknownKey), "and then the key is gone");
    assert_eq!(keys(&store).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn keys_that_follow_too_fast_wait_for_a_place() {
    let store = Arc::new(LocalStore::new());
    let issuer = Issuer::new(store.clone(), Settings { rotation: Duration::ZERO, ..settings() });
    for made in 1..=12 {
        assert_eq!(issuer.rotate().await.unwrap(), made <= 8);
    }
    pass(&store, KEEP).await;
    assert!(issuer.rotate().await.unwrap());
    assert_eq!(keys(&store).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lags_behind_asks_for_a_key_it_does_not_know() {
    let store = Arc::new(LocalStore::new());
    let behind = Lagging::new(&store, false);
    let (issuer, late) = (issuer(&store), Issuer::new(behind.clone(), settings()));
    let token = token_of(&issuer).await;
    late.verify(&token).await.unwrap();
    late.verify(&token).await.unwrap();
    assert_eq!(behind.barriers(), 1, "one question, and then it knows");
    // What no key of ours could have made is no reason to ask.
    for garbage in ["a.b.c".to_owned(), format!("x{token}"), token.replacen("ey", "e", 1)] {
        late.verify(&garbage).await.expect_err(&garbage);
    }
    late.verify(&format!("{}x", &token[..token.len() - 1])).await.expect_err("tampered");
    assert_eq!(behind.barriers(), 1);
    let elsewhere = token_of(&Issuer::new(Arc::new(LocalStore::new()), settings())).await;
    assert_eq!(late.verify(&elsewhere).await, Err(TokenError::UnknownKey));
    assert_eq!(behind.barriers(), 2);
}

#[tokio::test]
async fn a_node_cut_off_goes_on_with_the_keys_it_knows() {
    let store = Arc::new(LocalStore::new());
    let away = Lagging::new(&store, true);
    let cut_off = Issuer::new(away, settings());
    let nothing = cut_off.issue(None, vec![]).await;
    assert!(matches!(nothing, Err(Error::Metadata(MetadataError::NoQuorum(_)))));
    let whole = issuer(&store);
    let token = token_of(&whole).await;
    assert_eq!(cut_off.verify(&token).await, Err(TokenError::Unavailable), "not refused: it may be good");
    let cut_off = Issuer::new(Lagging::new(&store, true), settings());
    cut_off.verify(&token).await.unwrap();
    whole.verify(&token_of(&cut_off).await).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_not_made() {
    let store = Arc::new(LocalStore::new());
    let many = |count: usize| access(&vec![format!("repository:{}:pull", "a".repeat(200)).as_str(); count]);
    let issuer = issuer(&store);
    let largest = issuer.issue(None, many(45)).await.unwrap().token;
    issuer.verify(&largest).await.unwrap();
    assert!(matches!(issuer.issue(None, many(60)).await, Err(Error::TooLarge)));
}
