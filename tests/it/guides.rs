//! Configurations as the guides of registry:2 give them, verbatim but for host paths and ports, under real clients.

pub mod guide;
mod migration;

use anyhow::{Context, Result, ensure};
use flotilla_tests::{
    cluster::server,
    dockerd::{Dockerd, clis},
    http::{Client, digest_of, empty},
    is_root, missing, ports,
    process::{output, run},
    skip,
};
use guide::{DEFAULT, Guide, NOTICES};
use http::Method;
use std::{net::TcpListener, path::Path, process::Command, time::Duration};

const LIMIT: Duration = Duration::from_secs(120);

/// Whether skopeo is here; says so if not.
fn lacks_skopeo(test: &str) -> bool {
    let lacks = !missing(&["skopeo"]).is_empty();
    if lacks {
        skip(test, "skopeo is not installed");
    }
    lacks
}

/// `htpasswd -Bbn testuser testpassword > auth/htpasswd`
async fn htpasswd(file: &str) -> Result<()> {
    let line = run(Command::new("htpasswd").args(["-Bbn", "testuser", "testpassword"]), LIMIT).await?;
    Ok(std::fs::write(file, line)?)
}

/// `openssl req -newkey rsa:4096 -nodes -sha256 -x509 …`, and a folder for clients that trust it.
async fn certificate(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir.join("trusted"))?;
    let mut command = Command::new("openssl");
    command.args(["req", "-newkey", "rsa:4096", "-nodes", "-sha256", "-x509", "-days", "365"]);
    command.args(["-addext", "subjectAltName = IP:127.0.0.1", "-subj", "/CN=127.0.0.1"]);
    command.arg("-keyout").arg(dir.join("domain.key")).arg("-out").arg(dir.join("domain.crt"));
    run(&mut command, LIMIT).await?;
    std::fs::copy(dir.join("domain.crt"), dir.join("trusted/ca.crt"))?;
    Ok(())
}

/// Pushes and pulls an image of one small file with docker.
async fn docker(engine: &Dockerd, guide: &Guide, repository: &str) -> Result<()> {
    let cli = clis().into_iter().next().context("no docker CLI")?.0;
    let tar = guide.dir.path().join("rootfs.tar");
    run(Command::new("tar").arg("-C").arg(guide.dir.path()).arg("-cf").arg(&tar).arg("config.yml"), LIMIT).await?;
    let image = guide.image(repository);
    engine.docker(&cli, &["import", &tar.display().to_string(), &image]).await?;
    let id = engine.docker(&cli, &["image", "inspect", "--format", "{{.Id}}", &image]).await?;
    engine.docker(&cli, &["push", "-q", &image]).await?;
    engine.docker(&cli, &["rmi", "--force", id.trim()]).await?;
    engine.docker(&cli, &["pull", "-q", &image]).await?;
    let again = engine.docker(&cli, &["image", "inspect", "--format", "{{.Id}}", &image]).await?;
    ensure!(id == again, "{image}: {again}, not {id}");
    Ok(())
}

async fn login(engine: &Dockerd, address: &str, password: &str) -> Result<String> {
    let cli = clis().into_iter().next().context("no docker CLI")?.0;
    engine.docker(&cli, &["login", "-u", "testuser", "-p", password, address]).await
}

