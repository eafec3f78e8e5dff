//! Nodes that were down, and nodes that lost their disk.

use crate::clients::check_tag;
use flotilla_tests::{cluster::Cluster, wait_for};
use std::time::Duration;

#[tokio::test]
async fn a_wiped_node_comes_back_under_a_new_id_and_nothing_is_lost() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let first = cluster.client().push_image("team/app", "v1", "first").await.unwrap();
    for number in 0..3 {
        let old = cluster.nodes[number].status().await.unwrap().node_id;
        cluster.nodes[number].kill();
        cluster.wipe(number).unwrap();
        let tag = format!("while-{number}-is-away");
        let others = (0..3).filter(|other| *other != number).map(|other| cluster.nodes[other].http.clone());
        let pushed = flotilla_tests::http::Client::new(others).push_image("team/app", &tag, &tag).await.unwrap();
        cluster.restart(number).await.unwrap();
        let new = cluster.nodes[number].status().await.unwrap().node_id;
        assert_ne!(new, old, "a wiped voter must not vote under its old id");
        assert_eq!(check_tag("team/app", "v1", &cluster.addresses()).await.unwrap(), first);
        assert_eq!(check_tag("team/app", &tag, &cluster.addresses()).await.unwrap(), pushed);
        // The next one may only be wiped once this one votes again.
        wait_for("three voters", Duration::from_secs(60), || async {
            let status = cluster.nodes[(number + 1) % 3].status().await.ok()?;
            let voters = status.members.iter().filter(|member| member["voter"] == true).count();
            (voters == 3 && status.members.len() == 3).then_some(())
        })
        .await;
    }
    cluster.wait_equal_hash().await;
}

#[tokio::test]
async fn a_node_that_was_down_catches_up_by_log() {
    let mut cluster = Cluster::builder().start().await.unwrap();
    let away = (cluster.leader().await + 1) % 3;
    cluster.nodes[away].stop().await.unwrap();
    let client = flotilla_tests::http::Client::new(
        (0..3).filter(|number| *number != away).map(|number| cluster.nodes[number].http.clone()),
    );
    let mut pushed = Vec::new();
    for number in 0..20 {
        let tag = format!("v{number}");
        pushed.push((client.push_image("team/app", &tag, &tag).await.unwrap(), tag));
    }
    cluster.restart(away).await.unwrap();
    for (digest, tag) in pushed {
        assert_eq!(check_tag("team/app", &tag, &[cluster.nodes[away].http.clone()]).await.unwrap(), digest);
    }
    cluster.wait_equal_hash().await;
}
