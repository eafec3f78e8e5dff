//! What a replica does by itself: advance replicated time as leader, publish figures. `compaction` purges the log.

use super::{propose, replica::Replica};
use crate::metadata::Command;
use flotilla_proto::wire::metadata as words;
use openraft::async_runtime::watch::WatchReceiver as _;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};

/// Every `options.tick`, and at once in a new term: `Tick`, by this node's monotonic clock. Only a leader ticks, and an
/// entry of a leader that has been deposed meanwhile is refused by openraft; so is one of a leader whose quorum has not
/// answered for a lease, so that time without one does not count.
pub(super) async fn tick(replica: Arc<Replica>) {
    let mut server = replica.raft.server_metrics();
    let mut last: Option<(u64, Instant)> = None;
    loop {
        let leader = replica.raft.as_leader().ok();
        if let Some(leader) = &leader {
            let term = leader.leader_id().term;
            let now = Instant::now();
            let due = match last {
                Some((of, at)) if of == term => (now - at >= replica.options.tick).then(|| now - at),
                Some(_) | None => Some(Duration::ZERO),
            };
            if let Some(elapsed) = due {
                let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                let tick = propose::bare_batch(Command::Tick(words::Tick { elapsed_ms, term }));
                if replica.raft.write(tick).with_leader(leader.to_committed_leader_id()).await.is_err() {
                    return;
                }
                last = Some((term, now));
            }
        }
        let wait = match last {
            Some((_, at)) if leader.is_some() => replica.options.tick.saturating_sub(at.elapsed()),
            _ => replica.options.tick,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = server.changed() => if changed.is_err() { return },
            () = replica.stopping.cancelled() => return,
        }
    }
}

/// Publishes figures and says who leads.
pub(super) async fn observe(replica: Arc<Replica>) {
    let mut timer = tokio::time::interval(Duration::from_millis(500));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut server = replica.raft.server_metrics();
    let mut known = None;
    loop {
        let (term, leader, last_log) = {
            let metrics = replica.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.current_term, metrics.current_leader, metrics.last_log_index.unwrap_or(0))
        };
        replica.hear_quorum();
        let applied = replica.state.applied_index();
        if leader != known {
            if let Some(leader) = leader {
                replica.metrics.leader_changes.inc();
                tracing::info!(raft.term = term, raft.leader = leader, "node {leader} leads");
            } else {
                tracing::warn!(raft.term = term, "no leader is known");
            }
            known = leader;
        }
        let figure = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        replica.metrics.term.set(figure(term));
        replica.metrics.leader.set(figure(leader.unwrap_or(0)));
        replica.metrics.is_leader.set(i64::from(replica.is_leader()));
        replica.metrics.applied_index.set(figure(applied));
        replica.metrics.lag.set(figure(last_log.saturating_sub(applied)));
        replica.metrics.log_bytes.set(figure(replica.log.disk_bytes()));
        tokio::select! {
            _ = timer.tick() => {}
            changed = server.changed() => if changed.is_err() { return },
            () = replica.stopping.cancelled() => return,
        }
    }
}
