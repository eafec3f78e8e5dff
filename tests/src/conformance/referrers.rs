//! Which manifests name another one as their subject.

use super::{
    Suite,
    data::{ALGORITHMS, ARTIFACT, Algorithm, Blob, INDEX, OTHER_ARTIFACT, Set, Shape, artifact, image},
    wire::{encoded, header_is, manifest_path, next_link, refused, status},
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// More than any page so far needed, so that a list that never ends is noticed.
const PAGES_MAX: usize = 100;

impl Suite {
    /// The referrers of `subject`, all pages of them; with a filter when given a type, which must have been applied.
    pub(super) async fn list_referrers(
        &self,
        repository: &str,
        subject: &str,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Value>> {
        let mut path = format!("/v2/{repository}/referrers/{subject}");
        if let Some(artifact_type) = artifact_type {
            path += &format!("?artifactType={}", encoded(artifact_type));
        }
        let mut listed = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer = self.get(&path).await?;
            status(&answer, &[200])?;
            header_is(&answer, "content-type", INDEX)?;
            let index: Value = serde_json::from_slice(&answer.body)?;
            ensure!(index["schemaVersion"] == 2 && index["mediaType"] == INDEX, "not an index: {index}");
            listed.extend(index["manifests"].as_array().with_context(|| format!("no list: {index}"))?.iter().cloned());
            let applied = answer.header("oci-filters-applied");
            match artifact_type {
                Some(_) => ensure!(
                    applied.split(',').any(|filter| filter.trim() == "artifactType"),
                    "OCI-Filters-Applied is {applied:?}"
                ),
                None => ensure!(applied.is_empty(), "OCI-Filters-Applied is {applied:?}"),
            }
            let Some(next) = next_link(&answer)? else { return Ok(listed) };
            path = next;
        }
        anyhow::bail!("more than {PAGES_MAX} pages")
    }

    /// Lists what refers to each subject of the set, whole and by type.
    pub(super) async fn check_referrers(&self, area: &str, set: &Set) {
        let subjects: BTreeSet<_> = set.manifests.iter().filter_map(|manifest| manifest.subject.as_ref()).collect();
        for subject in subjects {
            let referring = set.manifests.iter().filter(|manifest| manifest.subject.as_ref() == Some(subject));
            let expected: Vec<_> = referring.map(|manifest| manifest.entry.clone()).collect();
            self.check(format!("{area}/list referrers"), self.refer(subject, None, &expected)).await;
            let types: BTreeSet<_> = expected.iter().filter_map(|entry| entry["artifactType"].as_str()).collect();
            for name in types.into_iter().chain(["application/vnd.example.nobody+json"]) {
                let of_type: Vec<_> = expected.iter().filter(|entry| entry["artifactType"] == name).cloned().collect();
                let list = self.refer(subject, Some(name), &of_type);
                self.check(format!("{area}/list referrers of type {name}"), list).await;
            }
        }
    }

    /// The list has exactly these entries, in any order.
    async fn refer(&self, subject: &str, artifact_type: Option<&str>, expected: &[Value]) -> Result<()> {
        let listed = self.list_referrers(&self.repository, subject, artifact_type).await?;
        for entry in expected {
            let found = listed.iter().filter(|listed| describes(listed, entry)).count();
            ensure!(found == 1, "{found} times {entry} in {listed:?}");
        }
        ensure!(listed.len() == expected.len(), "{} instead of {}: {listed:?}", listed.len(), expected.len());
        Ok(())
    }

    pub(super) async fn referrers(&self) {
        for digest in ["sha256:baddigeststring", "sha256", "latest", "sha256:", "sha1024:abcd"] {
            self.check(format!("referrers/the malformed digest {digest} is refused"), async {
                let path = format!("/v2/{}/referrers/{}", self.repository, encoded(digest));
                refused(&self.get(&path).await?, &[400], &["DIGEST_INVALID", "UNSUPPORTED"])
            })
            .await;
        }
        for algorithm in ALGORITHMS {
            let area = format!("referrers/{}", algorithm.name());
            self.check(format!("{area}/a manifest pushed twice is listed once"), self.listed_once(algorithm)).await;
            self.check(format!("{area}/a referrer may come before its subject"), self.before(algorithm)).await;
            self.check(format!("{area}/other repositories have referrers of their own"), self.apart(algorithm)).await;
            self.check(format!("{area}/a deleted referrer leaves the list at once"), self.one_less(algorithm)).await;
            self.check(format!("{area}/the list follows a tag that clients keep"), self.kept_tag(algorithm)).await;
        }
        self.check("referrers/a long list is whole", self.long_list()).await;
    }

    async fn listed_once(&self, algorithm: Algorithm) -> Result<()> {
        let (set, subject) = referring(algorithm, 1);
        self.push_set(&self.repository, &set).await?;
        self.push_set(&self.repository, &set).await?;
        self.refer(&subject, None, &entries(&set)).await?;
        self.delete_set(&self.repository, &set).await
    }

    async fn before(&self, algorithm: Algorithm) -> Result<()> {
        let mut subject = Set::new("subject");
        let descriptor = subject.index(&Shape { algorithm, ..artifact(ARTIFACT) }, Vec::new());
        let mut set = Set::new("referrer");
        set.index(&Shape { algorithm, subject: Some(descriptor), ..artifact(OTHER_ARTIFACT) }, Vec::new());
        let digest = subject.manifests[0].blob.digest.clone();
        self.push_set(&self.repository, &set).await?;
        self.refer(&digest, None, &entries(&set)).await?;
        self.push_set(&self.repository, &subject).await?;
        self.refer(&digest, None, &entries(&set)).await?;
        self.delete_set(&self.repository, &set).await?;
        self.delete_set(&self.repository, &subject).await
    }

    async fn apart(&self, algorithm: Algorithm) -> Result<()> {
        let (set, subject) = referring(algorithm, 1);
        self.push_set(&self.other, &set).await?;
        self.refer(&subject, None, &[]).await?;
        let there = self.list_referrers(&self.other, &subject, None).await?;
        ensure!(there.len() == 1, "{there:?}");
        self.delete_set(&self.other, &set).await
    }

    async fn one_less(&self, algorithm: Algorithm) -> Result<()> {
        let (set, subject) = referring(algorithm, 3);
        self.push_set(&self.repository, &set).await?;
        let mut left = entries(&set);
        for manifest in &set.manifests {
            self.refer(&subject, None, &left).await?;
            self.delete_for_good(&manifest_path(&self.repository, &manifest.blob.digest)).await?;
            left.remove(0);
        }
        self.refer(&subject, None, &left).await
    }

    /// An older client also keeps an index under the tag `<algorithm>-<hex>`: nothing is listed twice.
    async fn kept_tag(&self, algorithm: Algorithm) -> Result<()> {
        let (set, subject) = referring(algorithm, 2);
        self.push_set(&self.repository, &set).await?;
        let mut kept = Set::new("kept");
        kept.index(&image(), entries(&set));
        let (name, hex) = subject.split_once(':').context("a digest has a colon")?;
        kept.manifests[0].tags = vec![format!("{name}-{}", &hex[..64])];
        self.push_set(&self.repository, &kept).await?;
        self.refer(&subject, None, &entries(&set)).await?;
        self.delete_set(&self.repository, &kept).await?;
        self.refer(&subject, None, &entries(&set)).await?;
        self.delete_set(&self.repository, &set).await
    }

    async fn long_list(&self) -> Result<()> {
        let (set, subject) = referring(Algorithm::Sha256, 30);
        self.push_set(&self.repository, &set).await?;
        self.refer(&subject, None, &entries(&set)).await?;
        self.refer(&subject, Some(ARTIFACT), &entries(&set)).await?;
        self.refer(&subject, Some(OTHER_ARTIFACT), &[]).await?;
        self.delete_set(&self.repository, &set).await
    }
}

/// Indexes without content of their own, which name one missing subject.
fn referring(algorithm: Algorithm, count: usize) -> (Set, String) {
    let subject = Blob::random(algorithm, 99).digest;
    let descriptor = json!({"mediaType": INDEX, "digest": subject, "size": 99});
    let mut set = Set::new("referring");
    for _ in 0..count {
        set.index(&Shape { algorithm, subject: Some(descriptor.clone()), ..artifact(ARTIFACT) }, Vec::new());
    }
    (set, subject)
}

fn entries(set: &Set) -> Vec<Value> {
    set.manifests.iter().map(|manifest| manifest.entry.clone()).collect()
}

/// Whether a listed descriptor says what is expected; it may have more annotations.
fn describes(listed: &Value, expected: &Value) -> bool {
    let annotations = expected["annotations"].as_object();
    ["mediaType", "digest", "size", "artifactType"].iter().all(|key| listed.get(key) == expected.get(key))
        && annotations.is_none_or(|all| all.iter().all(|(key, value)| listed["annotations"].get(key) == Some(value)))
}
