//! What was found in other registries, asked of this one: a test per advisory (or class). `access` has those about who may do what.
//! The framing of HTTP (RFC 9112) has its own test, `robustness`; mounts and referrers have theirs.

mod access;
mod documents;
mod inputs;

use super::{Area, case, request, with_body};
use crate::garage;
use flotilla_tests::{
    cluster::{Cluster, Storage},
    http::{OCI_MANIFEST, digest_of, full, manifest},
    skip,
    wire::{Answer, Wire},
};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// How far the peak of the memory may rise while far larger bodies come in.
const RISE_MAX: u64 = 40 << 20;

async fn one_node(name: &'static str) -> Area {
    Area::on(name, Cluster::builder().nodes(1).start().await.unwrap()).await
}

async fn put(area: &Area, name: &str, kind: &str, body: &[u8], statuses: &[u16]) -> Answer {
    let fields = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    area.ask(name, with_body("PUT /v2/team/app/manifests/advisory", &fields, body), statuses).await
}

/// A refused manifest is not there.
async fn refused(area: &Area, name: &str, kind: &str, body: &[u8]) {
    let answer = put(area, name, kind, body, &[400]).await;
    area.expect(answer.text().contains("MANIFEST_INVALID"), format!("{name}: {}", answer.text()));
    let path = format!("GET /v2/team/app/manifests/{}", digest_of(body));
    area.ask(&format!("{name}: refused"), request(&path, ""), &[404]).await;
}

/// The rows that nothing can be asked of yet. Those about tokens and their keys are in `external_tokens.rs` and beside the code
/// that verifies them; there are no default passwords (CVE-2026-4404, CVE-2019-17444), no users made by a request (CVE-2019-16097) and
/// no right to create only (CVE-2026-31801).
fn wait_for_callbacks() {
    let row = "CVE-2026-33540, CVE-2026-32591 and others: proxies and callbacks";
    skip("advisories", &format!("{row}: they are not built"));
}

/// CVE-2026-35172 and CVE-2024-39897: a cache served a blob that the repository had no more, or never had.
#[tokio::test]
async fn a_blob_is_seen_through_its_own_repository_only() {
    let area = Area::start("membership").await;
    let bytes = b"held by another repository";
    let digest = area.push("first/app", bytes).await;
    area.push("second/app", bytes).await;
    let read = |name: &str| request(&format!("GET /v2/{name}/blobs/{digest}"), "");
    let head = |name: &str| request(&format!("HEAD /v2/{name}/blobs/{digest}"), "");
    for address in &area.addresses {
        area.run_at(address, case("warm", read("first/app"), &[200])).await;
        area.run_at(address, case("warm", read("second/app"), &[200])).await;
        area.run_at(address, case("never had", read("third/app"), &[404])).await;
    }
    area.ask("delete", request(&format!("DELETE /v2/first/app/blobs/{digest}"), ""), &[202]).await;
    for _ in 0..2 {
        for address in &area.addresses {
            area.run_at(address, case("deleted", read("first/app"), &[404])).await;
            area.run_at(address, case("the other", read("second/app"), &[200]).body(bytes)).await;
            area.run_at(address, case("deleted", head("first/app"), &[404])).await;
            let ranged = request(&format!("GET /v2/first/app/blobs/{digest}"), "Range: bytes=0-1\r\n");
            area.run_at(address, case("a range", ranged, &[404])).await;
            let unchanged = request(&format!("GET /v2/first/app/blobs/{digest}"), "If-None-Match: *\r\n");
            area.run_at(address, case("unchanged", unchanged, &[404])).await;
            area.run_at(
                address,
                case("as a manifest", request(&format!("GET /v2/second/app/manifests/{digest}"), ""), &[404]),
            )
            .await;
        }
    }
    let mount = with_body(&format!("POST /v2/third/app/blobs/uploads/?mount={digest}&from=first/app"), "", b"");
    area.ask("a mount out of it", mount, &[202]).await;
    let body = manifest(&digest, bytes.len() as u64, &[]);
    let put =
        with_body("PUT /v2/first/app/manifests/v1", &format!("Content-Type: {OCI_MANIFEST}\r\n"), body.as_bytes());
    let answer = area.ask("a manifest of it", put, &[400]).await;
    area.expect(answer.text().contains("MANIFEST_BLOB_UNKNOWN"), "a manifest of it: another code");
    area.finish(0).await;
}

