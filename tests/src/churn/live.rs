//! What lives at the end: read from the registry by its public interface alone, and compared with what workers know and with
//! what lies in the store.

use super::{
    model::Repository,
    registry::{Registry, is_whole},
};
use crate::{
    bucket::{Store, by_session},
    http::{Response, path_of},
};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(30);
/// Objects of one blob whose order is found by trying.
const OBJECTS_MAX: usize = 5;

/// Digests and sizes of all blobs that a manifest names which a tag, an index or a subject holds.
pub async fn blobs(registry: &Registry) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for name in listed(registry, "/v2/_catalog?n=1000", "repositories").await? {
        let mut waiting = listed(registry, &format!("/v2/{name}/tags/list?n=1000"), "tags").await?;
        let mut seen = BTreeSet::new();
        while let Some(reference) = waiting.pop() {
            let answer = get(registry, &format!("/v2/{name}/manifests/{reference}")).await?.expect(200)?;
            let digest = answer.header("docker-content-digest").to_owned();
            ensure!(is_whole(&digest, &answer.body), "{name}@{digest} has other bytes");
            if !seen.insert(digest.clone()) {
                continue;
            }
            let manifest: Value = serde_json::from_slice(&answer.body)?;
            let config = manifest.get("config").into_iter();
            for blob in config.chain(manifest["layers"].as_array().into_iter().flatten()) {
                let size = blob["size"].as_u64().context("a size")?;
                found.insert(blob["digest"].as_str().context("a digest")?.to_owned(), size);
            }
            waiting.extend(digests(&manifest));
            let referrers = get(registry, &format!("/v2/{name}/referrers/{digest}")).await?.expect(200)?;
            waiting.extend(digests(&serde_json::from_slice(&referrers.body)?));
        }
    }
    Ok(found)
}

/// The digests that an index lists.
fn digests(index: &Value) -> impl Iterator<Item = String> {
    let listed = index["manifests"].as_array().into_iter().flatten();
    listed.filter_map(|child| child["digest"].as_str().map(str::to_owned))
}

async fn listed(registry: &Registry, first: &str, field: &str) -> Result<Vec<String>> {
    let (mut all, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(path) = next {
        let answer = get(registry, &path).await?;
        // A repository without tags may be one that is not there.
        if answer.status == 404 {
            break;
        }
        let answer = answer.expect(200)?;
        let page: Value = serde_json::from_slice(&answer.body)?;
        all.extend(page[field].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)));
        next = answer
            .header("link")
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map(|(path, _)| path_of(path));
    }
    Ok(all)
}

async fn get(registry: &Registry, path: &str) -> Result<Response> {
    registry.get(Instant::now() + LIMIT, path).await.with_context(|| format!("no answer to GET {path}"))
}

/// Every tag that a worker is sure of points where it should, and what it deleted is gone.
pub async fn check_tags(registry: &Registry, repositories: &[Repository]) -> Result<u64> {
    let mut checked = 0;
    for repository in repositories {
        for (tag, image) in repository.tags() {
            let path = format!("/v2/{}/manifests/{tag}", repository.name);
            let answer = get(registry, &path).await?;
            ensure!(
                answer.status == 200 && answer.body == image.body,
                "{path} should be {}: {}",
                image.digest,
                answer.status
            );
            checked += 1;
        }
        for tag in repository.deleted() {
            let path = format!("/v2/{}/manifests/{tag}", repository.name);
            ensure!(get(registry, &path).await?.status == 404, "{path} was deleted");
            checked += 1;
        }
    }
    Ok(checked)
}

/// Compares the store with what lives: each blob once, and nothing else. Which blob an upload session's objects are, is told
/// by their hash alone.
///
/// # Errors
/// The first difference.
pub async fn check_store(store: &Store, live: &BTreeMap<String, u64>) -> Result<()> {
    let uploads = store.multipart_uploads().await?;
    ensure!(uploads.is_empty(), "{} multipart uploads: {:?}", uploads.len(), uploads.first());
    let objects = store.objects().await?;
    let (stored, wanted) = (objects.values().sum::<u64>(), live.values().sum::<u64>());
    let marker = objects.get("flotilla.json").context("the store's marker is gone")?;
    ensure!(stored == wanted + marker, "{} bytes in {} objects, {wanted} live", stored - marker, objects.len() - 1);
    let mut left: BTreeSet<&String> = live.keys().collect();
    for (session, keys) in by_session(&objects)? {
        let mut parts = Vec::new();
        for key in &keys {
            parts.push(store.read(key).await?);
        }
        let Some(digest) = whole(&parts, &left) else { bail!("session {session} is no live blob: {keys:?}") };
        left.remove(&digest);
    }
    ensure!(left.is_empty(), "{} live blobs are not in the store: {:?}", left.len(), left.first());
    Ok(())
}

/// The digest among `wanted` that these parts make in some order.
fn whole(parts: &[Bytes], wanted: &BTreeSet<&String>) -> Option<String> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    if order.len() > OBJECTS_MAX {
        return None;
    }
    loop {
        let joined: Vec<u8> = order.iter().flat_map(|part| parts[*part].iter().copied()).collect();
        let digest = crate::http::digest_of(&joined);
        if wanted.contains(&digest) {
            return Some(digest);
        }
        // The next permutation.
        let at = (1..order.len()).rev().find(|at| order[at - 1] < order[*at])?;
        let with = (at..order.len()).rev().find(|with| order[*with] > order[at - 1])?;
        order.swap(at - 1, with);
        order[at..].reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::digest_of;

    #[test]
    fn parts_are_found_in_any_order_and_strangers_are_not() {
        let digest = digest_of(b"abc");
        let wanted = BTreeSet::from([&digest]);
        for parts in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"], ["c", "b", "a"]] {
            let parts = parts.map(|part| Bytes::from_static(part.as_bytes()));
            assert_eq!(whole(&parts, &wanted), Some(digest.clone()));
        }
        assert_eq!(whole(&[Bytes::from_static(b"ab"), Bytes::from_static(b"d")], &wanted), None);
        assert_eq!(whole(&[], &wanted), None);
    }

    #[tokio::test]
    async fn a_store_with_too_little_or_too_much_is_told_from_one_that_is_right() {
        let dir = tempfile::TempDir::new().unwrap();
        let write = |key: &str, text: &str| {
            let path = dir.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let store = Store::Directory(dir.path().to_owned());
        let live = BTreeMap::from([(digest_of(b"abc"), 3), (digest_of(b"xy"), 2)]);
        write("flotilla.json", "{}");
        write("c/i/1/aa/s1-b-1", "c");
        write("c/i/1/bb/s1-b-0", "ab");
        assert!(check_store(&store, &live).await.is_err(), "a blob lacks");
        write("c/i/1/aa/s2-b-0", "xy");
        check_store(&store, &live).await.unwrap();
        write("c/i/1/aa/s2-b-0", "xz");
        assert!(check_store(&store, &live).await.is_err(), "a blob is damaged");
        write("c/i/1/aa/s2-b-0", "xy");
        write("c/i/1/aa/s3-b-0", "");
        assert!(check_store(&store, &live).await.is_err(), "an object too many");
    }
}
