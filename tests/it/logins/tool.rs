//! Clients, each with the same three things to do.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use flotilla_tests::{containerd::Containerd, dockerd::Dockerd, images::Layout, process::run};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(120);

/// Whose credentials a client has: a folder with `config.json`, as docker and the others keep it.
pub struct Account {
    pub user: String,
    pub password: String,
    folder: PathBuf,
}

impl Account {
    /// Someone whom the client does not know yet.
    pub fn new(folder: PathBuf, user: &str, password: &str) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let account = Self { user: user.to_owned(), password: password.to_owned(), folder };
        account.keep(&json!({}));
        account
    }

    /// Someone whose password the client remembers, whether it is right or not.
    pub fn remembered(self, registry: &str) -> Self {
        let credentials = STANDARD.encode(format!("{}:{}", self.user, self.password));
        self.keep(&json!({ registry: { "auth": credentials } }));
        self
    }

    fn keep(&self, auths: &Value) {
        std::fs::write(self.file(), json!({ "auths": auths }).to_string()).unwrap();
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join("config.json")
    }
}

/// How a client is called.
pub enum Program<'a> {
    Docker(&'a Dockerd, &'a Path),
    Skopeo,
    /// podman or buildah: the same commands, and a storage of their own.
    Containers(&'static str, PathBuf),
    Ctr(&'a Containerd),
}

/// A client with an image to push.
pub struct Tool<'a> {
    /// Part of the repositories that it pushes to.
    pub name: String,
    program: Program<'a>,
    /// What it pushes.
    local: String,
    dir: &'a Path,
}

impl<'a> Tool<'a> {
    /// Gives the client the image.
    pub async fn new(name: &str, program: Program<'a>, layout: &Layout, dir: &'a Path) -> Result<Self> {
        let local = match &program {
            Program::Docker(engine, cli) => {
                let tar = dir.join("rootfs.tar");
                run(Command::new("tar").arg("-C").arg(&layout.dir).arg("-cf").arg(&tar).arg("oci-layout"), LIMIT)
                    .await?;
                engine.docker(cli, &["import", &tar.display().to_string(), "local/image:latest"]).await?;
                "local/image:latest".to_owned()
            }
            Program::Skopeo => layout.source(),
            Program::Containers(..) => String::new(),
            Program::Ctr(daemon) => {
                let tar = layout.archive(&dir.join("image.tar")).await?.display().to_string();
                daemon.ctr(&["images", "import", "--no-unpack", "--base-name", "local/image", &tar]).await?;
                "local/image:latest".to_owned()
            }
        };
        let mut tool = Self { name: name.to_owned(), program, local, dir };
        if let Program::Containers(..) = tool.program {
            let id = run(tool.containers("pull", None).args(["-q", &layout.source()]), LIMIT).await?;
            id.trim().clone_into(&mut tool.local);
        }
        Ok(tool)
    }

    /// Logs in; what the client remembers then is in the account's folder. `ctr` cannot: it is told at each command.
    pub async fn login(&self, account: &Account, registry: &str) -> Result<()> {
        let arguments = ["-u", &account.user, "-p", &account.password, registry];
        let mut command = match &self.program {
            Program::Docker(engine, cli) => docker(engine, cli, account, &["login"]),
            Program::Skopeo => {
                let mut command = Command::new("skopeo");
                command.arg("login").arg("--authfile").arg(account.file());
                command
            }
            Program::Containers(..) => self.containers("login", Some(account)),
            Program::Ctr(_) => return Ok(()),
        };
        run(command.args(arguments), LIMIT).await.map(drop)
    }

    pub fn logs_in(&self) -> bool {
        !matches!(self.program, Program::Ctr(_))
    }

    /// Pushes its image to `registry/repository:tag`.
    pub async fn push(&self, account: &Account, image: &str) -> Result<()> {
        let mut command = match &self.program {
            Program::Docker(engine, cli) => {
                engine.docker(cli, &["tag", &self.local, image]).await?;
                docker(engine, cli, account, &["push", "-q", image])
            }
            Program::Skopeo => skopeo(account, &self.local, &format!("docker://{image}")),
            Program::Containers(..) => {
                let mut command = self.containers("push", Some(account));
                command.args([&self.local, &format!("docker://{image}")]);
                command
            }
            Program::Ctr(daemon) => {
                daemon.ctr(&["images", "tag", "--force", &self.local, image]).await?;
                return self.ctr(daemon, &["images", "push"], account, image).await;
            }
        };
        run(&mut command, LIMIT).await.map(drop)
    }

    /// Pulls `registry/repository:tag`.
    pub async fn pull(&self, account: &Account, image: &str) -> Result<()> {
        let mut command = match &self.program {
            Program::Docker(engine, cli) => {
                // What is still here from before would not be fetched; the first time there is nothing.
                let _ = engine.docker(cli, &["rmi", "--force", image]).await;
                docker(engine, cli, account, &["pull", "-q", image])
            }
            Program::Skopeo => {
                let back = self.dir.join("back");
                let _ = std::fs::remove_dir_all(&back);
                skopeo(account, &format!("docker://{image}"), &format!("oci:{}:v1", back.display()))
            }
            Program::Containers(..) => {
                // buildah does not ask for what it has.
                let _ = run(self.containers("rmi", None).args(["--force", image]), LIMIT).await;
                let mut command = self.containers("pull", Some(account));
                command.args(["-q", &format!("docker://{image}")]);
                command
            }
            Program::Ctr(daemon) => return self.ctr(daemon, &["content", "fetch"], account, image).await,
        };
        run(&mut command, LIMIT).await.map(drop)
    }

    fn containers(&self, verb: &str, account: Option<&Account>) -> Command {
        let Program::Containers(program, storage) = &self.program else { unreachable!("asked of podman and buildah") };
        let mut command = Command::new(program);
        command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
        command.args(["--storage-driver", "vfs", verb]);
        if let Some(account) = account {
            command.arg("--authfile").arg(account.file());
        }
        command
    }

    async fn ctr(&self, daemon: &Containerd, verb: &[&str], account: &Account, image: &str) -> Result<()> {
        let user = format!("{}:{}", account.user, account.password);
        let user = if account.user.is_empty() { vec![] } else { vec!["--user", user.as_str()] };
        let hosts = self.dir.join("hosts").display().to_string();
        daemon.ctr(&[verb, &["--hosts-dir", &hosts], &user, &[image]].concat()).await.map(drop)
    }
}

fn docker(engine: &Dockerd, cli: &Path, account: &Account, arguments: &[&str]) -> Command {
    let mut command = engine.command(cli);
    command.env("DOCKER_CONFIG", &account.folder).args(arguments);
    command
}

fn skopeo(account: &Account, from: &str, to: &str) -> Command {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--preserve-digests", "--authfile"]).arg(account.file());
    command.args([from, to]);
    command
}
