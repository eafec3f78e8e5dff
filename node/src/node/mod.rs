//! The composition root: the one place that knows every room.
//!
//! Start: blob store → Raft → a barrier through the leader succeeded → the store's marker agrees with the metadata → the
//! state has the delays of collection → the public port listens. Stop: unready → drain → hand over leadership → checkpoint → end.

mod access;
mod listen;
mod operations;
mod readiness;
mod store_marker;
#[cfg(test)]
mod tests;

use crate::{
    blobstore::{self, BlobStore},
    config::{Config, Driver, Gc},
    health::{self, Health},
    http,
    lifecycle::{Lifecycle, Readiness},
    metadata::MetadataStore,
    operator,
    raft::{self, RaftStore},
    registry::{LayerUrls, Registry, Settings},
    telemetry,
    workers::{
        Supervisor,
        gc::{self, Share, ShareOf},
        gc_settings::GcSettings,
        token_keys::{self, TokenKeys},
        upload_reaper::UploadReaper,
    },
};
use anyhow::{Context, bail};
use flotilla_proto::{metadata::HOUR_MS, wire::metadata as wire};
use operations::Operator;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tracing::{debug, info, warn};

/// How often expired sessions are looked for, and delays compared.
const REAP_INTERVAL: Duration = Duration::from_secs(5);
/// A node of a cluster goes on serving for this share of the drain time, at most [`LEAD_MAX`], after it said that it is not
/// ready, so that balancers notice before its port closes.
const LEAD_SHARE: u32 = 5;
const LEAD_MAX: Duration = Duration::from_secs(2);
/// Longest wait for the first leader before a look at what to do next.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at what the start waits for.
const POLL: Duration = Duration::from_millis(20);

/// Longest wait for the last lines of the access log.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// The operators' socket inside the data directory.
pub const SOCKET: &str = "flotilla.sock";

