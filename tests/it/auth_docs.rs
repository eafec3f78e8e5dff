//! Everything in `docs/auth.md` that is marked by `<!-- test: NAME -->`: the configurations start a node, the lines of shells and
//! CI files run against it, the clients' files are used. A block that is marked and not run fails the test.

use crate::guides::guide::Guide;
use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use flotilla_tests::{
    authority::Authority,
    containerd::Containerd,
    dockerd::Dockerd,
    is_root, missing,
    process::run,
    skip,
    token_server::{ISSUER, Named, SERVICE, Signed, TokenServer, User},
    wait_for,
};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/auth.md");
const LIMIT: Duration = Duration::from_secs(120);
const SECURE: &str = "registry.example.com";
const PLAIN: &str = "registry.example.com:5000";

/// The marked blocks of the document.
struct Book {
    blocks: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
}

impl Book {
    fn open() -> Self {
        let text = std::fs::read_to_string(DOCUMENT).unwrap();
        let mut blocks = BTreeMap::new();
        for part in text.split("<!-- test: ").skip(1) {
            let (name, rest) = part.split_once(" -->\n```").expect("a mark stands right before its block");
            let (_language, rest) = rest.split_once('\n').unwrap();
            let (block, _) = rest.split_once("\n```").expect("a block ends");
            let twice = blocks.insert(name.to_owned(), block.to_owned());
            assert!(twice.is_none(), "two blocks are called {name}");
        }
        Self { blocks, used: RefCell::default() }
    }

    fn block(&self, name: &str) -> &str {
        self.used.borrow_mut().insert(name.to_owned());
        self.blocks.get(name).unwrap_or_else(|| panic!("no block is called {name}"))
    }

    fn yaml(&self, name: &str) -> Value {
        serde_yaml_ng::from_str(self.block(name)).unwrap()
    }
}

/// Where shells run: with files and variables of their own, and the document's names put right.
struct Place {
    dir: TempDir,
    names: RefCell<Vec<(String, String)>>,
    variables: RefCell<Vec<(String, String)>>,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for folder in ["etc", "run", "docker", "hosts"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let place = Self { dir, names: RefCell::default(), variables: RefCell::default() };
        place.stands_for("/etc/flotilla", &place.path("etc"));
        place.stands_for("/etc/containerd/certs.d", &place.path("hosts"));
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/runroot\"\n",
            place.path("podman")
        );
        for (name, text) in [
            ("password", "secret\n"),
            ("wrong", "Secret\n"),
            ("bobs-password", "b:öb\n"),
            ("new-password", "s€:crét\n"),
            ("storage.conf", &storage),
            ("Dockerfile", "FROM scratch\nCOPY password /file\n"),
        ] {
            std::fs::write(place.dir.path().join(name), text).unwrap();
        }
        for (name, value) in [
            ("HOME", place.path("")),
            ("XDG_RUNTIME_DIR", place.path("run")),
            ("DOCKER_CONFIG", place.path("docker")),
            ("CONTAINERS_STORAGE_CONF", place.path("storage.conf")),
            ("CURL_CA_BUNDLE", place.path("etc/ca.crt")),
            // The builder of the engine: the other one is a plugin.
            ("DOCKER_BUILDKIT", "0".into()),
            ("REGISTRY_USER", "ann".into()),
            ("REGISTRY_PASSWORD", "secret".into()),
        ] {
            place.set(name, &value);
        }
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn set(&self, name: &str, value: &str) {
        self.variables.borrow_mut().push((name.to_owned(), value.to_owned()));
    }

    /// A name in the document, and what it is here. The longest is looked for first.
    fn stands_for(&self, name: &str, value: &str) {
        let mut names = self.names.borrow_mut();
        names.retain(|(known, _)| known != name);
        names.push((name.to_owned(), value.to_owned()));
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    fn put_right(&self, text: &str) -> String {
        let names = self.names.borrow();
        names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    async fn sh(&self, script: &str) -> Result<String> {
        let script = self.put_right(script);
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &script]).current_dir(self.dir.path());
        command.envs(self.variables.borrow().iter().map(|(name, value)| (name, value)));
        run(&mut command, LIMIT).await
    }

    /// The same with a wrong password in the place of the right one must be refused for that reason.
    async fn sh_refuses_wrong(&self, script: &str) {
        let script = script.replace("< password", "< wrong").replace("$REGISTRY_PASSWORD", "Secret");
        let error = self.sh(&script).await.expect_err("a wrong password was let in").to_string().to_lowercase();
        assert!(
            ["unauthorized", "invalid username", "denied", "401"].iter().any(|word| error.contains(word)),
            "{error}"
        );
    }

    /// Runs lines that log in, first with a wrong password.
    async fn sh_logs_in(&self, script: &str) {
        self.sh_refuses_wrong(script).await;
        self.sh(script).await.unwrap();
    }

