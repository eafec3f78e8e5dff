//! Churn: many clients push, push again, mount, retag, delete and pull at random, while nodes are killed and paused and
//! collection runs with delays of seconds. Nothing that was promised may be lost; and when all is quiet, the store holds what
//! lives and nothing else.
//!
//! [`worker`] is one client, [`model`] what it knows for sure, [`registry`] how it asks, [`operator`] works beside them,
//! [`faults`] is what happens to the nodes, [`metrics`] what collection did meanwhile, [`live`] the count at the end.

pub mod content;
pub mod faults;
pub mod live;
pub mod metrics;
pub mod model;
pub mod operator;
pub mod registry;
pub mod report;
pub mod worker;

use crate::{
    bucket::Store,
    cluster::{Cluster, Node},
    wait_for,
};
use anyhow::{Context, Result, ensure};
use metrics::Watch;
use model::Repository;
use registry::Registry;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};
use worker::{Worker, World};

/// Queues empty, once everybody has stopped: the sum of the delays, several times over.
const QUIET: Duration = Duration::from_secs(300);
const VERIFY: Duration = Duration::from_secs(600);

/// The delays of collection, as short as a run needs them; more lines of the section may follow.
pub const GC_SECTION: &str = "gc:\n  unsafedelays: true\n  grace: 30s\n  promise: 20s\n  deletedelay: 5s\n  sweepdelay: 10s\n  \
                              deleteuntagged: 30s\n  breaker: off\n";
/// At most half the promise.
pub const PUSH_DEADLINE: Duration = Duration::from_secs(10);

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients at once.
    pub workers: usize,
    /// For how long they work.
    pub length: Duration,
    /// Of everything random.
    pub seed: u64,
    /// Whether nodes are killed and paused.
    pub disturbed: bool,
    /// One blob in so many is uploaded in parts.
    pub huge_in: u32,
}

/// What came of a run.
pub struct Ended {
    /// What was shared.
    pub world: Arc<World>,
    /// What the workers are sure of.
    pub repositories: Vec<Repository>,
    /// What collection does, from the first push to the end of the count.
    pub collection: Watch,
}

/// Lets the workers work against `address`.
pub async fn run(plan: Plan, cluster: &mut Cluster, address: &str) -> Result<Ended> {
    let data: Vec<_> = cluster.nodes.iter().map(|node| node.data.clone()).collect();
    let collection = Watch::start(cluster.nodes.iter().map(|node| node.ops.clone()).collect());
    let world = Arc::new(World::new(address.to_owned(), data.clone(), PUSH_DEADLINE, plan.huge_in));
    let end = Instant::now() + plan.length;
    let (mut workers, mut operators) = (JoinSet::new(), JoinSet::new());
    operators.spawn(operator::work(data, plan.seed, end, world.report.clone()));
    for number in 0..plan.workers {
        workers.spawn(Worker::new(world.clone(), number, plan.seed).run(end));
    }
    if plan.disturbed {
        faults::disturb(cluster, plan.seed, end, &world.report).await?;
    }
    let mut repositories = Vec::new();
    while let Some(known) = workers.join_next().await {
        repositories.extend(known.context("a worker panicked")?);
    }
    cluster.wait_ready().await;
    operators.join_next().await.transpose().context("the operator panicked")?;
    Ok(Ended { world, repositories, collection })
}

impl Ended {
    /// Waits until nothing is left to collect, then counts: tags by the workers' knowledge, the store by what lives.
    ///
    /// # Errors
    /// What is not as it should be.
    pub async fn check(&self, cluster: &Cluster, store: &Store) -> Result<()> {
        let registry = Registry::new(&self.world.address, self.world.report.clone());
        let begun = Instant::now();
        wait_for("the queues of collection to be empty", QUIET, || async {
            is_quiet(&cluster.nodes[0]).await.ok()?.then_some(())
        })
        .await;
        let tags = live::check_tags(&registry, &self.repositories).await?;
        let live = live::blobs(&registry).await?;
        // The hours' sweep is in no queue.
        let last = std::cell::RefCell::new(String::new());
        let settled = async {
            loop {
                match live::check_store(store, &live).await {
                    Ok(()) => return,
                    Err(error) => last.replace(format!("{error:#}")),
                };
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let settled = tokio::time::timeout(QUIET, settled).await;
        ensure!(settled.is_ok(), "the store does not come to hold what lives: {}", last.borrow());
        let live_bytes = live.values().sum::<u64>();
        println!(
            "quiet after {:?}: {tags} tags are right, {} blobs live, {live_bytes} bytes",
            begun.elapsed(),
            live.len()
        );
        for node in &cluster.nodes {
            let answer = node.operate(&["verify", "--hash"], VERIFY).await?;
            let text =
                format!("{}{}", String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
            ensure!(answer.status.success(), "verify --hash: {}\n{text}", answer.status);
        }
        Ok(())
    }
}

/// Whether nothing waits in any queue of collection. An hour of uploads is not over before the next one begins, so that
/// queue does not count; the store's content tells whether hours are swept.
///
/// # Errors
/// When the node does not say, or collection is not on.
pub async fn is_quiet(node: &Node) -> Result<bool> {
    let status = gc_status(node).await?;
    ensure!(status["mode"] == "on", "collection is not on: {status}");
    let queues = status["queues"].as_array().context("no queues")?;
    ensure!(!queues.is_empty(), "no queues");
    let mut waiting = queues.iter().filter(|queue| queue["name"] != "hours");
    Ok(waiting.all(|queue| queue["waiting"].as_u64() == Some(0)))
}

/// What `flotillactl gc status --json` prints.
pub async fn gc_status(node: &Node) -> Result<serde_json::Value> {
    let answer = node.operate(&["gc", "status", "--json"], Duration::from_secs(30)).await?;
    ensure!(answer.status.success(), "gc status: {}", String::from_utf8_lossy(&answer.stderr));
    Ok(serde_json::from_slice(&answer.stdout)?)
}
