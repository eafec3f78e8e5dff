//! Ties the metadata to one blob store: the marker `flotilla.json` under the store's root names the cluster that owns it.
//!
//! Written once by the leader of a new cluster; read by every node before it is ready. Catches directories that are not
//! shared, wrong buckets, metadata that was lost, and registry:2's data in place.

use crate::{
    blobstore::BlobStore,
    metadata::{self, Command, MetadataStore},
};
use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use serde::{Deserialize, Serialize};
use std::{path::Path, time::Duration};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

/// How long to wait between looks at a store that is away or a marker that another node is about to write.
const POLL: Duration = Duration::from_millis(50);
const POLL_STORE_AWAY: Duration = Duration::from_secs(1);
/// Longest wait for one change.
const PATIENCE: Duration = Duration::from_secs(20);

/// The content of `flotilla.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    cluster_id: String,
    incarnation: String,
    token: String,
}

impl From<wire::Store> for Marker {
    fn from(store: wire::Store) -> Self {
        Self { cluster_id: store.cluster_id, incarnation: store.incarnation, token: store.token }
    }
}

/// What a node does next about the marker.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The leader founds the store: mints incarnation and token through the log.
    Create,
    /// The leader writes the marker that the metadata names.
    Write(Marker),
    /// The leader records that the marker is in place.
    Mark(Marker),
    /// Another node has to act first.
    Wait,
    /// Metadata and store agree.
    Agreed,
    /// They never will.
    Refuse(String),
}

/// The decision, apart from its effects.
fn next(store: Option<wire::Store>, found: Option<Marker>, leads: bool, new_store: bool, place: &str) -> Step {
    let marked = store.as_ref().is_some_and(|store| store.marked);
    match (store.map(Marker::from), found) {
        (None, Some(found)) if !new_store => Step::Refuse(format!(
            "the metadata is empty, but {place} belongs to cluster {}: start with that cluster's data directory, or set \
             cluster.newstore: true to begin a new registry there",
            found.cluster_id
        )),
        (None, _) if leads => Step::Create,
        (None, _) => Step::Wait,
        (Some(ours), Some(found)) if ours == found => match (marked, leads) {
            (true, _) => Step::Agreed,
            (false, true) => Step::Mark(ours),
            (false, false) => Step::Wait,
        },
        (Some(ours), Some(found)) if marked || !new_store => Step::Refuse(format!(
            "{place} belongs to cluster {} (incarnation {}), the metadata to cluster {} (incarnation {}): point storage at \
             the right bucket or directory",
            found.cluster_id, found.incarnation, ours.cluster_id, ours.incarnation
        )),
        (Some(ours), None) if marked => Step::Refuse(format!(
            "{place} has no marker flotilla.json, but cluster {} has written one: every node must see the same bucket or \
             shared directory",
            ours.cluster_id
        )),
        (Some(ours), _) if leads => Step::Write(ours),
        (Some(_), _) => Step::Wait,
    }
}

/// Refuses a directory with registry:2's data, before anything is written into it.
pub(super) fn refuse_distribution(root: &Path) -> anyhow::Result<()> {
    match root.join("docker/registry/v2").exists() {
        true => Err(distribution(&root.display().to_string())),
        false => Ok(()),
    }
}

fn distribution(place: &str) -> anyhow::Error {
    anyhow!(
        "{place} holds a registry:2 layout (docker/registry/v2): use another root directory; moving such data over is not \
         built yet"
    )
}