    /// A node under a configuration of the document.
    async fn serve(&self, yaml: &str) -> Guide {
        let mut guide = Guide::new();
        guide.file = format!("version: 0.1\n{}\n", self.put_right(yaml));
        guide.start(&[]).await
    }
}

/// The image that is pushed, in an engine.
async fn image(engine: &Dockerd, place: &Place, tag: &str) {
    place.set("DOCKER_HOST", engine.host());
    place.sh(&format!("tar -cf image.tar Dockerfile && docker import image.tar {tag}")).await.unwrap();
}

async fn there(place: &Place, image: &str) {
    place.sh(&format!("skopeo inspect --creds \"ann:secret\" docker://{image}")).await.unwrap();
}

#[tokio::test]
async fn what_the_guide_to_authentication_shows_works() {
    let test = "what_the_guide_to_authentication_shows_works";
    let tools = ["htpasswd", "skopeo", "podman", "docker", "dockerd", "curl", "jq", "tar"];
    let lacking = missing(&tools);
    if !lacking.is_empty() || !is_root() {
        return skip(test, &format!("it needs root and {lacking:?}"));
    }
    let (book, place, authority) = (Book::open(), Place::new(), Authority::new().unwrap());
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        std::fs::copy(authority.file(file), place.path(&format!("etc/{file}"))).unwrap();
    }
    place.sh(book.block("users")).await.unwrap();
    passwords(&book, &place, &authority).await;
    external(&book, &place, &authority).await;

    let registry = place.serve(book.block("public")).await;
    place.stands_for(SECURE, &registry.address);
    let _trusted = authority.trusted_for(&registry.address).unwrap();
    let Some(engine) = Dockerd::start(test).await.unwrap() else { return };
    image(&engine, &place, &format!("{SECURE}/team/app:v1")).await;
    for name in ["docker", "podman", "skopeo"] {
        place.sh_logs_in(book.block(name)).await;
    }
    place.sh_refuses_wrong(book.block("token")).await;
    assert!(place.sh(book.block("token")).await.unwrap().contains("\"v1\""));
    // Who may do what, as the text says.
    place.sh(&format!("docker pull -q {SECURE}/public/app:v1")).await.unwrap();
    for refused in [
        format!("docker pull -q {SECURE}/team/app:v1"),
        format!("docker tag {SECURE}/team/app:v1 {SECURE}/public/app:v2; docker push -q {SECURE}/public/app:v2"),
        format!("skopeo copy --dest-creds 'bob:b:öb' docker://{SECURE}/public/app:v1 docker://{SECURE}/team/app:v2"),
    ] {
        let error = place.sh(&refused).await.expect_err(&refused).to_string().to_lowercase();
        assert!(error.contains("unauthorized") || error.contains("denied"), "{error}");
    }
    place.sh(&format!("skopeo inspect --creds 'bob:b:öb' docker://{SECURE}/team/app:v1")).await.unwrap();

    clients_files(&book, &place).await;
    actions(&book, &place).await;
    jenkins(&book, &place).await;
    engine.stop().await.unwrap();
    gitlab(test, &book, &place).await;
    containerd(test, &book, &place).await;
    plain(test, &book, &place).await;

    rotate(&book, &place).await;
    let (marked, used) = (book.blocks.keys().cloned().collect::<BTreeSet<_>>(), book.used.into_inner());
    assert_eq!(marked, used, "blocks that are marked, and those that were run");
}

/// Users of a file, every one of whom may do anything.
async fn passwords(book: &Book, place: &Place, authority: &Authority) {
    let registry = place.serve(book.block("passwords")).await;
    place.stands_for(SECURE, &registry.address);
    let _trusted = authority.trusted_for(&registry.address).unwrap();
    for (user, status) in [("", "401"), ("-u ann:secret", "200"), ("-u bob:b:öb", "200"), ("-u ann:b:öb", "401")] {
        let asked = format!("curl -s -o /dev/null -w '%{{http_code}}' {user} https://{SECURE}/v2/_catalog");
        assert_eq!(place.sh(&asked).await.unwrap(), status, "{user}");
    }
}

