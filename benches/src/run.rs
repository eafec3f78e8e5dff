//! A closed loop: a fixed number of operations in flight, first to warm up, then measured; slowed down to a rate if one is
//! given.

use crate::{
    histogram::Histogram,
    outcome::{Latency, Outcome},
    process,
    scenario::{Failure, Scenario},
};
use anyhow::{Context, Result};
use rand::{SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};

/// Failures shown in full on standard error.
const SHOWN_MAX: u64 = 5;

/// How to load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Operations in flight at once.
    pub concurrency: usize,
    /// Not measured, at the start; at least one operation of each loop.
    pub warmup: Duration,
    /// Begin no operation after this time.
    pub duration: Duration,
    /// Begin no more operations than this, if given.
    pub count: Option<u64>,
    /// Begin at most this many operations a second, if given, evenly spread.
    pub rate: Option<f64>,
    /// Longest time of one operation.
    pub timeout: Duration,
    /// Seed of choices and content.
    pub seed: u64,
    /// Processes whose CPU time and memory are watched.
    pub pids: Vec<u32>,
}

#[derive(Default)]
struct Tally {
    latencies: Histogram,
    bytes: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, result: Result<u64, Failure>, took: Duration) {
        match result {
            Ok(bytes) => {
                self.latencies.record(took);
                self.bytes += bytes;
            }
            Err(failure) => {
                let count = self.errors.entry(failure.kind()).or_default();
                *count += 1;
                if *count <= SHOWN_MAX {
                    eprintln!("loadgen: {:#}", anyhow::Error::from(failure));
                }
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        self.bytes += other.bytes;
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
    }
}

/// Runs `scenario` as `plan` says. Failed operations are counted, not returned; an error means a watched process is gone.
pub async fn run(scenario: Scenario, plan: &Plan, name: &str, labels: BTreeMap<String, String>) -> Result<Outcome> {
    let scenario = Arc::new(scenario);
    let warmup = phase(&scenario, plan, plan.warmup, None, 2).await?;
    plan.pids.iter().for_each(|pid| process::reset_peak(*pid));
    let (watched, own) = (cpu(&plan.pids)?, process::cpu_time(std::process::id())?);
    let start = Instant::now();
    let mut tally = phase(&scenario, plan, plan.duration, plan.count, 3).await?;
    let seconds = start.elapsed().as_secs_f64();
    let watched = cpu(&plan.pids)?.saturating_sub(watched);
    let own = process::cpu_time(std::process::id())?.saturating_sub(own);
    let mut peak_rss_bytes = BTreeMap::new();
    for pid in &plan.pids {
        peak_rss_bytes.insert(*pid, process::peak_rss(*pid)?);
    }
    for (kind, count) in warmup.errors {
        *tally.errors.entry(kind).or_default() += count;
    }
    let ops = tally.latencies.count();
    let per_op = |cpu: Duration| cpu.as_secs_f64() * 1e6 / ops.max(1) as f64;
    let micros = |share| tally.latencies.quantile(share).as_secs_f64() * 1e6;
    Ok(Outcome {
        labels,
        scenario: name.to_owned(),
        seed: plan.seed,
        concurrency: plan.concurrency,
        ops,
        seconds,
        ops_per_second: ops as f64 / seconds,
        bytes_per_second: tally.bytes as f64 / seconds,
        latency_us: Latency {
            p50: micros(0.5),
            p90: micros(0.9),
            p99: micros(0.99),
            max: tally.latencies.max().as_secs_f64() * 1e6,
        },
        cpu_us_per_op: (!plan.pids.is_empty()).then(|| per_op(watched)),
        client_cpu_us_per_op: per_op(own),
        peak_rss_bytes,
        errors: tally.errors,
    })
}

/// CPU time of all watched processes together.
fn cpu(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| process::cpu_time(*pid)).sum()
}

async fn phase(
    scenario: &Arc<Scenario>,
    plan: &Plan,
    length: Duration,
    count: Option<u64>,
    salt: u64,
) -> Result<Tally> {
    let (tickets, begins) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let end = start + length;
    let mut loops = JoinSet::new();
    for index in 0..plan.concurrency as u64 {
        let (scenario, tickets, timeout) = (scenario.clone(), tickets.clone(), plan.timeout);
        let (begins, rate) = (begins.clone(), plan.rate);
        let mut rng = StdRng::seed_from_u64(plan.seed ^ (salt << 32) ^ index);
        loops.spawn(async move {
            let mut tally = Tally::default();
            loop {
                if count.is_some_and(|count| tickets.fetch_add(1, Ordering::Relaxed) >= count) {
                    return tally;
                }
                if let Some(rate) = rate {
                    let n = begins.fetch_add(1, Ordering::Relaxed) as f64;
                    tokio::time::sleep_until(start + Duration::from_secs_f64(n / rate)).await;
                }
                let begin = Instant::now();
                let result = tokio::time::timeout(timeout, scenario.operation(&mut rng)).await;
                tally.add(result.unwrap_or(Err(Failure::Timeout)), begin.elapsed());
                if Instant::now() >= end {
                    return tally;
                }
            }
        });
    }
    let mut total = Tally::default();
    while let Some(tally) = loops.join_next().await {
        total.merge(tally.context("a load loop panicked")?);
    }
    Ok(total)
}