#[tokio::test]
async fn native_basic_auth() {
    let test = "native_basic_auth";
    if !missing(&["htpasswd"]).is_empty() {
        skip(test, "htpasswd is not installed");
        return;
    }
    let guide = Guide::new();
    let file = guide.path("htpasswd");
    htpasswd(&file).await.unwrap();
    let guide = guide
        .set("REGISTRY_AUTH", "htpasswd")
        .set("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm")
        .set("REGISTRY_AUTH_HTPASSWD_PATH", &file);
    let guide = guide.start(&NOTICES).await;
    let answer = guide.client().send(Method::GET, "/v2/").await.unwrap().expect(401).unwrap();
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"Registry Realm\"");
    let Some(engine) = Dockerd::start(test).await.unwrap() else { return };
    let refused = docker(&engine, &guide, "team/app").await;
    assert!(refused.is_err(), "a push without a login");
    let wrong = login(&engine, &guide.address, "wrong").await.unwrap_err().to_string();
    assert!(wrong.to_lowercase().contains("unauthorized"), "{wrong}");
    login(&engine, &guide.address, "testpassword").await.unwrap();
    docker(&engine, &guide, "team/app").await.unwrap();
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn tls_by_variables_on_port_443() {
    let test = "tls_by_variables_on_port_443";
    if !missing(&["openssl"]).is_empty() || lacks_skopeo(test) {
        skip(test, "openssl or skopeo is not installed");
        return;
    }
    let mut guide = Guide::new();
    let is_free = is_root() && TcpListener::bind("0.0.0.0:443").is_ok();
    let port = if is_free { 443 } else { ports::free() };
    guide.address = format!("127.0.0.1:{port}");
    certificate(guide.dir.path()).await.unwrap();
    let (crt, key) = (guide.path("domain.crt"), guide.path("domain.key"));
    let guide = guide
        .set("REGISTRY_HTTP_ADDR", &format!("0.0.0.0:{port}"))
        .set("REGISTRY_HTTP_TLS_CERTIFICATE", &crt)
        .set("REGISTRY_HTTP_TLS_KEY", &key)
        .start(&NOTICES)
        .await;
    let (trusted, nobody) = (guide.path("trusted"), guide.path("nobody"));
    std::fs::create_dir_all(&nobody).unwrap();
    let stranger = guide.skopeo("team/app", &["--dest-cert-dir", &nobody], &[]).await.unwrap_err().to_string();
    assert!(stranger.contains("certificate"), "{stranger}");
    let layout = guide.skopeo("team/app", &["--dest-cert-dir", &trusted], &["--src-cert-dir", &trusted]).await.unwrap();
    guide.holds(&guide.path("data"), &layout);
    let Some(engine) = Dockerd::start(test).await.unwrap() else { return };
    docker(&engine, &guide, "team/docker").await.unwrap();
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn deletes_by_variable_and_by_file() {
    let file = DEFAULT.replace("storage:\n", "storage:\n  delete:\n    enabled: true\n");
    for (guide, expected) in [
        (Guide::new(), 405),
        (Guide::new().set("REGISTRY_STORAGE_DELETE_ENABLED", "true"), 202),
        (Guide::of_file(&file), 202),
    ] {
        let guide = guide.start(&NOTICES).await;
        let digest = guide.client().push_image("team/app", "v1", "deletes").await.unwrap();
        let path = format!("/v2/team/app/manifests/{digest}");
        guide.client().send(Method::DELETE, &path).await.unwrap().expect(expected).unwrap();
        let gone = if expected == 202 { 404 } else { 200 };
        guide.client().send(Method::GET, "/v2/team/app/manifests/v1").await.unwrap().expect(gone).unwrap();
    }
}

#[tokio::test]
async fn s3_by_variables_over_the_default_file() {
    let test = "s3_by_variables_over_the_default_file";
    if lacks_skopeo(test) {
        return;
    }
    let Some(store) = crate::garage(test).await else { return };
    let bucket = store.bucket().await.unwrap();
    let mut guide = Guide::new();
    // Of a directory nothing may be left to take effect.
    guide.variables.clear();
    let metadata = guide.path("metadata");
    let guide = guide
        .listen()
        .set("REGISTRY_STORAGE", "s3")
        .set("REGISTRY_STORAGE_S3_REGIONENDPOINT", &format!("http://{}", store.s3))
        .set("REGISTRY_STORAGE_S3_REGION", "garage")
        .set("REGISTRY_STORAGE_S3_BUCKET", &bucket)
        .set("REGISTRY_STORAGE_S3_ACCESSKEY", &store.access_key)
        .set("REGISTRY_STORAGE_S3_SECRETKEY", &store.secret_key)
        .set("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "true")
        .set("REGISTRY_STORAGE_S3_V4AUTH", "true")
        .set("REGISTRY_STORAGE_S3_SECURE", "false")
        .set("REGISTRY_STORAGE_S3_CHUNKSIZE", "5242880")
        .set("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/registry/one")
        // A host path: `/var/lib/registry/flotilla` else.
        .set("REGISTRY_CLUSTER_DATADIR", &metadata);
    let s3 = ["storage.s3.chunksize", "storage.s3.v4auth"];
    let guide = guide.start(&[NOTICES.as_slice(), &s3].concat()).await;
    let layout = guide.skopeo_in_plain("team/app").await;
    // A blob is read from where it lies: the redirect names the object.
    let (digest, _) = &layout.blobs[0];
    let answer = guide.client().send(Method::GET, &format!("/v2/team/app/blobs/{digest}")).await.unwrap();
    let location = answer.expect(307).unwrap().header("location").to_owned();
    let object = location.strip_prefix(&format!("http://{}", store.s3)).unwrap_or_default();
    assert!(object.starts_with(&format!("/{bucket}/registry/one/")), "{location}");
    let bytes = Client::new([store.s3.clone()]).send_body(Method::GET, object, &[], empty()).await.unwrap();
    assert_eq!(&digest_of(&bytes.expect(200).unwrap().body), digest);
}

#[tokio::test]
async fn a_custom_configuration_file() {
    let test = "a_custom_configuration_file";
    if lacks_skopeo(test) {
        return;
    }
    // The file of the deployment guide, with the fields of its reference.
    let file = DEFAULT.replace("    service: registry\n", "    service: registry\n    environment: staging\n");
    let guide = Guide::of_file(&file).start(&NOTICES).await;
    let layout = guide.skopeo_in_plain("team/app").await;
    guide.holds(&guide.path("data"), &layout);
    let answer = guide.client().get("/v2/").await.unwrap();
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_root_directory_by_variable() {
    let test = "a_root_directory_by_variable";
    if lacks_skopeo(test) {
        return;
    }
    let guide = Guide::new();
    let root = guide.path("somewhere/else");
    let guide = guide.set("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &root).start(&NOTICES).await;
    let layout = guide.skopeo_in_plain("team/app").await;
    guide.holds(&root, &layout);
    assert!(!Path::new(&guide.path("data")).exists(), "something was written elsewhere");
}

#[tokio::test]
async fn the_list_of_a_compose_file() {
    let test = "the_list_of_a_compose_file";
    if !missing(&["htpasswd", "openssl"]).is_empty() || lacks_skopeo(test) {
        skip(test, "htpasswd, openssl or skopeo is not installed");
        return;
    }
    let guide = Guide::new();
    certificate(guide.dir.path()).await.unwrap();
    htpasswd(&guide.path("htpasswd")).await.unwrap();
    let (crt, key, users) = (guide.path("domain.crt"), guide.path("domain.key"), guide.path("htpasswd"));
    let guide = guide
        .set("REGISTRY_HTTP_TLS_CERTIFICATE", &crt)
        .set("REGISTRY_HTTP_TLS_KEY", &key)
        .set("REGISTRY_HTTP_SECRET", "a-secret-of-many-letters")
        .set("REGISTRY_AUTH", "htpasswd")
        .set("REGISTRY_AUTH_HTPASSWD_PATH", &users)
        .set("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm")
        .set("REGISTRY_STORAGE_DELETE_ENABLED", "true")
        .set("REGISTRY_LOG_LEVEL", "info");
    let guide = guide.start(&[NOTICES.as_slice(), &["http.secret"]].concat()).await;
    let trusted = guide.path("trusted");
    let (push, pull) = (["--dest-cert-dir", &trusted], ["--src-cert-dir", &trusted]);
    let denied = guide.skopeo("team/app", &push, &pull).await.unwrap_err().to_string();
    assert!(denied.contains("unauthorized") || denied.contains("authentication required"), "{denied}");
    let push = [push.as_slice(), &["--dest-creds", "testuser:testpassword"]].concat();
    let pull = [pull.as_slice(), &["--src-creds", "testuser:testpassword"]].concat();
    let layout = guide.skopeo("team/app", &push, &pull).await.unwrap();
    guide.holds(&guide.path("data"), &layout);
    let image = format!("docker://{}", guide.image("team/app"));
    let mut delete = Command::new("skopeo");
    delete.args(["delete", "--cert-dir", &trusted, "--creds", "testuser:testpassword", &image]);
    run(&mut delete, LIMIT).await.unwrap();
}

#[tokio::test]
async fn headers_for_a_page_in_a_browser() {
    let guide = Guide::new()
        .set("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin", "['http://127.0.0.1:8000']")
        .set("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Methods", "[HEAD,GET,OPTIONS,DELETE]")
        .set("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Credentials", "[true]")
        .set("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Headers", "[Authorization,Accept,Cache-Control]")
        .set("REGISTRY_HTTP_HEADERS_Access-Control-Expose-Headers", "[Docker-Content-Digest]");
    let guide = guide.start(&NOTICES).await;
    for (method, path) in [(Method::OPTIONS, "/v2/team/app/manifests/v1"), (Method::GET, "/v2/_catalog")] {
        let asked = [("origin", "http://127.0.0.1:8000"), ("access-control-request-method", "DELETE")];
        let answer = guide.client().send_body(method, path, &asked, empty()).await.unwrap();
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        for (name, value) in [
            ("access-control-allow-origin", "http://127.0.0.1:8000"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "Docker-Content-Digest"),
        ] {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        assert_ne!(answer.header("access-control-allow-methods"), "", "{path}");
    }
}

#[tokio::test]
async fn started_under_the_name_registry() {
    let mut guide = Guide::new();
    guide.program = guide.dir.path().join("registry");
    std::os::unix::fs::symlink(std::path::absolute(server()).unwrap(), &guide.program).unwrap();
    let version = output(Command::new(&guide.program).arg("-v"), LIMIT).await.unwrap();
    assert!(version.status.success() && !version.stdout.is_empty(), "{version:?}");
    let file = guide.path("config.yml");
    // By argument, and by variable.
    let guide = guide.start_with(&["serve", &file], &NOTICES).await;
    guide.client().push_image("team/app", "v1", "registry").await.unwrap();
    let mut guide = guide.stopped().await;
    guide.variables.push(("REGISTRY_CONFIGURATION_PATH".into(), file));
    let guide = guide.start_with(&["serve"], &NOTICES).await;
    guide.client().get("/v2/team/app/manifests/v1").await.unwrap();
}
