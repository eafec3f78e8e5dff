//! Reading, putting and deleting manifests. Their bytes live in the metadata and are kept as received.

use super::{Error, Registry, Served, uploads::new_id};
use crate::auth::{Delete, Grant, Pull, Push};
use crate::blobstore::Hasher;
use crate::metadata::{self, Command, Outcome, View, query::RepositoryId};
use bytes::Bytes;
use flotilla_proto::oci::{self, Algorithm, Digest, Reference, RepositoryName, Tag};
use flotilla_proto::wire::metadata as wire;
use regex::Regex;
use std::{collections::BTreeSet, time::Duration};

/// Tags that one log entry of a manifest's deletion removes.
const TAGS_PER_ENTRY: u32 = 1_000;
/// How often a conditional write is tried again because the tag moved meanwhile, though the condition still holds.
pub(super) const CONDITION_ATTEMPTS: u32 = 8;

/// A manifest without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// The media type it was put with.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A manifest with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// What it is.
    pub manifest: Manifest,
    /// The bytes as received.
    pub body: Bytes,
}

/// A manifest to be put.
pub struct NewManifest<'a> {
    /// Its digest, or the tag that will point to it.
    pub reference: &'a Reference,
    /// More tags that will point to it.
    pub tags: Vec<Tag>,
    /// What the client says it is.
    pub content_type: Option<&'a str>,
    /// The bytes as received.
    pub body: Bytes,
    /// Whether to go on, if the client set a condition.
    pub condition: Option<Condition<'a>>,
}

/// Whether a write may happen, given the digest that its reference stands for now.
pub type Condition<'a> = &'a (dyn Fn(Option<&Digest>) -> bool + Send + Sync);

/// A manifest that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPut {
    /// Its digest.
    pub digest: Digest,
    /// What it is a referrer of.
    pub subject: Option<Digest>,
    /// How many of its layers live elsewhere and are not stored here.
    pub elsewhere: usize,
}

/// Where layers may live that a manifest says are not stored in the registry.
#[derive(Clone, Debug, Default)]
pub struct LayerUrls {
    /// If there are any, a URL must match one of them.
    pub allow: Vec<Regex>,
    /// A URL must match none of them.
    pub deny: Vec<Regex>,
}

impl LayerUrls {
    /// Whether a layer may live at `url`: an absolute http(s) URL without fragment that the lists permit.
    fn permits(&self, url: &str) -> bool {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let absolute = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', ':']));
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let allowed = self.allow.is_empty() || self.allow.iter().any(|allow| allow.is_match(url));
        absolute && plain && allowed && !self.deny.iter().any(|deny| deny.is_match(url))
    }
}

impl Registry {
    /// A manifest without its bytes. By tag this is linearizable; by digest it goes on without a leader.
    /// One that needs a damaged blob counts as absent, so that both are pushed again.
    pub async fn stat_manifest(&self, grant: &Grant<Pull>, reference: &Reference) -> Result<Served<Manifest>, Error> {
        let intact = |view: &View, repository: RepositoryId, manifest: Manifest| {
            let damaged = view.needs_suspect(repository, &manifest.digest)?;
            Ok(Some(manifest).filter(|_| !damaged))
        };
        self.look_up(grant, reference, true, intact).await
    }

    /// A manifest with its bytes.
    pub async fn manifest(&self, grant: &Grant<Pull>, reference: &Reference) -> Result<Served<StoredManifest>, Error> {
        let with_body = |view: &View, repository: RepositoryId, manifest: Manifest| {
            let body = view.manifest_body(repository, &manifest.digest)?;
            Ok(body.map(|body| StoredManifest { manifest, body }))
        };
        self.look_up(grant, reference, false, with_body).await
    }

