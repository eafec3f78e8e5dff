//! Nodes that are killed, paused and restarted, one at a time, so that a quorum is left.

use super::report::Report;
use crate::cluster::Cluster;
use anyhow::Result;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longer than objects wait for their end and hours for their sweep: whoever wakes up then knows nothing of what went.
const LONG: std::ops::Range<u64> = 12_000..16_000;
/// The longest disturbance, and the time to be ready again.
const ROOM: Duration = Duration::from_secs(20);

/// Disturbs the cluster until the end, then lets all nodes run and waits until they are ready.
pub async fn disturb(cluster: &mut Cluster, seed: u64, end: Instant, report: &Report) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut between = |from: u64, to: u64| Duration::from_millis(random.random_range(from..to));
    let mut turn = 0_u32;
    loop {
        // A schedule, not a wait: nothing is to be true afterwards.
        let pause = between(4_000, 9_000);
        if Instant::now() + pause + ROOM >= end {
            return Ok(());
        }
        sleep(pause).await;
        // Every other time the leader, which is missed most.
        turn += 1;
        let victim = match turn.is_multiple_of(2) {
            true => cluster.leader().await,
            false => usize::try_from(between(0, 3_000).as_millis())? % cluster.nodes.len(),
        };
        let node = &mut cluster.nodes[victim];
        match turn % 3 {
            0 => {
                node.stop().await?;
                report.count("nodes stopped and started again");
                cluster.restart(victim).await?;
            }
            1 => {
                let long = !(turn / 3).is_multiple_of(3);
                node.process().signal(Signal::STOP);
                sleep(if long { between(LONG.start, LONG.end) } else { between(1_000, 6_000) }).await;
                node.process().signal(Signal::CONT);
                report.count(if long { "nodes paused for long" } else { "nodes paused" });
            }
            _ => {
                node.kill();
                sleep(between(500, 4_000)).await;
                report.count("nodes killed with -9");
                cluster.restart(victim).await?;
            }
        }
        cluster.wait_ready().await;
    }
}
