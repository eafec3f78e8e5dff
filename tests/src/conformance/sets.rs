//! What a data set undergoes: pushed, listed, looked at, pulled, its referrers listed, deleted.

use super::{
    Suite,
    data::{Blob, Manifest, Set},
    uploads::Way,
    wire::{ACCEPT, blob_path, encoded, header_is, manifest_path, refused, status, streamed, whole},
};
use crate::http::{Response, empty};
use anyhow::{Context, Result, ensure};
use http::Method;
use std::collections::BTreeSet;

impl Suite {
    pub(super) async fn undergo(&self, set: &Set) {
        let area = set.name;
        for (number, blob) in set.blobs.iter().enumerate() {
            let way = self.fitting_way(blob);
            self.check(format!("{area}/push blob {number}"), self.push(&self.repository, way, blob)).await;
        }
        for (number, manifest) in set.manifests.iter().enumerate() {
            if set.corrupted {
                let push = self.refuse_manifest(manifest);
                self.check(format!("{area}/a manifest that its digest does not match is refused"), push).await;
                continue;
            }
            let push = async {
                let parameters: &[String] = if set.by_parameter { &manifest.tags } else { &[] };
                let answer = self.put(&self.repository, &manifest.blob.digest, manifest, parameters).await?;
                self.stored(&answer, manifest).await?;
                tags_confirmed(&answer, parameters)
            };
            self.check(format!("{area}/push manifest {number} by digest"), push).await;
        }
        for (manifest, tag) in tags(set).filter(|_| !set.by_parameter) {
            let push = async {
                let answer = self.put(&self.repository, tag, manifest, &[]).await?;
                self.stored(&answer, manifest).await
            };
            self.check(format!("{area}/push tag {tag}"), push).await;
        }
        if !set.corrupted {
            self.look(area, set).await;
            self.check_referrers(area, set).await;
        }
        self.remove(area, set).await;
    }

    /// Lists, HEADs and GETs.
    async fn look(&self, area: &str, set: &Set) {
        let expected: Vec<_> = tags(set).map(|(_, tag)| tag.as_str()).collect();
        self.check(format!("{area}/list tags"), self.lists(&expected)).await;
        for (manifest, tag) in tags(set) {
            let path = manifest_path(&self.repository, tag);
            self.check(format!("{area}/HEAD tag {tag}"), self.manifest_exists(&path, manifest)).await;
            self.check(format!("{area}/GET tag {tag}"), self.manifest_pulls(&path, manifest)).await;
        }
        for (number, manifest) in set.manifests.iter().enumerate() {
            let path = manifest_path(&self.repository, &manifest.blob.digest);
            self.check(format!("{area}/HEAD manifest {number}"), self.manifest_exists(&path, manifest)).await;
            self.check(format!("{area}/GET manifest {number}"), self.manifest_pulls(&path, manifest)).await;
        }
        for (number, blob) in set.blobs.iter().enumerate() {
            let path = blob_path(&self.repository, &blob.digest);
            self.check(format!("{area}/HEAD blob {number}"), self.exists(&path, blob)).await;
            self.check(format!("{area}/GET blob {number}"), self.pulls(&path, blob)).await;
        }
    }

    /// Deletes tags, manifests (the last first) and blobs; each is gone at once.
    async fn remove(&self, area: &str, set: &Set) {
        if !set.corrupted {
            for (_, tag) in tags(set) {
                let path = manifest_path(&self.repository, tag);
                self.check(format!("{area}/delete tag {tag}"), self.delete_for_good(&path)).await;
            }
            for (number, manifest) in set.manifests.iter().enumerate().rev() {
                let path = manifest_path(&self.repository, &manifest.blob.digest);
                self.check(format!("{area}/delete manifest {number}"), self.delete_for_good(&path)).await;
            }
        }
        for (number, blob) in set.blobs.iter().enumerate() {
            let path = blob_path(&self.repository, &blob.digest);
            self.check(format!("{area}/delete blob {number}"), self.delete_for_good(&path)).await;
        }
        let subjects: BTreeSet<_> = set.manifests.iter().filter_map(|manifest| manifest.subject.as_ref()).collect();
        for subject in subjects {
            let empty = async {
                let listed = self.list_referrers(&self.repository, subject, None).await?;
                ensure!(listed.is_empty(), "{listed:?}");
                Ok(())
            };
            self.check(format!("{area}/deleted manifests refer to nothing"), empty).await;
        }
    }

