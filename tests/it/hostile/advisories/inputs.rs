//! Parameters, bodies and header fields that went where they should not: into memory, queries, logs, pages, redirects.

use super::{RISE_MAX, one_node, put, refused};
use crate::hostile::{case, request, with_body};
use flotilla_tests::http::{OCI_MANIFEST, digest_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
