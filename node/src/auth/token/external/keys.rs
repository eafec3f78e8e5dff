use super::{
    der::Certificate,
    jwk::Jwk,
    key::{PublicKey, libtrust_id},
};
use rustls::pki_types::{
    CertificateDer, TrustAnchor,
    pem::{PemObject, SectionKind},
};
use serde::Deserialize;
use serde_json::Value;

/// What the operator's files say may be trusted.
#[derive(Default)]
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Certificates that chains may lead to.
    pub(super) roots: Vec<TrustAnchor<'static>>,
    /// What could not be used, for the log.
    pub(super) skipped: Vec<String>,
}

struct Key {
    /// What tokens may call it.
    names: Vec<String>,
    public: PublicKey,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl Keys {
    /// Adds the certificates and public keys of a PEM bundle.
    pub(super) fn add_bundle(&mut self, pem: &[u8]) -> Result<(), String> {
        let before = (self.keys.len(), self.roots.len());
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|error| error.to_string())?;
            match kind {
                SectionKind::Certificate => {
                    let wrong = || "a certificate cannot be read".to_owned();
                    let spki = Certificate::parse(&der).ok_or_else(wrong)?.key.to_vec();
                    let der = CertificateDer::from(der);
                    let root = webpki::anchor_from_trusted_cert(&der).map_err(|_| wrong())?;
                    self.roots.push(root.to_owned());
                    self.add_spki(&spki);
                }
                SectionKind::PublicKey => self.add_spki(&der),
                kind => self.skipped.push(format!("{kind:?}")),
            }
        }
        let nothing = (self.keys.len(), self.roots.len()) == before;
        if nothing { Err("there is no certificate and no public key in it".to_owned()) } else { Ok(()) }
    }

    /// Adds the keys of a JSON Web Key Set. One that cannot be used does not spoil the others.
    pub(super) fn add_jwks(&mut self, json: &[u8]) -> Result<(), String> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let before = self.keys.len();
        for (index, value) in set.keys.into_iter().enumerate() {
            let jwk = serde_json::from_value::<Jwk>(value).ok().filter(|jwk| !jwk.is_for_encryption());
            match jwk.and_then(|jwk| Some((jwk.public_key()?, jwk.kid))) {
                Some((public, kid)) => {
                    let names = vec![kid.unwrap_or_else(|| public.thumbprint())];
                    self.keys.push(Key { names, public });
                }
                None => self.skipped.push(format!("key {index} of the set")),
            }
        }
        if self.keys.len() == before {
            Err("there is no key in it that tokens may be signed with".to_owned())
        } else {
            Ok(())
        }
    }

    fn add_spki(&mut self, spki: &[u8]) {
        match PublicKey::from_spki(spki) {
            Some(public) => self.keys.push(Key { names: vec![libtrust_id(spki), public.thumbprint()], public }),
            None => self.skipped.push(format!("key {}", libtrust_id(spki))),
        }
    }

    /// Those that tokens may call so.
    pub(super) fn named<'k>(&'k self, name: &'k str) -> impl Iterator<Item = &'k PublicKey> {
        self.keys.iter().filter(move |key| key.names.iter().any(|own| own == name)).map(|key| &key.public)
    }

    /// This key, if it is trusted.
    pub(super) fn find(&self, wanted: &PublicKey) -> Option<&PublicKey> {
        self.keys.iter().map(|key| &key.public).find(|key| *key == wanted)
    }
}
