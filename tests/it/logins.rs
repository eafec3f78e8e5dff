//! docker (every CLI there is), skopeo, podman, buildah and containerd log in, push and pull over TLS, through a balancer that
//! passes connections on to one node after the other: with passwords alone, with tokens of the cluster, with those of another server.

mod tool;

use base64::{Engine, engine::general_purpose::STANDARD};
use flotilla_tests::{
    authority::{Authority, Trusted},
    cluster::Cluster,
    containerd::Containerd,
    dockerd::{Dockerd, clis},
    haproxy::Haproxy,
    images::Layout,
    is_root, missing,
    process::run,
    skip,
    token_server::{Named, Signed, TokenServer, User},
};
use std::{cell::Cell, process::Command, time::Duration};
use tempfile::TempDir;
use tool::{Account, Program, Tool};

const LIMIT: Duration = Duration::from_secs(120);
/// Passwords may hold colons and letters that are no ASCII.
const ANN: [&str; 2] = ["ann", "s€:crét:"];
const BOB: [&str; 2] = ["bob", "b:ob"];
const CARL: [&str; 2] = ["carl", "secret"];
const NOBODY: [&str; 2] = ["", ""];
/// These passwords, as `htpasswd -Bn` writes them.
const USERS: &str = "ann:$2y$05$.DayjXPP5iLSvX45ATNTYeUjp7ZulJ5HqLSX5HNKxfwGtwQhFIn2q\n\
                     bob:$2y$05$MYifZdGnM8qctZYlSeXoyO6QUDPitoqi5iOxlUibIlE1x3SJL9l.6\n\
                     carl:$2y$05$IUvrYueQ0/0iDd1.gEnZT.tC1hGktlQB/lqOYIM83XXcaGD2CKVTS\n";
