//! Tags as parameters of a push by digest, which the development version of the specification has.

use super::{
    Suite,
    data::{ALGORITHMS, ARTIFACT, Algorithm, Manifest, Set, Shape, artifact},
    sets::tags_confirmed,
    wire::{manifest_path, refused, status},
};
use anyhow::{Result, ensure};

/// Every registry takes as many.
const TAGS_AT_LEAST: usize = 10;
/// More than a registry must take.
const TOO_MANY: usize = 400;

impl Suite {
    pub(super) async fn tag_parameters(&self) {
        for algorithm in ALGORITHMS {
            let area = format!("several tags/{}", algorithm.name());
            for count in [1, TAGS_AT_LEAST] {
                let name = format!("{area}/{count} tags in one push");
                self.check(name, self.push_with_tags(algorithm, count)).await;
            }
            self.check(format!("{area}/tags move"), self.parameters_move(algorithm)).await;
            self.check(format!("{area}/the same tag twice"), self.same_twice(algorithm)).await;
            self.check(format!("{area}/too many are refused as a whole, or taken"), self.too_many(algorithm)).await;
            self.check(format!("{area}/a malformed tag is refused with all others"), self.one_bad(algorithm)).await;
            self.check(format!("{area}/a wrong digest tags nothing"), self.wrong_digest(algorithm)).await;
        }
    }

    async fn push_with_tags(&self, algorithm: Algorithm, count: usize) -> Result<()> {
        let manifest = lone(algorithm);
        let tags = numbered(count);
        self.push_tagged(&manifest, &tags).await?;
        for tag in &tags {
            self.manifest_pulls(&manifest_path(&self.repository, tag), &manifest).await?;
            self.manifest_exists(&manifest_path(&self.repository, tag), &manifest).await?;
        }
        let listed = self.all_tags(&self.repository).await?;
        ensure!(tags.iter().all(|tag| listed.contains(tag)), "{listed:?}");
        self.delete_tagged(&manifest, &tags).await
    }

    async fn parameters_move(&self, algorithm: Algorithm) -> Result<()> {
        let (first, second) = (lone(algorithm), lone(algorithm));
        let tags = numbered(3);
        self.push_tagged(&first, &tags).await?;
        self.push_tagged(&second, &tags[1..]).await?;
        self.manifest_pulls(&manifest_path(&self.repository, &tags[0]), &first).await?;
        for tag in &tags[1..] {
            self.manifest_pulls(&manifest_path(&self.repository, tag), &second).await?;
        }
        self.delete_tagged(&first, &tags[..1]).await?;
        self.delete_tagged(&second, &tags[1..]).await
    }

    async fn same_twice(&self, algorithm: Algorithm) -> Result<()> {
        let manifest = lone(algorithm);
        let tags = vec!["twice".to_owned(); 2];
        self.push_tagged(&manifest, &tags).await?;
        self.delete_tagged(&manifest, &tags).await
    }

    async fn too_many(&self, algorithm: Algorithm) -> Result<()> {
        let manifest = lone(algorithm);
        let tags = numbered(TOO_MANY);
        let answer = self.put(&self.repository, &manifest.blob.digest, &manifest, &tags).await?;
        status(&answer, &[201, 414])?;
        if answer.status == 201 {
            tags_confirmed(&answer, &tags)?;
            return self.delete_tagged(&manifest, &tags).await;
        }
        self.nothing_of(&manifest, &tags[..3]).await
    }

    async fn one_bad(&self, algorithm: Algorithm) -> Result<()> {
        let manifest = lone(algorithm);
        for bad in ["-dash", ".dot", "sla/sh", "", &"x".repeat(129)] {
            let tags = ["good".to_owned(), bad.to_owned()];
            let answer = self.put(&self.repository, &manifest.blob.digest, &manifest, &tags).await?;
            refused(&answer, &[400], &["TAG_INVALID", "MANIFEST_INVALID"])?;
            self.nothing_of(&manifest, &tags[..1]).await?;
        }
        Ok(())
    }

    async fn wrong_digest(&self, algorithm: Algorithm) -> Result<()> {
        let (manifest, another) = (lone(algorithm), lone(algorithm));
        let tags = numbered(2);
        let answer = self.put(&self.repository, &another.blob.digest, &manifest, &tags).await?;
        refused(&answer, &[400], &["DIGEST_INVALID", "MANIFEST_INVALID"])?;
        self.nothing_of(&manifest, &tags).await?;
        self.nothing_of(&another, &tags).await
    }

    async fn push_tagged(&self, manifest: &Manifest, tags: &[String]) -> Result<()> {
        let answer = self.put(&self.repository, &manifest.blob.digest, manifest, tags).await?;
        self.stored(&answer, manifest).await?;
        tags_confirmed(&answer, tags)
    }

    /// Deletes the manifest; its tags go with it.
    async fn delete_tagged(&self, manifest: &Manifest, tags: &[String]) -> Result<()> {
        self.delete_for_good(&manifest_path(&self.repository, &manifest.blob.digest)).await?;
        for tag in tags.iter().take(TAGS_AT_LEAST) {
            self.gone(&manifest_path(&self.repository, tag)).await?;
        }
        Ok(())
    }

    async fn nothing_of(&self, manifest: &Manifest, tags: &[String]) -> Result<()> {
        for reference in std::iter::once(&manifest.blob.digest).chain(tags) {
            self.gone(&manifest_path(&self.repository, reference)).await?;
        }
        Ok(())
    }
}

/// An index that needs nothing else.
fn lone(algorithm: Algorithm) -> Manifest {
    let mut set = Set::new("lone");
    set.index(&Shape { algorithm, ..artifact(ARTIFACT) }, Vec::new());
    set.manifests.remove(0)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("numbered-{number:03}")).collect()
}
