//! The composition root: the one place that knows every room.
//!
//! Start: telemetry is up → blob store → Raft → the store's marker matches the metadata → a barrier through the leader
//! succeeds → the public port listens. Stop: unready → drain → hand over leadership → checkpoint → end.

mod readiness;
mod store_marker;

use crate::{
    blobstore::{self, BlobStore},
    config::Config,
    http,
    lifecycle::{Lifecycle, Readiness},
    metadata::MetadataStore,
    raft::RaftStore,
    registry::{self, Registry},
    telemetry::metrics::Metrics,
    workers::{Supervisor, upload_reaper::UploadReaper},
};
use anyhow::Context;
use flotilla_proto::admin;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tracing::{info, warn};

/// How often expired sessions and dead objects are looked for.
const REAP_INTERVAL: Duration = Duration::from_secs(5);
/// How long a node of a cluster goes on serving after it said that it is not ready, so that balancers notice first.
const LEAD_MAX: Duration = Duration::from_secs(2);
/// What is left of a soft stop for handing over and the last checkpoint.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Runs a node until it was asked to stop, or cannot go on.
pub async fn run(config: Config, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let (say, readiness) = watch::channel(Readiness::Starting("starting".into()));

    let blobs = {
        let mut registry = metrics.registry();
        blobstore::open(&config.storage, lifecycle.clone(), &mut registry, &config.data_dir.join("spill"))
            .await
            .context("blob store")?
    };
    info!("blobs live in {}", blobs.describe());

    let ops = match &config.http.debug_addr {
        Some(address) => Some(http::bind(address).context("http.debug.addr")?),
        None => None,
    };
    let public = http::bind(&config.http.addr).context("http.addr")?;
    if let Some(listener) = ops {
        http::serve_ops(listener.listen()?, metrics.clone(), readiness.clone(), lifecycle.clone());
    }

    let raft = {
        let mut registry = metrics.registry();
        RaftStore::start(&config, lifecycle.clone(), &mut registry).await.context("raft")?
    };
    let metadata: Arc<dyn MetadataStore> = raft.clone();
    let leads: Arc<dyn Fn() -> bool + Send + Sync> = {
        let raft = raft.clone();
        Arc::new(move || raft.is_leader())
    };
    let result = tokio::select! {
        result = establish_store(&config, &raft, &*blobs, &*leads) => result,
        failure = raft.failed() => Err(failure.into()),
        () = lifecycle.draining().cancelled() => Ok(()),
    };
    if result.is_err() || lifecycle.draining().is_cancelled() {
        raft.shutdown().await;
        return result;
    }
}