/// CVE-2026-32589 and 32590: an upload was reached through another repository; its state was taken from the client.
#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_its_state_to_the_registry() {
    let area = Area::start("sessions").await;
    let location = area.open("first/app").await;
    area.ask("a chunk", with_body(&format!("PATCH {location}"), "", b"hello "), &[202]).await;
    let (digest, id) = (digest_of(b"hello world"), location.rsplit('/').next().unwrap_or_default().to_owned());
    let mut flipped = id.clone().into_bytes();
    flipped[0] = if flipped[0] == b'0' { b'1' } else { b'0' };
    let flipped = String::from_utf8(flipped).unwrap();
    for place in [
        format!("/v2/second/app/blobs/uploads/{id}"),
        format!("/v2/first/blobs/uploads/{id}"),
        format!("/v2/first/app/deeper/blobs/uploads/{id}"),
        format!("/v2/team/app/blobs/uploads/{id}"),
        format!("/v2/first/app/blobs/uploads/{flipped}"),
        format!("/v2/first/app/blobs/uploads/{}", "0".repeat(36)),
        format!("/v2/first/app/blobs/uploads/{id}0"),
        format!("/v2/first/app/blobs/uploads/{}", &id[1..]),
        format!("/v2/first/app/blobs/uploads/{id}%00"),
        format!("/v2/first/app/blobs/uploads/..%2f{id}"),
        format!("/v2/first/app/blobs/uploads/{id};x"),
        "/v2/first/app/blobs/uploads/gASVAAAAAAAAAIwFcG9zaXiUjAZzeXN0ZW2Uk5Qu".to_owned(),
        format!("/v2/first/app/blobs/uploads/{}", "a".repeat(5000)),
    ] {
        let name = &place[..place.len().min(90)];
        for _ in &area.addresses {
            area.ask(name, request(&format!("GET {place}"), ""), &[404]).await;
        }
        area.ask(name, with_body(&format!("PATCH {place}"), "", b"world"), &[404]).await;
        area.ask(name, with_body(&format!("PUT {place}?digest={digest}"), "", b"world"), &[404]).await;
        area.ask(name, request(&format!("DELETE {place}"), ""), &[404]).await;
    }
    for state in
        ["x", "", "%00", "eyJPZmZzZXQiOjk5OTl9", &"A".repeat(4000), "../../x", "%7B%22Offset%22%3A9%7D&_state=y"]
    {
        let bytes = request(&format!("GET {location}?_state={state}&offset=99&size=1"), "");
        let status = area.ask("a state of the client's", bytes, &[204]).await;
        area.expect(status.field("range") == "0-5", format!("_state={state}: range {:?}", status.field("range")));
    }
    area.ask("its end", with_body(&format!("PUT {location}?_state=x&digest={digest}"), "", b"world"), &[201]).await;
    area.finish(0).await;
}

/// CVE-2026-41888: what a switch forbids was allowed for another verb or another spelling. The read-only mode is in `operators.rs`.
#[tokio::test]
async fn without_deletes_nothing_can_be_deleted() {
    let builder = Cluster::builder();
    let mut cluster = builder.prepare().unwrap();
    for node in &mut cluster.nodes {
        let text = std::fs::read_to_string(&node.config).unwrap();
        std::fs::write(&node.config, text.replace("delete:\n    enabled: true", "delete:\n    enabled: false"))
            .unwrap();
        node.start().unwrap();
    }
    cluster.wait_ready().await;
    let area = Area::on("deletes off", cluster).await;
    let (digest, layer) = (area.image.digest.clone(), area.image.layer_path());
    let there = [format!("/v2/team/app/manifests/{digest}"), "/v2/team/app/manifests/v1".to_owned(), layer];
    let absent = [
        "/v2/team/app/manifests/none".to_owned(),
        format!("/v2/none/blobs/{}", digest_of(b"x")),
        "/v2/none/manifests/v1".into(),
    ];
    for path in there.iter().chain(&absent) {
        for fields in ["", "If-Match: *\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "Authorization: Basic YWRtaW46\r\n"] {
            let answer = area.ask(path, request(&format!("DELETE {path}"), fields), &[405]).await;
            area.expect(answer.text().contains("UNSUPPORTED"), format!("{path}: {}", answer.text()));
        }
        area.ask(path, with_body(&format!("DELETE {path}?force=true&digest={digest}"), "", b"{}"), &[405]).await;
    }
    for path in &there {
        for odd in [
            format!("{path}/"),
            format!("/{path}"),
            format!("{path}%2f"),
            format!("{path};x"),
            path.replace("/v2/", "/V2/"),
            path.replace("/v2/", "/v2//"),
            path.replace("/v2/", "/v2/./"),
            path.replace("team/app", "team%2fapp"),
        ] {
            area.ask(&odd, request(&format!("DELETE {odd}"), ""), &[400, 404, 405]).await;
        }
        for method in ["delete", "Delete", "POST", "PATCH", "PURGE", "BAN", "MOVE"] {
            let bytes = with_body(&format!("{method} {path}"), "X-HTTP-Method-Override: DELETE\r\n", b"");
            area.ask(&format!("{method} {path}"), bytes, &[405, 501]).await;
        }
        area.ask(path, request(&format!("GET {path}"), ""), &[200]).await;
    }
    // Giving up an upload of one's own is no delete.
    let location = area.open("team/app").await;
    area.ask("cancel", request(&format!("DELETE {location}"), ""), &[204]).await;
    // A push may still move a tag: that deletes nothing.
    let moved = manifest(&digest_of(b"{}"), 2, &[]);
    area.put("team/app", "moved", moved.as_bytes()).await;
    area.put("team/app", "moved", &area.image.manifest).await;
    area.ask(
        "the one before",
        request(&format!("GET /v2/team/app/manifests/{}", digest_of(moved.as_bytes())), ""),
        &[200],
    )
    .await;
    wait_for_callbacks();
    area.finish(0).await;
}

