//! Keys that tokens are signed with: made by a proposer, agreed and rotated here.

use super::apply::{Applied, Machine, UNSUPPORTED, is_id};
use super::keys::{Table, key};
use super::records::{damaged, decode, scan};
use super::tables::{Tables, TablesError};
use crate::metadata::Outcome;
use flotilla_proto::metadata::{TOKEN_KEYS_MAX, TOKEN_SECRET_BYTES};
use flotilla_proto::wire::metadata as wire;

/// A key's id.
pub type TokenKeyId = [u8; 16];

/// All keys, by id.
pub(crate) fn token_keys(tables: &(impl Tables + ?Sized)) -> Result<Vec<(TokenKeyId, wire::TokenKey)>, TablesError> {
    let pairs = scan(tables, Table::TokenKey, &[], TOKEN_KEYS_MAX)?;
    let parsed = pairs.into_iter().map(|(entry, value)| {
        let id = entry[1..].try_into().map_err(|_| damaged("id of a token key", &entry))?;
        Ok((id, decode(&entry, value)?))
    });
    parsed.collect()
}

impl Machine<'_> {
    /// The age decides, so that of two proposers one adds a key. What was replaced is kept until the last token it signed
    /// has ended; rather than drop a key earlier, no other is added.
    pub(super) fn add_token_key(&mut self, command: &wire::AddTokenKey) -> Applied {
        let id = command.key_id.as_ref();
        if !is_id(id) || command.secret.len() != TOKEN_SECRET_BYTES {
            return Ok(UNSUPPORTED);
        }
        let mono = self.cluster.mono;
        let keys = token_keys(&*self.tables)?;
        let newest = keys.iter().find(|(_, key)| key.replaced_mono.is_none());
        let young = newest.is_some_and(|(_, key)| mono < key.made_mono.saturating_add(command.rotate_ms));
        let is_over = |key: &wire::TokenKey| {
            mono >= key.replaced_mono.unwrap_or(mono).saturating_add(command.keep_ms) // the newest one is replaced now
        };
        let kept = keys.iter().filter(|(_, key)| !is_over(key)).count();
        if young || kept >= TOKEN_KEYS_MAX || keys.iter().any(|(other, _)| other == id) {
            return Ok(Outcome::Done(wire::Done { count: 0 }));
        }
        for (id, mut old) in keys {
            let record = key(Table::TokenKey, &[&id]);
            if is_over(&old) {
                self.delete(&record)?;
            } else if old.replaced_mono.is_none() {
                old.replaced_mono = Some(mono);
                self.put(&record, &old)?;
            }
        }
        let made = wire::TokenKey { secret: command.secret.clone(), made_mono: mono, replaced_mono: None };
        self.put(&key(Table::TokenKey, &[id]), &made)?;
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }
}