    async fn look_up<T>(
        &self,
        grant: &Grant<Pull>,
        reference: &Reference,
        promises: bool,
        then: impl Fn(&View, RepositoryId, Manifest) -> Result<Option<T>, metadata::Error> + Send + Sync,
    ) -> Result<Served<T>, Error> {
        let unknown = || Error::ManifestUnknown(reference.clone());
        let find = |view: &View, age: Duration, digest: Option<Digest>| -> Result<Option<Found<T>>, metadata::Error> {
            let Some(repository) = view.repository(grant.repository())? else { return Ok(None) };
            let digest = match (digest, reference) {
                (Some(digest), _) => Some(digest),
                (None, Reference::Tag(tag)) => view.tag(repository.id, tag)?.map(|tag| tag.digest),
                (None, Reference::Digest(digest)) => Some(*digest),
            };
            let Some(digest) = digest else { return Ok(None) };
            let Some(record) = view.manifest(repository.id, &digest)? else { return Ok(None) };
            let must_renew = view.manifest_must_renew(&record, age)?;
            let manifest = Manifest { digest, media_type: record.media_type, size: record.size };
            let value = then(view, repository.id, manifest)?;
            Ok(value.map(|value| Found { value, digest, must_renew }))
        };
        let found = match reference {
            Reference::Digest(digest) => {
                self.find(|view, age| find(view, age, Some(*digest))).await?.ok_or_else(unknown)?
            }
            Reference::Tag(_) => {
                let value = find(&self.view().await?, Duration::ZERO, None)?.ok_or_else(unknown)?;
                Served { value, degraded: None }
            }
        };
        let Served { value: Found { value, digest, must_renew }, degraded } = found;
        // What is read without a leader is read; but whoever only asks whether it is there relies on it from then on.
        if must_renew && (promises || degraded.is_none()) {
            self.touch_manifest(grant.repository(), digest, reference).await?;
        }
        Ok(Served { value, degraded })
    }

    /// Renews the lease of a manifest that nothing holds: the client may rely on what it is told.
    async fn touch_manifest(&self, name: &RepositoryName, digest: Digest, reference: &Reference) -> Result<(), Error> {
        let command = wire::TouchManifest { repository: name.to_string(), digest: digest.to_bytes().into() };
        match self.propose(Command::TouchManifest(command)).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::ManifestUnknown(_) | Outcome::RepositoryUnknown(_) => {
                Err(Error::ManifestUnknown(reference.clone()))
            }
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Puts a manifest and its tags in one step.
    pub async fn put_manifest(&self, grant: &Grant<Push>, new: NewManifest<'_>) -> Result<ManifestPut, Error> {
        let name = grant.repository();
        let NewManifest { reference, tags, content_type, body, condition } = new;
        let manifest = oci::Manifest::parse(&body, content_type)?;
        let (algorithm, own_tag) = match reference {
            Reference::Digest(digest) => (digest.algorithm(), None),
            Reference::Tag(tag) => (Algorithm::Sha256, Some(tag)),
        };
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&body);
        let digest = hasher.finish();
        if let Reference::Digest(expected) = reference
            && *expected != digest
        {
            return Err(Error::DigestMismatch { expected: *expected, actual: Box::new(digest) });
        }
        if let Some(url) = manifest.elsewhere.iter().find(|url| !self.0.settings.layer_urls.permits(url)) {
            return Err(Error::LayerUrl(url.clone()));
        }
        self.check(name, &digest, &manifest).await?;

        let tags: BTreeSet<String> = own_tag.into_iter().chain(&tags).map(ToString::to_string).collect();
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let put = ManifestPut { digest, subject, elsewhere: manifest.elsewhere.len() };
        let command = wire::PutManifest {
            repository: name.to_string(),
            digest: digest.to_bytes().into(),
            media_type: manifest.kind.as_str().to_owned(),
            body,
            blobs: stored(&manifest.blobs),
            children: stored(&manifest.children),
            subject: subject.map(|subject| subject.to_bytes().into()),
            artifact_type: manifest.artifact_type,
            tags: tags.into_iter().collect(),
            expect: None,
            allow_missing_children: self.0.settings.sparse_indexes,
            new_repository_id: new_id(),
        };
        for _ in 0..CONDITION_ATTEMPTS {
            let expect = self.expect(name, reference, condition).await?;
            match self.propose(Command::PutManifest(wire::PutManifest { expect, ..command.clone() })).await? {
                Outcome::ManifestPut(_) => return Ok(put),
                Outcome::ManifestRejected(missing) => {
                    let missing = missing.missing_blobs.iter().chain(&missing.missing_children);
                    let missing = missing.filter_map(|digest| Digest::from_bytes(digest)).collect();
                    return Err(Error::ManifestBlobUnknown(missing));
                }
                // More items than a command may have; the rest of the command is ours.
                Outcome::Unsupported(_) => return Err(oci::ManifestError::TooManyDescriptors.into()),
                Outcome::PreconditionFailed(_) => {}
                other => return Err(Error::unexpected(&other)),
            }
        }
        Err(metadata::Error::Overloaded.into()) // the tag moves all the time, and the condition holds each time
    }

