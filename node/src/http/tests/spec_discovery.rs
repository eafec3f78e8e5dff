//! What the specification asks of listings, where no other test looks at it. `docs/spec-coverage.md` names the test of each
//! row.

use super::*;
use serde_json::{Value, json};

/// A repository `a` with these tags.
async fn tagged(tags: &[&str]) -> Cluster {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let body = manifest(&[(config, 2)], "");
    for tag in tags {
        cluster.put(&format!("/v2/a/manifests/{tag}"), &[], body.clone()).await.expect(201);
    }
    cluster
}

async fn tags(cluster: &Cluster, query: &str) -> (Value, String) {
    let answer = cluster.get(&format!("/v2/a/tags/list{query}")).await.expect(200);
    assert_eq!((answer.field("content-type"), &answer.json()["name"]), ("application/json", &json!("a")));
    (answer.json()["tags"].clone(), answer.field("link").to_owned())
}

/// end-8a
#[tokio::test]
async fn tags_are_listed_in_the_order_of_their_bytes() {
    let cluster = tagged(&["b", "B", "_x", "a.b", "a-b", "a_b", "a", "10", "9", "ab"]).await;
    let expected = json!(["10", "9", "B", "_x", "a", "a-b", "a.b", "a_b", "ab", "b"]);
    assert_eq!(tags(&cluster, "").await, (expected, String::new()));
}

/// end-8a
#[tokio::test]
async fn a_repository_without_tags_lists_none() {
    let cluster = Cluster::of(1).await;
    cluster.push_blob("a", b"{}").await;
    assert_eq!(tags(&cluster, "").await, (json!([]), String::new()));
    assert_eq!(tags(&cluster, "?n=5").await, (json!([]), String::new()));
}

/// end-8b
#[tokio::test]
async fn a_page_has_as_many_tags_as_asked_for_unless_there_are_no_more() {
    let cluster = tagged(&["a", "b", "c"]).await;
    let link = |last: &str, n: usize| format!("</v2/a/tags/list?last={last}&n={n}>; rel=\"next\"");
    assert_eq!(tags(&cluster, "?n=1").await, (json!(["a"]), link("a", 1)));
    assert_eq!(tags(&cluster, "?n=2").await, (json!(["a", "b"]), link("b", 2)));
    assert_eq!(tags(&cluster, "?n=3").await, (json!(["a", "b", "c"]), String::new()));
    assert_eq!(tags(&cluster, "?n=4").await, (json!(["a", "b", "c"]), String::new()));
    assert_eq!(tags(&cluster, "?n=0").await, (json!([]), String::new()));
    assert_eq!(tags(&cluster, "?n=0&last=a").await, (json!([]), String::new()));
}

/// end-8b
#[tokio::test]
async fn a_page_begins_after_the_last_tag_which_is_no_index() {
    let cluster = tagged(&["0", "1", "2", "v1"]).await;
    assert_eq!(tags(&cluster, "?last=1").await.0, json!(["2", "v1"]));
    assert_eq!(tags(&cluster, "?last=1&n=1").await.0, json!(["2"]));
    assert_eq!(tags(&cluster, "?n=1&last=2").await, (json!(["v1"]), String::new()));
    assert_eq!(tags(&cluster, "?last=v1").await.0, json!([]));
    // It need not exist (any more).
    assert_eq!(tags(&cluster, "?last=10").await.0, json!(["2", "v1"]));
    assert_eq!(tags(&cluster, "?last=zzz&n=2").await, (json!([]), String::new()));
}

/// Puts a manifest and returns its digest.
async fn put(cluster: &Cluster, name: &str, media_type: &str, body: &str) -> Digest {
    let digest = digest_of(body.as_bytes());
    let path = format!("/v2/{name}/manifests/{digest}");
    cluster.send(Method::PUT, &path, &[("content-type", media_type)], body.to_owned()).await.expect(201);
    digest
}

async fn referrers(cluster: &Cluster, name: &str, subject: Digest, query: &str) -> Vec<Value> {
    let answer = cluster.get(&format!("/v2/{name}/referrers/{subject}{query}")).await.expect(200);
    assert_eq!(answer.field("content-type"), INDEX);
    answer.json()["manifests"].as_array().unwrap().clone()
}

