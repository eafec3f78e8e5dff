//! Documents that are no manifests, or two at once, or too large; and odd ones that must be kept byte for byte.

mod kept;
mod refused;

use super::*;
use flotilla_tests::http::digest_of;
use kept::{accepted, incomplete};
use refused::refused;
use sha2::{Digest, Sha512};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const REPO: &str = "man/app";
const MIB_4: usize = 4 << 20;
/// How much the largest bodies may add to a node's memory.
const FLAT: u64 = 48 << 20;

const INVALID: &str = "MANIFEST_INVALID";
const MISSING: &str = "MANIFEST_BLOB_UNKNOWN";

fn put_as(kind: &str, reference: &str, body: impl AsRef<[u8]>) -> Request {
    put(format!("/v2/{REPO}/manifests/{reference}"), body).with("content-type", kind)
}

fn bad(name: impl Into<String>, kind: &str, body: impl AsRef<[u8]>) -> Case {
    case(name, put_as(kind, "bad", body), no(400, INVALID))
}

fn descriptor(kind: &str, digest: &str, size: usize) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

/// What the documents are made of: a pushed config and a pushed layer.
struct Parts {
    config: String,
    layer: String,
    config_digest: String,
    layer_digest: String,
    config_size: usize,
    layer_size: usize,
    absent: String,
}

impl Parts {
    /// An image with more fields.
    fn image(&self, rest: &str) -> String {
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{},"layers":[{}]{rest}}}"#, self.config, self.layer)
    }

    fn with_config(&self, config: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, self.layer)
    }

    fn with_layers(&self, layers: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{},"layers":{layers}}}"#, self.config)
    }

    fn with_size(&self, size: &str) -> String {
        self.with_config(&format!(r#"{{"mediaType":"c","digest":"{}","size":{size}}}"#, self.config_digest))
    }

    fn with_digest(&self, digest: &str) -> String {
        self.with_config(&format!(r#"{{"mediaType":"c","digest":{digest},"size":2}}"#))
    }
}

fn index(children: &[String], rest: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]{rest}}}"#, children.join(","))
}

