//! The list of what refers to a manifest: always 200 for a valid digest, complete, in order, and never behind the writes.

use super::{Area, request, with_body};
use flotilla_tests::{
    http::{OCI_MANIFEST, digest_of},
    wire::Answer,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeSet;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

#[tokio::test]
async fn the_list_of_referrers_is_complete_ordered_and_current() {
    let area = Area::start("referrers").await;
    area.push("refs/app", b"{}").await;
    let subject = digest_of(b"a subject that is never pushed");
    requests(&area, &subject).await;
    kinds(&area, &subject).await;
    filters(&area, &subject).await;
    subjects(&area).await;
    deletes(&area).await;
    fallback_tag(&area).await;
    three_hundred(&area).await;
    area.finish(120).await;
}

fn subject_of(digest: &str) -> Value {
    json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 100 })
}

/// An image manifest; `more` goes into its document.
fn image(config_type: &str, more: Value) -> Vec<u8> {
    let config = json!({ "mediaType": config_type, "digest": digest_of(b"{}"), "size": 2 });
    let mut document = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [] });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string().into_bytes()
}

/// An index of these manifests.
fn index(manifests: &Value, more: Value) -> Vec<u8> {
    let mut document = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string().into_bytes()
}

async fn put(area: &Area, repository: &str, reference: &str, kind: &str, body: &[u8]) -> Answer {
    let line = format!("PUT /v2/{repository}/manifests/{reference}");
    area.ask("put", with_body(&line, &format!("Content-Type: {kind}\r\n"), body), &[201]).await
}

/// Puts a referrer by its digest, and gives it.
async fn refer(area: &Area, kind: &str, body: &[u8], subject: &str) -> String {
    let digest = digest_of(body);
    let answer = put(area, "refs/app", &digest, kind, body).await;
    area.expect(answer.field("oci-subject") == subject, format!("OCI-Subject: {:?}", answer.field("oci-subject")));
    digest
}

async fn list(area: &Area, path: &str) -> Answer {
    let answer = area.ask(path, request(&format!("GET /v2/refs/app/referrers/{path}"), ""), &[200]).await;
    check(area, path, &answer);
    answer
}

fn check(area: &Area, name: &str, answer: &Answer) {
    let json = answer.json();
    area.expect(answer.field("content-type") == OCI_INDEX, format!("{name}: {:?}", answer.field("content-type")));
    area.expect(json["schemaVersion"] == 2 && json["mediaType"] == OCI_INDEX, format!("{name}: no index: {json}"));
    area.expect(json["manifests"].is_array(), format!("{name}: no list"));
}

fn entries(answer: &Answer) -> Vec<Value> {
    answer.json()["manifests"].as_array().cloned().unwrap_or_default()
}

fn digests(answer: &Answer) -> Vec<String> {
    entries(answer).iter().map(|entry| entry["digest"].as_str().unwrap_or_default().to_owned()).collect()
}

fn set(digests: &[&String]) -> BTreeSet<String> {
    digests.iter().map(|digest| (*digest).clone()).collect()
}