fn subject(digest: Digest) -> String {
    format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{digest}","size":5}}"#)
}

/// end-12a
#[tokio::test]
async fn the_artifact_type_of_a_referrer_follows_its_kind() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let of = subject(digest_of(b"x"));
    let index = |rest: &str| {
        format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]{of}{rest},"annotations":{{"i":"1"}}}}"#)
    };
    let typed = r#","artifactType":"text/own""#;
    for (media_type, body, expected) in [
        (MANIFEST, manifest(&[(config, 2)], &format!("{of}{typed}")), json!("text/own")),
        (MANIFEST, manifest(&[(config, 2)], &of), json!("application/octet-stream")),
        (MANIFEST, manifest(&[(config, 2)], &format!(r#"{of},"artifactType":"""#)), json!("application/octet-stream")),
        (INDEX, index(typed), json!("text/own")),
        (INDEX, index(""), Value::Null),
    ] {
        let digest = put(&cluster, "a", media_type, &body).await.to_string();
        let listed = referrers(&cluster, "a", digest_of(b"x"), "").await;
        let entry = listed.iter().find(|entry| entry["digest"] == json!(digest)).unwrap();
        assert_eq!((&entry["mediaType"], &entry["size"]), (&json!(media_type), &json!(body.len())));
        assert_eq!((&entry["artifactType"], entry.get("artifactType").is_some()), (&expected, !expected.is_null()));
        assert_eq!(entry.get("annotations").is_some(), media_type == INDEX, "{body}");
    }
    assert_eq!(referrers(&cluster, "a", digest_of(b"x"), "?artifactType=text/own").await.len(), 2);
}

/// end-12a
#[tokio::test]
async fn referrers_stay_in_their_repository_and_with_their_subject() {
    let cluster = Cluster::of(1).await;
    let (one, two) = (digest_of(b"one"), digest_of(b"two"));
    let config = cluster.push_blob("a", b"{}").await;
    cluster.push_blob("b", b"{}").await;
    let of_one = put(&cluster, "a", MANIFEST, &manifest(&[(config, 2)], &subject(one))).await;
    let of_two = put(&cluster, "b", MANIFEST, &manifest(&[(config, 2)], &subject(two))).await;
    for (name, subject, expected) in
        [("a", one, Some(of_one)), ("a", two, None), ("b", one, None), ("b", two, Some(of_two))]
    {
        let listed = referrers(&cluster, name, subject, "").await;
        let listed: Vec<_> = listed.iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
        assert_eq!(listed, expected.map(|digest| digest.to_string()).into_iter().collect::<Vec<_>>(), "{name}");
    }
}

/// end-12a
#[tokio::test]
async fn a_subject_by_sha512_has_referrers() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"subject");
    let digest = hasher.finish();
    let by_subject = put(&cluster, "a", MANIFEST, &manifest(&[(config, 2)], &subject(digest))).await;
    assert_eq!(referrers(&cluster, "a", digest, "").await[0]["digest"], json!(by_subject.to_string()));

    // The fallback tag has the first 64 characters of the hex only.
    let rest = format!(r#"{},"annotations":{{"n":"2"}}"#, subject(digest));
    let listed = manifest(&[(config, 2)], &rest);
    let listed_digest = put(&cluster, "a", MANIFEST, &listed).await;
    let entry = json!({ "mediaType": MANIFEST, "digest": listed_digest.to_string(), "size": listed.len() });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
    let tag = format!("/v2/a/manifests/sha512-{}", &digest.hex()[..64]);
    cluster.send(Method::PUT, &tag, &[("content-type", INDEX)], index).await.expect(201);
    let mut expected = [by_subject, listed_digest].map(|digest| digest.to_string());
    expected.sort();
    let listed = referrers(&cluster, "a", digest, "").await;
    assert_eq!(listed.iter().map(|entry| entry["digest"].as_str().unwrap()).collect::<Vec<_>>(), expected);
}
