//! A docker engine of its own: Debian's dockerd with its own folders and socket, driven by every docker CLI in `PATH`.

use crate::{
    is_root,
    process::{Process, run},
    program, skip, wait_for,
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(300);

/// A running engine.
pub struct Dockerd {
    socket: String,
    process: Process,
    dir: TempDir,
}

/// The docker CLIs that are installed, Debian's first, each with its version.
pub fn clis() -> Vec<(PathBuf, String)> {
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    let path = std::env::var("PATH").unwrap_or_default();
    for dir in ["/usr/bin"].into_iter().chain(path.split(':')) {
        let Ok(file) = Path::new(dir).join("docker").canonicalize() else { continue };
        if found.iter().any(|(known, _)| *known == file) {
            continue;
        }
        if let Ok(output) = Command::new(&file).arg("--version").output() {
            found.push((file, String::from_utf8_lossy(&output.stdout).trim().to_owned()));
        }
    }
    found
}

impl Dockerd {
    /// Starts one; says why and gives `None` when this machine cannot run it.
    pub async fn start(test: &str) -> Result<Option<Self>> {
        Self::start_with(test, &[]).await
    }

    /// The same with further arguments.
    pub async fn start_with(test: &str, arguments: &[&str]) -> Result<Option<Self>> {
        let Some(dockerd) = program("dockerd") else {
            skip(test, "dockerd is not installed");
            return Ok(None);
        };
        if !is_root() {
            skip(test, "dockerd needs root");
            return Ok(None);
        }
        for driver in ["overlay2", "vfs"] {
            match Self::start_driver(&dockerd, driver, arguments).await {
                Ok(engine) => return Ok(Some(engine)),
                Err(error) => eprintln!("dockerd with {driver}: {error:#}"),
            }
        }
        skip(test, "dockerd does not start on this machine");
        Ok(None)
    }

    async fn start_driver(dockerd: &Path, driver: &str, arguments: &[&str]) -> Result<Self> {
        let dir = TempDir::new()?;
        let path = |name: &str| dir.path().join(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let mut command = Command::new(dockerd);
        // The engine refuses to start with a key both in its file and here.
        let configured = arguments.contains(&"--config-file");
        command
            .args(["--host", &socket, "--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "--storage-driver", driver])
            .args(["--insecure-registry", "127.0.0.0/8"].into_iter().filter(|_| !configured))
            .args(["--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .args(arguments);
        let mut process = Process::start("dockerd", &mut command, &dir.path().join("dockerd.log"))?;
        let cli = clis().into_iter().next().context("no docker CLI")?.0;
        for _ in 0..600 {
            if run(Command::new(&cli).args(["-H", &socket, "version"]), LIMIT).await.is_ok() {
                return Ok(Self { socket, process, dir });
            }
            anyhow::ensure!(process.is_running(), "ended: {}", process.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("not up within 30 s: {}", process.log_tail())
    }

    /// Runs `docker` with these arguments and gives its standard output.
    pub async fn docker(&self, cli: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(cli);
        run(command.args(arguments), LIMIT).await
    }

    /// `docker -H …`, with an empty configuration.
    pub fn command(&self, cli: &Path) -> Command {
        let mut command = Command::new(cli);
        command.args(["-H", &self.socket]).env("DOCKER_CONFIG", self.dir.path().join("config"));
        command
    }

    /// For the variable `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.socket
    }

    /// Soft stop, so that the engine unmounts what it mounted.
    pub async fn stop(mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(30)).await.map(drop)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // The engine stops its containerd and unmounts its layers only on a soft stop.
        self.process.signal(rustix::process::Signal::TERM);
        for _ in 0..200 {
            if !self.process.is_running() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Waits until `docker push` (or any other command) wrote `text` into `log`.
pub async fn wait_for_output(log: &Path, text: &str) {
    wait_for(text, LIMIT, || async { std::fs::read_to_string(log).ok().filter(|log| log.contains(text)) }).await;
}
