//! A conformance suite of the OCI distribution specification: checks sent over HTTP to any registry.
//!
//! Written from the specification, for its release 1.1 and its development version, with every optional part on but
//! sparse indexes. A check is a named statement that holds or fails with a reason; nothing is skipped. Requests go round
//! robin over all base addresses, so that a cluster must look like one registry to whoever asks another node each time.
//!
//! It knows nothing of this registry: no configuration, no extension. Read `uploads` for the ways a blob is pushed,
//! `data` for what is pushed, `sets` for what each data set undergoes.

mod base;
mod blobs;
mod data;
mod manifests;
mod ranges;
mod referrers;
mod rules;
mod sessions;
mod sets;
mod tag_parameters;
mod tags;
mod uploads;
mod wire;

use crate::http::Client;
use anyhow::Result;
use std::{
    future::Future,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use uploads::Way;

/// Which text the registry is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Release 1.1.
    V1_1,
    /// The development version: digest headers, tag parameters and the cancelling of uploads are required too.
    Dev,
}

/// What became of the checks of one run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Names of those that hold.
    pub passed: Vec<String>,
    /// Names of those that do not, each with the reason.
    pub failed: Vec<(String, String)>,
}

impl Report {
    /// How many checks ran.
    pub fn count(&self) -> usize {
        self.passed.len() + self.failed.len()
    }

    /// The areas (the first part of a name) in the order they ran, each with how many checks passed and failed.
    pub fn areas(&self) -> Vec<(String, usize, usize)> {
        let mut areas: Vec<(String, usize, usize)> = Vec::new();
        let passed = self.passed.iter().map(|name| (name, true));
        for (name, ok) in passed.chain(self.failed.iter().map(|(name, _)| (name, false))) {
            let area = name.split('/').next().unwrap_or_default();
            let place = areas.iter().position(|(known, ..)| known == area).unwrap_or_else(|| {
                areas.push((area.to_owned(), 0, 0));
                areas.len() - 1
            });
            if ok { areas[place].1 += 1 } else { areas[place].2 += 1 }
        }
        areas
    }
}

/// One run against one registry.
pub struct Suite {
    client: Client,
    bases: Vec<String>,
    repository: String,
    other: String,
    version: Version,
    /// Bytes of a chunk: what the registry asks for at least, never less than 1024.
    chunk: usize,
    /// The ways of pushing that worked when they were checked on their own.
    ways: Mutex<Vec<Way>>,
    turn: AtomicUsize,
    report: Mutex<Report>,
    broken: Mutex<rules::Broken>,
}

impl Suite {
    /// A suite over `bases` (`host:port` each), which pushes to the repositories `repository` and `other`. Neither may
    /// exist when it starts; content it makes is random, so that runs never meet each other's.
    pub fn new<S: Into<String>>(
        bases: impl IntoIterator<Item = S>,
        repository: &str,
        other: &str,
        version: Version,
    ) -> Self {
        let bases: Vec<String> = bases.into_iter().map(Into::into).collect();
        Self {
            client: Client::new(bases.clone()),
            bases,
            repository: repository.to_owned(),
            other: other.to_owned(),
            version,
            chunk: 1024,
            ways: Mutex::default(),
            turn: AtomicUsize::new(0),
            report: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    /// Runs every check, one after the other.
    pub async fn run(mut self) -> Report {
        self.base().await;
        self.chunk = self.chunk_bytes().await;
        for algorithm in data::ALGORITHMS {
            self.blobs(algorithm).await;
            self.ranges(algorithm).await;
            self.sessions(algorithm).await;
        }
        for set in data::sets(self.version) {
            self.undergo(&set).await;
        }
        self.manifests().await;
        self.tags().await;
        if self.version >= Version::Dev {
            self.tag_parameters().await;
        }
        self.referrers().await;
        self.rules().await;
        self.report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one check and whether it held.
    async fn check(&self, name: impl Into<String>, body: impl Future<Output = Result<()>>) -> bool {
        let result = body.await;
        let held = result.is_ok();
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => report.passed.push(name.into()),
            Err(error) => report.failed.push((name.into(), format!("{error:#}"))),
        }
        held
    }

    /// The next way to push a blob: each of those that work in turn.
    fn next_way(&self) -> Way {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        ways.get(turn % ways.len().max(1)).copied().unwrap_or(Way::PostPut)
    }
}