#[tokio::test]
async fn manifests_that_are_none_are_refused_and_odd_ones_are_kept_byte_for_byte() {
    let mut battery = Battery::start("manifests").await;
    let (config, layer) = (b"{}".as_slice(), b"a layer".as_slice());
    let (config_digest, layer_digest) = (battery.blob(REPO, config).await, battery.blob(REPO, layer).await);
    let parts = Parts {
        config: descriptor("application/vnd.oci.image.config.v1+json", &config_digest, config.len()),
        layer: descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer.len()),
        config_digest,
        layer_digest,
        config_size: config.len(),
        layer_size: layer.len(),
        absent: format!("sha256:{}", "5".repeat(64)),
    };
    let first = parts.image("");
    let (first_digest, path) =
        (digest_of(first.as_bytes()), |reference: &str| format!("/v2/{REPO}/manifests/{reference}"));
    battery.one("first", &put_as(OCI, "first", &first), &yes(201)).await;

    let refused: Vec<Case> = refused(&parts).into_iter().chain(incomplete(&parts)).collect();
    // The first image is refused too where it comes under another type.
    let mut bodies: Vec<_> = refused.iter().map(|(name, put, _)| (name.clone(), digest_of(&put.body))).collect();
    bodies.retain(|(_, digest)| *digest != first_digest);
    battery.all(refused).await;
    for (name, digest) in bodies {
        battery.one(&format!("not kept: {name}"), &head(path(&digest)), &no(404, "MANIFEST_UNKNOWN")).await;
    }
    battery.one("no bad tag", &get(path("bad")), &no(404, "MANIFEST_UNKNOWN")).await;

    // Kept as they came, under their type, by tag and by digest.
    for (number, (name, kind, body)) in accepted(&parts).into_iter().enumerate() {
        let digest = digest_of(body.as_bytes());
        let tag = format!("good-{number}");
        let put = yes(201)
            .field("docker-content-digest", &digest)
            .field("location", path(&digest))
            .field("content-length", "0");
        battery.one(name, &put_as(kind, &tag, &body), &put).await;
        let found = yes(200).body(&body).field("content-type", kind).field("docker-content-digest", &digest);
        battery.one(name, &get(path(&tag)), &found).await;
        battery
            .one(name, &get(path(&digest)).with("accept", "text/html"), &found.field("etag", format!("\"{digest}\"")))
            .await;
    }
    battery.one("first", &put_as(OCI, "first", &first), &yes(201)).await;

    // Indexes of indexes, children that do not run, and by which digest.
    let child = |kind: &str, body: &str, rest: &str| {
        format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}{rest}}}"#, digest_of(body.as_bytes()), body.len())
    };
    let attested = index(
        &[
            child(OCI, &first, r#","platform":{"os":"linux","architecture":"amd64"}"#),
            child(
                OCI,
                &first,
                r#","platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#,
            ),
        ],
        "",
    );
    let nested = index(&[child(INDEX, &attested, "")], "");
    let deeper = index(&[child(INDEX, &nested, ""), child(OCI, &first, "")], "");
    let untyped = index(&[child("", &first, "")], "");
    let wrong_size =
        index(&[format!(r#"{{"mediaType":"{OCI}","digest":"{first_digest}","size":{}}}"#, first.len() + 1)], "");
    let sha512 = format!("sha512:{}", hex::encode(Sha512::digest(first.as_bytes())));
    let referrer = parts.image(&format!(r#","subject":{}"#, child(OCI, &first, "")));
    let wrong_subject = parts.image(&format!(r#","subject":{}"#, descriptor(OCI, &first_digest, first.len() + 1)));
    let bare = format!(r#"{{"config":{},"schemaVersion":2}}"#, parts.config);
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    let put_first = |kind: &str| put_as(kind, "first", &first);
    battery
        .all([
            case("attestations", put_as(INDEX, "attested", &attested), yes(201)),
            case("nested", put_as(INDEX, "nested", &nested), yes(201)),
            case("deeper", put_as(INDEX, "deeper", &deeper), yes(201)),
            case("a child without a type", put_as(INDEX, "untyped", &untyped), yes(201)),
            case("a child of another size", put_as(INDEX, "bad", &wrong_size), no(400, INVALID)),
            case("a subject", put_as(OCI, "referrer", &referrer), yes(201).field("oci-subject", &first_digest)),
            case("a subject of another size", put_as(OCI, "subject", &wrong_subject), yes(201).or(400, INVALID)),
            case(
                "by digest",
                put_as(OCI, &first_digest, &first),
                yes(201).field("docker-content-digest", &first_digest),
            ),
            case("by an escaped digest", put_as(OCI, &first_digest.replace(':', "%3A"), &first), yes(201)),
            case("by sha512", put_as(OCI, &sha512, &first), yes(201).field("docker-content-digest", &sha512)),
            case("by sha512", get(path(&sha512)), yes(200).body(&first)),
            case("by a wrong digest", put_as(OCI, &parts.absent, &first), no(400, "DIGEST_INVALID")),
            case("by a wrong digest", get(path(&parts.absent)), no(404, "MANIFEST_UNKNOWN")),
            case(
                "by a wrong sha512",
                put_as(OCI, &format!("sha512:{}", "0".repeat(128)), &first),
                no(400, "DIGEST_INVALID"),
            ),
            case("by the digest of another", put_as(OCI, &parts.config_digest, &first), no(400, "DIGEST_INVALID")),
            case(
                "by a digest in capitals",
                put_as(OCI, &first_digest.to_uppercase(), &first),
                no(400, "DIGEST_INVALID"),
            ),
            case("a parameter", put_first(&format!("{OCI}; charset=utf-8")), yes(201)),
            case("a parameter", put_first(&format!("{OCI};a=\"b;c\"")), yes(201)),
            case("two headers", put_first(OCI).with("content-type", INDEX), no(400, INVALID)),
            case("two headers", put_first(OCI).with("content-type", OCI), no(400, INVALID)),
            case("capitals", put_first(&OCI.to_uppercase()), yes(201)),
            case(
                "the type is kept without parameters",
                get(path("first")),
                yes(200).field("content-type", OCI).body(&first),
            ),
            case("no type", put_as(OCI, "typed", &bare), yes(201)),
            case("another type for the same bytes", put_as(DOCKER, "typed", &bare), no(400, INVALID)),
            case("another type for the same bytes", get(path("typed")), yes(200).field("content-type", OCI)),
            case("no Content-Type", put(path("first"), &first), yes(201).or(400, INVALID)),
            case("an empty Content-Type", put_first(""), yes(201).or(400, INVALID)),
            case("a Content-Type of other bytes", put_first("application/\u{e9}"), no(400, "")),
            case("chunked", put_first(OCI).chunked(), yes(201)),
            case("identity", put_first(OCI).with("content-encoding", "identity"), yes(201)),
            case("gzip that is none", put_as(OCI, "bad", gzip), no(400, INVALID).or(415, "")),
            case("gzip", put_as(OCI, "bad", gzip).with("content-encoding", "gzip"), no(400, INVALID).or(415, "")),
            case(
                "unknown coding",
                put_as(OCI, "bad", "x").with("content-encoding", "zstd, br"),
                no(400, INVALID).or(415, ""),
            ),
            case("a range", put_first(OCI).with("content-range", "bytes 0-4/5"), yes(201).or(400, "")),
            case("a child may not go", delete(path(&first_digest)), no(405, "UNSUPPORTED").or(202, "")),
            case(
                "a blob in use may not go",
                delete(format!("/v2/{REPO}/blobs/{}", parts.layer_digest)),
                no(405, "UNSUPPORTED").or(202, ""),
            ),
            case("Accept", get(path("first")).with("accept", "text/html;q=0.5"), yes(200).body(&first)),
            case("Accept", get(path("first")).with("accept", LIST), yes(200).body(&first)),
            case("Range", get(path("first")).with("range", "bytes=0-1"), yes(200).body(&first).or(206, "")),
            case(
                "another repository's parts",
                put("/v2/man/other/manifests/x", &first).with("content-type", OCI),
                no(400, MISSING).errors(2),
            ),
            case("a rejected push makes no repository", get("/v2/man/other/tags/list"), no(404, "NAME_UNKNOWN")),
        ])
        .await;

    referrers(&mut battery, &parts).await;
    too_large(&mut battery, &parts).await;

    for _ in 0..3 {
        battery
            .one("end", &get(path("first")), &yes(200).body(&first).field("docker-content-digest", &first_digest))
            .await;
        battery.one("end", &get(path("deeper")), &yes(200).body(&deeper).field("content-type", INDEX)).await;
        battery.one("end", &get(path("bad")), &no(404, "MANIFEST_UNKNOWN")).await;
    }
    battery.finish();
}

/// 4 MiB are the limit, however the body is framed; what exceeds it costs no memory.
async fn too_large(battery: &mut Battery, parts: &Parts) {
    let padded = |size: usize| {
        let image = parts.image("");
        image.clone() + &" ".repeat(size - image.len())
    };
    let largest = padded(MIB_4);
    battery.one("4 MiB", &put_as(OCI, "largest", &largest), &yes(201)).await;
    battery.one("4 MiB, chunked", &put_as(OCI, "largest", &largest).chunked(), &yes(201)).await;
    for _ in 0..3 {
        battery.one("4 MiB", &get(format!("/v2/{REPO}/manifests/largest")), &yes(200).body(&largest)).await;
    }
    let before: Vec<u64> = battery.cluster.nodes.iter_mut().map(|node| node.process().rss()).collect();
    let large = || no(413, INVALID);
    let head = |framing: &str| {
        format!("PUT /v2/{REPO}/manifests/bad HTTP/1.1\r\nhost: a\r\ncontent-type: {OCI}\r\n{framing}\r\n\r\n")
    };
    let endless = |framing: &str, tail: Vec<u8>, mib: usize| {
        let times = (mib << 20) / tail.len();
        Request {
            raw: Some(Sent { bytes: head(framing).into_bytes(), tail, times, half_close: false }),
            ..request("RAW", "")
        }
    };
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..2 {
        battery
            .all([
                case("4 MiB and 1", put_as(OCI, "bad", padded(MIB_4 + 1)), large()),
                case("4 MiB and 1, chunked", put_as(OCI, "bad", padded(MIB_4 + 1)).chunked(), large()),
                case("64 MiB", endless(&format!("content-length: {}", 64 << 20), vec![b' '; 1 << 16], 64), large()),
                case("64 MiB, chunked", endless("transfer-encoding: chunked", chunk.clone(), 64), large()),
                case("no end", endless("transfer-encoding: chunked", chunk.clone(), 1 << 12), large()),
                case(
                    "2^62 bytes",
                    endless("content-length: 4611686018427387904", vec![b'['; 1 << 16], 1 << 12),
                    large(),
                ),
                case(
                    "64 MiB, not sent",
                    raw(head(&format!("expect: 100-continue\r\ncontent-length: {}", 64 << 20))),
                    large(),
                ),
            ])
            .await;
    }
    for (number, before) in before.into_iter().enumerate() {
        let after = battery.cluster.nodes[number].process().rss();
        battery.expect("memory", after < before + FLAT, || {
            format!("node {number}: {} to {} MiB", before >> 20, after >> 20)
        });
    }
}

/// What refers to a manifest, page by page and by type.
async fn referrers(battery: &mut Battery, parts: &Parts) {
    let place = format!("/v2/{REPO}/referrers/sha256:{}", "7".repeat(64));
    let mut all = Vec::new();
    for number in 0..7_usize {
        let kind = if number.is_multiple_of(2) { r#","artifactType":"application/vnd.a+<b>""# } else { "" };
        let subject = descriptor(OCI, &place[place.len() - 71..], 1);
        let body = parts.image(&format!(r#"{kind},"annotations":{{"n":"<i>{number}</i>"}},"subject":{subject}"#));
        all.push((digest_of(body.as_bytes()), number));
        battery
            .one(
                "a referrer",
                &put_as(OCI, &digest_of(body.as_bytes()), &body),
                &yes(201).field("oci-subject", &place[place.len() - 71..]),
            )
            .await;
    }
    all.sort();
    let listed = |answer: &Answer| -> Vec<(String, usize)> {
        let index: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let entries = index["manifests"].as_array().cloned().unwrap_or_default();
        let number = |entry: &serde_json::Value| {
            let text = entry["annotations"]["n"].as_str()?;
            let number: usize = text.trim_start_matches("<i>").trim_end_matches("</i>").parse().ok()?;
            let kind = if number.is_multiple_of(2) {
                "application/vnd.a+<b>"
            } else {
                "application/vnd.oci.image.config.v1+json"
            };
            (entry["artifactType"] == kind && entry["mediaType"] == OCI).then_some(number)
        };
        entries
            .iter()
            .map(|entry| (entry["digest"].as_str().unwrap_or_default().to_owned(), number(entry).unwrap_or(99)))
            .collect()
    };
    let index = || yes(200).field("content-type", INDEX);
    let filtered = || index().field("oci-filters-applied", "artifactType");
    let of = |even: bool| all.iter().filter(|(_, number)| (number % 2 == 0) == even).cloned().collect::<Vec<_>>();
    let config = "application/vnd.oci.image.config.v1%2Bjson";
    for (query, want, expected) in [
        ("", index().without("oci-filters-applied").without("link"), all.clone()),
        ("?", index(), all.clone()),
        ("?n=", index(), all.clone()),
        ("?n=7", index().without("link"), all.clone()),
        ("?n=99999999999999999999", index().without("link"), all.clone()),
        ("?n=2", index(), all[..2].to_vec()),
        ("?n=0", index().without("link"), vec![]),
        ("?artifactType=", index(), all.clone()),
        ("?artifactType=application/vnd.a%2b%3Cb%3E", filtered(), of(true)),
        ("?artifactType=application/vnd.a+%3Cb%3E", filtered(), of(true)),
        (&format!("?artifactType={config}"), filtered(), of(false)),
        ("?artifactType=application/vnd.A%2B%3Cb%3E", filtered(), vec![]),
        ("?artifactType=%3Cscript%3E", filtered(), vec![]),
        ("?artifactType=%0d%0aset-cookie:%20a=b", filtered(), vec![]),
        ("?artifactType=%00", filtered(), vec![]),
        ("?artifactType=%ff", filtered(), vec![]),
        (&format!("?last={}", all[6].0), index().without("link"), vec![]),
        (&format!("?last={}", all[2].0), index().without("link"), all[3..].to_vec()),
        (&format!("?last=sha256%3A{}", "0".repeat(64)), index(), all.clone()),
    ] {
        let Some(answer) = battery.one("referrers", &get(format!("{place}{query}")), &want).await else { continue };
        let found = listed(&answer);
        battery.expect("referrers", answer.status != 200 || found == expected, || {
            format!("{query}: {found:?} instead of {expected:?}")
        });
    }
    for query in ["?n=-1", "?n=x", "?n=1.5", "?n=+1", "?n=%00"] {
        battery.one("referrers", &get(format!("{place}{query}")), &no(400, "PAGINATION_NUMBER_INVALID")).await;
    }
    for last in ["x", "sha256:", "latest", "%00", "sha256:..%2f"] {
        battery.one("referrers", &get(format!("{place}?last={last}")), &no(400, "DIGEST_INVALID")).await;
    }
    battery.one("referrers", &head(&place), &index()).await;
    for (size, filter, expected) in
        [(1, "", all.clone()), (3, "", all.clone()), (1, "&artifactType=application/vnd.a%2B%3Cb%3E", of(true))]
    {
        let (mut next_place, mut found) = (Some(format!("{place}?n={size}{filter}")), Vec::new());
        while let Some(at) = next_place.take().filter(|_| found.len() < 20) {
            let Some(answer) = battery.one("follow", &get(at), &index()).await else { break };
            found.extend(listed(&answer));
            next_place = next(&answer);
        }
        battery.expect("follow", found == expected, || format!("referrers by {size}{filter}: {found:?}"));
    }
}
