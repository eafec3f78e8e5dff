//! kill -9 in the middle of a push: docker's push succeeds, nothing acknowledged is lost, the nodes agree afterwards.

use crate::{clients::check_tag, garage, on_garage};
use flotilla_tests::{
    cluster::Cluster,
    dockerd::{Dockerd, clis},
    haproxy::Haproxy,
    http::Client,
    images::Layout,
    missing,
    process::{Process, run},
    skip, wait_for,
};
use std::{
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const LAYER: u64 = 300 << 20;

#[tokio::test]
async fn dockers_push_survives_kill_9_of_the_leader() {
    kill_while_docker_pushes("dockers_push_survives_kill_9_of_the_leader", true).await;
}

#[tokio::test]
async fn dockers_push_survives_kill_9_of_the_node_that_serves_its_patch() {
    kill_while_docker_pushes("dockers_push_survives_kill_9_of_the_node_that_serves_its_patch", false).await;
}

async fn kill_while_docker_pushes(test: &str, leader: bool) {
    let Some(store) = garage(test).await else { return };
    let lacking = missing(&["skopeo", "haproxy", "ss"]);
    if !lacking.is_empty() {
        return skip(test, &format!("{lacking:?} are not installed"));
    }
    let Some(engine) = Dockerd::start(test).await.unwrap() else { return };
    let mut cluster = on_garage(&store).await.start().await.unwrap();
    let balancer = Haproxy::start(&cluster.addresses()).await.unwrap().expect("haproxy is installed");
    let (cli, _) = clis().into_iter().next().expect("a docker CLI");

    // What was acknowledged before must still be there after.
    let earlier = cluster.client().push_image("team/earlier", "v1", "earlier").await.unwrap();
    let dir = TempDir::new().unwrap();
    let layout = Layout::image(&dir.path().join("image"), 300, &[LAYER]).unwrap();
    let image = format!("{}/team/large:v1", balancer.listen);
    let archive = dir.path().join("image.tar");
    let mut convert = Command::new("skopeo");
    let target = format!("docker-archive:{}:{image}", archive.display());
    run(convert.args(["--insecure-policy", "copy", &layout.source(), &target]), Duration::from_secs(120))
        .await
        .unwrap();
    engine.docker(&cli, &["load", "-q", "-i", &archive.display().to_string()]).await.unwrap();

    let mut command = engine.command(&cli);
    let mut push = Process::start("docker push", command.args(["push", &image]), &dir.path().join("push.log")).unwrap();
    // Mid push: a connection has brought a node 30 MiB, and is far from the end.
    let serving = wait_for("a node to receive the layer", Duration::from_secs(60), || async {
        for (number, node) in cluster.nodes.iter().enumerate() {
            if received(&node.http).await > 30 << 20 {
                return Some(number);
            }
        }
        None
    })
    .await;
    let victim = if leader { cluster.leader().await } else { serving };
    assert!(push.is_running(), "the push was over too soon: {}", push.log_text());
    cluster.nodes[victim].kill();

    let status = push.wait(Duration::from_secs(300)).await.unwrap();
    assert!(status.success(), "docker push: {status}\n{}", push.log_text());
    let survivors: Vec<_> = (0..3).filter(|number| *number != victim).collect();
    let addresses: Vec<_> = survivors.iter().map(|number| cluster.nodes[*number].http.clone()).collect();
    let pushed = check_tag("team/large", "v1", &addresses).await.unwrap();
    assert_eq!(check_tag("team/earlier", "v1", &addresses).await.unwrap(), earlier);
    for address in &addresses {
        let local = engine.docker(&cli, &["image", "ls", "-aq"]).await.unwrap();
        let ids: Vec<_> = local.split_whitespace().collect();
        engine.docker(&cli, &[&["rmi", "-f"], ids.as_slice()].concat()).await.unwrap();
        engine.docker(&cli, &["pull", "-q", &format!("{address}/team/large@{pushed}")]).await.unwrap();
    }
    cluster.restart(victim).await.unwrap();
    cluster.wait_equal_hash().await;
    assert_eq!(check_tag("team/large", "v1", &cluster.addresses()).await.unwrap(), pushed);
    engine.stop().await.unwrap();
}

/// The most bytes that came in on one of the connections that are open to this address.
async fn received(address: &str) -> u64 {
    let port = address.rsplit(':').next().expect("host:port");
    let mut command = Command::new("ss");
    let text = run(command.args(["-Htni", "sport", "=", &format!(":{port}")]), Duration::from_secs(10)).await.unwrap();
    let counts = text.split_whitespace().filter_map(|word| word.strip_prefix("bytes_received:")?.parse().ok());
    counts.max().unwrap_or(0)
}

#[tokio::test]
async fn writes_resume_within_two_seconds_of_losing_the_leader() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    cluster.client().push_image("team/app", "v0", "first").await.unwrap();
    let leader = cluster.leader().await;
    let other = cluster.nodes[(leader + 1) % 3].http.clone();
    cluster.nodes[leader].kill();
    let start = Instant::now();
    Client::new([other]).push_image("team/app", "v1", "second").await.unwrap();
    let took = start.elapsed();
    println!("a push begun right after kill -9 of the leader took {took:?}");
    // Two seconds for the election, and a little for the push itself on a loaded machine.
    assert!(took < Duration::from_secs(3), "{took:?}");
    cluster.restart(leader).await.unwrap();
    cluster.wait_equal_hash().await;
}

/// How often all other nodes together may dial one that is away: heartbeats every 100 ms, appends after a pause of theirs.
const DIALS_PER_SECOND_MAX: usize = 60;

#[tokio::test]
async fn a_node_that_is_away_is_dialled_now_and_then() {
    const LOOK: Duration = Duration::from_secs(5);
    let mut cluster = Cluster::builder().start().await.unwrap();
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.nodes[away].kill();
    // Takes every connection and closes it at once.
    let door = tokio::net::TcpListener::bind(&cluster.nodes[away].cluster).await.unwrap();
    // Entries wait for it, so appends are tried too.
    cluster.nodes[leader].client().push_image("team/app", "v1", "first").await.unwrap();
    let mut dials = 0;
    let counting = async {
        loop {
            drop(door.accept().await.unwrap());
            dials += 1;
        }
    };
    tokio::time::timeout(LOOK, counting).await.expect_err("it counts until the time is over");
    println!("{dials} connections in {LOOK:?} to a node that is away");
    assert!(dials > 0, "nobody looks for the node");
    assert!(dials <= DIALS_PER_SECOND_MAX * LOOK.as_secs() as usize, "{dials} connections in {LOOK:?}");
    drop(door);
    cluster.restart(away).await.unwrap();
    cluster.wait_equal_hash().await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_of_all_nodes() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let mut digests = Vec::new();
    for number in 0..20 {
        let tag = format!("v{number}");
        digests.push((cluster.client().push_image("team/app", &tag, &tag).await.unwrap(), tag));
    }
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().unwrap();
    }
    cluster.wait_ready().await;
    for (digest, tag) in digests {
        assert_eq!(check_tag("team/app", &tag, &cluster.addresses()).await.unwrap(), digest);
    }
    cluster.wait_equal_hash().await;
}