/// Presigned redirects: of one key, for a short time, none for what is missing, and never in a log.
#[tokio::test]
async fn a_redirect_opens_one_blob_for_a_short_time() {
    let Some(store) = garage("a_redirect_opens_one_blob_for_a_short_time").await else { return };
    let builder = Cluster::builder().storage(Storage::garage(&store).await.unwrap());
    let mut cluster = builder.prepare().unwrap();
    for node in &mut cluster.nodes {
        let text = std::fs::read_to_string(&node.config).unwrap();
        std::fs::write(&node.config, text.replace("redirect:\n    disable: true", "redirect:\n    disable: false"))
            .unwrap();
        node.start().unwrap();
    }
    cluster.wait_ready().await;
    let bytes = vec![b'r'; 100_000];
    let (digest, other) = (digest_of(&bytes), digest_of(b"missing"));
    let client = cluster.client();
    client.push_blob("team/app", &digest, full(bytes.clone().into())).await.unwrap();
    let mut signatures = Vec::new();
    for node in &cluster.nodes {
        let mut wire = Wire::connect(&node.http).await.unwrap();
        let get = |path: &str, fields: &str| request(&format!("GET {path}"), fields);
        let answer =
            wire.exchange(&get(&format!("/v2/team/app/blobs/{digest}"), "X-Forwarded-Host: evil\r\n")).await.unwrap();
        assert_eq!(answer.status, 307, "{}", answer.text());
        let location = answer.field("location").to_owned();
        let (target, query) = location.split_once('?').expect("a signed URL has a query");
        assert!(target.starts_with(&format!("http://{}/", store.s3)), "{target}");
        assert!(!target.contains(".."), "{target}");
        let expires = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("X-Amz-Expires="))
            .and_then(|text| text.parse::<u64>().ok());
        assert!(expires.is_some_and(|seconds| (1..=1200).contains(&seconds)), "{query}");
        let signature =
            query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Signature=")).expect("a signature").to_owned();
        let path = &location[format!("http://{}", store.s3).len()..];
        let direct = || async { Wire::connect(&store.s3).await.unwrap() };
        let ask = |method: &str, path: &str| {
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", store.s3)
        };
        let read = direct().await.exchange(ask("GET", path).as_bytes()).await.unwrap();
        assert_eq!((read.status, read.body == bytes), (200, true));
        // Of another key, with another method or a changed word it opens nothing.
        let changed = path.replacen('?', "x?", 1);
        for (method, path) in [
            ("PUT", path),
            ("DELETE", path),
            ("GET", &changed),
            ("GET", &path.replace("X-Amz-Expires=", "X-Amz-Expires=9")),
        ] {
            let refused = direct().await.exchange(ask(method, path).as_bytes()).await.unwrap();
            assert!((400..500).contains(&refused.status), "{method} {path}: {}", refused.status);
        }
        for missing in [format!("/v2/team/app/blobs/{other}"), format!("/v2/none/blobs/{digest}")] {
            let answer = wire.exchange(&get(&missing, "")).await.unwrap();
            assert_eq!((answer.status, answer.has("location")), (404, false), "{missing}");
        }
        let head = wire.exchange(&request(&format!("HEAD /v2/team/app/blobs/{digest}"), "")).await.unwrap();
        assert_eq!((head.status, head.has("location")), (200, false));
        signatures.push(signature);
    }
    for node in &mut cluster.nodes {
        let log = node.process().log_text();
        assert!(!log.contains("X-Amz-Signature"), "a signed URL in the log");
        assert!(
            signatures.iter().chain([&store.secret_key]).all(|secret| !log.contains(secret)),
            "a secret in the log"
        );
    }
}