    /// Checks the condition of a write against what its reference stands for. Of a tag, the write must itself expect what
    /// was looked at, so that no other write comes between; what a digest stands for does not change.
    pub(super) async fn expect(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        condition: Option<Condition<'_>>,
    ) -> Result<Option<wire::TagExpectation>, Error> {
        let Some(holds) = condition else { return Ok(None) };
        let current = self.current(name, reference).await?;
        if !holds(current.as_ref()) {
            return Err(Error::PreconditionFailed);
        }
        Ok(expectation(reference, current))
    }

    /// The digest that a reference stands for now.
    async fn current(&self, name: &RepositoryName, reference: &Reference) -> Result<Option<Digest>, Error> {
        let view = self.view().await?;
        let Some(repository) = view.repository(name)? else { return Ok(None) };
        Ok(match reference {
            Reference::Tag(tag) => view.tag(repository.id, tag)?.map(|tag| tag.digest),
            Reference::Digest(digest) => view.manifest(repository.id, digest)?.map(|_| *digest),
        })
    }

    /// Compares the sizes a manifest states with those of what the repository holds, and its type with that under which it
    /// is stored already. What is missing, apply finds.
    async fn check(&self, name: &RepositoryName, digest: &Digest, manifest: &oci::Manifest) -> Result<(), Error> {
        let view = self.view().await?;
        let Some(repository) = view.repository(name)? else { return Ok(()) };
        let stored = view.manifest(repository.id, digest)?.filter(|stored| stored.media_type != manifest.kind.as_str());
        if let Some(stored) = stored {
            return Err(Error::MediaTypeStored(stored.media_type));
        }
        let blobs = manifest.blobs.iter().map(|descriptor| (descriptor, false));
        let children = manifest.children.iter().map(|descriptor| (descriptor, true));
        for (descriptor, is_child) in blobs.chain(children) {
            let actual = match is_child {
                true => view.manifest(repository.id, &descriptor.digest)?.map(|child| child.size),
                false => view.blob(repository.id, &descriptor.digest)?.map(|blob| blob.size),
            };
            if let Some(actual) = actual.filter(|actual| *actual != descriptor.size) {
                return Err(Error::DescriptorSize { digest: descriptor.digest, stated: descriptor.size, actual });
            }
        }
        Ok(())
    }

    /// Deletes a manifest and all its tags.
    pub async fn delete_manifest(
        &self,
        grant: &Grant<Delete>,
        digest: Digest,
        condition: Option<Condition<'_>>,
    ) -> Result<(), Error> {
        let name = grant.repository();
        if !self.0.settings.delete {
            return Err(Error::DeletesDisabled);
        }
        self.expect(name, &Reference::Digest(digest), condition).await?;
        loop {
            let command = wire::DeleteManifest {
                repository: name.to_string(),
                digest: digest.to_bytes().into(),
                tags_max: TAGS_PER_ENTRY,
            };
            match self.propose(Command::DeleteManifest(command)).await? {
                Outcome::Done(_) => return Ok(()),
                Outcome::ManifestShrunk(_) => {}
                Outcome::RepositoryUnknown(_) => return Err(Error::NameUnknown(name.clone())),
                Outcome::ManifestUnknown(_) => return Err(Error::ManifestUnknown(Reference::Digest(digest))),
                Outcome::ManifestReferenced(by) => {
                    let parents = by.parents.iter().filter_map(|parent| Digest::from_bytes(parent)).collect();
                    return Err(Error::ManifestReferenced { digest, parents });
                }
                other => return Err(Error::unexpected(&other)),
            }
        }
    }
}

/// What a look-up found, and whether its lease must be renewed before a client is told.
struct Found<T> {
    value: T,
    digest: Digest,
    must_renew: bool,
}

/// What a conditional write of a tag expects it to point to.
fn expectation(reference: &Reference, current: Option<Digest>) -> Option<wire::TagExpectation> {
    use wire::tag_expectation::Kind;
    let kind = match (reference, current) {
        (Reference::Digest(_), _) => return None,
        (Reference::Tag(_), Some(digest)) => Kind::Digest(digest.to_bytes().into()),
        (Reference::Tag(_), None) => Kind::Absent(true),
    };
    Some(wire::TagExpectation { kind: Some(kind) })
}

/// Digests in their stored form; descriptors come sorted by digest, each once.
fn stored(descriptors: &[oci::Descriptor]) -> Vec<Bytes> {
    descriptors.iter().map(|descriptor| descriptor.digest.to_bytes().into()).collect()
}
