use super::{der::Certificate, key::PublicKey, keys::Keys};
use crate::auth::token::TokenError;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::{borrow::Cow, collections::HashSet, time::Duration};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

/// Longest chain in a token.
const CHAIN_MAX: usize = 10;

/// The key of the first certificate (RFC 7515 §4.1.6), if it is trusted by itself or the others lead from it to a root.
pub(super) fn leaf<'k>(chain: &[String], keys: &'k Keys, now_ms: u64) -> Result<Cow<'k, PublicKey>, TokenError> {
    if chain.len() > CHAIN_MAX {
        return Err(TokenError::Malformed);
    }
    let decoded: Result<Vec<_>, _> = chain.iter().map(|text| STANDARD.decode(text).map(CertificateDer::from)).collect();
    let chain = decoded.map_err(|_| TokenError::Malformed)?;
    let parsed: Option<Vec<_>> = chain.iter().map(|der| Certificate::parse(der)).collect();
    let parsed = parsed.ok_or(TokenError::Malformed)?;
    let (Some(first), Some((leaf, intermediates))) = (parsed.first(), chain.split_first()) else {
        return Err(TokenError::Malformed);
    };
    // A root that signs tokens itself: as good as a token that names its key.
    if let Some(key) = PublicKey::from_spki(first.key).and_then(|key| keys.find(&key)) {
        return Ok(Cow::Borrowed(key));
    }
    // With each name once there is one way only through the chain, so that a stranger's costs next to nothing.
    let mut names = HashSet::new();
    if !parsed.iter().all(|certificate| names.insert(certificate.subject)) {
        return Err(TokenError::UnknownKey);
    }
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| TokenError::UnknownKey)?;
    let (time, algorithms) = (UnixTime::since_unix_epoch(Duration::from_millis(now_ms)), webpki::ALL_VERIFICATION_ALGS);
    leaf.verify_for_usage(algorithms, &keys.roots, intermediates, time, AnyUsage, None, None)
        .map_err(|_| TokenError::UnknownKey)?;
    PublicKey::from_spki(&leaf.subject_public_key_info()).map(Cow::Owned).ok_or(TokenError::Algorithm)
}

/// Certificates of token servers are made for all kinds of use, as in distribution.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, mut usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        usages.try_for_each(|usage| usage.map(drop))
    }
}