/// What is asked for oddly.
async fn requests(area: &Area, subject: &str) {
    let hex = "a".repeat(64);
    let sha512 = format!("sha512:{}", "a".repeat(128));
    for (name, digest) in [
        ("refs/app", subject),
        ("refs/app", &sha512),
        ("refs/app", &digest_of(b"")),
        ("refs/app", &format!("sha256:{}", "0".repeat(64))),
        ("refs/none", subject),
        ("none", subject),
        ("refs/app/deeper", subject),
        ("refs/referrers", subject),
        ("refs/app", &subject.replace(':', "%3A")),
        ("refs/app", &subject.replace(':', "%3a")),
    ] {
        let line = format!("/v2/{name}/referrers/{digest}");
        let answer = area.ask(&line, request(&format!("GET {line}"), ""), &[200]).await;
        check(area, &line, &answer);
        area.expect(entries(&answer).is_empty(), format!("{line}: not empty"));
        area.expect(!answer.has("link"), format!("{line}: a link"));
        let head = area.ask("HEAD", request(&format!("HEAD {line}"), ""), &[200]).await;
        let same = ["content-type", "content-length"].into_iter().all(|field| head.field(field) == answer.field(field));
        area.expect(same, format!("HEAD {line}: unlike GET"));
    }
    for digest in [
        "x",
        "latest",
        "sha256",
        "sha256:",
        "sha256:abc",
        &format!("sha256:{}", hex.to_uppercase()),
        &format!("SHA256:{hex}"),
        &format!("sha256:{hex}0"),
        &format!("sha256:{}", &hex[1..]),
        &format!("sha512:{hex}"),
        &format!("sha384:{}", "a".repeat(96)),
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        &format!("sha256:{}g", &hex[1..]),
        &format!("sha256-{hex}"),
        &format!("sha256:{hex}%00"),
        &format!("sha256:{hex}%0d%0aX:y"),
        &format!("%20sha256:{hex}"),
        "..%2f..%2fetc%2fpasswd",
        "%ff",
        "*",
        &"a".repeat(5000),
    ] {
        for method in ["GET", "HEAD"] {
            let name = format!("{method} of {}", &digest[..digest.len().min(80)]);
            let bytes = request(&format!("{method} /v2/refs/app/referrers/{digest}"), "");
            let answer = area.ask(&name, bytes, &[400]).await;
            area.expect(method == "HEAD" || answer.text().contains("DIGEST_INVALID"), format!("{name}: another code"));
        }
    }
    for name in ["REFS/app", "refs//app", "refs/app_", "-", "%2e%2e"] {
        let bytes = request(&format!("GET /v2/{name}/referrers/{subject}"), "");
        let answer = area.ask(&format!("of {name}"), bytes, &[400]).await;
        area.expect(answer.text().contains("NAME_INVALID"), format!("of {name}: {}", answer.text()));
    }
    for (path, statuses) in [
        ("/v2/refs/app/referrers/".to_owned(), &[400, 404][..]),
        ("/v2/refs/app/referrers".to_owned(), &[400, 404]),
        (format!("/v2/refs/app/referrers/{subject}/"), &[400, 404]),
        (format!("/v2/refs/app/referrers/{subject}/x"), &[400, 404]),
        (format!("/v2/referrers/{subject}"), &[400, 404]),
    ] {
        area.ask(&path, request(&format!("GET {path}"), ""), statuses).await;
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let bytes = with_body(&format!("{method} /v2/refs/app/referrers/{subject}"), "", b"{}");
        area.ask(method, bytes, &[405]).await;
    }
    for (query, statuses) in [
        ("n=0", &[200][..]),
        ("n=1", &[200]),
        ("n=", &[200, 400]),
        ("n=00001", &[200]),
        ("n=2147483647", &[200, 400]),
        ("n=9223372036854775808", &[200, 400]),
        (&format!("n={}", "9".repeat(400)), &[200, 400]),
        ("n=-1", &[400]),
        ("n=x", &[400]),
        ("n=1.5", &[400]),
        ("n=1e3", &[400]),
        ("n=0x10", &[400]),
        ("n=%00", &[400]),
        ("n=%d9%a1", &[400]),
        ("last=", &[200]),
        (&format!("last={}", digest_of(b"absent")), &[200]),
        (&format!("last={sha512}"), &[200]),
        ("last=x", &[400]),
        ("last=%ff", &[400]),
        ("last=..%2f..", &[400]),
        ("unknown=1&&&=", &[200]),
        ("digest=x&order=desc&filter[]=%27", &[200]),
    ] {
        let bytes = request(&format!("GET /v2/refs/app/referrers/{subject}?{query}"), "");
        area.ask(&query[..query.len().min(80)], bytes, statuses).await;
    }
}

