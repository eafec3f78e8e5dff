//! Through a node's own log and state machine: sessions opened and committed, manifests put, as pushes do it.

use super::set::{Image, MEDIA_TYPE, Set, digest};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use flotilla_node::{
    blobstore::Key,
    config,
    lifecycle::Lifecycle,
    metadata::{Command, MetadataStore, Outcome},
    raft::RaftStore,
};
use flotilla_proto::{
    oci::{Algorithm, Digest},
    wire::metadata as wire,
};
use futures_util::{TryStreamExt, future::try_join_all, stream};
use prometheus_client::registry::Registry;
use sha2::{Digest as _, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Manifests in the making at once; a hundred blobs each, of 1,024 changes that may wait.
const IMAGES_AT_ONCE: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 86_400_000;

/// Writes `set` into the data directory that `config` names, and its objects below the directory `objects`.
pub async fn write(config: &Path, set: Set, objects: Option<PathBuf>) -> Result<()> {
    let config = config::load(Some(config), std::env::vars())?.config;
    let alone = config.cluster.as_ref().is_none_or(|cluster| cluster.peers.len() <= 1);
    ensure!(alone, "only a node that is alone in its cluster can be seeded");
    let lifecycle = Lifecycle::new();
    let raft = RaftStore::start(&config, &lifecycle, &mut Registry::default()).await?;
    raft.barrier(Instant::now() + PATIENCE).await?;
    let store = raft.view()?.cluster()?.store.context("the node has not founded its store: start it once before")?;
    let writer = Writer { raft: raft.clone(), store, size: set.size, objects };
    let images = stream::iter(set.images().map(Ok));
    let written = images.try_for_each_concurrent(IMAGES_AT_ONCE, |image| writer.image(image)).await;
    raft.shutdown().await;
    written
}

struct Writer {
    raft: Arc<RaftStore>,
    store: wire::Store,
    size: u64,
    objects: Option<PathBuf>,
}

impl Writer {
    async fn image(&self, image: Image) -> Result<()> {
        let image = &image;
        try_join_all(image.blobs.clone().map(|blob| self.blob(&image.repository, blob))).await?;
        let mut blobs: Vec<Bytes> = image.blobs.clone().map(stored_digest).collect();
        blobs.sort();
        let body = Bytes::from(image.body.clone());
        let put = wire::PutManifest {
            repository: image.repository.clone(),
            digest: stored(Sha256::digest(&body).into()),
            media_type: MEDIA_TYPE.to_owned(),
            body,
            blobs,
            tags: vec![image.tag.clone()],
            new_repository_id: repository_id(&image.repository),
            ..Default::default()
        };
        match self.propose(Command::PutManifest(put)).await? {
            Outcome::ManifestPut(_) => Ok(()),
            other => bail!("{} was not put: {other:?}", image.tag),
        }
    }

    async fn blob(&self, repository: &str, blob: u64) -> Result<()> {
        let session_id = session_id(blob);
        let open = wire::OpenSession {
            session_id: session_id.clone(),
            repository: repository.to_owned(),
            algorithm: Algorithm::Sha256 as u32,
            idle_ms: DAY_MS,
            hard_ms: DAY_MS,
        };
        let hour = match self.propose(Command::OpenSession(open)).await? {
            Outcome::SessionOpened(opened) => opened.hour,
            other => bail!("no session for blob {blob}: {other:?}"),
        };
        let (cluster, incarnation) = (&self.store.cluster_id, &self.store.incarnation);
        let key = Key::new(cluster, incarnation, hour, &hex::encode(&session_id), "seed", blob)?;
        if let Some(root) = &self.objects {
            let (path, size) = (root.join(key.as_str()), self.size);
            tokio::task::spawn_blocking(move || object(&path, size)).await??;
        }
        let segment = wire::Segment { key: key.as_str().to_owned(), length: self.size };
        let commit = wire::CommitBlob {
            session_id,
            at: 0,
            segment: Some(segment),
            digest: stored_digest(blob),
            size: self.size,
            new_repository_id: repository_id(repository),
        };
        match self.propose(Command::CommitBlob(commit)).await? {
            Outcome::BlobCommitted(_) => Ok(()),
            other => bail!("blob {blob} was not committed: {other:?}"),
        }
    }

    async fn propose(&self, command: Command) -> Result<Outcome> {
        Ok(self.raft.propose(command, Instant::now() + PATIENCE).await?)
    }
}

/// A file of that length without blocks on disk.
fn object(path: &Path, size: u64) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create(path)?.set_len(size)
}

/// Of no session that a node ever minted.
fn session_id(blob: u64) -> Bytes {
    Bytes::from([*b"seedblob", blob.to_be_bytes()].concat())
}

fn repository_id(name: &str) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(name)[..16])
}

fn stored_digest(blob: u64) -> Bytes {
    stored(digest(blob))
}

fn stored(raw: [u8; 32]) -> Bytes {
    let digest = Digest::new(Algorithm::Sha256, &raw).expect("32 bytes");
    digest.to_bytes().into()
}