/// The example's server is that of the tests.
async fn external(book: &Book, place: &Place, authority: &Authority) {
    let users = vec![User::new("ann", "secret").may("repository:team/app", &["pull", "push"])];
    let server = TokenServer::start(Signed::Rs256, Named::Chain, users).await.unwrap();
    std::fs::copy(server.bundle(), place.path("etc/token.pem")).unwrap();
    let yaml = book.block("external").replace("https://auth.example.com/", &format!("http://{}/", server.listen));
    let yaml = yaml.replace(&format!("service: {SECURE}"), &format!("service: {SERVICE}"));
    let yaml = yaml.replace("issuer: auth.example.com", &format!("issuer: {ISSUER}"));
    assert!(!yaml.contains("example.com"), "{yaml}");
    let registry = place.serve(&yaml).await;
    let _trusted = authority.trusted_for(&registry.address).unwrap();
    let source = flotilla_tests::images::Layout::image(&place.dir.path().join("image"), 3, &[1_000]).unwrap().source();
    let push = |user: &str, repository: &str| {
        format!("skopeo copy --dest-creds {user} {source} docker://{}/{repository}:v1", registry.address)
    };
    place.sh(&push("ann:secret", "team/app")).await.unwrap();
    for refused in [push("ann:Secret", "team/app"), push("ann:secret", "team/other")] {
        place.sh(&refused).await.expect_err(&refused);
    }
}

/// `config.json`, and the secret of Kubernetes.
async fn clients_files(book: &Book, place: &Place) {
    let used = async |name: &str, text: &str| {
        let folder = place.dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config.json"), place.put_right(text)).unwrap();
        let image = format!("{SECURE}/team/app:v1");
        let folder = folder.display();
        place.sh(&format!("docker rmi -f {image}; DOCKER_CONFIG={folder} docker pull -q {image}")).await.unwrap();
        place.sh(&format!("REGISTRY_AUTH_FILE={folder}/config.json skopeo inspect docker://{image}")).await.unwrap();
        place.sh(&format!("REGISTRY_AUTH_FILE={folder}/config.json podman pull -q {image}")).await.unwrap();
    };
    used("config-json", book.block("config-json")).await;
    let shown = book.block("dockerconfigjson");
    used("dockerconfigjson", shown).await;
    let command = book.block("kubectl");
    if !missing(&["kubectl"]).is_empty() {
        return skip("the command kubectl of docs/auth.md", "it is not installed");
    }
    let made = place.sh(&format!("{command} --dry-run=client -o json")).await.unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let made = STANDARD.decode(made["data"][".dockerconfigjson"].as_str().unwrap()).unwrap();
    let [made, shown] = [String::from_utf8(made).unwrap(), place.put_right(shown)];
    let [made_json, shown]: [Value; 2] = [&made, &shown].map(|text| serde_json::from_str(text).unwrap());
    assert_eq!(made_json, shown);
    used("secret", &made).await;
}

/// The lines `run`; `docker/login-action` is stood in for by what it does.
async fn actions(book: &Book, place: &Place) {
    place.set("GITHUB_SHA", "0123abc");
    let secrets = |text: &str| {
        let text = text.replace("${{ secrets.REGISTRY_USER }}", "ann");
        let text = text.replace("${{ secrets.REGISTRY_PASSWORD }}", "secret");
        assert!(!text.contains("${{"), "{text}");
        text
    };
    for (name, tag) in [("github", "0123abc"), ("github-plain", "plain")] {
        let file = book.yaml(name);
        let job = &file["jobs"]["push"];
        for (name, value) in job["env"].as_object().into_iter().flatten() {
            place.set(name, &secrets(value.as_str().unwrap()));
        }
        let mut lines = 0;
        for step in job["steps"].as_array().unwrap() {
            let with = |key: &str| secrets(step["with"][key].as_str().unwrap());
            match (step["run"].as_str(), step["uses"].as_str().unwrap_or_default()) {
                (Some(script), _) => {
                    place.sh(script).await.unwrap();
                    lines += 1;
                }
                (None, "actions/checkout@v4") => {}
                (None, "docker/login-action@v3") => {
                    let (registry, user, password) = (with("registry"), with("username"), with("password"));
                    place
                        .sh(&format!("echo {password} | docker login -u {user} --password-stdin {registry}"))
                        .await
                        .unwrap();
                }
                (None, other) => panic!("nothing stands in for {other}"),
            }
        }
        assert!(lines > 0);
        there(place, &format!("{SECURE}/team/app:{tag}")).await;
        place.sh(&format!("docker logout {SECURE}")).await.unwrap();
    }
}

async fn jenkins(book: &Book, place: &Place) {
    place.set("BUILD_NUMBER", "17");
    let file = book.block("jenkins");
    assert_eq!(file.matches('{').count(), file.matches('}').count());
    for variable in ["usernameVariable: 'REGISTRY_USER'", "passwordVariable: 'REGISTRY_PASSWORD'"] {
        assert!(file.contains(variable));
    }
    let scripts: Vec<_> = file.split("'''").skip(1).step_by(2).collect();
    assert!(!scripts.is_empty());
    for script in scripts {
        place.sh(script).await.unwrap();
    }
    there(place, &format!("{SECURE}/team/app:17")).await;
}

