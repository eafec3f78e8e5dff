//! Tokens of this cluster's own service: any node signs them with a key that the log made, any node verifies them.
//!
//! Whether one has ended is decided by replicated time alone, so no wall clock matters; `docs/adr/0006` says why. The times in
//! wall seconds are for people. `form` is what a token looks like; this file knows the keys.

mod form;
#[cfg(test)]
mod tests;

use super::{Claims, Resource, TokenError};
use crate::{
    clock,
    metadata::{self, Command, MetadataStore, Outcome},
};
use flotilla_proto::{
    metadata::{TOKEN_KEYS_MAX, TOKEN_SECRET_BYTES},
    wire::metadata as wire,
};
use form::{Key, Payload};
use rand::RngCore as _;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::time::Instant;

/// Shortest life of a token: clients take no less for granted.
pub const LIFE_MIN: Duration = Duration::from_secs(60);
/// Longest life of a token.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// A token may be used for so much longer than its client was told: replicated time moves in steps of up to 5 s, and nodes are a
/// little behind one another.
const SLACK: Duration = Duration::from_secs(10);
/// A replaced key is kept until the last token that it signed has ended, whatever lives other nodes are configured with.
const KEEP: Duration = Duration::from_secs(24 * 3600 + 600);
/// The keys and the time are read again after so long.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for a change of the keys.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for a key that another node may know.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// What tokens say of where they are from and for, and how long they last. The same on every node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's id.
    pub cluster_id: String,
    /// The service that clients are told to ask for.
    pub service: String,
    /// Life of a token; kept within [`LIFE_MIN`] and [`LIFE_MAX`].
    pub life: Duration,
    /// Age at which a key is replaced. With less than some four hours, replacing waits for a place among the 8 keys there can be.
    pub rotation: Duration,
}

impl Settings {
    /// Tokens for five minutes, a key for a day.
    pub fn new(cluster_id: impl Into<String>, service: impl Into<String>) -> Self {
        let (cluster_id, service) = (cluster_id.into(), service.into());
        Self { cluster_id, service, life: Duration::from_secs(300), rotation: Duration::from_secs(24 * 3600) }
    }
}

/// A token that was made.
pub struct Issued {
    /// For the header `Authorization`.
    pub token: String,
    /// How long it is good for, from now on.
    pub expires_in: Duration,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it would say is too long.
    #[error("the scopes do not fit into one token; ask for fewer")]
    TooLarge,
    /// There is no key, and none could be agreed on; or the local state cannot be read.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
}

/// Makes and verifies tokens.
pub struct Issuer {
    metadata: Arc<dyn MetadataStore>,
    settings: Settings,
    known: RwLock<Option<Arc<Known>>>,
}

/// What the state said a moment ago.
struct Known {
    keys: Vec<Key>,
    mono: u64,
    looked: Instant,
}

impl Known {
    /// The key that signs.
    fn signing(&self) -> Option<&Key> {
        self.keys.iter().find(|key| key.replaced_mono.is_none())
    }
}

impl Issuer {
    /// An issuer over the cluster's keys.
    pub fn new(metadata: Arc<dyn MetadataStore>, settings: Settings) -> Self {
        let life = settings.life.clamp(LIFE_MIN, LIFE_MAX);
        Self { metadata, settings: Settings { life, ..settings }, known: RwLock::default() }
    }

    /// The service that tokens are for.
    pub fn service(&self) -> &str {
        &self.settings.service
    }

    /// A token that says that `subject`, or anyone, may do `access`. Nothing of it is checked here. The very first one makes the
    /// cluster's first key, if no leader did so yet; apart from that this works without a leader, too.
    pub async fn issue(&self, subject: Option<&str>, access: Vec<Resource>) -> Result<Issued, Error> {
        let mut known = self.known()?;
        if known.signing().is_none() {
            self.rotate().await?;
            known = self.known()?;
        }
        let key = known.signing().ok_or_else(|| metadata::Error::NoQuorum("there is no key for tokens".to_owned()))?;
        let Settings { cluster_id, service, life, .. } = &self.settings;
        let now = clock::wall_ms() / 1_000;
        let payload = Payload {
            iss: cluster_id.clone(),
            aud: service.clone(),
            sub: subject.map(str::to_owned),
            iat: now,
            nbf: now,
            exp: now.saturating_add(life.as_secs()),
            flt_exp: known.mono.saturating_add(millis(*life + SLACK)),
            access,
        };
        let token = key.sign(&payload);
        if token.len() > super::TOKEN_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        Ok(Issued { token, expires_in: *life })
    }

