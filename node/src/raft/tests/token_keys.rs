//! Keys of tokens on real nodes: a token of one is good on all, whoever leads and whichever key signs.

use super::cluster::{Cluster, soon, until};
use crate::{
    auth::token::{
        Resource,
        own::{Issuer, Settings},
    },
    lifecycle::Lifecycle,
    metadata::MetadataStore as _,
    workers::{Supervisor, token_keys::TokenKeys},
};
use prometheus_client::registry::Registry;
use std::{sync::Arc, time::Duration};

fn settings() -> Settings {
    Settings::new("c", "registry")
}

fn issuer(cluster: &Cluster, node: usize) -> Issuer {
    // Replicated time moves by ticks of 200 ms here: each rotates.
    let settings = Settings { rotation: Duration::from_millis(1), ..settings() };
    Issuer::new(cluster.store(node).clone(), settings)
}

fn mono(cluster: &Cluster, node: usize) -> u64 {
    cluster.store(node).view().unwrap().mono().unwrap()
}

/// Makes the key that signs old enough to be replaced, and replaces it.
async fn rotate(cluster: &Cluster, node: usize, issuer: &Issuer) {
    let before = mono(cluster, node);
    until("replicated time moves", || (mono(cluster, node) > before).then_some(())).await;
    assert!(issuer.rotate().await.unwrap());
}

async fn token(issuer: &Issuer) -> String {
    let access = vec![Resource::parse("repository:team/app:pull").unwrap()];
    issuer.issue(Some("ann"), access).await.unwrap().token
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_node_is_good_on_all_after_a_rotation_and_a_change_of_the_leader() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let mut issuers: Vec<Option<Issuer>> = (0..3).map(|node| Some(issuer(&cluster, node))).collect();
    async fn good_on_all(issuers: &[Option<Issuer>], token: &str) {
        for issuer in issuers.iter().flatten() {
            let claims = issuer.verify(token).await.unwrap();
            assert_eq!(claims.subject.as_deref(), Some("ann"));
        }
    }
    // Nobody made a key yet: a follower's first token makes one, and the others learn of it when they see the token.
    let first = token(issuers[follower].as_ref().unwrap()).await;
    good_on_all(&issuers, &first).await;
    rotate(&cluster, leader, issuers[leader].as_ref().unwrap()).await;
    let second = token(issuers[leader].as_ref().unwrap()).await;
    assert_ne!(first.split('.').next(), second.split('.').next(), "signed by another key");
    for token in [&first, &second] {
        good_on_all(&issuers, token).await;
    }

    issuers[leader] = None;
    cluster.kill(leader).await;
    let next = cluster.leader().await;
    rotate(&cluster, next, issuers[next].as_ref().unwrap()).await;
    let third = token(issuers[next].as_ref().unwrap()).await;
    cluster.start(leader).await;
    cluster.store(leader).barrier(soon()).await.unwrap();
    issuers[leader] = Some(issuer(&cluster, leader));
    for token in [&first, &second, &third] {
        good_on_all(&issuers, token).await;
    }
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_makes_the_first_key_by_itself() {
    let cluster = Cluster::started(3).await;
    let lifecycle = Lifecycle::new();
    for node in 0..3 {
        let store = cluster.store(node).clone();
        let is_leader = Arc::new(move || store.is_leader());
        let issuer = Issuer::new(cluster.store(node).clone(), settings());
        let supervisor = Supervisor::new(lifecycle.clone(), is_leader, &mut Registry::default());
        supervisor.run(TokenKeys::new(Arc::new(issuer)), Duration::from_millis(20));
    }
    for node in 0..3 {
        let keys = || cluster.store(node).view().unwrap().token_keys().unwrap().len();
        until("a key", || (keys() == 1).then_some(())).await;
    }
    lifecycle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_nodes_that_make_the_first_key_one_does() {
    let cluster = Cluster::started(3).await;
    let issuers: Vec<_> = (0..3).map(|node| Issuer::new(cluster.store(node).clone(), settings())).collect();
    let made = futures_util::future::join_all(issuers.iter().map(Issuer::rotate)).await;
    assert_eq!(made.into_iter().filter(|made| *made.as_ref().unwrap()).count(), 1);
    cluster.assert_same_state().await;
    assert_eq!(cluster.store(0).view().unwrap().token_keys().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::started(3).await;
    Issuer::new(cluster.store(0).clone(), settings()).rotate().await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for node in 0..3 {
        let dir = cluster.data_dir(node);
        for dir in [&dir, &dir.join("log"), &dir.join("state")] {
            assert_eq!(mode(dir), 0o700, "{}", dir.display());
        }
        let state: Vec<_> = std::fs::read_dir(dir.join("state")).unwrap().map(|item| item.unwrap().path()).collect();
        let files = state.iter().filter(|path| path.extension().is_some_and(|extension| extension == "redb"));
        assert!(files.map(|file| assert_eq!(mode(file), 0o600, "{}", file.display())).count() > 0);
    }
}