/// Image and index, with and without an artifact type, with annotations.
async fn kinds(area: &Area, subject: &str) {
    let odd =
        json!({ "a": "b", "": "empty key", "org.example/\u{e9}\"<>&\\\u{1f4a9}": "\n\t\"", "long": "x".repeat(5000) });
    for (name, kind, body, artifact_type, annotations) in [
        (
            "an image with a type",
            OCI_MANIFEST,
            image(
                CONFIG,
                json!({ "subject": subject_of(subject), "artifactType": "application/x.a", "annotations": odd }),
            ),
            json!("application/x.a"),
            odd.clone(),
        ),
        (
            "an image without a type",
            OCI_MANIFEST,
            image("application/x.config", json!({ "subject": subject_of(subject) })),
            json!("application/x.config"),
            Value::Null,
        ),
        (
            "an image with an empty type",
            OCI_MANIFEST,
            image("application/x.other", json!({ "subject": subject_of(subject), "artifactType": "" })),
            json!("application/x.other"),
            Value::Null,
        ),
        (
            "an index with a type",
            OCI_INDEX,
            index(&json!([]), json!({ "subject": subject_of(subject), "artifactType": "application/x.a" })),
            json!("application/x.a"),
            Value::Null,
        ),
        (
            "an index without a type",
            OCI_INDEX,
            index(&json!([]), json!({ "subject": subject_of(subject), "annotations": { "k": "v" } })),
            Value::Null,
            json!({ "k": "v" }),
        ),
        (
            "a type with a plus",
            OCI_MANIFEST,
            image(CONFIG, json!({ "subject": subject_of(subject), "artifactType": "application/x.b+json" })),
            json!("application/x.b+json"),
            Value::Null,
        ),
    ] {
        let digest = refer(area, kind, &body, subject).await;
        // At once, from every node.
        for _ in &area.addresses {
            let answer = list(area, subject).await;
            let entry =
                entries(&answer).into_iter().find(|entry| entry["digest"] == digest.as_str()).unwrap_or_default();
            area.expect(entry["mediaType"] == kind, format!("{name}: {entry}"));
            area.expect(entry["size"] == body.len(), format!("{name}: size {}", entry["size"]));
            area.expect(entry["artifactType"] == artifact_type, format!("{name}: type {}", entry["artifactType"]));
            area.expect(entry["annotations"] == annotations, format!("{name}: annotations {}", entry["annotations"]));
        }
        // Put again, also by a tag, it is there once.
        put(area, "refs/app", "again", kind, &body).await;
        let times = digests(&list(area, subject).await).iter().filter(|found| **found == digest).count();
        area.expect(times == 1, format!("{name}: there {times} times"));
    }
    let other = area.ask("other", request(&format!("GET /v2/refs/other/referrers/{subject}"), ""), &[200]).await;
    area.expect(entries(&other).is_empty(), "another repository lists them");
}

