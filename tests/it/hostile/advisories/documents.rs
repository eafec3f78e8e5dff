//! Manifests made to mislead or to exhaust their reader.

use super::{OCI_INDEX, RISE_MAX, one_node, put, refused};
use crate::hostile::{case, request, with_body};
use flotilla_tests::http::{OCI_MANIFEST, digest_of};
use serde_json::json;
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

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
