//! What was found in other registries, asked of this one: a test per advisory (or class) that needs no authentication.
//! The framing of HTTP (RFC 9112) has its own test, `robustness`; mounts and referrers have theirs.

use super::{Area, case, request, with_body};
use crate::garage;
use flotilla_tests::{
    cluster::{Cluster, Storage},
    http::{OCI_MANIFEST, digest_of, manifest},
    skip,
    wire::{Answer, Wire},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

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

fn chunked(line: &str, size: usize) -> Vec<u8> {
    let mut bytes = request(line, "Transfer-Encoding: chunked\r\n");
    for _ in 0..size >> 16 {
        bytes.extend_from_slice(b"10000\r\n");
        bytes.resize(bytes.len() + (1 << 16), b' ');
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The rows that nothing can be asked of yet.
fn wait_for_authentication() {
    for row in [
        "CVE-2025-24976, CVE-2026-123710, CVE-2025-30204: tokens and their keys",
        "CVE-2026-27771, CVE-2026-42018, CVE-2019-9733: anonymous access to what is private",
        "CVE-2024-39897, CVE-2026-117685, CVE-2019-12825: blobs and mounts across permissions",
        "CVE-2026-61833, CVE-2026-31801, CVE-2025-23208, GitLab #34550: verbs, revoked and blocked users",
        "CVE-2019-19030, CVE-2020-13794, CVE-2020-29662, CVE-2023-20902: enumeration, timing",
        "CVE-2026-4404, CVE-2019-17444, CVE-2019-16097: default passwords, self-made admins",
        "CVE-2024-41110, CVE-2026-34040: authorisation before the body",
        "CVE-2026-33540, CVE-2026-32591 and others: proxies and callbacks (not built)",
    ] {
        skip("advisories", &format!("{row}: no authentication yet"));
    }
}

/// CVE-2023-2253: a list allocated as many entries as it was asked for.
#[tokio::test]
async fn a_page_of_any_size_costs_nothing() {
    let mut area = one_node("pages").await;
    let paths = [
        "/v2/_catalog".to_owned(),
        "/v2/team/app/tags/list".into(),
        format!("/v2/team/app/referrers/{}", area.image.digest),
    ];
    for n in ["2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808", &"9".repeat(400)]
    {
        for path in &paths {
            let start = Instant::now();
            area.ask(path, request(&format!("GET {path}?n={n}"), ""), &[200, 400]).await;
            area.expect(start.elapsed() < Duration::from_secs(1), format!("{path}?n={n}: {:?}", start.elapsed()));
        }
    }
    let risen = area.risen();
    area.expect(risen < RISE_MAX, format!("the memory rose by {risen}"));
    area.finish(0).await;
}

/// CVE-2017-11468 and zot INPUT-1/2: bodies were read into memory whole.
#[tokio::test]
async fn no_endpoint_keeps_a_body_in_memory() {
    let mut area = one_node("bodies").await;
    const SIZE: usize = 64 << 20;
    let spaces = vec![b' '; SIZE];
    let digest = area.image.digest.clone();
    for line in ["PUT /v2/team/app/manifests/large", &format!("PUT /v2/team/app/manifests/{digest}")] {
        area.ask(line, with_body(line, "", &spaces), &[413]).await;
        area.ask(line, chunked(line, SIZE), &[413]).await;
    }
    let session = "00000000-0000-4000-8000-000000000000";
    for (line, statuses) in [
        ("PUT /v2/team/app/manifests/.x".to_owned(), &[400][..]),
        ("GET /v2/".to_owned(), &[200]),
        ("POST /v2/".to_owned(), &[405]),
        ("GET /v2/_catalog".to_owned(), &[200]),
        ("GET /v2/team/app/tags/list".to_owned(), &[200]),
        ("GET /v2/team/app/manifests/v1".to_owned(), &[200]),
        (format!("GET {}", area.image.layer_path()), &[200]),
        (format!("GET /v2/team/app/referrers/{digest}"), &[200]),
        ("DELETE /v2/team/app/manifests/none".to_owned(), &[404]),
        (format!("DELETE /v2/team/app/blobs/{}", digest_of(b"none")), &[404]),
        ("POST /v2/team/app/blobs/uploads/".to_owned(), &[202]),
        (format!("POST /v2/team/app/blobs/uploads/?mount={digest}&from=none"), &[202]),
        (format!("POST /v2/team/app/blobs/uploads/?digest={digest}"), &[400]),
        (format!("PATCH /v2/team/app/blobs/uploads/{session}"), &[404]),
        (format!("PUT /v2/team/app/blobs/uploads/{session}?digest={digest}"), &[404]),
        (format!("DELETE /v2/team/app/blobs/uploads/{session}"), &[404]),
        ("POST /nothing".to_owned(), &[404]),
    ] {
        area.ask(&line, with_body(&line, "", &spaces), statuses).await;
        area.ask(&format!("{line}, chunked"), chunked(&line, SIZE), statuses).await;
    }
    let risen = area.risen();
    area.expect(risen < RISE_MAX, format!("the memory rose by {risen} while bodies of {SIZE} came in"));
    area.finish(0).await;
}

/// GHSA-qq97-vm5h-rrhg and its kin: one document that one reader takes for a manifest and another for an index.
#[tokio::test]
async fn one_document_has_one_reading() {
    let area = one_node("readings").await;
    let config =
        json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2 });
    let child = json!({ "mediaType": OCI_MANIFEST, "digest": area.image.digest, "size": area.image.manifest.len() });
    let both = json!({ "schemaVersion": 2, "config": config, "layers": [], "manifests": [child] });
    let mut documents = vec![both.clone()];
    for kind in [OCI_MANIFEST, OCI_INDEX] {
        let mut typed = both.clone();
        typed["mediaType"] = json!(kind);
        documents.push(typed.clone());
        typed["fsLayers"] = json!([]);
        documents.push(typed);
    }
    for document in documents {
        for kind in ["", OCI_MANIFEST, OCI_INDEX] {
            refused(&area, &format!("both as {kind:?}"), kind, document.to_string().as_bytes()).await;
        }
    }
    let image = json!({ "schemaVersion": 2, "config": config, "layers": [] });
    let index = json!({ "schemaVersion": 2, "manifests": [child] });
    for (document, own, other) in [(&image, OCI_MANIFEST, OCI_INDEX), (&index, OCI_INDEX, OCI_MANIFEST)] {
        refused(&area, &format!("no type, sent as {other}"), other, document.to_string().as_bytes()).await;
        let mut typed = document.clone();
        typed["mediaType"] = json!(own);
        refused(&area, &format!("{own} sent as {other}"), other, typed.to_string().as_bytes()).await;
        typed["mediaType"] = json!(other);
        for kind in ["", own, other] {
            refused(&area, &format!("{own} that says {other}, sent as {kind:?}"), kind, typed.to_string().as_bytes())
                .await;
        }
    }
    // A key twice: one reader takes the first, another the last.
    let text = image.to_string();
    for twice in [
        r#""schemaVersion":1"#.to_owned(),
        r#""layers":[]"#.to_owned(),
        format!(r#""mediaType":"{OCI_INDEX}","mediaType":"{OCI_MANIFEST}""#),
        format!(r#""mediaType":"{OCI_MANIFEST}","media\u0054ype":"{OCI_INDEX}""#),
        r#""annotations":{"a":"1","a":"2"}"#.to_owned(),
    ] {
        refused(&area, &twice, OCI_MANIFEST, text.replacen('{', &format!("{{{twice},"), 1).as_bytes()).await;
    }
    // Go's readers take a key in any case for the field (its last one wins): these too would be read in two ways.
    for other in ["Manifests", "MANIFESTS"] {
        let body = text.replacen('{', &format!(r#"{{"{other}":[{child}],"#), 1);
        refused(&area, &format!("an image with {other}"), OCI_MANIFEST, body.as_bytes()).await;
    }
    for other in ["Layers", "Config", "MediaType", "schemaversion", "Subject", "ArtifactType"] {
        let body = index.to_string().replacen('{', &format!(r#"{{"{other}":null,"#), 1);
        refused(&area, &format!("an index with {other}"), OCI_INDEX, body.as_bytes()).await;
    }
    area.finish(0).await;
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

/// CVE-2026-41888: what a switch forbids was allowed for another verb or another spelling.
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
    skip("advisories", "the read-only mode of CVE-2026-41888: it is not built");
    wait_for_authentication();
    area.finish(0).await;
}

/// CVE-2025-30086, CVE-2019-19029, CVE-2024-22261: parameters went on into queries of a database.
#[tokio::test]
async fn unknown_parameters_do_nothing_and_odd_values_stay_values() {
    let area = one_node("parameters").await;
    let paths = [
        "/v2/_catalog".to_owned(),
        "/v2/team/app/tags/list".into(),
        "/v2/team/app/manifests/v1".into(),
        format!("/v2/team/app/referrers/{}", area.image.digest),
        area.image.layer_path(),
    ];
    for path in &paths {
        let plain = area.ask(path, request(&format!("GET {path}"), ""), &[200]).await;
        for query in [
            "q=password%3D~a",
            "filter=x&fields=secret",
            "sort=-id;drop",
            "page=2&page_size=0",
            "with_tag=true",
            "ns=docker.io",
        ] {
            let bytes = request(&format!("GET {path}?{query}"), "");
            let answer = area.run(case(query, bytes, &[200]).body(&plain.body)).await;
            area.expect(!answer.has("link"), format!("{path}?{query}: a link"));
        }
    }
    for value in [
        "'",
        "''",
        "%22",
        "%27%20OR%20%271%27=%271",
        "1;DROP%20TABLE%20tags",
        "1)%20OR%20(1=1",
        "%25",
        "_",
        "*",
        "%5c",
        "$%7Bjndi:x%7D",
        "%7B%7B7*7%7D%7D",
    ] {
        for path in &paths[..4] {
            area.ask(
                value,
                request(&format!("GET {path}?n={value}"), ""),
                if path.contains("manifests") { &[200] } else { &[400] },
            )
            .await;
            area.ask(value, request(&format!("GET {path}?last={value}"), ""), &[200, 400]).await;
            area.ask(value, request(&format!("GET {path}?artifactType={value}"), ""), &[200]).await;
        }
        for parameter in ["mount", "digest", "digest-algorithm"] {
            let line = format!("POST /v2/team/app/blobs/uploads/?{parameter}={value}");
            let statuses: &[u16] = if parameter == "mount" { &[202, 400] } else { &[400] };
            area.ask(&line, with_body(&line, "", b""), statuses).await;
        }
        let line = format!("PUT /v2/team/app/manifests/{}?tag={value}", area.image.digest);
        let statuses: &[u16] = if value == "_" { &[201] } else { &[400] };
        area.ask(&line, with_body(&line, &format!("Content-Type: {OCI_MANIFEST}\r\n"), &area.image.manifest), statuses)
            .await;
    }
    area.finish(0).await;
}

/// CVE-2025-48374 and log injection: what a client sends appears in no log as it is, secrets not at all.
#[tokio::test]
async fn logs_hold_no_secret_and_no_line_of_a_client() {
    let mut area = one_node("logs").await;
    const CANARY: &str = "CANARY0123456789";
    for fields in [
        format!("Authorization: Bearer {CANARY}"),
        format!("Authorization: Basic {CANARY}"),
        format!("Proxy-Authorization: Basic {CANARY}"),
        format!("Cookie: session={CANARY}"),
        format!("X-Registry-Auth: {CANARY}"),
        format!("X-Amz-Security-Token: {CANARY}"),
    ] {
        for line in ["GET /v2/", "GET /v2/team/app/manifests/none", "PUT /v2/team/app/manifests/.x", "GET /nothing"] {
            area.ask(&fields, request(line, &format!("{fields}\r\n")), &[200, 400, 404]).await;
        }
    }
    for query in ["access_token", "token", "password", "X-Amz-Signature", "account"] {
        area.ask(query, request(&format!("GET /v2/team/app/manifests/none?{query}={CANARY}"), ""), &[404]).await;
    }
    const FORGED: &str = "%0d%0a%7B%22level%22:%22ERROR%22,%22message%22:%22forged%22%7D";
    for part in [FORGED, "%1b%5b2J", "%00", "%3F", "%23", "%0a", "%0d", "%e2%80%a8", "%22%7D", "\u{9b}31m", "\u{2028}"]
    {
        for (line, statuses) in [
            (format!("GET /v2/team/app/manifests/{part}"), &[400, 404][..]),
            (format!("PUT /v2/team/app/manifests/{part}"), &[400]),
            (format!("GET /v2/{part}/tags/list"), &[400, 404]),
            (format!("POST /v2/{part}/blobs/uploads/"), &[400, 404]),
            (format!("GET /v2/team/app/blobs/sha256:{part}"), &[400]),
            (format!("GET /v2/team/app/blobs/uploads/{part}"), &[400, 404]),
            (format!("POST /v2/team/app/blobs/uploads/?mount={part}&from={part}"), &[202, 400]),
            (format!("GET /v2/team/app/tags/list?n={part}&last={part}"), &[400]),
            (format!("GET /{part}"), &[400, 404]),
        ] {
            area.ask(&line, with_body(&line, "", b""), statuses).await;
        }
    }
    for agent in [
        &b"a\x1b[2Jb"[..],
        b"\x9b31m",
        b"\"}{\"level\":\"ERROR\"",
        b"\xff\xfe",
        "\u{2028}\u{85}".as_bytes(),
        &[b'a'; 7000],
    ] {
        let mut bytes = b"GET /v2/team/app/manifests/none HTTP/1.1\r\nHost: registry\r\nUser-Agent: ".to_vec();
        bytes.extend_from_slice(agent);
        bytes.extend_from_slice(b"\r\n\r\n");
        area.ask("User-Agent", bytes, &[400, 404]).await;
    }
    for log in area.logs() {
        area.expect(log.contains("/v2/team/app/manifests/none"), "no access log was written");
        area.expect(!log.contains(CANARY), "a secret in the log");
        let broken = log.lines().find(|line| serde_json::from_str::<Value>(line).is_err());
        area.expect(broken.is_none(), format!("a line that is no JSON: {broken:?}"));
        let raw = log.chars().find(|char| char.is_control() && *char != '\n');
        area.expect(raw.is_none(), format!("a control character in the log: {raw:?}"));
    }
    area.finish(0).await;
}

/// CVE-2025-32019: what was pushed ran in a browser. (HTML and a missing `nosniff` are flaws of any answer.)
#[tokio::test]
async fn what_was_pushed_is_never_a_page() {
    let area = one_node("pages of browsers").await;
    const SCRIPT: &str = "<html><script>alert(document.domain)</script>";
    let digest = area.push("team/app", SCRIPT.as_bytes()).await;
    for accept in ["text/html", "text/html, */*;q=0.1"] {
        let fields = format!("Accept: {accept}\r\n");
        let answer = area.ask("a blob", request(&format!("GET /v2/team/app/blobs/{digest}"), &fields), &[200]).await;
        area.expect(answer.field("content-type") == "application/octet-stream", "a blob of another type");
        for path in [
            "/",
            "/v2/",
            "/nothing",
            "/v2/%3Cscript%3E/tags/list",
            "/v2/team/app/manifests/<script>",
            "/index.html",
            "/livez",
        ] {
            area.ask(path, request(&format!("GET {path}"), &fields), &[200, 400, 404]).await;
        }
    }
    for kind in ["text/html", "application/xhtml+xml", "image/svg+xml", SCRIPT] {
        refused(&area, kind, kind, SCRIPT.as_bytes()).await;
        let body = json!({ "schemaVersion": 2, "mediaType": kind, "config": {}, "layers": [] }).to_string();
        refused(&area, kind, kind, body.as_bytes()).await;
        let line = format!("POST /v2/team/app/blobs/uploads/?digest={digest}");
        area.ask("a blob", with_body(&line, &format!("Content-Type: {kind}\r\n"), SCRIPT.as_bytes()), &[201]).await;
    }
    let config = json!({ "mediaType": "text/html", "digest": digest_of(b"{}"), "size": 2 });
    let body = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], "artifactType": "text/html",
        "subject": { "mediaType": "text/html", "digest": digest_of(b"s"), "size": 1 }, "annotations": { SCRIPT: SCRIPT } });
    put(&area, "an artifact", OCI_MANIFEST, body.to_string().as_bytes(), &[201]).await;
    area.ask(
        "its entry",
        request(&format!("GET /v2/team/app/referrers/{}", digest_of(b"s")), "Accept: text/html\r\n"),
        &[200],
    )
    .await;
    area.finish(0).await;
}

/// CVE-2024-22244 and zot CORS-1. (A `Location` that is not relative, and a header with `evil`, are flaws of any answer.)
#[tokio::test]
async fn no_redirect_and_no_permission_follows_the_client() {
    let area = one_node("redirects").await;
    for path in [
        "//evil.example",
        "//evil.example/v2/",
        "/\\evil.example",
        "/%2f%2fevil.example",
        "/v2//evil.example/",
        "/.evil",
        "/v2?next=//evil",
        "/v2/team/app/blobs/uploads?x=//evil",
    ] {
        for method in ["GET", "POST"] {
            let answer =
                area.ask(path, with_body(&format!("{method} {path}"), "", b""), &[200, 202, 400, 404, 405]).await;
            area.expect(!(300..400).contains(&answer.status), format!("{path}: a redirect"));
        }
    }
    for origin in ["https://evil.example", "null", "*", "http://registry.evil", "https://registry"] {
        for line in [
            "GET /v2/",
            "GET /v2/_catalog",
            "GET /v2/team/app/manifests/v1",
            "OPTIONS /v2/team/app/manifests/v1",
            "POST /v2/team/app/blobs/uploads/",
        ] {
            let fields = format!("Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\nCookie: a=b\r\n");
            let answer = area.ask(line, with_body(line, &fields, b""), &[200, 202, 204, 405]).await;
            let allowed = answer.fields.iter().find(|(name, _)| name.starts_with("access-control-"));
            area.expect(allowed.is_none(), format!("{line} from {origin}: {allowed:?}"));
        }
    }
    area.finish(0).await;
}

/// CVE-2024-3727: digests out of documents were used unchecked, as paths.
#[tokio::test]
async fn digests_in_documents_follow_the_grammar() {
    let area = one_node("digests").await;
    let hex = "a".repeat(64);
    for digest in [
        "",
        "x",
        "sha256:",
        "sha256:../../../../etc/passwd",
        &format!("sha256:{}", hex.to_uppercase()),
        &format!("sha256:{hex}/.."),
        &format!("sha256:{hex}\0"),
        &format!("sha256:{hex}\n"),
        &format!("sha256:{}", &hex[1..]),
        &format!("md5:{}", &hex[..32]),
        &format!("sha1:{}", &hex[..40]),
        &format!("/{hex}"),
        &format!("sha256:{}\u{e9}", &hex[2..]),
    ] {
        let descriptor = |kind: &str| json!({ "mediaType": kind, "digest": digest, "size": 2 });
        let good =
            json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2 });
        for (place, kind, document) in [
            ("config", OCI_MANIFEST, json!({ "config": descriptor("a/b"), "layers": [] })),
            ("layers", OCI_MANIFEST, json!({ "config": good, "layers": [good, descriptor("a/b")] })),
            (
                "a foreign layer",
                OCI_MANIFEST,
                json!({ "config": good, "layers": [
                { "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": digest, "size": 2, "urls": ["https://x/"] }] }),
            ),
            ("subject", OCI_MANIFEST, json!({ "config": good, "layers": [], "subject": descriptor(OCI_MANIFEST) })),
            ("manifests", OCI_INDEX, json!({ "manifests": [descriptor(OCI_MANIFEST)] })),
            ("an index's subject", OCI_INDEX, json!({ "manifests": [], "subject": descriptor(OCI_MANIFEST) })),
        ] {
            let mut document = document;
            (document["schemaVersion"], document["mediaType"]) = (json!(2), json!(kind));
            refused(&area, &format!("{place} {digest:?}"), kind, document.to_string().as_bytes()).await;
        }
    }
    area.finish(0).await;
}

/// CVE-2023-46737, CVE-2024-29902: attachments without end exhausted the client. A page stays below a client's limit of 4 MiB.
#[tokio::test]
async fn large_attachments_come_in_pages() {
    let area = one_node("attachments").await;
    let subject = digest_of(b"a subject of large ones");
    let mut all = BTreeSet::new();
    for number in 0..60 {
        let config = json!({ "mediaType": "a/b", "digest": digest_of(b"{}"), "size": 2 });
        let body = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [],
            "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 },
            "annotations": { "number": number.to_string(), "long": "\u{1}".repeat(30_000) } });
        let body = body.to_string();
        all.insert(digest_of(body.as_bytes()));
        put(&area, "an attachment", OCI_MANIFEST, body.as_bytes(), &[201]).await;
    }
    let (mut found, mut path) = (BTreeSet::new(), format!("/v2/team/app/referrers/{subject}"));
    for _ in 0..60 {
        let answer = area.ask("a page", request(&format!("GET {path}"), ""), &[200]).await;
        area.expect(answer.body.len() <= 4 << 20, format!("a page of {} bytes", answer.body.len()));
        for entry in answer.json()["manifests"].as_array().into_iter().flatten() {
            area.expect(found.insert(entry["digest"].as_str().unwrap_or_default().to_owned()), "one of them twice");
        }
        match answer.field("link").strip_prefix('<').and_then(|link| link.split_once('>')) {
            Some((next, _)) => path = next.to_owned(),
            None => break,
        }
    }
    area.expect(found == all, format!("{} of {} found", found.len(), all.len()));
    area.finish(0).await;
}