async fn filters(area: &Area, subject: &str) {
    for (filter, expected) in [
        ("application/x.a", 2),
        ("application%2Fx.a", 2),
        ("application%2fx%2ea", 2),
        ("application/x.config", 1),
        ("application/x.other", 1),
        ("application/x.b%2Bjson", 1),
        // A plus in a query is a plus (RFC 3986); a media type has no space that it could mean.
        ("application/x.b+json", 1),
        ("application/x.none", 0),
        ("application/x", 0),
        ("application/x.*", 0),
        ("*", 0),
        ("%25", 0),
        ("x%00y", 0),
        ("x%0d%0aX-Y:z", 0),
        ("%ff%fe", 0),
        ("%zz", 0),
        ("%27%20OR%201=1%20--", 0),
        ("%3Cscript%3Ealert(1)%3C/script%3E", 0),
        ("%C3%A9", 0),
        ("APPLICATION/X.NONE", 0),
        (&"a".repeat(5000), 0),
    ] {
        let name = format!("artifactType={}", &filter[..filter.len().min(60)]);
        let line = format!("GET /v2/refs/app/referrers/{subject}?artifactType={filter}");
        let answer = area.ask(&name, request(&line, ""), &[200]).await;
        check(area, &name, &answer);
        let got = entries(&answer).len();
        area.expect(got == expected, format!("{name}: {got} instead of {expected}"));
        area.expect(answer.field("oci-filters-applied") == "artifactType", format!("{name}: no OCI-Filters-Applied"));
    }
    let all = list(area, subject).await;
    area.expect(entries(&all).len() == 6, format!("{} without a filter", entries(&all).len()));
    area.expect(!all.has("oci-filters-applied"), "OCI-Filters-Applied without a filter");
    for query in ["artifactType=", "artifactType", "ArtifactType=application/x.a", "artifacttype=application/x.a"] {
        let answer = list(area, &format!("{subject}?{query}")).await;
        let honest = !answer.has("oci-filters-applied") && entries(&answer).len() == 6;
        area.expect(honest, format!("{query}: {} entries", entries(&answer).len()));
    }
    // Repeated or many filters: at most what one of them lets through, and said to be filtered.
    let many = "artifactType=application/x.a&".repeat(200);
    for query in [
        "artifactType=application/x.a&artifactType=application/x.config",
        "artifactType=application/x.a&artifactType=application/x.a",
        "artifactType=application/x.a,application/x.config",
        "artifactType=application/x.a&annotation=k%3Dv&name=x",
        &many,
    ] {
        let line = format!("GET /v2/refs/app/referrers/{subject}?{query}");
        let answer = area.ask(&query[..query.len().min(80)], request(&line, ""), &[200, 400]).await;
        if answer.status == 200 {
            area.expect(entries(&answer).len() <= 3, format!("{query}: {} entries", entries(&answer).len()));
            area.expect(answer.field("oci-filters-applied") == "artifactType", format!("{query}: no filter applied"));
        }
    }
    // Pages of a filtered list say the filter again.
    let mut seen = Vec::new();
    let mut path = format!("/v2/refs/app/referrers/{subject}?artifactType=application/x.a&n=1");
    for _ in 0..10 {
        let answer = area.ask(&path, request(&format!("GET {path}"), ""), &[200]).await;
        area.expect(answer.field("oci-filters-applied") == "artifactType", "a filtered page does not say so");
        seen.extend(digests(&answer));
        match next(&answer) {
            Some(link) => path = link,
            None => break,
        }
    }
    area.expect(seen.len() == 2, format!("filtered pages: {seen:?}"));
}

/// The path of `Link`.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.field("link").strip_prefix('<')?;
    let (path, rest) = link.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| path.to_owned())
}

/// Subjects of every kind: absent, present, of sha512, of an index, of itself (which cannot be), odd.
async fn subjects(area: &Area) {
    let sha512 = format!("sha512:{}", hex::encode(Sha512::digest(b"subject")));
    let body = image(CONFIG, json!({ "subject": subject_of(&sha512) }));
    let digest = refer(area, OCI_MANIFEST, &body, &sha512).await;
    area.expect(digests(&list(area, &sha512).await) == [digest], "sha512: not listed");

    // Its own digest may be sha512 too.
    let body = image(CONFIG, json!({ "subject": subject_of(&sha512), "annotations": { "n": "2" } }));
    let long = format!("sha512:{}", hex::encode(Sha512::digest(&body)));
    let answer = put(area, "refs/app", &long, OCI_MANIFEST, &body).await;
    area.expect(answer.field("oci-subject") == sha512, "sha512 of sha512: OCI-Subject");
    area.expect(digests(&list(area, &sha512).await).contains(&long), "sha512 of sha512: not listed");

    // A chain: what refers may itself be referred to, and the subject may come last.
    let bottom = image(CONFIG, json!({ "annotations": { "at": "bottom" } }));
    let mut chain = vec![bottom.clone()];
    for number in 0..5 {
        let below = digest_of(&chain[number]);
        chain
            .push(image(CONFIG, json!({ "subject": subject_of(&below), "annotations": { "at": number.to_string() } })));
    }
    for (number, body) in chain.iter().enumerate().rev() {
        let below = if number == 0 { String::new() } else { digest_of(&chain[number - 1]) };
        refer(area, OCI_MANIFEST, body, &below).await;
    }
    for pair in chain.windows(2) {
        let found = digests(&list(area, &digest_of(&pair[0])).await);
        area.expect(found == [digest_of(&pair[1])], format!("a chain: {found:?}"));
    }
    for subject in [
        json!("sha256:x"),
        json!([]),
        json!(1),
        json!(true),
        json!({}),
        json!({ "digest": "x", "size": 1, "mediaType": OCI_MANIFEST }),
        json!({ "digest": "sha256:../../x", "size": 1, "mediaType": OCI_MANIFEST }),
        json!({ "digest": format!("sha256:{}", "A".repeat(64)), "size": 1, "mediaType": OCI_MANIFEST }),
        json!({ "digest": digest_of(b"x"), "size": -1, "mediaType": OCI_MANIFEST }),
        json!({ "digest": digest_of(b"x"), "size": "1", "mediaType": OCI_MANIFEST }),
    ] {
        let body = image(CONFIG, json!({ "subject": subject }));
        let bytes = with_body("PUT /v2/refs/app/manifests/odd", &format!("Content-Type: {OCI_MANIFEST}\r\n"), &body);
        let answer = area.ask(&format!("subject {subject}"), bytes, &[400]).await;
        area.expect(answer.text().contains("MANIFEST_INVALID"), format!("subject {subject}: {}", answer.text()));
    }
    let null = image(CONFIG, json!({ "subject": null, "annotations": { "subject": "null" } }));
    let answer = put(area, "refs/app", "null", OCI_MANIFEST, &null).await;
    area.expect(!answer.has("oci-subject"), "OCI-Subject without a subject");
}