/// The service is an engine with the arguments of the file.
async fn gitlab(test: &str, book: &Book, place: &Place) {
    place.set("CI_COMMIT_SHORT_SHA", "89abcdef");
    let file = book.yaml("gitlab");
    let job = &file["push"];
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| place.put_right(text.as_str().unwrap())).collect()
    };
    let service = texts(&job["services"][0]["command"]);
    let service: Vec<&str> = service.iter().map(String::as_str).collect();
    let engine = Dockerd::start_with(test, &service).await.unwrap().unwrap();
    place.set("DOCKER_HOST", engine.host());
    let script = texts(&job["script"]).join("\n");
    place.sh_logs_in(&script).await;
    there(place, &format!("{SECURE}/team/app:89abcdef")).await;
    place.sh(&texts(&job["after_script"]).join("\n")).await.unwrap();
    let after = place.sh(&script.lines().skip(1).collect::<Vec<_>>().join("\n")).await;
    assert!(after.is_err(), "a push after the logout");
    engine.stop().await.unwrap();
}

fn hosts(place: &Place, name: &str, text: &str) -> Result<PathBuf> {
    let folder = Path::new(&place.path("hosts")).join(place.put_right(name));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("hosts.toml"), place.put_right(text)).context("hosts.toml")?;
    Ok(folder)
}

async fn containerd(test: &str, book: &Book, place: &Place) {
    let (file, fetch) = (book.block("hosts-toml"), book.block("ctr"));
    let Some(daemon) = Containerd::start(&format!("{test}: containerd")).await.unwrap() else { return };
    place.set("CONTAINERD_ADDRESS", &daemon.socket());
    // Without the file the authority is not known, and loopback is asked in plain HTTP.
    place.sh(fetch).await.expect_err("no hosts.toml is needed");
    hosts(place, SECURE, file).unwrap();
    place.sh_logs_in(fetch).await;
    daemon.stop().await.unwrap();
}

/// A registry without a certificate.
async fn plain(test: &str, book: &Book, place: &Place) {
    let registry = place.serve("auth: {htpasswd: {realm: registry, path: /etc/flotilla/htpasswd}}").await;
    place.stands_for(PLAIN, &registry.address);
    let file = place.path("daemon.json");
    std::fs::write(&file, place.put_right(book.block("daemon-json"))).unwrap();
    let engine = Dockerd::start_with(test, &["--config-file", &file]).await.unwrap().unwrap();
    image(&engine, place, &format!("{PLAIN}/team/app:v1")).await;
    let known = place.sh("docker info --format '{{json .RegistryConfig.IndexConfigs}}'").await.unwrap();
    let known: Value = serde_json::from_str(&known).unwrap();
    assert_eq!(known[&registry.address]["Secure"], false, "{known}");
    place.sh_logs_in(&book.block("docker").replace(SECURE, PLAIN)).await;
    engine.stop().await.unwrap();
    for tool in ["podman", "skopeo"] {
        let login = format!("{tool} login --tls-verify=false -u ann --password-stdin {PLAIN} < password");
        place.sh_logs_in(&login).await;
        place.sh(&format!("skopeo inspect --tls-verify=false docker://{PLAIN}/team/app:v1")).await.unwrap();
        place.sh(&format!("{tool} logout {PLAIN}")).await.unwrap();
    }
    let file = book.block("hosts-toml-plain");
    let Some(daemon) = Containerd::start(&format!("{test}: containerd")).await.unwrap() else { return };
    place.set("CONTAINERD_ADDRESS", &daemon.socket());
    hosts(place, PLAIN, file).unwrap();
    place.sh_logs_in(&book.block("ctr").replace(SECURE, PLAIN)).await;
    daemon.stop().await.unwrap();
}

async fn rotate(book: &Book, place: &Place) {
    let token = async |user: &str| {
        let asked =
            format!("curl -s -u '{user}' 'https://{SECURE}/auth/token?scope=repository:team/app:pull' | jq -r .token");
        place.sh(&asked).await.unwrap().trim().to_owned()
    };
    let (anns, bobs) = (token("ann:secret").await, token("bob:b:öb").await);
    place.sh(book.block("rotate")).await.unwrap();
    let status = async |user: &str| {
        let asked = format!("curl -s -o /dev/null -w '%{{http_code}}' -u '{user}' https://{SECURE}/auth/token");
        place.sh(&asked).await.unwrap()
    };
    wait_for("the end of the old password", Duration::from_secs(10), || async {
        (status("ann:secret").await == "401").then_some(())
    })
    .await;
    assert_eq!(status("ann:s€:crét").await, "200");
    assert_eq!(status("bob:b:öb").await, "401");
    // The token of who is still a user goes on.
    for (token, status) in [(anns, "200"), (bobs, "401")] {
        let asked = format!("curl -s -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}'");
        assert_eq!(place.sh(&format!("{asked} https://{SECURE}/v2/team/app/tags/list")).await.unwrap(), status);
    }
}