/// CVE-2024-36620 and others: fields that are absent or null crashed the reader.
#[tokio::test]
async fn odd_values_in_any_field_are_refused_or_taken() {
    let area = one_node("fields").await;
    let config = json!({ "mediaType": "a/b", "digest": digest_of(b"{}"), "size": 2 });
    let child = json!({ "mediaType": OCI_MANIFEST, "digest": area.image.digest, "size": area.image.manifest.len(),
        "platform": { "os": "linux", "architecture": "amd64" } });
    let subject = json!({ "mediaType": OCI_MANIFEST, "digest": digest_of(b"s"), "size": 1 });
    let image = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [config], "subject": subject,
        "artifactType": "a/b", "annotations": { "a": "b" } });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child], "subject": subject,
        "artifactType": "a/b", "annotations": { "a": "b" } });
    let odd = [
        json!(null),
        json!({}),
        json!([]),
        json!(""),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(true),
        json!("x"),
        json!([null]),
        json!({ "x": null }),
    ];
    for (kind, document) in [(OCI_MANIFEST, &image), (OCI_INDEX, &index)] {
        put(&area, "the document itself", kind, document.to_string().as_bytes(), &[201]).await;
        for pointer in [
            "/schemaVersion",
            "/mediaType",
            "/config",
            "/config/digest",
            "/config/size",
            "/config/mediaType",
            "/layers",
            "/layers/0",
            "/layers/0/digest",
            "/layers/0/size",
            "/manifests",
            "/manifests/0",
            "/manifests/0/digest",
            "/manifests/0/size",
            "/manifests/0/mediaType",
            "/manifests/0/platform",
            "/subject",
            "/subject/digest",
            "/subject/size",
            "/artifactType",
            "/annotations",
            "/annotations/a",
        ] {
            for value in &odd {
                let mut changed = document.clone();
                let Some(place) = changed.pointer_mut(pointer) else { continue };
                *place = value.clone();
                put(&area, &format!("{pointer} is {value}"), kind, changed.to_string().as_bytes(), &[201, 400]).await;
            }
        }
    }
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "0",
        "\"x\"",
        "true",
        "{",
        "[{}]",
        "\u{feff}{}",
        "{}{}",
        "{} x",
        "nul",
        "NaN",
        "{\"a\":}",
        "\0",
        "\u{1}",
    ] {
        refused(&area, body, OCI_MANIFEST, body.as_bytes()).await;
    }
    area.finish(0).await;
}

