//! A registry as a guide starts it.

use anyhow::{Result, ensure};
use flotilla_tests::{
    cluster::server,
    http::{Client, digest_of},
    images::Layout,
    ports,
    process::{Process, run},
    wait_for,
};
use std::{collections::BTreeSet, path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// The file in the image of registry:2, which guides change by variables.
pub const DEFAULT: &str = "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";
/// The key of that file that gets a notice.
pub const NOTICES: [&str; 1] = ["storage.cache"];

/// A registry as a guide starts it.
pub struct Guide {
    pub dir: TempDir,
    pub file: String,
    pub variables: Vec<(String, String)>,
    pub program: PathBuf,
    pub address: String,
    pub process: Option<Process>,
}

impl Guide {
    /// The image's file with a root directory and a port of its own.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("data").display().to_string();
        let address = ports::address();
        let guide =
            Self { dir, file: DEFAULT.into(), variables: Vec::new(), program: server(), address, process: None };
        guide.set("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &root).listen()
    }

    /// Without any variable.
    pub fn of_file(file: &str) -> Self {
        let mut guide = Self::new();
        guide.variables.clear();
        guide.file = file.replace("/var/lib/registry", &guide.path("data")).replace(":5000", &guide.address);
        guide
    }

    pub fn listen(self) -> Self {
        let address = self.address.clone();
        self.set("REGISTRY_HTTP_ADDR", &address)
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(key, _)| key != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Starts it; it must take its configuration, and say of exactly these keys that they are ignored.
    pub async fn start(self, notices: &[&str]) -> Self {
        let config = self.dir.path().join("config.yml");
        self.start_with(&["serve", &config.display().to_string()], notices).await
    }

    pub async fn start_with(mut self, arguments: &[&str], notices: &[&str]) -> Self {
        std::fs::write(self.dir.path().join("config.yml"), &self.file).unwrap();
        let mut check = Command::new(&self.program);
        check.args(["config", "check", &self.path("config.yml")]);
        check.envs(self.variables.iter().map(|(name, value)| (name, value)));
        run(&mut check, LIMIT).await.unwrap();
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("guide", &mut command, &self.dir.path().join("log")).unwrap();
        wait_for("readiness", LIMIT, || {
            assert!(process.is_running(), "ended: {}", process.log_text());
            let ready = process.log_text().contains("serving on");
            async move { ready.then_some(()) }
        })
        .await;
        let said = process.log_text();
        let ignored: BTreeSet<_> = said.lines().filter_map(|line| line.split_once(" is ignored")).collect();
        let ignored: BTreeSet<_> = ignored.iter().filter_map(|(front, _)| front.split(' ').next_back()).collect();
        assert_eq!(ignored, notices.iter().copied().collect(), "{said}");
        assert!(!said.contains("mistake"), "{said}");
        self.process = Some(process);
        self
    }

    /// Stops it, for another start.
    pub async fn stopped(mut self) -> Self {
        if let Some(mut process) = self.process.take() {
            process.terminate(LIMIT).await.unwrap();
        }
        std::fs::remove_file(self.dir.path().join("log")).unwrap();
        self
    }

    /// `host:port/<repository>:latest`
    pub fn image(&self, repository: &str) -> String {
        format!("{}/{repository}:latest", self.address)
    }

    pub fn client(&self) -> Client {
        Client::new([self.address.clone()])
    }

    /// Pushes and pulls with skopeo; `arguments` go to both.
    pub async fn skopeo(&self, repository: &str, push: &[&str], pull: &[&str]) -> Result<Layout> {
        let layout = Layout::image(&self.dir.path().join("image"), 7, &[300_000, 20_000])?;
        let image = format!("docker://{}", self.image(repository));
        let back = format!("oci:{}:latest", self.path("back"));
        let copy = ["--insecure-policy", "copy", "--preserve-digests"];
        run(Command::new("skopeo").args(copy).args(push).args([&layout.source(), &image]), LIMIT).await?;
        run(Command::new("skopeo").args(copy).args(pull).args([&image, &back]), LIMIT).await?;
        let index = std::fs::read_to_string(self.dir.path().join("back/index.json"))?;
        ensure!(index.contains(&layout.digest), "pulled another digest than {}: {index}", layout.digest);
        Ok(layout)
    }

    pub async fn skopeo_in_plain(&self, repository: &str) -> Layout {
        self.skopeo(repository, &["--dest-tls-verify=false"], &["--src-tls-verify=false"]).await.unwrap()
    }

    /// Fails unless the bytes of every blob lie in files below the directory.
    pub fn holds(&self, directory: &str, layout: &Layout) {
        let mut found = BTreeSet::new();
        let mut folders = vec![PathBuf::from(directory)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => _ = std::fs::read(&path).map(|bytes| found.insert(digest_of(&bytes))),
                }
            }
        }
        for (digest, _) in &layout.blobs {
            assert!(found.contains(digest), "{digest} is not below {directory}");
        }
    }
}