/// Runs a node until it was asked to stop, or cannot go on.
pub async fn run(config: Config, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let (say, readiness) = watch::channel(Readiness::Starting("opening the stores".into()));
    let mut figures = telemetry::metrics::registry();

    if let Driver::Filesystem(filesystem) = &config.storage.driver {
        store_marker::refuse_distribution(&filesystem.root_directory)?;
    }
    raft::make_dir(&config.data_dir).with_context(|| format!("cannot create {}", config.data_dir.display()))?;
    let spill = config.data_dir.join("spill");
    std::fs::create_dir_all(&spill).with_context(|| format!("cannot create {}", spill.display()))?;
    let blob_figures = blobstore::Metrics::register(&mut figures, config.storage.driver.metrics_name());
    let blobs = blobstore::open(&config.storage, lifecycle.clone(), blob_figures, spill).await.context("blob store")?;
    info!("blobs live in {}", blobs.describe());
    let checks = health::Checks::new(&config.health, config.storage.driver.name(), &blobs)?;
    let ops = match &config.http.debug_addr {
        Some(address) => Some(listen::bind(address).await.context("http.debug.addr")?),
        None => None,
    };
    let mut access = access::open(&config)?;
    let public = listen::public(&config.http).await.context("http.addr")?;
    let tls = match config.http.tls.clone() {
        Some(tls) => {
            let figures = http::tls::Metrics::new(&mut figures);
            let reloader = http::tls::Reloader::open(tls, figures).context("http.tls")?;
            let acceptor = reloader.acceptor();
            lifecycle.spawn(reloader.run(lifecycle.clone()));
            Some(acceptor)
        }
        None => None,
    };
    let audit = match &config.audit {
        Some(place) => Some(http::audit::Audit::open(place, &mut figures).context("audit")?),
        None => None,
    };
    let raft = RaftStore::start(&config, &lifecycle, &mut figures).await.context("cluster")?;
    let operators = http::admin::bind(&config.data_dir.join(SOCKET)).context("operators' socket")?;

    let health = Health::new(&mut figures);
    let http_figures = http::Metrics::new(&mut figures);
    let leads = {
        let raft = raft.clone();
        Arc::new(move || raft.is_leader())
    };
    let supervisor = Supervisor::new(lifecycle.clone(), leads.clone(), &mut figures);
    let gc_figures = gc::Metrics::register(&mut figures);
    figures.register_collector(Box::new(operator::Figures::new(raft.clone())));
    let figures = Arc::new(figures);

    // Not tracked: they serve until the very end, and end with this function.
    let mut services = JoinSet::new();
    if let Some(ops) = ops {
        let path = config.http.metrics_path.as_deref();
        let pages = http::Ops::new(readiness.clone(), health.clone(), figures, path);
        let listener = listen::listen(ops)?;
        // Of a life of its own: probes and scrapes are answered while requests drain, and nobody waits for them.
        let serve = http::server::serve(listener, Lifecycle::new(), None, move |request| pages.clone().handle(request));
        services.spawn(serve);
    }
    let desk = operator::Desk::new(raft.clone());
    let verifier = operator::Verifier::new(raft.clone(), blobs.clone(), lifecycle.clone());
    let operator = Arc::new(Operator { raft: raft.clone(), desk, verifier, readiness: readiness.clone() });
    let answers = Arc::new(http::admin::Operators::new(operator, audit.clone(), lifecycle.clone()));
    raft.serve_operators(operations::at_port(&answers));
    services.spawn(http::admin::serve(operators, answers));

    let node = Node { config, lifecycle, say, raft, blobs };
    let metadata: Arc<dyn MetadataStore> = node.raft.clone();
    let mut settings_of_gc = GcSettings::new(metadata.clone(), delays(&node.config.gc));
    let result = tokio::select! {
        result = node.establish(&mut settings_of_gc) => result,
        why = node.raft.failed() => Err(anyhow::anyhow!(why)),
        () = node.lifecycle.leaving().cancelled() => {
            node.lifecycle.stop();
            node.raft.shutdown().await;
            return Ok(());
        }
    };
    let cluster_id = match result {
        Ok(cluster_id) => cluster_id,
        Err(error) => {
            node.lifecycle.stop();
            node.raft.shutdown().await;
            return Err(error);
        }
    };

    health.run(checks, &node.lifecycle);
    if let Some(issuer) = access::issuer(&node.config, &metadata, cluster_id) {
        supervisor.run(TokenKeys::new(issuer.clone()), token_keys::INTERVAL);
        access = access.with_issuer(issuer);
    }
    let registry = Registry::new(metadata.clone(), node.blobs.clone(), node.lifecycle.clone(), node.settings());
    let limits = http::Limits {
        connections: node.config.limits.connections,
        requests: node.config.limits.requests,
        progress: node.config.limits.body_progress,
        ..http::Limits::default()
    };
    let access_log = http::AccessLog::open(node.config.log.access_log).context("log.accesslog")?;
    let headers = node.config.http.headers.clone();
    let front = http::Front::new(http::Setup {
        registry,
        access: Arc::new(access),
        readiness,
        health,
        read_only: node.config.storage.read_only,
        metrics: http_figures.clone(),
        access_log: access_log.clone(),
        origins: http::Origins::from(&node.config.http),
        headers: headers.clone(),
        limits,
        audit: audit.clone(),
    });
    let public = public.listen()?;
    info!("serving on {public}");
    let requests = node.lifecycle.clone();
    let settings = http::server::Settings {
        metrics: Some(http_figures),
        limits,
        headers,
        http1_only: !node.config.http.http2,
        tls,
    };
    let serve = http::server::serve_with(public, node.lifecycle.clone(), settings, move |request| {
        front.clone().handle_detached(request, requests.clone())
    });
    let accepting = node.lifecycle.spawn(serve);
    supervisor.run(settings_of_gc, REAP_INTERVAL);
    supervisor.run(UploadReaper::new(metadata.clone()), REAP_INTERVAL);
    supervisor.run(operator::Rehearsal::new(metadata.clone()), operator::Rehearsal::INTERVAL);
    node.warn_of_hazards();
    let Gc { rate, rehash, recount, scrub, .. } = node.config.gc;
    let (blobs, share) = (node.blobs.clone(), share_of(node.raft.clone()));
    let setup = gc::Setup { metadata, blobs, rate, rehash, recount, scrub, share, metrics: gc_figures };
    gc::run(&supervisor, &setup);
    let result = node.serve(accepting).await;
    access_log.flush(FLUSH_MAX);
    if let Some(audit) = audit {
        audit.flush().await;
    }
    result
}

/// The delays of collection, as the state keeps them.
fn delays(gc: &Gc) -> wire::GcDelays {
    let ms = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    wire::GcDelays {
        grace_ms: ms(gc.grace),
        promise_ms: ms(gc.promise),
        delete_ms: ms(gc.delete_delay),
        sweep_ms: ms(gc.sweep_delay),
        hour_ms: HOUR_MS.min(ms(gc.sweep_delay)),
        untagged_ms: gc.delete_untagged.map_or(0, ms),
        breaker_permille: gc.breaker_permille,
        breaker_floor: gc.breaker_floor,
    }
}

/// A node's share of the objects to delete, by its place among the members.
fn share_of(raft: Arc<RaftStore>) -> ShareOf {
    Arc::new(move || {
        let status = raft.status();
        Share::among(status.node_id?, status.nodes.iter().map(|node| node.id), raft.is_leader())
    })
}

/// What start, watch and stop share.
struct Node {
    config: Config,
    lifecycle: Lifecycle,
    say: watch::Sender<Readiness>,
    raft: Arc<RaftStore>,
    blobs: Arc<dyn BlobStore>,
}