/// A deleted referrer leaves the list at once; deleting the subject or a tag leaves it as it is.
async fn deletes(area: &Area) {
    let target = image(CONFIG, json!({ "annotations": { "is": "subject" } }));
    let subject = digest_of(&target);
    put(area, "refs/app", "subject", OCI_MANIFEST, &target).await;
    let mut referrers = Vec::new();
    for number in 0..6 {
        let body =
            image(CONFIG, json!({ "subject": subject_of(&subject), "annotations": { "n": number.to_string() } }));
        referrers.push(refer(area, OCI_MANIFEST, &body, &subject).await);
        put(area, "refs/app", &format!("tag{number}"), OCI_MANIFEST, &body).await;
    }
    area.ask("delete a tag", request("DELETE /v2/refs/app/manifests/tag0", ""), &[202]).await;
    area.ask("delete the subject", request(&format!("DELETE /v2/refs/app/manifests/{subject}"), ""), &[202]).await;
    let all: BTreeSet<_> = referrers.iter().cloned().collect();
    area.expect(digests(&list(area, &subject).await).into_iter().collect::<BTreeSet<_>>() == all, "not all are left");
    while let Some(gone) = referrers.pop() {
        area.ask("delete", request(&format!("DELETE /v2/refs/app/manifests/{gone}"), ""), &[202]).await;
        for _ in &area.addresses {
            let found: BTreeSet<_> = digests(&list(area, &subject).await).into_iter().collect();
            area.expect(found == referrers.iter().cloned().collect(), format!("after a delete: {found:?}"));
        }
    }
}

