//! Objects that are removed behind our back: reported, taken for absent by those who push, and brought back by them.

use flotilla_tests::{
    bucket::{Store, by_session},
    churn::gc_status,
    cluster::Cluster,
    http::{digest_of, full},
    wait_for,
};
use http::Method;
use std::time::Duration;

/// Two looks, a minute apart, and a minute between them.
const SCRUB: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_object_removed_behind_our_back_is_reported_and_heals_by_a_push() {
    let cluster = Cluster::builder().start().await.unwrap();
    let (client, node) = (cluster.client(), &cluster.nodes[0]);
    let digest = client.push_image("team/app", "v1", "lost").await.unwrap();
    let clean = node.operate(&["verify", "--hash"], LIMIT).await.unwrap();
    assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stdout));

    let store = Store::of(&cluster.storage, None);
    let sessions = by_session(&store.objects().await.unwrap()).unwrap();
    let keys: Vec<_> = sessions.into_values().flatten().collect();
    assert_eq!(keys.len(), 1, "one blob, one object: {keys:?}");
    let config = store.read(&keys[0]).await.unwrap();
    store.remove(&keys[0]).await.unwrap();
    let verified = node.operate(&["verify"], LIMIT).await.unwrap();
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{text}");
    assert!(text.contains(&keys[0]) || text.contains(&digest_of(&config)), "it does not say what is lost: {text}");

    wait_for("the scrub to miss it", SCRUB, || async {
        (gc_status(node).await.ok()?["suspects"].as_u64()? == 1).then_some(())
    })
    .await;
    let blob = format!("/v2/team/app/blobs/{}", digest_of(&config));
    let manifest = format!("/v2/team/app/manifests/{digest}");
    // Whoever pushes is told to push it; whoever pulls, that it is away for now.
    assert_eq!(client.send(Method::HEAD, &blob).await.unwrap().status, 404);
    assert_eq!(client.send(Method::HEAD, &manifest).await.unwrap().status, 404);
    assert_eq!(client.send(Method::GET, &blob).await.unwrap().status, 503);

    client.push_blob("team/app", &digest_of(&config), full(config.clone())).await.unwrap();
    assert_eq!(client.get(&blob).await.unwrap().body, config);
    assert_eq!(client.send(Method::HEAD, &manifest).await.unwrap().status, 200);
    assert_eq!(gc_status(node).await.unwrap()["suspects"], 0);
    let clean = node.operate(&["verify", "--hash"], LIMIT).await.unwrap();
    assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stdout));
}
