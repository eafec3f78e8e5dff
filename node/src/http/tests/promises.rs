//! What a client is told exists stays long enough to be used, at the cost of few log entries.

use super::*;
use crate::metadata::{Outcome, View};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

impl Cluster {
    fn state(&self) -> View {
        self.metadata.view().expect("a view")
    }

    /// When the lease of a blob's link in repository `a` ends, in hours.
    fn lease(&self, blob: &Digest) -> u64 {
        let view = self.state();
        let repository = view.repository(&"a".parse().unwrap()).unwrap().unwrap();
        view.link(repository.id, blob).unwrap().unwrap().eligible_mono / 3_600_000
    }

    fn collect(&self) -> wire::Collected {
        match self.metadata.apply(Command::Collect(wire::Collect { limit: 100, links: vec![] })).unwrap() {
            Outcome::Collected(collected) => collected,
            other => panic!("{other:?}"),
        }
    }
}

/// end-2
#[tokio::test]
async fn a_head_renews_the_lease_of_a_blob_once_in_half_of_it() {
    let cluster = Cluster::of(1).await;
    let digest = cluster.push_blob("a", b"layer").await;
    let path = format!("/v2/a/blobs/{digest}");
    let head = || cluster.send(Method::HEAD, &path, &[], "");
    cluster.metadata.advance(HOUR * 12 - Duration::from_millis(1)).unwrap();
    head().await.expect(200);
    assert_eq!(cluster.lease(&digest), 24);
    cluster.metadata.advance(Duration::from_millis(1)).unwrap();
    cluster.get(&path).await.expect(200);
    assert_eq!(cluster.lease(&digest), 24, "a pull promises nothing");
    head().await.expect(200);
    head().await.expect(200);
    assert_eq!(cluster.lease(&digest), 36);
    cluster.metadata.advance(HOUR * 24).unwrap();
    assert_eq!(cluster.collect().blobs, 1);
    head().await.expect(404);
}

/// end-7
#[tokio::test]
async fn a_manifest_that_nothing_holds_stays_for_whoever_asked_for_it() {
    let cluster = Cluster::of(1).await;
    let child = manifest(&[(cluster.push_blob("a", b"{}").await, 2)], "");
    let digest = digest_of(child.as_bytes());
    let path = format!("/v2/a/manifests/{digest}");
    cluster.put(&path, &[], child).await.expect(201);
    let sweep = || {
        let sweep = wire::SweepManifests { limit: 100, untagged: true };
        match cluster.metadata.apply(Command::SweepManifests(sweep)).unwrap() {
            Outcome::ManifestsSwept(swept) => swept.removed,
            other => panic!("{other:?}"),
        }
    };
    for method in [Method::HEAD, Method::GET] {
        cluster.metadata.advance(HOUR * 13).unwrap();
        cluster.send(method, &path, &[], "").await.expect(200);
        assert_eq!(sweep(), 0);
    }
    cluster.metadata.advance(HOUR * 23).unwrap();
    assert_eq!(sweep(), 0);
    cluster.metadata.advance(HOUR).unwrap();
    assert_eq!(sweep(), 1);
    cluster.get(&path).await.expect(404);
}

/// end-2, end-7
#[tokio::test]
async fn what_needs_a_damaged_blob_is_hidden_from_those_who_push_until_it_is_pushed_again() {
    let cluster = Cluster::of(1).await;
    let (_, image) = cluster.push_image("a", "v1", b"layer").await;
    let layer = digest_of(b"layer");
    let segment_list = cluster.state().blob_anywhere(&layer).unwrap().unwrap().segment_list;
    let mark = wire::MarkSuspect { digest: layer.to_bytes().into(), segment_list };
    cluster.metadata.apply(Command::MarkSuspect(mark)).unwrap();

    let tag = "/v2/a/manifests/v1";
    cluster.send(Method::HEAD, tag, &[], "").await.expect(404);
    cluster.send(Method::HEAD, &format!("/v2/a/blobs/{layer}"), &[], "").await.expect(404);
    cluster.get(&format!("/v2/a/blobs/{layer}")).await.expect(503);
    cluster.get(tag).await.expect(200);
    assert_eq!(cluster.put(tag, &[], image.clone()).await.expect(400).code(), "MANIFEST_BLOB_UNKNOWN");

    cluster.push_blob("a", b"layer").await;
    cluster.put(tag, &[], image).await.expect(201);
    cluster.send(Method::HEAD, tag, &[], "").await.expect(200);
    assert_eq!(cluster.get(&format!("/v2/a/blobs/{layer}")).await.expect(200).body, &b"layer"[..]);
}