    /// What a token says, if this cluster made it for this service and its time is not over. Takes some microseconds; only of
    /// a token in perfect form with a key that is not known here, the cluster is asked.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let parts = form::split(token)?;
        let mut known = self.known().map_err(unavailable)?;
        if !known.keys.iter().any(|key| key.made(&parts)) {
            form::is_well_formed(parts.header)?;
            known = self.ask(&parts).await?;
        }
        let key = known.keys.iter().find(|key| key.made(&parts)).ok_or(TokenError::UnknownKey)?;
        let payload = key.open(&parts)?;
        if payload.iss != self.settings.cluster_id {
            return Err(TokenError::Issuer);
        }
        if payload.aud != self.settings.service {
            return Err(TokenError::Audience);
        }
        if known.mono >= payload.flt_exp {
            return Err(TokenError::Expired);
        }
        Ok(Claims { subject: payload.sub.map(Into::into), access: payload.access })
    }

    /// Replaces the key that signs, if its time has come, or makes the first one; says whether it did. Any node may, at any
    /// time: the state decides.
    pub async fn rotate(&self) -> Result<bool, metadata::Error> {
        let known = self.look()?;
        let rotate_ms = millis(self.settings.rotation);
        if known.signing().is_some_and(|key| known.mono < key.made_mono.saturating_add(rotate_ms)) {
            return Ok(false);
        }
        // The state would refuse it; the log need not hear of it every second.
        let kept = |key: &Key| key.replaced_mono.is_none_or(|at| known.mono < at.saturating_add(millis(KEEP)));
        if known.keys.iter().filter(|key| kept(key)).count() >= TOKEN_KEYS_MAX {
            return Ok(false);
        }
        let (mut key_id, mut secret) = ([0; 16], [0; TOKEN_SECRET_BYTES]);
        rand::rng().fill_bytes(&mut key_id);
        rand::rng().fill_bytes(&mut secret);
        let (key_id, secret) = (key_id.to_vec().into(), secret.to_vec().into());
        let add = wire::AddTokenKey { key_id, secret, rotate_ms, keep_ms: millis(KEEP) };
        let outcome = self.metadata.propose(Command::AddTokenKey(add), Instant::now() + PATIENCE).await?;
        self.look()?;
        Ok(matches!(outcome, Outcome::Done(wire::Done { count: 1 })))
    }

    /// What was known a moment ago, or is now.
    fn known(&self) -> Result<Arc<Known>, metadata::Error> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(known) if known.looked.elapsed() < FRESH => Ok(known),
            Some(_) | None => self.look(),
        }
    }

    /// What is known now.
    fn look(&self) -> Result<Arc<Known>, metadata::Error> {
        let looked = Instant::now();
        let view = self.metadata.view()?;
        let keys = view.token_keys()?.into_iter().map(|(id, key)| Key::new(&id, &key)).collect();
        let known = Arc::new(Known { keys, mono: view.mono()?, looked });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }

    /// For a key that may be younger than what this node knows: whoever has a token can only have it after its key was agreed
    /// on, so a barrier brings it here.
    async fn ask(&self, parts: &form::Parts<'_>) -> Result<Arc<Known>, TokenError> {
        let known = self.look().map_err(unavailable)?;
        if known.keys.iter().any(|key| key.made(parts)) {
            return Ok(known);
        }
        self.metadata.barrier(Instant::now() + ASK_PATIENCE).await.map_err(unavailable)?;
        self.look().map_err(unavailable)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable(error: metadata::Error) -> TokenError {
    tracing::debug!("a token cannot be verified now: {error}");
    TokenError::Unavailable
}
