//! An operator beside the workers: pauses collection and lets it go on, collects at once, asks what would go, and verifies
//! the cluster while everything in it changes.

use super::report::Report;
use crate::cluster::operate;
use anyhow::Result;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// A node that is asked may be paused.
const LIMIT: Duration = Duration::from_secs(10);
const VERIFY: Duration = Duration::from_secs(60);

/// What came of asking a node by `flotillactl`.
pub enum Asked {
    /// It did.
    Done(Output),
    /// It did not, and never will: there was nobody to ask, or it said no.
    Not(String),
    /// Nobody can say.
    Unknown,
}

/// Asks a node.
pub async fn ask(data: &Path, arguments: &[&str], limit: Duration) -> Asked {
    let Ok(output) = operate(data, arguments, limit).await else { return Asked::Unknown };
    if output.status.success() {
        return Asked::Done(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match said.contains("cannot reach a node") || said.contains("the node answered 4") {
        true => Asked::Not(said),
        false => Asked::Unknown,
    }
}

/// Works until the end; then collection is on.
pub async fn work(data: Vec<PathBuf>, seed: u64, end: Instant, report: Arc<Report>) {
    let mut random = StdRng::seed_from_u64(seed ^ 0x0FF1CE);
    let mut turn = 0;
    while Instant::now() < end {
        // A schedule, not a wait: nothing is to be true afterwards.
        sleep(Duration::from_millis(random.random_range(2_000..6_000))).await;
        let Some(node) = data.choose(&mut random) else { return };
        turn += 1;
        match turn % 4 {
            1 => {
                if let Asked::Done(_) = ask(node, &["gc", "pause", "churn"], LIMIT).await {
                    report.count("collection paused by the operator");
                }
                sleep(Duration::from_millis(random.random_range(1_000..4_000))).await;
                resume(&data).await;
            }
            2 => done(ask(node, &["gc", "run"], LIMIT).await, "collected at once by the operator", &report),
            3 => done(ask(node, &["gc", "dry-run"], LIMIT).await, "dry runs", &report),
            _ => verify(node, &report).await,
        }
    }
    resume(&data).await;
}

fn done(asked: Asked, what: &'static str, report: &Report) {
    if let Asked::Done(_) = asked {
        report.count(what);
    }
}

/// Asks one node after the other until one does it: a pause may have been made by a request whose answer was lost.
async fn resume(data: &[PathBuf]) {
    for node in data.iter().cycle() {
        if let Asked::Done(_) = ask(node, &["gc", "resume"], LIMIT).await {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Nothing differs, at no time. A node that is killed meanwhile comes to no end.
async fn verify(node: &Path, report: &Report) {
    let Ok(answer) = operate(node, &["verify", "--json"], VERIFY).await else {
        return report.count("verifications without an end");
    };
    match differences(&answer.stdout) {
        Ok(Some(differences)) if differences.is_empty() => report.count("verifications under load"),
        Ok(Some(differences)) => report.violation(format!("verify: {differences:?}")),
        Ok(None) | Err(_) => report.count("verifications without an end"),
    }
}

/// What a verification that came to its end found.
fn differences(answer: &[u8]) -> Result<Option<Vec<Value>>> {
    let answer: Value = serde_json::from_slice(answer)?;
    let found = answer["differences"].as_array().cloned().unwrap_or_default();
    Ok((answer["phase"] == "done" || !found.is_empty()).then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_that_ended_early_tells_only_what_it_found() {
        let of = |text: &str| differences(text.as_bytes()).unwrap().map(|found| found.len());
        assert_eq!(of(r#"{"phase": "done", "differences": []}"#), Some(0));
        assert_eq!(of(r#"{"phase": "blobs", "differences": [], "error": "barrier"}"#), None);
        assert_eq!(of(r#"{"phase": "blobs", "differences": ["S1: x"], "error": "barrier"}"#), Some(1));
        assert!(differences(b"").is_err());
    }
}