/// What a client listed under the fallback tag, before this registry knew referrers or because it did not ask.
async fn fallback_tag(area: &Area) {
    let subject = digest_of(b"a subject of old times");
    let tag = subject.replace(':', "-");
    let mut bodies = Vec::new();
    for number in 0..3 {
        let more = json!({ "subject": subject_of(&subject), "artifactType": "application/x.old", "annotations": { "n": number.to_string() } });
        bodies.push(image(CONFIG, more));
    }
    let elsewhere =
        image(CONFIG, json!({ "subject": subject_of(&digest_of(b"elsewhere")), "annotations": { "n": "0" } }));
    bodies.push(elsewhere.clone());
    for body in &bodies {
        put(area, "refs/app", &digest_of(body), OCI_MANIFEST, body).await;
    }
    let children: Vec<_> = bodies
        .iter()
        .map(|body| json!({ "mediaType": OCI_MANIFEST, "digest": digest_of(body), "size": body.len() }))
        .collect();
    let own: BTreeSet<_> = bodies[..3].iter().map(|body| digest_of(body)).collect();
    let before = digests(&list(area, &subject).await);
    area.expect(before.iter().cloned().collect::<BTreeSet<_>>() == own, "before the tag: another list");
    put(area, "refs/app", &tag, OCI_INDEX, &index(&json!(children), json!({}))).await;
    for query in ["", "?artifactType=application/x.old"] {
        let answer = list(area, &format!("{subject}{query}")).await;
        let found = digests(&answer);
        // Each once, and not what says itself that it belongs to another subject.
        area.expect(
            found.len() == 3 && found.into_iter().collect::<BTreeSet<_>>() == own,
            "with the tag: another list",
        );
    }
    // The tag itself stays an ordinary manifest.
    let answer = area.ask("the tag", request(&format!("GET /v2/refs/app/manifests/{tag}"), ""), &[200]).await;
    area.expect(entries(&answer).len() == 4, "the tag: another index");
    // An image under the tag is no list: it counts for nothing.
    put(area, "refs/app", &tag, OCI_MANIFEST, &elsewhere).await;
    let found = digests(&list(area, &subject).await);
    area.expect(found.into_iter().collect::<BTreeSet<_>>() == own, "with an image under the tag: another list");
    area.ask("delete the tag", request(&format!("DELETE /v2/refs/app/manifests/{tag}"), ""), &[202]).await;
    let found = digests(&list(area, &subject).await);
    area.expect(found.into_iter().collect::<BTreeSet<_>>() == own, "after the tag: another list");
}

/// 300 referrers in pages of every size: all of them, each once, in one order.
async fn three_hundred(area: &Area) {
    let subject = digest_of(b"a subject of many");
    let bodies: Vec<_> = (0..300)
        .map(|number| {
            let kind = ["application/x.even", "application/x.odd"][number % 2];
            image(CONFIG, json!({ "subject": subject_of(&subject), "artifactType": kind, "annotations": { "n": number.to_string() } }))
        })
        .collect();
    let subject_text = &subject;
    let put = |body: Vec<u8>| async move { refer(area, OCI_MANIFEST, &body, subject_text).await };
    let all: BTreeSet<String> = stream::iter(bodies).map(put).buffer_unordered(10).collect().await;
    for size in [None, Some(1000), Some(301), Some(300), Some(299), Some(100), Some(33)] {
        for filter in [None, Some("application/x.odd")] {
            let mut path = format!("/v2/refs/app/referrers/{subject}?");
            path += &size.map(|size| format!("n={size}&")).unwrap_or_default();
            path += &filter.map(|filter| format!("artifactType={filter}")).unwrap_or_default();
            let name = path.clone();
            let (mut found, mut pages) = (Vec::new(), 0);
            loop {
                let answer = area.ask(&name, request(&format!("GET {path}"), ""), &[200]).await;
                check(area, &name, &answer);
                let page = digests(&answer);
                area.expect(size.is_none_or(|size| page.len() <= size), format!("{name}: {} on a page", page.len()));
                found.extend(page);
                pages += 1;
                match next(&answer) {
                    Some(link) if pages < 400 => path = link,
                    Some(_) => break area.wrong(format!("{name}: endless")),
                    None => break,
                }
            }
            let expected = if filter.is_some() { 150 } else { 300 };
            area.expect(found.len() == expected, format!("{name}: {} found", found.len()));
            area.expect(found.is_sorted(), format!("{name}: not in order"));
            let unlike: BTreeSet<_> = found.iter().collect();
            area.expect(unlike.len() == found.len(), format!("{name}: duplicates"));
            area.expect(found.iter().all(|digest| all.contains(digest)), format!("{name}: strangers"));
        }
    }
    // After any of them the rest follows, also after one that is not there.
    let ordered: Vec<_> = all.iter().collect();
    for last in [ordered[0], ordered[149], ordered[298], ordered[299], &format!("sha256:{}", "8".repeat(64))] {
        let found = digests(&list(area, &format!("{subject}?last={last}")).await);
        let expected = set(&ordered.iter().copied().filter(|digest| *digest > last).collect::<Vec<_>>());
        area.expect(
            found.iter().cloned().collect::<BTreeSet<_>>() == expected,
            format!("after {last}: {}", found.len()),
        );
    }
}
