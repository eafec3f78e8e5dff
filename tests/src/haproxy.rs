//! HAProxy over several nodes: round robin, no stickiness, health by `/readyz`, or by connecting where the nodes end TLS.

use crate::{ports, process::Process, program, wait_for};
use anyhow::{Context, Result};
use std::{fmt::Write, process::Command, time::Duration};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A running balancer.
pub struct Haproxy {
    /// `host:port` it listens on.
    pub listen: String,
    _process: Process,
    _dir: TempDir,
}

impl Haproxy {
    /// Starts one over `nodes` (`host:port`); `None` when HAProxy is not installed.
    pub async fn start<S: AsRef<str>>(nodes: &[S]) -> Result<Option<Self>> {
        Self::start_with(nodes, HTTP).await
    }

    /// The same for nodes that end TLS themselves: it passes connections on.
    pub async fn start_tcp<S: AsRef<str>>(nodes: &[S]) -> Result<Option<Self>> {
        Self::start_with(nodes, TCP).await
    }

    async fn start_with<S: AsRef<str>>(nodes: &[S], mode: Mode) -> Result<Option<Self>> {
        let Some(haproxy) = program("haproxy") else { return Ok(None) };
        let dir = TempDir::new()?;
        let listen = ports::address();
        let config = dir.path().join("haproxy.cfg");
        std::fs::write(&config, configuration(&listen, nodes, mode)?)?;
        let mut command = Command::new(haproxy);
        command.arg("-db").arg("-f").arg(&config);
        let process = Process::start("haproxy", &mut command, &dir.path().join("haproxy.log")).context("haproxy")?;
        wait_for("haproxy", Duration::from_secs(10), || async { TcpStream::connect(&listen).await.ok() }).await;
        Ok(Some(Self { listen, _process: process, _dir: dir }))
    }
}

/// Name of the mode, and lines of the backend.
type Mode = (&'static str, &'static str);
const HTTP: Mode = (
    "http",
    "http-reuse safe\n  option httpchk\n  http-check send meth GET uri /readyz\n  http-check expect status 200\n  ",
);
const TCP: Mode = ("tcp", "");

/// As `deploy/haproxy.cfg`, with checks often enough for tests.
fn configuration<S: AsRef<str>>(listen: &str, nodes: &[S], (mode, checks): Mode) -> Result<String> {
    let mut text = format!(
        "global\n  maxconn 2000\ndefaults\n  mode {mode}\n  timeout connect 2s\n  timeout client 10m\n  timeout server 10m\n  \
         timeout http-keep-alive 1m\n  option redispatch\n  retries 3\n  \
         retry-on conn-failure\nfrontend registry\n  \
         bind {listen}\n  default_backend nodes\nbackend nodes\n  balance roundrobin\n  {checks}\
         default-server check inter 200ms fall 1 rise 1\n"
    );
    for (number, node) in nodes.iter().enumerate() {
        writeln!(text, "  server node{number} {}", node.as_ref())?;
    }
    Ok(text)
}
