//! What the specification asks of pushes, where no other test looks at it. `docs/spec-coverage.md` names the test of each row.

use super::*;

async fn open(cluster: &Cluster, name: &str) -> Answer {
    cluster.send(Method::POST, &format!("/v2/{name}/blobs/uploads/"), &[], "").await.expect(202)
}

async fn patch(cluster: &Cluster, location: &str, range: &str, bytes: &'static str) -> Answer {
    cluster.send(Method::PATCH, location, &[("content-range", range)], bytes).await
}

async fn close(cluster: &Cluster, location: &str, digest: Digest, bytes: &'static str) -> Answer {
    cluster.send(Method::PUT, &format!("{location}?digest={digest}"), &[], bytes).await
}

/// Follows the location of an answer to a push.
async fn pulled(cluster: &Cluster, answer: Answer) -> Bytes {
    let read = cluster.get(&answer.expect(201).location()).await.expect(200);
    read.body
}

fn sha512_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

/// end-4a
#[tokio::test]
async fn each_upload_has_a_location_of_its_own() {
    let cluster = Cluster::of(2).await;
    let mut seen = std::collections::BTreeSet::new();
    for node in [0, 1, 0, 1] {
        let opened = cluster.send_to(node, Method::POST, "/v2/team/app/blobs/uploads/", &[], "").await.expect(202);
        let location = opened.location();
        let id = location.strip_prefix("/v2/team/app/blobs/uploads/").unwrap();
        assert!(uuid::Uuid::try_parse(id).is_ok(), "{location}");
        assert!(seen.insert(location));
    }
}

/// end-4a, 5, 6
#[tokio::test]
async fn uploads_at_the_same_time_do_not_mix() {
    let cluster = Cluster::of(2).await;
    let [one, two] = [open(&cluster, "a").await.location(), open(&cluster, "a").await.location()];
    let write = |node, location: String, bytes: &'static str| {
        let cluster = &cluster;
        async move { cluster.send_to(node, Method::PATCH, &location, &[], bytes).await.expect(202) }
    };
    tokio::join!(write(0, one.clone(), "aaa"), write(1, two.clone(), "bb"));
    tokio::join!(write(1, one.clone(), "AAA"), write(0, two.clone(), "BB"));
    let (first, second) = tokio::join!(
        close(&cluster, &one, digest_of(b"aaaAAA"), ""),
        close(&cluster, &two, digest_of(b"bbBBend"), "end")
    );
    assert_eq!(&pulled(&cluster, first).await[..], b"aaaAAA");
    assert_eq!(&pulled(&cluster, second).await[..], b"bbBBend");
}

/// end-4a, 6
#[tokio::test]
async fn a_blob_pushed_by_post_and_put_is_where_the_answer_says() {
    let cluster = Cluster::of(1).await;
    for digest in [digest_of(b"whole"), sha512_of(b"whole")] {
        let location = open(&cluster, "a").await.location();
        let answer = close(&cluster, &location, digest, "whole").await;
        assert_eq!(answer.field("docker-content-digest"), digest.to_string());
        assert_eq!(&pulled(&cluster, answer).await[..], b"whole");
    }
}

/// end-4b
#[tokio::test]
async fn a_blob_pushed_by_one_post_is_where_the_answer_says() {
    let cluster = Cluster::of(1).await;
    for digest in [digest_of(b"whole"), sha512_of(b"whole")] {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let fields = [("content-type", "application/octet-stream")];
        let answer = cluster.send(Method::POST, &path, &fields, "whole").await;
        assert_eq!(&pulled(&cluster, answer).await[..], b"whole");
    }
}

/// end-4a, 4b, 5, 6
#[tokio::test]
async fn a_digest_that_does_not_fit_is_refused_in_every_flow() {
    let cluster = Cluster::of(1).await;
    let right = digest_of(b"right");
    let unsupported = format!("sha384:{}", "ab".repeat(48));
    let wrong = [right.to_string(), sha512_of(b"right").to_string(), unsupported, "sha256:ab".into(), String::new()];
    for digest in wrong {
        let one = format!("/v2/a/blobs/uploads/?digest={digest}");
        assert_eq!(cluster.send(Method::POST, &one, &[], "wrong").await.expect(400).code(), "DIGEST_INVALID");
        for (patched, put) in [("", "wrong"), ("wrong", ""), ("wr", "ong")] {
            let location = open(&cluster, "a").await.location();
            cluster.send(Method::PATCH, &location, &[], patched).await.expect(202);
            let path = format!("{location}?digest={digest}");
            assert_eq!(cluster.send(Method::PUT, &path, &[], put).await.expect(400).code(), "DIGEST_INVALID");
        }
    }
    for digest in [right, digest_of(b"wrong")] {
        cluster.get(&format!("/v2/a/blobs/{digest}")).await.expect(404);
    }
}