    /// Pushes a manifest to a repository under a reference, with further tags as parameters.
    pub(super) async fn put(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Manifest,
        parameters: &[String],
    ) -> Result<Response> {
        let query: Vec<_> = parameters.iter().map(|tag| format!("tag={}", encoded(tag))).collect();
        let mut path = manifest_path(repository, reference);
        if !query.is_empty() {
            path += &format!("?{}", query.join("&"));
        }
        let headers = [("content-type", manifest.media_type)];
        self.send(Method::PUT, &path, &headers, streamed(&manifest.blob.bytes)).await
    }

    /// A 201 for this manifest, whose `Location` gives it.
    pub(super) async fn stored(&self, answer: &Response, manifest: &Manifest) -> Result<()> {
        status(answer, &[201])?;
        self.names_digest(answer, &manifest.blob.digest)?;
        header_is(answer, "oci-subject", manifest.subject.as_deref().unwrap_or_default())?;
        let location = self.location(answer)?;
        self.manifest_pulls(&location, manifest).await.with_context(|| format!("the location {location}"))
    }

    pub(super) async fn manifest_pulls(&self, path: &str, manifest: &Manifest) -> Result<()> {
        let answer = self.send(Method::GET, path, &ACCEPT, empty()).await?;
        status(&answer, &[200])?;
        self.names_digest(&answer, &manifest.blob.digest)?;
        header_is(&answer, "content-type", manifest.media_type)?;
        whole(&answer, &manifest.blob.bytes)
    }

    pub(super) async fn manifest_exists(&self, path: &str, manifest: &Manifest) -> Result<()> {
        let answer = self.send(Method::HEAD, path, &ACCEPT, empty()).await?;
        status(&answer, &[200])?;
        self.names_digest(&answer, &manifest.blob.digest)?;
        header_is(&answer, "content-type", manifest.media_type)?;
        header_is(&answer, "content-length", &manifest.blob.bytes.len().to_string())
    }

    /// Pushes all of a set, each tag on its own.
    pub(super) async fn push_set(&self, repository: &str, set: &Set) -> Result<()> {
        for blob in &set.blobs {
            self.push(repository, Way::PostPut, blob).await?;
        }
        for manifest in &set.manifests {
            let references = std::iter::once(&manifest.blob.digest).chain(&manifest.tags);
            for reference in references {
                let answer = self.put(repository, reference, manifest, &[]).await?;
                self.stored(&answer, manifest).await?;
            }
        }
        Ok(())
    }

    /// Deletes all of a set.
    pub(super) async fn delete_set(&self, repository: &str, set: &Set) -> Result<()> {
        for manifest in set.manifests.iter().rev() {
            self.delete_for_good(&manifest_path(repository, &manifest.blob.digest)).await?;
        }
        for blob in &set.blobs {
            self.delete_for_good(&blob_path(repository, &blob.digest)).await?;
        }
        Ok(())
    }

    /// Pushes the manifest with two more bytes.
    async fn refuse_manifest(&self, manifest: &Manifest) -> Result<()> {
        let digest = &manifest.blob.digest;
        let bytes = [&manifest.blob.bytes[..], b"  "].concat().into();
        let longer = Manifest { blob: Blob { digest: digest.clone(), bytes }, ..manifest.clone() };
        let answer = self.put(&self.repository, digest, &longer, &[]).await?;
        refused(&answer, &[400], &["DIGEST_INVALID", "MANIFEST_INVALID"])?;
        self.gone(&manifest_path(&self.repository, digest)).await
    }

    /// The next of the ways that worked, unless it is for longer blobs.
    fn fitting_way(&self, blob: &Blob) -> Way {
        let way = self.next_way();
        if way.in_pieces() && blob.bytes.len() < 2 * self.chunk { Way::PostPut } else { way }
    }
}

/// The answer confirms every tag that was a parameter.
pub(super) fn tags_confirmed(answer: &Response, tags: &[String]) -> Result<()> {
    let values = answer.headers.get_all("oci-tag").iter().filter_map(|value| value.to_str().ok());
    let confirmed: BTreeSet<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let expected: BTreeSet<_> = tags.iter().map(String::as_str).collect();
    ensure!(confirmed == expected, "OCI-Tag confirms {confirmed:?}, expected {expected:?}");
    Ok(())
}

/// The tags of a set, each with its manifest.
fn tags(set: &Set) -> impl Iterator<Item = (&Manifest, &String)> {
    set.manifests.iter().flat_map(|manifest| manifest.tags.iter().map(move |tag| (manifest, tag)))
}
