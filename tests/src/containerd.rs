//! A containerd of its own: Debian's daemon with its own folders and sockets, driven by `ctr`.

use crate::{
    is_root, missing,
    process::{Process, run},
    skip, wait_for,
};
use anyhow::Result;
use std::{path::Path, process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A running daemon.
pub struct Containerd {
    // Before the folder: the process ends first.
    process: Process,
    dir: TempDir,
}

impl Containerd {
    /// Starts one; says why and gives `None` when this machine cannot run it.
    pub async fn start(test: &str) -> Result<Option<Self>> {
        let lacking = missing(&["containerd", "ctr"]);
        if !lacking.is_empty() || !is_root() {
            skip(test, &format!("it needs root and {lacking:?}"));
            return Ok(None);
        }
        let dir = TempDir::new()?;
        let config = dir.path().join("config.toml");
        std::fs::write(&config, configuration(dir.path()))?;
        let mut command = Command::new("containerd");
        let process = Process::start("containerd", command.arg("-c").arg(&config), &dir.path().join("log"))?;
        let daemon = Self { process, dir };
        wait_for("containerd", LIMIT, || async { daemon.ctr(&["version"]).await.ok() }).await;
        Ok(Some(daemon))
    }

    /// Runs `ctr` with these arguments and gives its standard output.
    pub async fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("ctr");
        run(command.arg("-a").arg(self.dir.path().join("socket")).args(arguments), LIMIT).await
    }

    /// For the variable `CONTAINERD_ADDRESS`.
    pub fn socket(&self) -> String {
        self.dir.path().join("socket").display().to_string()
    }

    /// Removes every image and waits until nothing of them is left, so that a pull has to fetch it all.
    pub async fn forget(&self) -> Result<()> {
        let images = self.ctr(&["images", "ls", "-q"]).await?;
        let images: Vec<_> = images.split_whitespace().collect();
        self.ctr(&[&["images", "rm", "--sync"], images.as_slice()].concat()).await?;
        wait_for("containerd to forget its content", LIMIT, || async {
            let content = self.ctr(&["content", "ls", "-q"]).await.ok()?;
            content.trim().is_empty().then_some(())
        })
        .await;
        Ok(())
    }

    /// Soft stop.
    pub async fn stop(mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(30)).await.map(drop)
    }
}

fn configuration(dir: &Path) -> String {
    // Without what needs more of the machine than a registry's test.
    let disabled = ["grpc.v1.cri", "internal.v1.opt", "snapshotter.v1.aufs", "snapshotter.v1.btrfs"];
    let disabled = disabled.into_iter().chain(["snapshotter.v1.devmapper", "snapshotter.v1.zfs"]);
    let disabled: Vec<_> = disabled.map(|name| format!("\"io.containerd.{name}\"")).collect();
    let dir = dir.display();
    format!(
        "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\ndisabled_plugins = [{}]\n[grpc]\n  \
         address = \"{dir}/socket\"\n[ttrpc]\n  address = \"{dir}/socket.ttrpc\"\n",
        disabled.join(", ")
    )
}
