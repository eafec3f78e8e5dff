//! Listing what refers to a manifest. The manifests whose `subject` it is, and those that a client listed under the fallback
//! tag (referrers tag schema), are one list, in digest order.

use super::{Error, Registry};
use crate::auth::{Grant, Pull};
use crate::metadata::View;
use crate::metadata::query::RepositoryId;
use flotilla_proto::oci::{Digest, Manifest, Tag};
use flotilla_proto::wire::metadata as wire;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Records that one page looks at; with a filter, few of them may be on it.
const EXAMINED_MAX: usize = 10_000;
/// Bytes of those records and of the bodies that are parsed, about, and of the descriptors on a page (a client's limit for manifests is
/// 4 MiB).
const EXAMINED_BYTES_MAX: usize = 8 << 20;
const PAGE_BYTES_MAX: usize = 3 << 20;
/// Digests read from the index at a time.
const BATCH: usize = 100;
/// Characters of a digest in its fallback tag.
const FALLBACK_HEX_MAX: usize = 64;

/// A manifest that refers to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its artifact type, or that of its config.
    pub artifact_type: Option<String>,
    /// Its annotations, by key.
    pub annotations: BTreeMap<String, String>,
}

/// Some referrers, in digest order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referrers {
    /// Those that pass the filter.
    pub page: Vec<Referrer>,
    /// Present if more may follow: where the next page begins, exclusively. It need not be on this page.
    pub next_after: Option<Digest>,
}

impl Registry {
    /// At most `limit` manifests after `after` that refer to `subject`, of one artifact type if that is asked for. What does
    /// not exist has no referrers.
    pub async fn referrers(
        &self,
        grant: &Grant<Pull>,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Referrers, Error> {
        let view = self.view().await?;
        let Some(repository) = view.repository(grant.repository())? else { return Ok(Referrers::default()) };
        let mut walk = Walk { view: &view, repository: repository.id, subject, after, listed: BTreeSet::new() };
        walk.listed = walk.fallback()?;
        let mut found = Referrers::default();
        let subject_bytes = subject.to_bytes();
        let (mut examined, mut bytes, mut page_bytes) = (0, 0, 0);
        while let Some(digests) = walk.batch()? {
            for digest in digests {
                if examined >= EXAMINED_MAX || bytes > EXAMINED_BYTES_MAX {
                    found.next_after = walk.after;
                    return Ok(found);
                }
                // The fallback may list what was never pushed (a sparse index), or what says itself that it belongs elsewhere.
                let manifest = view.manifest(repository.id, &digest)?;
                (examined, bytes) = (examined + 1, bytes + manifest.as_ref().map_or(0, Message::encoded_len));
                let is_asked_for = |manifest: &wire::Manifest| {
                    belongs(manifest, &subject_bytes)
                        && artifact_type.is_none_or(|wanted| manifest.artifact_type.as_deref() == Some(wanted))
                };
                let Some(manifest) = manifest.filter(is_asked_for) else {
                    walk.after = Some(digest);
                    continue;
                };
                let body = view.manifest_body(repository.id, &digest)?.unwrap_or_default();
                bytes += body.len();
                let referrer = referrer(digest, manifest, &body);
                let cost = cost(&referrer);
                if found.page.len() >= limit || page_bytes + cost > PAGE_BYTES_MAX && !found.page.is_empty() {
                    found.next_after = walk.after;
                    return Ok(found);
                }
                walk.after = Some(digest);
                page_bytes += cost;
                found.page.push(referrer);
            }
        }
        Ok(found)
    }
}

/// Two ordered lists walked as one.
struct Walk<'a> {
    view: &'a View,
    repository: RepositoryId,
    subject: &'a Digest,
    /// The last digest looked at.
    after: Option<Digest>,
    /// What the fallback tag lists.
    listed: BTreeSet<Digest>,
}

impl Walk<'_> {
    /// The manifests of the index under the fallback tag, if that is an index.
    fn fallback(&self) -> Result<BTreeSet<Digest>, Error> {
        let tag: Option<Tag> = fallback_tag(self.subject).parse().ok();
        let Some(tag) = tag else { return Ok(BTreeSet::new()) };
        let Some(tagged) = self.view.tag(self.repository, &tag)? else { return Ok(BTreeSet::new()) };
        let index = self.view.manifest(self.repository, &tagged.digest)?;
        let children = index.map(|index| index.children).unwrap_or_default();
        Ok(children.iter().filter_map(|digest| Digest::from_bytes(digest)).collect())
    }

    /// The next digests of both lists in order, each once; `None` at the end.
    fn batch(&self) -> Result<Option<BTreeSet<Digest>>, Error> {
        let by_subject = self.view.referrers(self.repository, self.subject, self.after.as_ref(), BATCH)?;
        let last = by_subject.last().copied().filter(|_| by_subject.len() == BATCH);
        let mut batch: BTreeSet<Digest> = by_subject.into_iter().collect();
        let is_next = |digest: &&Digest| {
            self.after.is_none_or(|after| **digest > after) && last.is_none_or(|last| **digest <= last)
        };
        batch.extend(self.listed.iter().filter(is_next));
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
}

/// `<algorithm>-<hex>`, the hex cut to 64 characters (referrers tag schema).
fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm(), &hex[..hex.len().min(FALLBACK_HEX_MAX)])
}

/// Whether it names this subject, or none (then a client listed it under the fallback tag).
fn belongs(manifest: &wire::Manifest, subject: &[u8]) -> bool {
    manifest.subject.as_ref().is_none_or(|named| named == subject)
}

/// Bytes of a descriptor, about.
fn cost(referrer: &Referrer) -> usize {
    let annotations = referrer.annotations.iter().map(|(key, value)| escaped(key) + escaped(value) + 8);
    256 + referrer.artifact_type.as_deref().map_or(0, escaped) + annotations.sum::<usize>()
}

/// Bytes of a text in JSON, at most.
fn escaped(text: &str) -> usize {
    let cost = |byte: u8| match byte {
        0..=0x1f => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(cost).sum()
}

fn referrer(digest: Digest, manifest: wire::Manifest, body: &[u8]) -> Referrer {
    let wire::Manifest { media_type, size, artifact_type, .. } = manifest;
    // A body that an older version took, and this one would not, has none that can be told.
    let annotations = Manifest::parse(body, Some(&media_type)).map(|parsed| parsed.annotations).unwrap_or_default();
    Referrer { digest, media_type, size, artifact_type, annotations }
}
