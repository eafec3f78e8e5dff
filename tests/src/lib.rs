//! What the integration tests stand on: real processes of the release build, real stores, balancers and docker engines.
//!
//! Everything started here is stopped when its value is dropped. A test that lacks a program or the right to use it says
//! so through [`skip`]; `tests/run.sh` lists those at the end.

pub mod authority;
pub mod bucket;
pub mod churn;
pub mod cluster;
pub mod conformance;
pub mod containerd;
pub mod dev;
pub mod differential;
pub mod dockerd;
pub mod faulty_s3;
pub mod garage;
pub mod haproxy;
pub mod history;
pub mod http;
pub mod images;
pub mod ports;
pub mod process;
pub mod raw;
pub mod replay;
pub mod seed;
pub mod slow_store;
#[cfg(test)]
mod spec_coverage;
pub mod token_server;
pub mod wire;

use std::{
    future::Future,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Says that a test (or a part of one) did not run, on standard output and in the file that `tests/run.sh` reads.
pub fn skip(name: &str, why: &str) {
    println!("SKIP {name}: {why}");
    if let Some(path) = std::env::var_os("FLOTILLA_SKIP_FILE")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "SKIP {name}: {why}");
    }
}

/// Where a program lies, looked for in `PATH` and the folders of system programs.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).map(|dir| PathBuf::from(dir).join(name)).find(|file| file.is_file())
}

/// Those of `names` that are not installed.
pub fn missing<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| program(name).is_none()).collect()
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The size of the large layers in MiB: `FLOTILLA_LAYER_MIB`, else 1024.
pub fn layer_mib() -> u64 {
    std::env::var("FLOTILLA_LAYER_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024)
}

/// The folder of things kept between runs: `FLOTILLA_CACHE`, else `~/.cache/flotilla`.
pub fn cache_dir() -> PathBuf {
    let dir = std::env::var_os("FLOTILLA_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache/flotilla")
    });
    let _ = std::fs::create_dir_all(&dir);
    dir
}

/// Polls `condition` until it gives a value.
///
/// # Panics
/// When `limit` passed first, naming `what`.
pub async fn wait_for<T, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