/// end-4c
#[tokio::test]
async fn the_client_may_name_the_digest_algorithm() {
    let cluster = Cluster::of(1).await;
    for (algorithm, digest) in [("sha256", digest_of(b"abcdef")), ("sha512", sha512_of(b"abcdef"))] {
        let path = format!("/v2/a/blobs/uploads/?digest-algorithm={algorithm}");
        let location = cluster.send(Method::POST, &path, &[], "").await.expect(202).location();
        patch(&cluster, &location, "0-2", "abc").await.expect(202);
        let answer = close(&cluster, &location, digest, "def").await;
        assert_eq!(answer.field("docker-content-digest"), digest.to_string());
        assert_eq!(&pulled(&cluster, answer).await[..], b"abcdef");
    }
    let path = "/v2/a/blobs/uploads/?digest-algorithm=sha384";
    assert_eq!(cluster.send(Method::POST, path, &[], "").await.expect(400).code(), "DIGEST_INVALID");
}

/// end-4a, 5
#[tokio::test]
async fn the_least_length_of_chunks_is_told_and_smaller_ones_are_taken() {
    let cluster = Cluster::of(1).await;
    let opened = open(&cluster, "a").await;
    let least: u64 = opened.field("oci-chunk-min-length").parse().unwrap();
    assert!(least > 1);
    patch(&cluster, &opened.location(), "0-0", "a").await.expect(202);
    patch(&cluster, &opened.location(), "1-1", "b").await.expect(202);
    close(&cluster, &opened.location(), digest_of(b"ab"), "").await.expect(201);
}

/// end-5, 13
#[tokio::test]
async fn every_chunk_is_answered_with_where_the_upload_ends() {
    let cluster = Cluster::of(1).await;
    let mut location = open(&cluster, "a").await.location();
    for (range, bytes, ends) in [("0-3", "abcd", "0-3"), ("4-4", "e", "0-4"), ("5-9", "fghij", "0-9")] {
        let written = patch(&cluster, &location, range, bytes).await.expect(202);
        assert_eq!(written.field("range"), ends);
        location = written.location();
        let status = cluster.get(&location).await.expect(204);
        assert_eq!((status.field("range"), status.body.len()), (ends, 0));
        location = status.location();
    }
    close(&cluster, &location, digest_of(b"abcdefghij"), "").await.expect(201);
}

/// end-5, 6, 13
#[tokio::test]
async fn a_chunk_in_the_wrong_place_changes_nothing() {
    let cluster = Cluster::of(1).await;
    let location = open(&cluster, "a").await.location();
    patch(&cluster, &location, "1-3", "abc").await.expect(416);
    assert_eq!(cluster.get(&location).await.expect(204).field("range"), "0-0");
    patch(&cluster, &location, "0-2", "abc").await.expect(202);
    let put = format!("{location}?digest={}", digest_of(b"abcdef"));
    for range in ["0-2", "2-4", "4-6", "6-8"] {
        patch(&cluster, &location, range, "def").await.expect(416);
        cluster.send(Method::PUT, &put, &[("content-range", range)], "def").await.expect(416);
    }
    let status = cluster.get(&location).await.expect(204);
    assert_eq!(status.field("range"), "0-2");
    patch(&cluster, &status.location(), "3-5", "def").await.expect(202);
    cluster.send(Method::PUT, &put, &[], "").await.expect(201);
}

/// end-5, 6
#[tokio::test]
async fn the_last_chunk_comes_with_a_patch_or_with_the_put() {
    let cluster = Cluster::of(1).await;
    let digest = digest_of(b"abcdefg");
    for last_in_put in [false, true] {
        let name = if last_in_put { "put" } else { "patch" };
        let location = open(&cluster, name).await.location();
        patch(&cluster, &location, "0-4", "abcde").await.expect(202);
        let put = format!("{location}?digest={digest}");
        let answer = if last_in_put {
            cluster.send(Method::PUT, &put, &[("content-range", "5-6")], "fg").await
        } else {
            patch(&cluster, &location, "5-6", "fg").await.expect(202);
            // It has all of its bytes, but only the PUT makes it a blob.
            cluster.get(&format!("/v2/{name}/blobs/{digest}")).await.expect(404);
            cluster.send(Method::PUT, &put, &[], "").await
        };
        assert_eq!(&pulled(&cluster, answer).await[..], b"abcdefg");
        cluster.get(&location).await.expect(404);
    }
}

/// end-11
#[tokio::test]
async fn a_mounted_blob_is_where_the_answer_says() {
    let cluster = Cluster::of(1).await;
    let digest = cluster.push_blob("a", b"shared").await;
    let path = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    let mounted = cluster.send(Method::POST, &path, &[], "").await;
    assert_eq!(mounted.field("docker-content-digest"), digest.to_string());
    assert!(mounted.location().starts_with("/v2/b/"), "{}", mounted.location());
    assert_eq!(&pulled(&cluster, mounted).await[..], b"shared");
    // Each repository has it for itself.
    cluster.send(Method::DELETE, &format!("/v2/a/blobs/{digest}"), &[], "").await.expect(202);
    cluster.get(&format!("/v2/b/blobs/{digest}")).await.expect(200);
}