const RULES: &str = "access:
  tokens:
    enabled: true
  rules:
    - {repositories: [public/**], users: [$all], rights: [pull]}
    - {repositories: [public/**, team/**], users: [ann], rights: [pull, push]}
    - {repositories: [public/**, team/**], users: [carl], rights: [delete]}
    - {repositories: [bob/**], users: [bob], rights: [pull, push]}
";
/// What a refusal is called by one client or another. The last is what docker says after it was refused by TLS: loopback it takes
/// for an insecure registry, and tries plain HTTP, too.
const REFUSALS: [&str; 8] = [
    "unauthorized",
    "401",
    "denied",
    "no basic auth",
    "authentication",
    "authorization failed",
    "invalid username",
    "client sent an http request to an https server",
];

/// A registry over TLS that clients trust.
struct Stage {
    registry: String,
    cluster: Cluster,
    authority: Authority,
    layout: Layout,
    /// Every user may do anything, nobody else anything; else as the rules say.
    alike: bool,
    accounts: Cell<usize>,
    dir: TempDir,
    _trusted: Trusted,
    _balancer: Option<Haproxy>,
}

impl Stage {
    async fn start(test: &str, alike: bool, sections: &str) -> Option<Self> {
        if !is_root() || !missing(&["skopeo", "tar"]).is_empty() {
            skip(test, "it needs root, skopeo and tar");
            return None;
        }
        // podman derives an image's name from this path: no capitals.
        let name = format!("flotilla-{}-{}", std::process::id(), flotilla_tests::ports::free());
        let dir = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
        let users = dir.path().join("htpasswd");
        std::fs::write(&users, USERS).unwrap();
        let sections = sections.replace("HTPASSWD", &users.display().to_string());
        let authority = Authority::new().unwrap();
        let cluster = Cluster::builder().http_section(&authority.section()).sections(&sections).start().await.unwrap();
        let balancer = Haproxy::start_tcp(&cluster.addresses()).await.unwrap();
        if balancer.is_none() {
            skip(&format!("{test}: balancer"), "haproxy is not installed; one node is asked");
        }
        let registry = balancer.as_ref().map_or(&cluster.nodes[0].http, |balancer| &balancer.listen).clone();
        let layout = Layout::image(&dir.path().join("image"), 5, &[100_000, 3_000]).unwrap();
        let stranger = Command::new("skopeo")
            .args(["--insecure-policy", "inspect", "--raw", &format!("docker://{registry}/public/app:v1")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
        assert!(said.contains("certificate"), "who does not trust the authority went on: {said}");
        let trusted = authority.trusted_for(&registry).unwrap();
        let accounts = Cell::new(0);
        Some(Self {
            registry,
            cluster,
            authority,
            layout,
            alike,
            accounts,
            dir,
            _trusted: trusted,
            _balancer: balancer,
        })
    }

    fn account(&self, [user, password]: [&str; 2]) -> Account {
        let number = self.accounts.replace(self.accounts.get() + 1);
        Account::new(self.dir.path().join(format!("account{number}")), user, password)
    }

    fn image(&self, repository: &str) -> String {
        format!("{}/{repository}:v1", self.registry)
    }

    async fn every_client(&mut self, test: &str) {
        let dir = self.dir.path();
        let skopeo = Tool::new("skopeo", Program::Skopeo, &self.layout, dir).await.unwrap();
        let ann = self.account(ANN).remembered(&self.registry);
        for repository in ["public/app", "team/app"] {
            skopeo.push(&ann, &self.image(repository)).await.unwrap();
        }
        self.logs_in(&skopeo).await;
        self.deletes(&skopeo.name).await;
        for program in ["podman", "buildah"] {
            if !missing(&[program]).is_empty() {
                skip(&format!("{test}: {program}"), "it is not installed");
                continue;
            }
            let storage = dir.join(program);
            let tool = Tool::new(program, Program::Containers(program, storage), &self.layout, dir).await;
            self.logs_in(&tool.unwrap()).await;
        }
        if let Some(daemon) = Containerd::start(&format!("{test}: ctr")).await.unwrap() {
            // Without it loopback is asked in plain HTTP.
            let (registry, hosts) = (&self.registry, dir.join("hosts").join(&self.registry));
            std::fs::create_dir_all(&hosts).unwrap();
            let ca = self.authority.file("ca.crt");
            let text = format!("server = \"https://{registry}\"\n[host.\"https://{registry}\"]\n  ca = \"{ca}\"\n");
            std::fs::write(hosts.join("hosts.toml"), text).unwrap();
            let tool = Tool::new("ctr", Program::Ctr(&daemon), &self.layout, dir).await.unwrap();
            self.logs_in(&tool).await;
            daemon.stop().await.unwrap();
        }
        if let Some(engine) = Dockerd::start(&format!("{test}: docker")).await.unwrap() {
            for (number, (cli, version)) in clis().iter().enumerate() {
                println!("{version}");
                let name = format!("docker{number}");
                let tool = Tool::new(&name, Program::Docker(&engine, cli), &self.layout, dir).await.unwrap();
                self.logs_in(&tool).await;
            }
            engine.stop().await.unwrap();
        }
        let users = [ANN, BOB, CARL].map(|[user, password]| STANDARD.encode(format!("{user}:{password}")));
        for node in &mut self.cluster.nodes {
            let log = node.process().log_text();
            // Passwords, whole or in part; Basic credentials; hashes; tokens.
            for secret in ["crét", BOB[1], "$2y$", "eyJ"].into_iter().chain(users.iter().map(String::as_str)) {
                assert!(!log.contains(secret), "a log holds {secret}");
            }
        }
    }

    /// All that one client does.
    async fn logs_in(&self, tool: &Tool<'_>) {
        let name = &tool.name;
        let (own, public) = (self.image(&format!("team/{name}")), self.image(&format!("public/{name}")));
        let nobody = self.account(NOBODY);
        self.expect(
            !self.alike,
            name,
            "nobody pulls what is public",
            tool.pull(&nobody, &self.image("public/app")).await,
        );
        self.expect(false, name, "nobody pulls what is not", tool.pull(&nobody, &self.image("team/app")).await);
        self.expect(false, name, "nobody pushes what is public", tool.push(&nobody, &public).await);

        let wrong = [ANN[0], "s€:crét"];
        if tool.logs_in() {
            let refused = tool.login(&self.account(wrong), &self.registry).await;
            self.expect(false, name, "a login by a wrong password", refused);
        }
        let refused = tool.push(&self.account(wrong).remembered(&self.registry), &own).await;
        self.expect(false, name, "a push by a wrong password", refused);

        let ann = self.account(ANN);
        tool.login(&ann, &self.registry).await.unwrap();
        for image in [&public, &own] {
            tool.push(&ann, image).await.unwrap();
            tool.pull(&ann, image).await.unwrap();
        }
        self.expect(!self.alike, name, "nobody pulls what was pushed", tool.pull(&nobody, &public).await);

        let bob = self.account(BOB);
        tool.login(&bob, &self.registry).await.unwrap();
        tool.push(&bob, &self.image(&format!("bob/{name}"))).await.unwrap();
        self.expect(self.alike, name, "a push to another's repository", tool.push(&bob, &own).await);
        let another = tool.pull(&bob, &self.image("team/app")).await;
        let none = tool.pull(&bob, &self.image("team/none")).await;
        if let (Err(another), Err(none)) = (&another, &none) {
            assert_eq!(said(another, "team/app"), said(none, "team/none"), "{name} tells whether a repository exists");
        }
        self.expect(self.alike, name, "a pull of another's repository", another);
        assert!(none.is_err(), "{name} pulls what is not there");
    }

    /// With rules, who may push may not yet delete.
    async fn deletes(&self, name: &str) {
        let image = self.image(&format!("team/{name}"));
        let cases: &[_] = match self.alike {
            true => &[(BOB, true)],
            false => &[(ANN, false), (BOB, false), (CARL, true)],
        };
        for (user, may) in cases.iter().copied() {
            let account = self.account(user).remembered(&self.registry);
            let mut command = Command::new("skopeo");
            command.arg("delete").arg("--authfile").arg(account.file()).arg(format!("docker://{image}"));
            let deleted = run(&mut command, LIMIT).await.map(drop);
            self.expect(may, name, &format!("a delete by {:?}", user[0]), deleted);
        }
    }

    fn expect(&self, may: bool, tool: &str, what: &str, done: anyhow::Result<()>) {
        match done {
            Ok(()) => assert!(may, "{tool}: {what} is permitted"),
            Err(error) => {
                let text = error.to_string().to_lowercase();
                assert!(!may, "{tool}: {what} is refused: {text}");
                assert!(REFUSALS.iter().any(|word| text.contains(word)), "{tool}: {what} fails otherwise: {text}");
            }
        }
    }
}

/// What a client said of a repository, without its name and the time.
fn said(error: &anyhow::Error, repository: &str) -> String {
    let text = error.to_string().replace(repository, "REPOSITORY");
    let lines = text.lines().skip(1).map(|line| line.split_once(" level=").map_or(line, |(_, rest)| rest));
    lines.filter(|line| !line.starts_with("elapsed")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn clients_log_in_by_password_over_tls() {
    let test = "clients_log_in_by_password_over_tls";
    let sections = "auth:\n  htpasswd:\n    realm: tests\n    path: HTPASSWD\n";
    let Some(mut stage) = Stage::start(test, true, sections).await else { return };
    stage.every_client(test).await;
}

#[tokio::test]
async fn clients_log_in_for_tokens_of_the_cluster_over_tls() {
    let test = "clients_log_in_for_tokens_of_the_cluster_over_tls";
    let sections = format!("auth:\n  htpasswd:\n    realm: tests\n    path: HTPASSWD\n{RULES}");
    let Some(mut stage) = Stage::start(test, false, &sections).await else { return };
    stage.every_client(test).await;
}

#[tokio::test]
async fn clients_log_in_for_tokens_of_another_server_over_tls() {
    let test = "clients_log_in_for_tokens_of_another_server_over_tls";
    let new = |[user, password]: [&str; 2]| User::new(user, password).may("repository:public/*", &["pull"]);
    let users = vec![
        new(ANN).may("repository:public/*", &["push"]).may("repository:team/*", &["pull", "push"]),
        new(BOB).may("repository:bob/*", &["pull", "push"]),
        new(CARL).may("repository:team/*", &["pull", "delete"]),
        User::anyone().may("repository:public/*", &["pull"]),
    ];
    let server = TokenServer::start(Signed::Es256, Named::Libtrust, users).await.unwrap();
    let Some(mut stage) = Stage::start(test, false, &server.section()).await else { return };
    stage.every_client(test).await;
    assert!(server.issued() > 0);
}