/// Returns once metadata and store agree; fails if they never will. Waits for a store that is away.
pub(super) async fn establish(
    metadata: &dyn MetadataStore,
    blobs: &dyn BlobStore,
    leads: &(dyn Fn() -> bool + Send + Sync),
    cluster_id: &str,
    new_store: bool,
) -> anyhow::Result<()> {
    let place = blobs.describe();
    loop {
        let found = match look(blobs).await {
            Ok(found) => found,
            Err(error) => {
                warn!("cannot read the marker of {place} yet: {error:#}");
                tokio::time::sleep(POLL_STORE_AWAY).await;
                continue;
            }
        };
        if again_later(metadata.barrier(Instant::now() + PATIENCE).await)?.is_none() {
            tokio::time::sleep(POLL).await;
            continue;
        }
        let store = metadata.view()?.cluster()?.store;
        let found = match found {
            Found::Distribution => return Err(distribution(&place)),
            Found::Marker(marker) => marker,
        };
        match next(store, found.clone(), leads(), new_store, &place) {
            Step::Agreed => return Ok(()),
            // The metadata is read after the store: the leader may have written and recorded the marker in between.
            Step::Refuse(why) => match look(blobs).await {
                Ok(Found::Marker(again)) if again != found => {}
                Ok(_) => bail!(why),
                Err(error) => {
                    warn!("cannot read the marker of {place} again: {error:#}");
                    tokio::time::sleep(POLL_STORE_AWAY).await;
                }
            },
            Step::Wait => tokio::time::sleep(POLL).await,
            Step::Create => {
                let id = || Uuid::new_v4().simple().to_string();
                let create =
                    wire::CreateStore { cluster_id: cluster_id.to_owned(), incarnation: short(&id()), token: id() };
                again_later(metadata.propose(Command::CreateStore(create), Instant::now() + PATIENCE).await)?;
            }
            Step::Write(marker) => {
                info!("writing the marker of {place}");
                let text = serde_json::to_vec_pretty(&marker).context("marker")?;
                if let Err(error) = blobs.write_marker(Bytes::from(text)).await {
                    warn!("cannot write the marker of {place} yet: {:#}", anyhow::Error::new(error));
                    tokio::time::sleep(POLL_STORE_AWAY).await;
                }
            }
            Step::Mark(marker) => {
                let mark = wire::MarkStore { token: marker.token };
                again_later(metadata.propose(Command::MarkStore(mark), Instant::now() + PATIENCE).await)?;
            }
        }
    }
}

/// `None` if the cluster could not answer for now: a node that starts waits for it. Whatever was proposed may be proposed
/// again: the state takes the first of each.
fn again_later<T>(answer: Result<T, metadata::Error>) -> Result<Option<T>, metadata::Error> {
    match answer {
        Err(error @ (metadata::Error::NoQuorum(_) | metadata::Error::Overloaded)) => {
            warn!("the marker has to wait for the cluster: {error}");
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// What lies under the store's root.
enum Found {
    Marker(Option<Marker>),
    Distribution,
}

async fn look(blobs: &dyn BlobStore) -> anyhow::Result<Found> {
    match blobs.read_marker().await? {
        Some(text) => Ok(Found::Marker(Some(serde_json::from_slice(&text).context("flotilla.json is damaged")?))),
        None if blobs.holds_distribution_layout().await? => Ok(Found::Distribution),
        None => Ok(Found::Marker(None)),
    }
}

/// The first eight characters: enough to tell incarnations of one cluster apart, and short in keys.
fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(cluster: &str, marked: bool) -> Option<wire::Store> {
        Some(wire::Store { cluster_id: cluster.into(), incarnation: "i".into(), token: "t".into(), marked })
    }

    fn marker(cluster: &str) -> Option<Marker> {
        Some(Marker { cluster_id: cluster.into(), incarnation: "i".into(), token: "t".into() })
    }

    #[test]
    fn a_new_cluster_founds_an_empty_store_and_only_its_leader_writes() {
        assert_eq!(next(None, None, true, false, "x"), Step::Create);
        assert_eq!(next(None, None, false, false, "x"), Step::Wait);
        assert_eq!(next(store("a", false), None, true, false, "x"), Step::Write(marker("a").expect("some")));
        assert_eq!(next(store("a", false), None, false, false, "x"), Step::Wait);
        assert_eq!(next(store("a", false), marker("a"), true, false, "x"), Step::Mark(marker("a").expect("some")));
        assert_eq!(next(store("a", false), marker("a"), false, false, "x"), Step::Wait);
        assert_eq!(next(store("a", true), marker("a"), false, false, "x"), Step::Agreed);
    }

    #[test]
    fn metadata_and_store_that_do_not_belong_together_are_refused() {
        let refused = |store: Option<wire::Store>, found: Option<Marker>, new_store| {
            let step = |leads| next(store.clone(), found.clone(), leads, new_store, "x");
            [true, false].into_iter().all(|leads| matches!(step(leads), Step::Refuse(_)))
        };
        assert!(refused(None, marker("a"), false), "lost metadata");
        assert!(refused(store("a", true), marker("b"), false), "wrong bucket");
        assert!(refused(store("a", true), marker("b"), true), "wrong bucket, newstore left in the file");
        assert!(refused(store("a", false), marker("b"), false), "another cluster was faster");
        assert!(refused(store("a", true), None, false), "unshared directory");
        assert!(refused(store("a", true), None, true), "unshared directory, newstore left in the file");
    }

    #[test]
    fn newstore_takes_a_store_over_once() {
        assert_eq!(next(None, marker("old"), true, true, "x"), Step::Create);
        assert_eq!(
            next(store("new", false), marker("old"), true, true, "x"),
            Step::Write(marker("new").expect("some"))
        );
    }
}
