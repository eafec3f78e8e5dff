//! Clients replayed step by step over three nodes, every request to another one: see the tables in `tests/src/replay`.

use flotilla_tests::{
    cluster::Cluster,
    replay::{
        Material, Replay, Table,
        Wire::{self, Http1, Http2},
        containerd, containers_image, docker, ggcr, oras, regclient,
    },
    seed::seed_tags,
};

/// Runs a table over HTTP/1.1, and once more over HTTP/2 in a repository of its own.
async fn replay(table: fn(&str) -> (Table, Material)) {
    let cluster = Cluster::builder().start().await.unwrap();
    for wire in [Http1, Http2] {
        let (table, mut material) = table(&format!("team/{wire:?}").to_lowercase());
        run(&cluster, wire, &table, &mut material).await;
    }
}

async fn run(cluster: &Cluster, wire: Wire, table: &Table, material: &mut Material) {
    Replay::new(cluster.addresses(), wire).run(table, material).await;
}

#[tokio::test]
async fn containerd_pushes_mounts_and_pulls_through_a_mirror() {
    replay(containerd::containerd).await;
}

#[tokio::test]
async fn buildkit_pushes_attestations_and_both_kinds_of_cache() {
    replay(containerd::buildkit).await;
}

#[tokio::test]
async fn docker_pushes_with_one_patch_and_resumes_a_pull() {
    replay(docker::docker).await;
}

#[tokio::test]
async fn containers_image_pushes_and_pulls_several_ranges_at_once() {
    replay(containers_image::containers_image).await;
}

#[tokio::test]
async fn crane_pushes_with_an_origin_and_lists_tags_page_by_page() {
    let cluster = Cluster::builder().start().await.unwrap();
    let tags: Vec<_> = (0..1001).map(|number| format!("t{number:04}")).collect();
    seed_tags(&cluster.addresses(), "team/many", &tags).await.unwrap();
    for wire in [Http1, Http2] {
        let (table, material) = ggcr::crane(&format!("team/{wire:?}").to_lowercase());
        run(&cluster, wire, &table, &mut material.word("many", "team/many")).await;
    }
}

#[tokio::test]
async fn cosign_signs_with_tags_and_with_referrers() {
    replay(ggcr::cosign).await;
}

#[tokio::test]
async fn oras_pushes_in_one_put_and_finds_referrers() {
    replay(oras::oras).await;
}

#[tokio::test]
async fn helm_pushes_and_pulls_a_chart() {
    replay(oras::helm).await;
}

#[tokio::test]
async fn notation_signs_and_lists_signatures() {
    replay(oras::notation).await;
}

#[tokio::test]
async fn regclient_recovers_a_chunked_upload_and_zot_syncs_what_it_pushed() {
    for wire in [Http1, Http2] {
        // A cluster of its own: a mount without a source would find what the first run pushed.
        let cluster = Cluster::builder().start().await.unwrap();
        let (table, mut material) = regclient::regclient(&format!("team/{wire:?}").to_lowercase());
        run(&cluster, wire, &table, &mut material).await;
        run(&cluster, wire, &regclient::zot(), &mut material).await;
    }
}

#[tokio::test]
async fn runners_watch_tags_cheaply_and_see_them_move() {
    replay(regclient::runner).await;
}