impl Node {
    fn settings(&self) -> Settings {
        let Config { storage, validation, pages, gc, .. } = &self.config;
        let defaults = Settings::default();
        Settings {
            delete: storage.delete,
            redirect: storage.redirect,
            sparse_indexes: validation.sparse_indexes,
            layer_urls: LayerUrls { allow: validation.allowed_urls.clone(), deny: validation.denied_urls.clone() },
            upload_age: storage.upload_age,
            upload_idle: defaults.upload_idle.min(storage.upload_age),
            // Half of what `gc.sweepdelay` is checked against: the first look is a little older than the upload.
            freshness: defaults.freshness.min(gc.sweep_delay / 8),
            // Delays too short for these, which only tests set, bound them.
            degraded_age: defaults.degraded_age.min(gc.grace.saturating_sub(gc.promise)),
            url_life: defaults.url_life.min(gc.delete_delay),
            catalog_page: pages.catalog,
            tags_page: pages.tags,
            ..defaults
        }
    }

    /// Says, beside the start, what in the store's settings would delete blobs. A store that does not tell is no news.
    fn warn_of_hazards(&self) {
        let blobs = self.blobs.clone();
        self.lifecycle.spawn(async move {
            match blobs.hazards().await {
                Ok(hazards) => hazards.iter().for_each(|hazard| warn!("{hazard}")),
                Err(error) => debug!("the store does not tell its life cycle rules: {error}"),
            }
        });
    }

    fn say(&self, readiness: Readiness) {
        self.say.send_if_modified(|now| {
            let changed = *now != readiness;
            if changed {
                info!("readiness: {readiness:?}");
                *now = readiness;
            }
            changed
        });
    }

    /// Waits for the cluster, ties it to the blob store, waits for the delays of collection, and says that it is ready.
    /// Returns the cluster's id.
    async fn establish(&self, settings_of_gc: &mut GcSettings) -> anyhow::Result<String> {
        self.say(Readiness::Starting("waiting for the cluster".into()));
        let cluster_id = loop {
            let barrier = self.raft.barrier(Instant::now() + PATIENCE).await;
            match (barrier, self.raft.cluster_id()) {
                (Ok(()), Some(cluster_id)) => break cluster_id,
                (Err(error), _) => warn!("no leader yet: {error}"),
                (Ok(()), None) => {}
            }
            tokio::time::sleep(POLL).await;
        };
        self.say(Readiness::Starting("comparing the blob store's marker".into()));
        let new_store = self.config.cluster.as_ref().is_some_and(|cluster| cluster.new_store);
        let leads = || self.raft.is_leader();
        store_marker::establish(&*self.raft, &*self.blobs, &leads, &cluster_id, new_store).await?;
        self.say(Readiness::Starting("waiting for the delays of collection".into()));
        settings_of_gc.settle(&leads, self.lifecycle.draining()).await?;
        self.say(Readiness::Ready);
        Ok(cluster_id)
    }

    /// Watches readiness until the soft stop, then stops in order.
    async fn serve(&self, accepting: JoinHandle<()>) -> anyhow::Result<()> {
        tokio::select! {
            why = self.raft.failed() => {
                self.lifecycle.stop();
                bail!(why);
            }
            () = self.watch() => {}
            () = self.lifecycle.leaving().cancelled() => {}
        }
        self.stop(accepting).await;
        Ok(())
    }

    async fn watch(&self) {
        loop {
            tokio::time::sleep(readiness::INTERVAL).await;
            let leaderless = self.raft.leaderless();
            let peers = match leaderless >= readiness::LEADERLESS_MAX {
                true => Some(self.raft.peers_have_leader().await),
                false => None,
            };
            let Some(readiness) = readiness::decide(leaderless, peers) else { continue };
            let returns = readiness == Readiness::Ready && *self.say.borrow() != Readiness::Ready;
            // A leader is not enough: this node may have to catch up first.
            if !returns || self.raft.barrier(Instant::now() + readiness::INTERVAL * 4).await.is_ok() {
                self.say(readiness);
            }
        }
    }

    async fn stop(&self, accepting: JoinHandle<()>) {
        self.say(Readiness::Unready("stopping".into()));
        let limit = self.config.http.drain_timeout;
        let deadline = Instant::now() + limit;
        if self.config.cluster.is_some() {
            let lead = (limit / LEAD_SHARE).min(LEAD_MAX);
            self.lifecycle.draining().run_until_cancelled(tokio::time::sleep(lead)).await;
        }
        self.lifecycle.drain();
        // The listener has closed when this returns; what it accepted goes on.
        let _ = accepting.await;
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            done = self.lifecycle.drained(left) => {
                if !done {
                    warn!("the drain time is over; cutting off what still runs");
                }
            }
            () = self.lifecycle.stopping().cancelled() => {}
        }
        self.raft.shutdown().await;
        self.lifecycle.stop();
    }
}
