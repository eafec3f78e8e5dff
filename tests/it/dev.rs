//! `flotilla dev`.

use crate::clients::check_tag;
use flotilla_tests::{dev::Dev, http::Client, ports, process::Process, wait_for};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{process::Command, time::Duration};
use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(3);

#[tokio::test]
async fn dev_starts_within_three_seconds_twice_and_finds_everything_again() {
    let dir = TempDir::new().unwrap();
    let (data, listen) = (dir.path().join("data"), ports::address());
    let dev = Dev::start_on(&data, &listen, &[]).await.unwrap();
    let first = dev.description().unwrap();
    println!("first start: {:?}", dev.took);
    assert!(dev.took < START_MAX, "first start took {:?}", dev.took);
    assert_eq!(first.listen, listen);
    assert_eq!(first.nodes.len(), 3);
    for node in &first.nodes {
        assert!(dev.output().contains(&node.http), "no line for node {:?}: {}", node, dev.output());
        Client::new([node.ops.clone()]).get("/readyz").await.unwrap();
        Client::new([node.http.clone()]).get("/v2/").await.unwrap();
    }
    assert!(dev.output().contains("docker push"), "{}", dev.output());
    let digest = Client::new([listen.clone()]).push_image("team/app", "v1", "kept").await.unwrap();
    dev.stop().await.unwrap();
    for node in &first.nodes {
        let pid = Pid::from_raw(node.pid).unwrap();
        assert!(test_kill_process(pid).is_err(), "node process {} outlived dev", node.pid);
    }

    let dev = Dev::start_on(&data, &listen, &[]).await.unwrap();
    println!("second start: {:?}", dev.took);
    assert!(dev.took < START_MAX, "second start took {:?}", dev.took);
    let second = dev.description().unwrap();
    for (before, after) in first.nodes.iter().zip(&second.nodes) {
        let ports = |node: &flotilla_tests::dev::DevNode| (node.http.clone(), node.ops.clone(), node.cluster.clone());
        assert_eq!(ports(before), ports(after), "ports are kept over restarts");
    }
    assert_eq!(check_tag("team/app", "v1", &[listen]).await.unwrap(), digest);
    dev.stop().await.unwrap();
}

#[tokio::test]
async fn devs_front_skips_a_killed_node_and_serve_brings_it_back() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(&dir.path().join("data"), &[]).await.unwrap();
    let node = dev.description().unwrap().nodes[1].clone();
    kill_process(Pid::from_raw(node.pid).unwrap(), Signal::KILL).unwrap();
    wait_for("the node's end", Duration::from_secs(10), || async {
        tokio::net::TcpStream::connect(&node.http).await.is_err().then_some(())
    })
    .await;
    let client = Client::new([dev.listen.clone()]);
    let mut pushed = Vec::new();
    for number in 0..6 {
        let tag = format!("v{number}");
        pushed.push((client.push_image("team/app", &tag, &tag).await.unwrap(), tag));
    }
    let mut command = Command::new(flotilla_tests::cluster::server());
    command.arg("serve").arg(&node.config);
    let mut served = Process::start("serve", &mut command, &dir.path().join("serve.log")).unwrap();
    wait_for("the node to be ready", Duration::from_secs(30), || async {
        Client::new([node.ops.clone()]).get("/readyz").await.ok()
    })
    .await;
    for (digest, tag) in pushed {
        assert_eq!(check_tag("team/app", &tag, std::slice::from_ref(&node.http)).await.unwrap(), digest);
    }
    assert!(served.terminate(Duration::from_secs(30)).await.unwrap().success());
    dev.stop().await.unwrap();
}
