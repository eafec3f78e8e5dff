//! Reading, putting and deleting manifests. Their bytes live in the metadata and are kept as received.

use super::{Error, Registry, Served, uploads::new_id};
use crate::blobstore::Hasher;
use crate::metadata::{self, Command, Outcome, View, query::RepositoryId};
use bytes::Bytes;
use flotilla_proto::oci::{self, Algorithm, Digest, Reference, RepositoryName};
use flotilla_proto::wire::metadata as wire;

/// Tags that one log entry of a manifest's deletion removes.
const TAGS_PER_ENTRY: u32 = 1_000;

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

/// A manifest that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPut {
    /// Its digest.
    pub digest: Digest,
    /// What it is a referrer of.
    pub subject: Option<Digest>,
}

impl Registry {
    /// A manifest without its bytes. By tag this is linearizable; by digest it goes on without a leader.
    pub async fn stat_manifest(&self, name: &RepositoryName, reference: &Reference) -> Result<Served<Manifest>, Error> {
        self.look_up(name, reference, |_, _, manifest| Ok(Some(manifest))).await
    }

    /// A manifest with its bytes.
    pub async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Served<StoredManifest>, Error> {
        let with_body = |view: &View, repository: RepositoryId, manifest: Manifest| {
            let body = view.manifest_body(repository, &manifest.digest)?;
            Ok(body.map(|body| StoredManifest { manifest, body }))
        };
        self.look_up(name, reference, with_body).await
    }

    async fn look_up<T>(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        then: impl Fn(&View, RepositoryId, Manifest) -> Result<Option<T>, metadata::Error> + Send + Sync,
    ) -> Result<Served<T>, Error> {
        let unknown = || Error::ManifestUnknown(reference.clone());
        let find = |view: &View, digest: Option<Digest>| -> Result<Option<T>, metadata::Error> {
            let Some(repository) = view.repository(name)? else { return Ok(None) };
            let digest = match (digest, reference) {
                (Some(digest), _) => Some(digest),
                (None, Reference::Tag(tag)) => view.tag(repository.id, tag)?.map(|tag| tag.digest),
                (None, Reference::Digest(digest)) => Some(*digest),
            };
            let Some(digest) = digest else { return Ok(None) };
            let Some(record) = view.manifest(repository.id, &digest)? else { return Ok(None) };
            then(view, repository.id, Manifest { digest, media_type: record.media_type, size: record.size })
        };
        match reference {
            Reference::Digest(digest) => self.find(|view| find(view, Some(*digest))).await?.ok_or_else(unknown),
            Reference::Tag(_) => {
                let value = find(&self.view().await?, None)?.ok_or_else(unknown)?;
                Ok(Served { value, degraded: None })
            }
        }
    }

    /// Puts a manifest, and the tag if the reference is one, in one step.
    pub async fn put_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<ManifestPut, Error> {
        let manifest = oci::Manifest::parse(&body, content_type)?;
        let (algorithm, tags) = match reference {
            Reference::Digest(digest) => (digest.algorithm(), Vec::new()),
            Reference::Tag(tag) => (Algorithm::Sha256, vec![tag.to_string()]),
        };
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&body);
        let digest = hasher.finish();
        if let Reference::Digest(expected) = reference
            && *expected != digest
        {
            return Err(Error::DigestMismatch { expected: *expected, actual: Box::new(digest) });
        }
        self.check_sizes(name, &manifest).await?;

        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let command = Command::PutManifest(wire::PutManifest {
            repository: name.to_string(),
            digest: digest.to_bytes().into(),
            media_type: manifest.kind.as_str().to_owned(),
            body,
            blobs: stored(&manifest.blobs),
            children: stored(&manifest.children),
            subject: subject.map(|subject| subject.to_bytes().into()),
            artifact_type: manifest.artifact_type,
            annotations: manifest.annotations.into_iter().map(|(key, value)| wire::Annotation { key, value }).collect(),
            tags,
            expect: None,
            allow_missing_children: false,
            new_repository_id: new_id(),
        });
        match self.propose(command).await? {
            Outcome::ManifestPut(_) => Ok(ManifestPut { digest, subject }),
            Outcome::ManifestRejected(missing) => {
                let missing = missing.missing_blobs.iter().chain(&missing.missing_children);
                Err(Error::ManifestBlobUnknown(missing.filter_map(|digest| Digest::from_bytes(digest)).collect()))
            }
            // More items than a command may have; the rest of the command is ours.
            Outcome::Unsupported(_) => Err(oci::ManifestError::TooManyDescriptors.into()),
            Outcome::PreconditionFailed(_) => Err(Error::PreconditionFailed),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Compares the sizes a manifest states with those of what the repository holds. What is missing, apply finds.
    async fn check_sizes(&self, name: &RepositoryName, manifest: &oci::Manifest) -> Result<(), Error> {
        let view = self.view().await?;
        let Some(repository) = view.repository(name)? else { return Ok(()) };
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
    pub async fn delete_manifest(&self, name: &RepositoryName, digest: Digest) -> Result<(), Error> {
        if !self.0.settings.delete {
            return Err(Error::DeletesDisabled);
        }
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

/// Digests in their stored form; descriptors come sorted by digest, each once.
fn stored(descriptors: &[oci::Descriptor]) -> Vec<Bytes> {
    descriptors.iter().map(|descriptor| descriptor.digest.to_bytes().into()).collect()
}
