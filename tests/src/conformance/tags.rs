//! Lists of tags.

use super::{
    Suite,
    data::{ARTIFACT, Set, Shape, artifact},
    wire::{manifest_path, next_link, status},
};
use crate::http::Response;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

const PAGES_MAX: usize = 1000;
/// In the order of their bytes; without regard to case the order is another one.
const TAGS: [&str; 7] = ["1.0", "1.10", "A", "Zeta", "_u", "b", "b-1"];

impl Suite {
    /// The repository's list has these tags, and `last` begins after the tag it names.
    pub(super) async fn lists(&self, expected: &[&str]) -> Result<()> {
        let mut all = self.all_tags(&self.repository).await?;
        for tag in expected {
            ensure!(all.iter().any(|known| known == tag), "{tag} is missing in {all:?}");
        }
        all.sort();
        if all.len() >= 2 {
            let (before, after) = all.split_at(all.len() / 2);
            let path = format!("/v2/{}/tags/list?last={}", self.repository, before[before.len() - 1]);
            let mut listed = self.walk(path, &self.repository).await?;
            listed.sort();
            ensure!(listed == after, "after {:?}: {listed:?}, expected {after:?}", before.last());
        }
        Ok(())
    }

    pub(super) async fn tags(&self) {
        let mut set = Set::new("tags");
        set.index(&artifact(ARTIFACT), Vec::new());
        // Pushed in no order.
        set.manifests[0].tags = [3, 0, 6, 4, 1, 5, 2].map(|place| TAGS[place].to_owned()).to_vec();
        let list = format!("/v2/{}/tags/list", self.other);
        self.check("tags/push", self.push_set(&self.other, &set)).await;
        self.check("tags/the list is in order", async {
            let tags = self.all_tags(&self.other).await?;
            in_order(&tags)?;
            ensure!(tags.len() == TAGS.len(), "{tags:?}");
            Ok(())
        })
        .await;
        self.check("tags/n limits a page, and pages make the whole list", async {
            let all = self.all_tags(&self.other).await?;
            for n in 1..=TAGS.len() + 1 {
                let answer = self.get(&format!("{list}?n={n}")).await?;
                let page = names(&answer, &self.other)?;
                ensure!(page == all[..n.min(all.len())] || next_link(&answer)?.is_some(), "n={n}: {page:?}");
                let walked = self.walk(format!("{list}?n={n}"), &self.other).await?;
                ensure!(walked == all, "n={n}: {walked:?}");
            }
            Ok(())
        })
        .await;
        self.check("tags/last and n walk the list without links", async {
            let all = self.all_tags(&self.other).await?;
            let mut walked: Vec<String> = Vec::new();
            for _ in 0..PAGES_MAX {
                let last = walked.last().map(|last| format!("&last={last}")).unwrap_or_default();
                let page = names(&self.get(&format!("{list}?n=2{last}")).await?, &self.other)?;
                ensure!(page.len() <= 2, "{page:?}");
                if page.is_empty() {
                    break;
                }
                walked.extend(page);
            }
            ensure!(walked == all, "{walked:?}, expected {all:?}");
            Ok(())
        })
        .await;
        self.check("tags/last without n gives all that follow", async {
            let all = self.all_tags(&self.other).await?;
            for (place, last) in all.iter().enumerate() {
                let listed = self.walk(format!("{list}?last={last}"), &self.other).await?;
                ensure!(listed == all[place + 1..], "after {last}: {listed:?}");
            }
            Ok(())
        })
        .await;
        self.check("tags/last may name a tag that is not there", async {
            let all = self.all_tags(&self.other).await?;
            let listed = self.walk(format!("{list}?last=0"), &self.other).await?;
            ensure!(listed == all, "after 0: {listed:?}");
            let listed = self.walk(format!("{list}?last=zzz"), &self.other).await?;
            ensure!(listed.is_empty(), "after zzz: {listed:?}");
            Ok(())
        })
        .await;
        self.check("tags/no tags when n is 0", async {
            let answer = self.get(&format!("{list}?n=0")).await?;
            ensure!(names(&answer, &self.other)?.is_empty(), "tags are listed");
            ensure!(answer.header("link").is_empty(), "there is a Link");
            Ok(())
        })
        .await;
        self.check("tags/a deleted tag leaves the list and spares the manifest", async {
            for (deleted, tag) in TAGS.iter().enumerate() {
                self.delete_for_good(&manifest_path(&self.other, tag)).await?;
                let left = self.all_tags(&self.other).await?;
                ensure!(left.len() == TAGS.len() - deleted - 1 && !left.iter().any(|known| known == tag), "{left:?}");
            }
            let manifest = &set.manifests[0];
            self.manifest_pulls(&manifest_path(&self.other, &manifest.blob.digest), manifest).await
        })
        .await;
        self.check("tags/delete", self.delete_set(&self.other, &set)).await;
        self.check("tags/a manifest takes all its tags along", async {
            let mut set = Set::new("tags");
            set.index(&Shape { tag: Some("first"), ..artifact(ARTIFACT) }, Vec::new());
            set.manifests[0].tags.push("second".to_owned());
            self.push_set(&self.other, &set).await?;
            self.delete_set(&self.other, &set).await?;
            for tag in &set.manifests[0].tags {
                self.gone(&manifest_path(&self.other, tag)).await?;
            }
            let left = self.all_tags(&self.other).await?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await;
        self.check("tags/a tag moves to another manifest", async {
            let mut set = Set::new("moves");
            set.index(&artifact(ARTIFACT), Vec::new());
            set.index(&artifact(ARTIFACT), Vec::new());
            self.push_set(&self.other, &set).await?;
            for manifest in [&set.manifests[0], &set.manifests[1], &set.manifests[0]] {
                let answer = self.put(&self.other, "moving", manifest, &[]).await?;
                self.stored(&answer, manifest).await?;
                self.manifest_pulls(&manifest_path(&self.other, "moving"), manifest).await?;
            }
            for manifest in &set.manifests {
                self.manifest_pulls(&manifest_path(&self.other, &manifest.blob.digest), manifest).await?;
            }
            self.delete_for_good(&manifest_path(&self.other, "moving")).await?;
            self.delete_set(&self.other, &set).await
        })
        .await;
    }

    /// Every tag of a repository; none when it is unknown.
    pub(super) async fn all_tags(&self, repository: &str) -> Result<Vec<String>> {
        self.walk(format!("/v2/{repository}/tags/list"), repository).await
    }

    /// The tags of a page and of all that its links lead to.
    async fn walk(&self, mut path: String, repository: &str) -> Result<Vec<String>> {
        let mut tags = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer = self.get(&path).await?;
            if answer.status == 404 {
                return Ok(tags);
            }
            tags.extend(names(&answer, repository)?);
            let Some(next) = next_link(&answer)? else { return Ok(tags) };
            path = next;
        }
        anyhow::bail!("more than {PAGES_MAX} pages")
    }
}

/// The tags of one page.
fn names(answer: &Response, repository: &str) -> Result<Vec<String>> {
    status(answer, &[200])?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    ensure!(body["name"] == repository, "name is {}", body["name"]);
    if body["tags"].is_null() {
        return Ok(Vec::new());
    }
    serde_json::from_value(body["tags"].clone()).context("tags")
}

/// In the order of bytes, or of letters whatever their case.
fn in_order(tags: &[String]) -> Result<()> {
    let lower: Vec<_> = tags.iter().map(|tag| tag.to_lowercase()).collect();
    ensure!(tags.is_sorted() || lower.is_sorted(), "no order: {tags:?}");
    Ok(())
}
