use super::*;
use crate::registry::Settings;
use serde_json::{Value, json};

/// A manifest that refers to `subject`.
fn referrer(config: Digest, subject: Digest, rest: &str) -> String {
    let subject = format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":5}}{rest}"#);
    manifest(&[(config, 2)], &subject)
}

fn entry(body: &str) -> Value {
    json!({ "mediaType": MANIFEST, "size": body.len(), "digest": digest_of(body.as_bytes()).to_string() })
}

fn digests(answer: &Answer) -> Vec<String> {
    let index = answer.json();
    let entries = index["manifests"].as_array().unwrap();
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

/// end-12a, 12b
#[tokio::test]
async fn referrers_are_listed_with_their_type_and_annotations() {
    let cluster = Cluster::of(2).await;
    let config = cluster.push_blob("a", b"{}").await;
    let subject = digest_of(b"a manifest that comes later");
    let path = format!("/v2/a/referrers/{subject}");
    let plain = referrer(config, subject, "");
    let typed = referrer(config, subject, r#","artifactType":"text/sbom+x","annotations":{"k":"v"}"#);
    for body in [&plain, &typed] {
        let put = format!("/v2/a/manifests/{}", digest_of(body.as_bytes()));
        assert_eq!(cluster.put(&put, &[], body.clone()).await.expect(201).field("oci-subject"), subject.to_string());
    }
    let answer = cluster.send_to(1, Method::GET, &path, &[], "").await.expect(200);
    assert_eq!(answer.field("content-type"), INDEX);
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(INDEX)));
    let mut expected = [entry(&plain), entry(&typed)];
    expected[0]["artifactType"] = json!("application/octet-stream");
    expected[1]["artifactType"] = json!("text/sbom+x");
    expected[1]["annotations"] = json!({ "k": "v" });
    expected.sort_by_key(|entry| entry["digest"].to_string());
    assert_eq!(index["manifests"], json!(expected));
    assert_eq!((answer.field("oci-filters-applied"), answer.field("link")), ("", ""));

    let filtered = cluster.get(&format!("{path}?artifactType=text%2Fsbom%2Bx")).await.expect(200);
    assert_eq!(filtered.field("oci-filters-applied"), "artifactType");
    assert_eq!(digests(&filtered), [digest_of(typed.as_bytes()).to_string()]);
    let none = cluster.get(&format!("{path}?artifactType=other")).await.expect(200);
    assert_eq!(none.json()["manifests"], json!([]));
    let head = cluster.send(Method::HEAD, &path, &[], "").await.expect(200);
    assert_eq!(head.field("content-length"), answer.body.len().to_string());

    let typed = digest_of(typed.as_bytes());
    cluster.send(Method::DELETE, &format!("/v2/a/manifests/{typed}"), &[], "").await.expect(202);
    let left = cluster.send_to(1, Method::GET, &path, &[], "").await.expect(200);
    assert_eq!(digests(&left), [digest_of(plain.as_bytes()).to_string()]);
}

/// end-12a
#[tokio::test]
async fn what_does_not_exist_has_no_referrers() {
    let cluster = Cluster::of(1).await;
    let answer = cluster.get(&format!("/v2/nobody/referrers/{}", digest_of(b"x"))).await.expect(200);
    assert_eq!(answer.json(), json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
    for wrong in ["latest", "sha256:AB", "sha256:00"] {
        assert_eq!(cluster.get(&format!("/v2/a/referrers/{wrong}")).await.expect(400).code(), "DIGEST_INVALID");
    }
    let path = format!("/v2/a/referrers/{}", digest_of(b"x"));
    assert_eq!(cluster.get(&format!("{path}?last=x")).await.expect(400).code(), "DIGEST_INVALID");
    assert_eq!(cluster.get(&format!("{path}?n=-1")).await.expect(400).code(), "PAGINATION_NUMBER_INVALID");
    cluster.send(Method::POST, &path, &[], "").await.expect(405);
}

/// end-12a
#[tokio::test]
async fn referrers_come_in_pages_of_bounded_size() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let subject = digest_of(b"x");
    let mut expected = Vec::new();
    for n in 0..7 {
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        // Four of these are larger together than what one page holds.
        let large = "A".repeat(900_000);
        let rest = format!(r#","artifactType":"{kind}/x","annotations":{{"n":"{n}","large":"{large}"}}"#);
        let body = referrer(config, subject, &rest);
        let digest = digest_of(body.as_bytes()).to_string();
        cluster.put(&format!("/v2/a/manifests/{digest}"), &[], body).await.expect(201);
        expected.push((digest, kind));
    }
    expected.sort();
    for (query, kinds) in [("", "even odd"), ("n=2", "even odd"), ("n=2&artifactType=odd/x", "odd")] {
        let mut path = format!("/v2/a/referrers/{subject}?{query}");
        let mut seen = Vec::new();
        let mut pages = 0;
        loop {
            let page = cluster.get(&path).await.expect(200);
            assert!(page.body.len() < 4 << 20);
            seen.extend(digests(&page));
            pages += 1;
            let Some(next) = page.field("link").strip_prefix('<') else { break };
            path = next.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        let wanted: Vec<_> = expected.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(d, _)| d.clone()).collect();
        assert_eq!(seen, wanted, "{query}");
        assert!(pages > 1, "{query}");
    }
}

/// Referrers tag schema
#[tokio::test]
async fn what_the_fallback_tag_lists_is_folded_in() {
    let settings = Settings { delete: true, sparse_indexes: true, ..Settings::default() };
    let cluster = Cluster::with(1, settings).await;
    let config = cluster.push_blob("a", b"{}").await;
    let (subject, elsewhere) = (digest_of(b"x"), digest_of(b"y"));
    let own = referrer(config, subject, "");
    let other = referrer(config, elsewhere, "");
    let listed = manifest(&[(config, 2)], r#","artifactType":"text/x""#);
    for body in [&own, &other, &listed] {
        let path = format!("/v2/a/manifests/{}", digest_of(body.as_bytes()));
        cluster.put(&path, &[], body.clone()).await.expect(201);
    }
    let entries: Vec<_> = [&own, &other, &listed, &"never pushed".to_owned()].map(|body| entry(body)).into();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }).to_string();
    let tag = format!("/v2/a/manifests/{}", subject.to_string().replace(':', "-"));
    cluster.send(Method::PUT, &tag, &[("content-type", INDEX)], index).await.expect(201);

    let mut expected = [own, listed].map(|body| digest_of(body.as_bytes()).to_string());
    expected.sort();
    let mut seen = Vec::new();
    let mut path = format!("/v2/a/referrers/{subject}?n=1");
    loop {
        let page = cluster.get(&path).await.expect(200);
        seen.extend(digests(&page));
        let Some(next) = page.field("link").strip_prefix('<') else { break };
        path = next.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(seen, expected);
}