/// Bombs for parsers: deep, wide, huge, compressed.
#[tokio::test]
async fn bombs_for_parsers_are_refused_cheaply() {
    let mut area = one_node("bombs").await;
    let start = |more: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}",{more}}}"#);
    let config = json!({ "mediaType": "a/b", "digest": digest_of(b"{}"), "size": 2 });
    let keys: String = (0..200_000).map(|number| format!(r#""k{number}":0,"#)).collect();
    let layers = vec![config.to_string(); 20_000].join(",");
    for (name, body) in [
        ("deep lists", start(&format!(r#""x":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)))),
        ("deep objects", start(&format!(r#""x":{}0{}"#, r#"{"a":"#.repeat(100_000), "}".repeat(100_000)))),
        ("only openings", "[".repeat(4 << 20)),
        ("only objects", r#"{"a":"#.repeat(800_000)),
        ("many keys and no end", start(&keys)),
        ("many layers", start(&format!(r#""config":{config},"layers":[{layers}]"#))),
        (
            "a huge size",
            start(&format!(
                r#""config":{{"mediaType":"a/b","digest":"{}","size":1e400}},"layers":[]"#,
                digest_of(b"{}")
            )),
        ),
        (
            "a long number",
            start(&format!(
                r#""config":{{"mediaType":"a/b","digest":"{}","size":{}}},"layers":[]"#,
                digest_of(b"{}"),
                "9".repeat(1 << 20)
            )),
        ),
        ("a number of many digits", start(&format!(r#""x":1{}"#, "0".repeat(3 << 20)))),
        ("only spaces", " ".repeat(4 << 20)),
        ("a long text without an end", format!("\"{}", "x".repeat(3 << 20))),
        ("many escapes", start(&format!(r#""x":"{}""#, "\\ud800".repeat(500_000)))),
    ] {
        let began = Instant::now();
        put(&area, name, OCI_MANIFEST, body.as_bytes(), &[400]).await;
        area.expect(began.elapsed() < Duration::from_secs(3), format!("{name}: {:?}", began.elapsed()));
    }
    let script = "head -c 209715200 /dev/zero | tr '\\0' ' ' | gzip -1";
    let bomb = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output().unwrap().stdout;
    assert!(bomb.starts_with(b"\x1f\x8b"), "gzip made no bomb");
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "identity", "nonsense"] {
        let fields = format!("Content-Type: {OCI_MANIFEST}\r\nContent-Encoding: {coding}\r\n");
        area.ask(coding, with_body("PUT /v2/team/app/manifests/bomb", &fields, &bomb), &[400, 413, 415]).await;
        // A blob is its bytes: stored as they are or refused, never unpacked.
        let line = format!("POST /v2/team/app/blobs/uploads/?digest={}", digest_of(&bomb));
        let answer =
            area.ask(coding, with_body(&line, &format!("Content-Encoding: {coding}\r\n"), &bomb), &[201, 415]).await;
        if answer.status == 201 {
            let path = format!("GET /v2/team/app/blobs/{}", digest_of(&bomb));
            area.run(case(coding, request(&path, "Accept-Encoding: gzip\r\n"), &[200]).body(&bomb)).await;
        }
    }
    let risen = area.risen();
    area.expect(risen < 3 * RISE_MAX, format!("the memory rose by {risen}"));
    area.finish(0).await;
}

/// Requests forged by the server: addresses in documents are never asked.
#[tokio::test]
async fn addresses_in_documents_are_never_asked() {
    let area = one_node("addresses").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hit", listener.local_addr().unwrap());
    let config = json!({ "mediaType": "a/b", "digest": digest_of(b"{}"), "size": 2, "urls": [url] });
    let foreign = json!({ "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": digest_of(b"foreign"),
        "size": 7, "urls": [url, "file:///etc/passwd"] });
    let body = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [foreign],
        "annotations": { "org.opencontainers.image.url": url } });
    put(&area, "foreign", OCI_MANIFEST, body.to_string().as_bytes(), &[201, 400]).await;
    let digest = digest_of(body.to_string().as_bytes());
    area.ask("it", request(&format!("GET /v2/team/app/manifests/{digest}"), ""), &[200, 404]).await;
    area.ask("the layer", request(&format!("GET /v2/team/app/blobs/{}", digest_of(b"foreign")), ""), &[404]).await;
    for line in [
        format!("GET /v2/?url={url}"),
        format!("GET {url}"),
        format!("POST /v2/team/app/blobs/uploads/?from={url}&source={url}"),
    ] {
        let fields = format!("Referer: {url}\r\nX-Callback: {url}\r\n");
        area.ask(&line, with_body(&line, &fields, b""), &[200, 202, 404]).await;
    }
    let hit = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
    area.expect(hit.is_err(), "the address was asked");
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
    client.push_blob("team/app", &digest, flotilla_tests::http::full(bytes.clone().into())).await.unwrap();
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
