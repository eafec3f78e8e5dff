//! The program's commands beside `serve`, and the name `registry`.

use flotilla_tests::{
    cluster::{Cluster, operator, server},
    process::output,
};
use std::{path::Path, process::Command, time::Duration};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// Exit code, standard output and standard error.
async fn run(program: &Path, arguments: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(env.iter().copied());
    let ended = output(&mut command, LIMIT).await.expect("it ends by itself");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

#[tokio::test]
async fn config_check_prints_values_or_mistakes() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.yml");
    std::fs::write(&file, "version: 0.1\nstorage: {s3: {bucket: b, region: r}}\nhttp: {secret: hush, tls: {}}\n")
        .unwrap();
    let check = ["config", "check", file.to_str().unwrap()];
    let env = [
        ("REGISTRY_STORAGE_S3_SECRETKEY", "hush"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "hush"),
        ("REGISTRY_HTTP_ADDR", ":1"),
    ];
    let (code, out, err) = run(&server(), &check, &env).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in
        ["addr: :1", "# REGISTRY_HTTP_ADDR", "bucket: b", "# file", "# default", "# notice: http.secret is ignored"]
    {
        assert!(out.contains(line), "no {line} in {out}");
    }
    assert!(!out.contains("hush"), "{out}");

    let wrong =
        [("REGISTRY_STORAGE_S3_SECRETKEY", "hush"), ("REGISTRY_HTTP_ADDR", "x"), ("REGISTRY_LOG_LEVEL", "loud")];
    let (code, out, err) = run(&server(), &check, &wrong).await;
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(
        ["3 mistakes", "http.addr: \"x\"", "log.level", "storage.s3.accesskey"].iter().all(|part| err.contains(part)),
        "{err}"
    );
    assert!(!err.contains("hush"), "{err}");
}

#[tokio::test]
async fn under_the_name_registry_it_answers_as_registry() {
    let dir = TempDir::new().unwrap();
    let link = dir.path().join("registry");
    let program = std::fs::canonicalize(server()).unwrap();
    std::os::unix::fs::symlink(program, &link).unwrap();
    for flag in ["-v", "--version"] {
        let (code, out, _) = run(&link, &[flag], &[]).await;
        let words: Vec<_> = out.split_whitespace().collect();
        assert!(code == Some(0) && out.lines().count() == 1, "{out}");
        assert!(matches!(words[..], ["registry", "flotilla", version] if version.starts_with('v')), "{out}");
        let (_, out, _) = run(&server(), &[flag], &[]).await;
        assert!(out.starts_with("flotilla ") && out.lines().count() == 1, "{out}");
    }
    let (_, out, _) = run(&link, &["--help"], &[]).await;
    assert!(out.contains("Usage: registry") && out.contains("garbage-collect"), "{out}");
    let (code, _, err) = run(&link, &["serve", "/no/such/file"], &[]).await;
    assert!(code == Some(2) && err.contains("/no/such/file"), "{err}");
}

#[tokio::test]
async fn garbage_collect_asks_the_running_node() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let config = cluster.nodes[0].config.to_str().unwrap();
    for flags in [&["-d", "-m"][..], &["--dry-run", "--delete-untagged"], &[]] {
        let arguments = [&["garbage-collect"], flags, &[config]].concat();
        let (code, out, err) = run(&server(), &arguments, &[]).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("0 blobs marked, 0 blobs and 0 manifests eligible for deletion"), "{out}");
    }
    let (code, out, err) = run(&server(), &["garbage-collect", "--quiet", config], &[]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", ""));
    let idle = Cluster::builder().nodes(1).prepare().unwrap();
    let (code, _, err) = run(&server(), &["garbage-collect", idle.nodes[0].config.to_str().unwrap()], &[]).await;
    assert!(code == Some(1) && err.contains("no node runs on this configuration"), "{err}");
}

#[tokio::test]
async fn flotillactl_looks_after_collection() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let data = cluster.nodes[0].data.to_str().unwrap();
    let ctl = operator();
    let ask = async |arguments: &[&str]| run(&ctl, &[arguments, &["--data", data]].concat(), &[]).await;

    let (code, out, err) = ask(&["gc", "status"]).await;
    assert!(code == Some(0) && out.starts_with("collection is on\n") && out.contains("grace 24h0m"), "{out}{err}");
    let (_, out, _) = ask(&["gc", "pause", "moving the bucket: 50% & more"]).await;
    assert_eq!(out, "collection is paused: moving the bucket: 50% & more\n");
    let (code, _, err) = ask(&["gc", "run"]).await;
    assert!(code == Some(1) && err.contains("moving the bucket") && err.contains("nothing was deleted"), "{err}");
    let (code, out, _) = ask(&["gc", "resume", "--json"]).await;
    assert!(code == Some(0) && out.contains("\"mode\": \"on\""), "{out}");
    let (code, out, _) = ask(&["gc", "dry-run"]).await;
    assert!(code == Some(0) && out.contains("0 blobs (0 bytes) would be collected"), "{out}");

    let digest = format!("sha256:{}", "0".repeat(64));
    let (code, out, _) = ask(&["why", &digest]).await;
    assert_eq!((code, out), (Some(0), format!("{digest}: nothing is known of it\n")));
    let (code, _, err) = ask(&["undelete", "team/app:v1"]).await;
    assert!(code == Some(1) && err.contains("there is no repository team/app"), "{err}");
    let (code, _, err) = ask(&["repository", "delete", "team/app"]).await;
    assert!(code == Some(1) && err.contains("there is no repository team/app"), "{err}");
    let (code, out, err) = ask(&["verify", "--hash"]).await;
    assert!(code == Some(0) && out.contains("0 differences; 0 blobs"), "{out}{err}");
}
