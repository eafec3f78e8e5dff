//! Many tags, fast.

use crate::http::{Client, OCI_MANIFEST, digest_of, empty, full, manifest};
use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Method;
use std::{collections::VecDeque, sync::Arc};
use tokio::{sync::Mutex, task::JoinSet};

/// Tags of one request.
const BATCH: usize = 100;
const WORKERS: usize = 4;

/// Pushes a tiny image and gives it all these tags. Gives its digest.
pub async fn seed_tags(nodes: &[String], repository: &str, tags: &[String]) -> Result<String> {
    let client = Client::new(nodes.to_vec());
    let config = Bytes::from_static(b"{}");
    client.push_blob(repository, &digest_of(&config), full(config.clone())).await?;
    let text = Bytes::from(manifest(&digest_of(&config), config.len() as u64, &[]));
    let digest = digest_of(&text);
    let batches: VecDeque<Vec<String>> = tags.chunks(BATCH).map(<[String]>::to_vec).collect();
    let batches = Arc::new(Mutex::new(batches));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let client = Client::new(nodes.to_vec());
        let (batches, text, path) = (batches.clone(), text.clone(), format!("/v2/{repository}/manifests/{digest}"));
        workers.spawn(async move {
            loop {
                let Some(batch) = batches.lock().await.pop_front() else { return anyhow::Ok(()) };
                let path = format!("{path}?tag={}", batch.join("&tag="));
                let headers = [("content-type", OCI_MANIFEST)];
                let answer = client.send_body(Method::PUT, &path, &headers, full(text.clone())).await?.expect(201)?;
                // Several tags may share a line: some clients read a hundred lines at most.
                let lines = answer.headers.get_all("oci-tag").iter().filter_map(|line| line.to_str().ok());
                let made = lines.flat_map(|line| line.split(',')).count();
                ensure!(made == batch.len(), "{made} of {} tags were made", batch.len());
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let path = format!("/v2/{repository}/manifests/{digest}");
    client.send_body(Method::HEAD, &path, &[], empty()).await?.expect(200)?;
    Ok(digest)
}
