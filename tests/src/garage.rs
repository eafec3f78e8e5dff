//! A real Garage: one node, one bucket per cluster, request counts from its metrics.

use crate::{
    http::Client,
    ports,
    process::{Process, run},
    wait_for,
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

const ADMIN_TOKEN: &str = "flotilla-tests";
const LIMIT: Duration = Duration::from_secs(30);

/// A running Garage.
pub struct Garage {
    program: PathBuf,
    config: PathBuf,
    admin: String,
    /// `host:port` of its S3 interface.
    pub s3: String,
    /// The key that may use every bucket made here.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    buckets: AtomicU32,
    // Before the folder: the process ends first.
    process: Process,
    _dir: TempDir,
}

/// Requests that Garage answered, by S3 call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// PutObject
    pub put: u64,
    /// UploadPart
    pub part: u64,
    /// CreateMultipartUpload
    pub create: u64,
    /// CompleteMultipartUpload
    pub complete: u64,
    /// GetObject
    pub get: u64,
    /// CopyObject and UploadPartCopy
    pub copy: u64,
    /// DeleteObject and DeleteObjects
    pub delete: u64,
}

impl Requests {
    /// What came after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            put: self.put - earlier.put,
            part: self.part - earlier.part,
            create: self.create - earlier.create,
            complete: self.complete - earlier.complete,
            get: self.get - earlier.get,
            copy: self.copy - earlier.copy,
            delete: self.delete - earlier.delete,
        }
    }
}

/// The Garage program, named by `FLOTILLA_GARAGE`.
pub fn program() -> Option<PathBuf> {
    std::env::var_os("FLOTILLA_GARAGE").map(PathBuf::from).filter(|file| file.is_file())
}

impl Garage {
    /// Starts one; `None` when the program is not installed.
    pub async fn start() -> Result<Option<Self>> {
        match program() {
            Some(program) => Self::start_program(program).await.map(Some),
            None => Ok(None),
        }
    }

    async fn start_program(program: PathBuf) -> Result<Self> {
        let dir = TempDir::new()?;
        let (s3, rpc, admin) = (ports::address(), ports::address(), ports::address());
        let config = dir.path().join("garage.toml");
        std::fs::write(&config, configuration(dir.path(), &s3, &rpc, &admin))?;
        let mut command = Command::new(&program);
        command.arg("-c").arg(&config).arg("server").env("RUST_LOG", "garage=warn");
        let process = Process::start("garage", &mut command, &dir.path().join("garage.log"))?;
        let garage = Self {
            program,
            config,
            admin,
            s3,
            access_key: String::new(),
            secret_key: String::new(),
            buckets: AtomicU32::new(0),
            process,
            _dir: dir,
        };
        garage.prepare().await
    }

    async fn prepare(mut self) -> Result<Self> {
        let id = wait_for("garage", LIMIT, || async { self.cli(&["node", "id", "-q"]).await.ok() }).await;
        let id = id.trim().split('@').next().context("no node id")?.to_owned();
        wait_for("garage's layout", LIMIT, || async {
            self.cli(&["layout", "assign", "-z", "dc1", "-c", "100G", &id]).await.ok()
        })
        .await;
        self.cli(&["layout", "apply", "--version", "1"]).await?;
        let key = wait_for("garage's key", LIMIT, || async { self.cli(&["key", "create", "tests"]).await.ok() }).await;
        let field = |name: &str| -> Result<String> {
            let line = key.lines().find(|line| line.trim_start().starts_with(name));
            Ok(line.and_then(|line| line.split_whitespace().last()).with_context(|| format!("{name} in {key}"))?.into())
        };
        (self.access_key, self.secret_key) = (field("Key ID:")?, field("Secret key:")?);
        Ok(self)
    }

    /// Makes an empty bucket.
    pub async fn bucket(&self) -> Result<String> {
        let name = format!("flotilla-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        self.cli(&["bucket", "create", &name]).await?;
        self.cli(&["bucket", "allow", "--read", "--write", "--owner", &name, "--key", &self.access_key]).await?;
        Ok(name)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// How many requests of each kind it has answered so far.
    pub async fn requests(&self) -> Result<Requests> {
        let text = self.metrics().await?;
        let count = |names: &[&str]| -> u64 {
            let of = |name: &&str| {
                let label = format!("api_endpoint=\"{name}\"");
                let lines =
                    text.lines().filter(|line| line.starts_with("api_s3_request_counter") && line.contains(&label));
                lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>()
            };
            names.iter().map(of).sum()
        };
        Ok(Requests {
            put: count(&["PutObject"]),
            part: count(&["UploadPart"]),
            create: count(&["CreateMultipartUpload"]),
            complete: count(&["CompleteMultipartUpload"]),
            get: count(&["GetObject"]),
            copy: count(&["CopyObject", "UploadPartCopy"]),
            delete: count(&["DeleteObject", "DeleteObjects"]),
        })
    }

    /// Its metrics page.
    pub async fn metrics(&self) -> Result<String> {
        let answer = Client::new([self.admin.clone()]).get("/metrics").await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        run(command.arg("-c").arg(&self.config).args(arguments).env("RUST_LOG", "error"), LIMIT).await
    }
}

fn configuration(dir: &Path, s3: &str, rpc: &str, admin: &str) -> String {
    format!(
        r#"metadata_dir = "{dir}/meta"
data_dir = "{dir}/data"
db_engine = "sqlite"
metadata_fsync = false
data_fsync = false
replication_factor = 1
compression_level = "none"
rpc_bind_addr = "{rpc}"
rpc_public_addr = "{rpc}"
rpc_secret = "{secret}"
[s3_api]
api_bind_addr = "{s3}"
s3_region = "garage"
[admin]
api_bind_addr = "{admin}"
admin_token = "{ADMIN_TOKEN}"
"#,
        dir = dir.display(),
        secret = "5a".repeat(32),
    )
}