/// end-11
#[tokio::test]
async fn a_mount_that_cannot_be_made_becomes_an_upload() {
    let cluster = Cluster::of(1).await;
    let path = format!("/v2/b/blobs/uploads/?mount={}&from=a", digest_of(b"late"));
    let opened = cluster.send(Method::POST, &path, &[], "").await.expect(202);
    let answer = close(&cluster, &opened.location(), digest_of(b"late"), "late").await;
    assert_eq!(&pulled(&cluster, answer).await[..], b"late");
}

/// end-7a
#[tokio::test]
async fn a_manifest_keeps_its_bytes() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let rest = r#","b":1,"a":{"nested":[1.50,null,"\u00e9é"]},"annotations":{"z":"1","a":"2"}"#;
    let body = format!("\n  {}\t\n", manifest(&[(config, 2)], rest).replace(",\"layers\"", " ,\r\n\"layers\""));
    for digest in [digest_of(body.as_bytes()), sha512_of(body.as_bytes())] {
        let put = cluster.put(&format!("/v2/a/manifests/{digest}"), &[], body.clone()).await;
        assert_eq!(put.field("docker-content-digest"), digest.to_string());
        assert_eq!(pulled(&cluster, put).await, body.as_bytes());
    }
    let put = cluster.put("/v2/a/manifests/v1", &[], body.clone()).await;
    assert_eq!(put.field("docker-content-digest"), digest_of(body.as_bytes()).to_string());
    assert_eq!(pulled(&cluster, put).await, body.as_bytes());
    assert_eq!(cluster.get("/v2/a/manifests/v1").await.expect(200).body, body.as_bytes());
}

/// end-7a
#[tokio::test]
async fn an_image_may_have_no_layers_and_an_index_no_manifests() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    cluster.put("/v2/a/manifests/image", &[], manifest(&[(config, 2)], "")).await.expect(201);
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
    cluster.send(Method::PUT, "/v2/a/manifests/index", &[("content-type", INDEX)], index).await.expect(201);
}

/// end-7a
#[tokio::test]
async fn manifests_of_four_megabytes_are_taken_and_larger_ones_are_refused() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let filled = |size: usize| {
        let empty = manifest(&[(config, 2)], r#","annotations":{"fill":""}"#);
        let fill = "x".repeat(size - empty.len());
        manifest(&[(config, 2)], &format!(r#","annotations":{{"fill":"{fill}"}}"#))
    };
    for size in [4_000_000, 4 << 20] {
        let body = filled(size);
        assert_eq!(body.len(), size);
        cluster.put("/v2/a/manifests/large", &[], body.clone()).await.expect(201);
        assert_eq!(cluster.get("/v2/a/manifests/large").await.expect(200).body, body.as_bytes());
    }
    let refused = cluster.put("/v2/a/manifests/larger", &[], filled((4 << 20) + 1)).await.expect(413);
    assert_eq!(refused.code(), "MANIFEST_INVALID");
    cluster.get("/v2/a/manifests/larger").await.expect(404);
}

/// end-7a
#[tokio::test]
async fn the_subject_of_an_image_or_an_index_is_confirmed() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    for subject in [digest_of(b"not pushed"), sha512_of(b"not pushed")] {
        let field = format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":10}}"#);
        let image = manifest(&[(config, 2)], &field);
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]{field}}}"#);
        for (media_type, body) in [(MANIFEST, image), (INDEX, index)] {
            let fields = [("content-type", media_type)];
            let put = cluster.send(Method::PUT, "/v2/a/manifests/v1", &fields, body).await.expect(201);
            assert_eq!(put.field("oci-subject"), subject.to_string());
        }
    }
    let plain = cluster.put("/v2/a/manifests/v1", &[], manifest(&[(config, 2)], "")).await.expect(201);
    assert_eq!(plain.field("oci-subject"), "");
}

/// end-7b
#[tokio::test]
async fn ten_tags_in_one_push_are_each_confirmed() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let body = manifest(&[(config, 2)], "");
    let tags: Vec<String> = (0..10).map(|n| format!("v1.{n}")).collect();
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let path = format!("/v2/a/manifests/{}?{}", digest_of(body.as_bytes()), query.join("&"));
    let put = cluster.put(&path, &[], body.clone()).await.expect(201);
    let told: Vec<_> = put.fields.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
    assert_eq!(told, tags);
    for tag in tags {
        assert_eq!(cluster.get(&format!("/v2/a/manifests/{tag}")).await.expect(200).body, body.as_bytes());
    }
}
