//! `flotilla dev`: the cluster on one machine that the README starts.

use crate::{cluster::server, http::Client, ports, process::Process};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// `dev.json`
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Description {
    /// Address of the front.
    pub listen: String,
    /// The nodes.
    pub nodes: Vec<DevNode>,
}

/// One node in `dev.json`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct DevNode {
    /// Its id.
    pub id: serde_json::Value,
    /// Its process.
    pub pid: i32,
    /// Public address, `host:port`.
    pub http: String,
    /// Cluster address.
    pub cluster: String,
    /// Ops address.
    pub ops: String,
    /// Its configuration file.
    pub config: PathBuf,
}

/// A running `flotilla dev`.
pub struct Dev {
    /// Address of the front.
    pub listen: String,
    /// From the start of the process to the first answer of the front.
    pub took: Duration,
    data: PathBuf,
    process: Process,
}

impl Dev {
    /// Starts it on `data` and a free port, and waits until the front answers.
    pub async fn start(data: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_on(data, &ports::address(), arguments).await
    }

    /// Starts it with the front on `listen`.
    pub async fn start_on(data: &Path, listen: &str, arguments: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(data)?;
        let mut command = Command::new(server());
        command.args(["dev", "--listen", listen, "--data"]).arg(data).args(arguments);
        let start = Instant::now();
        let mut process = Process::start("flotilla dev", &mut command, &data.with_extension("log"))?;
        let client = Client::new([listen.to_owned()]);
        while client.get("/v2/").await.is_err() {
            if !process.is_running() || start.elapsed() > Duration::from_secs(60) {
                bail!("flotilla dev does not answer: {}", process.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { listen: listen.to_owned(), took: start.elapsed(), data: data.to_owned(), process })
    }

    /// Its `dev.json`.
    pub fn description(&self) -> Result<Description> {
        let text = std::fs::read_to_string(self.data.join("dev.json"))?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.log_text()
    }

    /// SIGTERM; every node must be gone after it.
    pub async fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(Duration::from_secs(60)).await?;
        anyhow::ensure!(status.success(), "{status}: {}", self.process.log_tail());
        Ok(())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // kill -9 would leave the nodes behind.
        self.process.signal(rustix::process::Signal::TERM);
        for _ in 0..400 {
            if !self.process.is_running() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
