//! Tags, lists and the catalogue: pages, what follows a deletion, tags as parameters, conditional writes.

use super::*;
use flotilla_tests::http::{OCI_MANIFEST, digest_of, manifest};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const REPO: &str = "tags/app";
const LIST: &str = "/v2/tags/app/tags/list";
const PAGE_INVALID: &str = "PAGINATION_NUMBER_INVALID";
/// A page of the catalogue, at most.
const CATALOGUE_MAX: usize = 1_000;

fn path(reference: &str) -> String {
    format!("/v2/{REPO}/manifests/{reference}")
}

fn put_image(reference: &str, image: &str) -> Request {
    put(path(reference), image).with("content-type", OCI_MANIFEST)
}

fn names_of(answer: &Answer) -> Option<Vec<String>> {
    let document: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let list = document.get("tags").or_else(|| document.get("repositories"))?;
    serde_json::from_value(list.clone()).ok()
}

impl Battery {
    /// Asks for one page, which must hold exactly `names`, with or without a `Link`.
    async fn page(&mut self, name: &str, place: &str, names: &[String], more: bool) {
        let Some(answer) = self.one(name, &get(place), &yes(200).field("content-type", "application/json")).await
        else {
            return;
        };
        let (found, next) = (names_of(&answer), next(&answer));
        let right = found.as_deref() == Some(names) && next.is_some() == more;
        let shown: String = place.chars().take(80).collect();
        self.expect(name, right, || format!("{shown}: {found:?}, next {next:?}; wanted {names:?}, more: {more}"));
    }

    /// Follows `Link` from `place` to the end; every name in order.
    async fn follow(&mut self, place: &str, most: usize) -> Vec<String> {
        let (mut place, mut all) = (Some(place.to_owned()), Vec::new());
        while let Some(at) = place.take() {
            let Some(answer) = self.one("follow", &get(&at), &yes(200)).await else { break };
            let names = names_of(&answer).unwrap_or_default();
            place = next(&answer);
            self.expect("follow", names.len() <= most, || format!("{at}: {} names", names.len()));
            self.expect("follow", place.is_none() || !names.is_empty(), || format!("{at}: an empty page with a Link"));
            all.extend(names);
            if all.len() > 10_000 {
                self.expect("follow", false, || format!("{at}: no end"));
                break;
            }
        }
        let ordered = all.windows(2).all(|pair| pair[0] < pair[1]);
        self.expect("follow", ordered, || format!("out of order or twice: {all:?}"));
        all
    }
}

/// `n` that is no number, or one with an odd spelling.
fn sizes() -> (Vec<String>, Vec<(String, usize)>) {
    let bad = [
        "-1",
        "-0",
        "+5",
        "%2B5",
        "1.0",
        "1.5",
        ".5",
        "5.",
        "1e3",
        "0x10",
        "x",
        "null",
        "NaN",
        "true",
        "5x",
        "x5",
        "%205",
        "5%20",
        "5%00",
        "%00",
        "1,2",
        "1_000",
        "٣",
        "%D9%A3",
        "%EF%BC%95",
        "--5",
        "5-",
        "[]",
        "{}",
        "\"5\"",
        "%225%22",
        "%",
        "%zz",
        "%0d%0a",
        "5%0d%0ax:%20y",
        "-9223372036854775808",
        "-99999999999999999999",
        "$(id)",
        "5;",
        "5%26last=z",
        "infinity",
    ];
    let mut good: Vec<(String, usize)> =
        [("1", 1), ("2", 2), ("%35", 5), ("5", 5), ("00005", 5), ("7&n=3", 7), ("5&n=x", 5), ("5&x=y", 5)]
            .map(|(text, size)| (text.to_owned(), size))
            .into();
    for text in [
        "100000",
        "2147483647",
        "2147483648",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        good.push((text.to_owned(), usize::MAX));
    }
    good.push((format!("1{}", "0".repeat(400)), usize::MAX));
    good.push((format!("{}3", "0".repeat(400)), 3));
    (bad.map(str::to_owned).into(), good)
}

#[tokio::test]
async fn lists_are_complete_and_ordered_and_writes_keep_their_conditions() {
    let mut battery = Battery::start("tags").await;
    let config = battery.blob(REPO, b"{}").await;
    let image = |label: usize| format!("{}{}", manifest(&config, 2, &[]), " ".repeat(label));
    let digest = |label: usize| digest_of(image(label).as_bytes());
    let mut tags: Vec<String> =
        ["0", "9", "A", "Z", "_", "a", "a-b", "a.b", "a_b", "aa", "latest", "v1", "v1.0", "v10", "v2", "z"]
            .map(str::to_owned)
            .into();
    tags.extend((0..14).map(|n| format!("t{n:02}")));
    tags.push("z".repeat(128));
    tags.sort();
    for (number, tag) in tags.iter().enumerate() {
        battery.one("setup", &put_image(tag, &image(number % 3)), &yes(201)).await;
    }
    let mut names: Vec<String> =
        ["a/b", "a-b", "a.b", "a", "a0", "a/b/c", "ab", "b/a"].map(|name| format!("cat/{name}")).into();
    for name in &names {
        let mount = post(format!("/v2/{name}/blobs/uploads/?mount={config}&from={REPO}"));
        battery.one("setup", &mount, &yes(201)).await;
        battery
            .one(
                "setup",
                &put(format!("/v2/{name}/manifests/x"), image(0)).with("content-type", OCI_MANIFEST),
                &yes(201),
            )
            .await;
    }
    names.push(REPO.into());
    names.sort();

    for (place, all, most) in [(LIST, &tags, usize::MAX), ("/v2/_catalog", &names, CATALOGUE_MAX)] {
        battery.page("all", place, all, false).await;
        battery.page("n empty", &format!("{place}?n="), all, false).await;
        battery.page("another query", &format!("{place}?N=1&nn=1&x=n=1"), all, false).await;
        for zero in ["0", "00", "0&last=a"] {
            battery.page("n = 0", &format!("{place}?n={zero}"), &[], false).await;
        }
        let (bad, good) = sizes();
        for size in bad {
            battery.one("bad n", &get(format!("{place}?n={size}")), &no(400, PAGE_INVALID).or_bare(400)).await;
        }
        for (text, size) in good {
            let size = size.min(most);
            battery.page("n", &format!("{place}?n={text}"), &all[..size.min(all.len())], size < all.len()).await;
        }
        let long = get(format!("{place}?n={}", "9".repeat(30_000)));
        battery.one("n of 30,000 digits", &long, &yes(200).or_bare(414).or_bare(431)).await;
        battery.one("HEAD", &head(place), &yes(200)).await;
        // What comes after a name does not depend on whether it exists.
        for last in [
            "",
            "0",
            "a",
            "aa",
            "aaa",
            "a-",
            "a~",
            "cat",
            "cat/a",
            "cat/a/",
            "cat/a/b",
            "cat/a/zz",
            "v1",
            "v1.",
            "zz",
            "zzzz",
            "~",
            "%",
            "é",
            "\u{10ffff}",
            "\0",
            "\r\n",
            " ",
            "'; drop table",
            "../..",
            "<script>",
            "/",
            "//",
            "&n=1",
            "A",
            "[",
            "\u{7f}",
        ] {
            let escaped: String = last.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let rest: Vec<String> = all.iter().filter(|name| name.as_str() > last).cloned().collect();
            battery.page(&format!("last {last:?}"), &format!("{place}?last={escaped}"), &rest, false).await;
            let first: Vec<String> = rest.iter().take(2).cloned().collect();
            battery
                .page(&format!("last {last:?}"), &format!("{place}?n=2&last={escaped}"), &first, rest.len() > 2)
                .await;
        }
        battery
            .page(
                "a long last",
                &format!("{place}?last={}", "b".repeat(20_000)),
                &all.iter().filter(|name| name.as_str() > "bb").cloned().collect::<Vec<_>>(),
                false,
            )
            .await;
        for size in [1, 2, 3, 7, all.len() - 1, all.len(), all.len() + 1] {
            let found = battery.follow(&format!("{place}?n={size}"), size).await;
            battery.expect("follow", found == *all, || format!("{place} by {size}: {found:?}"));
        }
    }
    battery.one("no such repository", &get("/v2/tags/none/tags/list?n=0"), &no(404, "NAME_UNKNOWN")).await;
    battery
        .one("no such repository", &get("/v2/tags/none/tags/list?n=x"), &no(404, "NAME_UNKNOWN").or(400, PAGE_INVALID))
        .await;

    while_tags_are_written(&mut battery, &tags, &image(0)).await;
    deleted(&mut battery, &image(90), &config).await;
    parameters(&mut battery, &image).await;
    conditional(&mut battery, &image, &digest).await;

    for _ in 0..3 {
        for (number, tag) in tags.iter().enumerate().take(5) {
            let found = yes(200).body(image(number % 3)).field("docker-content-digest", digest(number % 3));
            battery.one("end", &get(path(tag)), &found).await;
        }
    }
    battery.finish();
}

/// Pages stay ordered and lose nothing that was there all the time.
async fn while_tags_are_written(battery: &mut Battery, tags: &[String], image: &str) {
    let stop = Arc::new(AtomicBool::new(false));
    let (address, stopped, body) = (battery.address(), stop.clone(), image.to_owned());
    let mut writer = tokio::task::JoinSet::new();
    writer.spawn(async move {
        let mut wire = Wire::connect(&address).await.unwrap();
        let mut written = 0;
        while !stopped.load(Ordering::Relaxed) {
            for (tag, delete_it) in
                [(format!("m{written:04}"), false), (format!("a{written:04}"), false), (format!("a{written:04}"), true)]
            {
                let request = if delete_it { delete(path(&tag)) } else { put_image(&tag, &body) };
                assert!(wire.exchange(&request.sent(), false).await.unwrap().status < 300);
            }
            written += 1;
        }
        written
    });
    for size in [1, 3, 10, 30] {
        let found = battery.follow(&format!("{LIST}?n={size}"), size).await;
        let kept: Vec<_> = found.iter().filter(|tag| tags.contains(tag)).cloned().collect();
        battery.expect("while tags are written", kept == tags, || format!("by {size}: {kept:?}"));
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.join_next().await.unwrap().unwrap();
    battery.expect("while tags are written", written > 0, || "nothing was written".into());
    let found = battery.follow(&format!("{LIST}?n=17"), 17).await;
    let mut expected: Vec<_> = (0..written).map(|n| format!("m{n:04}")).chain(tags.iter().cloned()).collect();
    expected.sort();
    battery.expect("after tags were written", found == expected, || format!("{found:?} instead of {expected:?}"));
}

/// What is deleted is gone on every node, and nothing else is.
async fn deleted(battery: &mut Battery, image: &str, config: &str) {
    let (repo, digest) = ("tags/deleted", digest_of(image.as_bytes()));
    let path = |reference: &str| format!("/v2/{repo}/manifests/{reference}");
    let put_image = |tag: &str| put(path(tag), image).with("content-type", OCI_MANIFEST);
    let gone = || no(404, "MANIFEST_UNKNOWN");
    battery.one("mount", &post(format!("/v2/{repo}/blobs/uploads/?mount={config}&from={REPO}")), &yes(201)).await;
    for tag in ["one", "two", "three"] {
        battery.one("put", &put_image(tag), &yes(201)).await;
    }
    battery.one("delete a tag", &delete(path("one")), &yes(202).field("content-length", "0")).await;
    for _ in 0..3 {
        battery.one("a deleted tag", &get(path("one")), &gone()).await;
        battery.one("its manifest", &get(path(&digest)), &yes(200).body(image)).await;
        battery.one("another tag", &get(path("two")), &yes(200).body(image)).await;
    }
    battery.one("delete it again", &delete(path("one")), &gone()).await;
    battery.one("delete what never was", &delete(path("none")), &gone()).await;
    battery.one("delete elsewhere", &delete("/v2/tags/none/manifests/one"), &no(404, "NAME_UNKNOWN")).await;
    battery.one("delete with a body", &delete(path("three")).body("x"), &yes(202)).await;
    battery.page("list", &format!("/v2/{repo}/tags/list"), &["two".into()], false).await;
    battery
        .one("a blob in use", &delete(format!("/v2/{repo}/blobs/{config}")), &no(405, "UNSUPPORTED").or(202, ""))
        .await;
    battery.one("delete the manifest", &delete(path(&digest)), &yes(202)).await;
    for _ in 0..3 {
        battery.one("a deleted manifest", &get(path(&digest)), &gone()).await;
        battery.one("its tag", &head(path("two")), &gone()).await;
        battery
            .one(
                "an empty list",
                &get(format!("/v2/{repo}/tags/list")),
                &yes(200).body(format!(r#"{{"name":"{repo}","tags":[]}}"#)),
            )
            .await;
    }
    battery.one("delete it again", &delete(path(&digest)), &gone()).await;
    battery.one("delete the blob", &delete(format!("/v2/{repo}/blobs/{config}")), &yes(202)).await;
    battery.one("delete it again", &delete(format!("/v2/{repo}/blobs/{config}")), &no(404, "BLOB_UNKNOWN")).await;
    for _ in 0..3 {
        battery.one("a deleted blob", &get(format!("/v2/{repo}/blobs/{config}")), &no(404, "BLOB_UNKNOWN")).await;
        battery.one("it is still elsewhere", &get(format!("/v2/{REPO}/blobs/{config}")), &yes(200).body("{}")).await;
    }
    battery.one("it cannot come back", &put_image("two"), &no(400, "MANIFEST_BLOB_UNKNOWN").errors(1)).await;
    battery
        .one("mount it again", &post(format!("/v2/{repo}/blobs/uploads/?mount={config}&from={REPO}")), &yes(201))
        .await;
    battery.one("put again", &put_image("two"), &yes(201)).await;
    battery.one("back again", &get(path("two")), &yes(200).body(image)).await;
}

/// `?tag=`: all tags or none.
async fn parameters(battery: &mut Battery, image: &impl Fn(usize) -> String) {
    let (body, digest) = (image(91), digest_of(image(91).as_bytes()));
    let push = |query: &str| put_image(&format!("{digest}?{query}"), &body);
    let tagged = |tags: &str| yes(201).field("docker-content-digest", &digest).field("oci-tag", tags);
    let many = |count: usize| (0..count).map(|n| format!("tag=many{n:03}")).collect::<Vec<_>>().join("&");
    let mut cases = vec![
        case("one", push("tag=p-one"), tagged("p-one")),
        case("one", get(path("p-one")), yes(200).body(&body)),
        case("an escaped one", push("tag=%70-two"), tagged("p-two")),
        case("one among others", push("x=y&tag=p-three&_=1"), tagged("p-three")),
        case("one twice", push("tag=p-one&tag=p-one"), tagged("p-one")),
        case("another word", push("Tag=p-no&tags=p-no"), yes(201).without("oci-tag")),
        case("a hundred", push(&many(100)), yes(201)),
        case("a hundred", get(path("many099")), yes(200).body(&body)),
        case("a hundred and one", push(&many(101)), no(414, "")),
        case("a hundred and one", get(path("many100")), no(404, "MANIFEST_UNKNOWN")),
        case("a thousand", push(&many(1000)), no(414, "").or_bare(414)),
        case("with a tag", put_image("p-no?tag=p-none", &body), no(400, "")),
        case("with a tag", put_image("p-no?tag=p-no", &body), no(400, "")),
        case(
            "by a wrong digest",
            put_image(&format!("sha256:{}?tag=p-none", "0".repeat(64)), &body),
            no(400, "DIGEST_INVALID"),
        ),
        case(
            "of no manifest",
            put_image(&format!("{}?tag=p-none", digest_of(b"{}")), "{}"),
            no(400, "MANIFEST_INVALID"),
        ),
        case("when reading", get(path("p-one?tag=x")), yes(200).body(&body)),
    ];
    let long = "t".repeat(129);
    for bad in
        ["", ".x", "-x", "a%2Fb", "a%00", "a+b", "%2e%2e", "a%0d%0ab", "%C3%A9", "a:b", "a,b", digest.as_str(), &long]
    {
        cases.push(case("a bad one", push(&format!("tag=p-none&tag={bad}")), no(400, "TAG_INVALID")));
        cases.push(case("a bad one", push(&format!("tag={bad}&tag=p-none")), no(400, "TAG_INVALID")));
    }
    cases.push(case("none of a bad push", get(path("p-none")), no(404, "MANIFEST_UNKNOWN")));
    cases.push(case("none of a bad push", get(path("p-no")), no(404, "MANIFEST_UNKNOWN")));
    battery.all(cases).await;
    let several = battery.one("several", &push("tag=p-a&tag=p-b&tag=p-c"), &yes(201)).await;
    let stated: Vec<String> = several.iter().flat_map(|answer| answer.all("oci-tag")).map(str::to_owned).collect();
    battery.expect("several", stated == ["p-a", "p-b", "p-c"], || format!("OCI-Tag {stated:?}"));
}

/// Writes with `If-Match` and `If-None-Match` (RFC 9110 §13).
async fn conditional(battery: &mut Battery, image: &impl Fn(usize) -> String, digest: &impl Fn(usize) -> String) {
    let tag = |label: usize| format!("\"{}\"", digest(label));
    let write = |label: usize| put_image("cond", &image(label));
    let (only_if, unless) = (
        |label: usize, value: &str| write(label).with("if-match", value),
        |label: usize, value: &str| write(label).with("if-none-match", value),
    );
    let failed = || no(412, "MANIFEST_INVALID");
    let now = |label: usize| case("now", get(path("cond")), yes(200).body(image(label)).field("etag", tag(label)));
    let remove = |name: &str, value: &str| delete(path("cond")).with(name, value);
    let gone = || no(404, "MANIFEST_UNKNOWN");
    battery
        .all([
            case("If-Match of nothing", only_if(1, &tag(1)), failed()),
            case("If-Match of nothing", only_if(1, "*"), failed()),
            case("If-Match of nothing", get(path("cond")), gone()),
            case("If-None-Match of nothing", unless(1, "*"), yes(201)),
            now(1),
            case("If-None-Match", unless(2, "*"), failed()),
            case("If-None-Match of the same", unless(1, "*"), failed()),
            now(1),
            case("If-None-Match", unless(2, &tag(1)), failed()),
            case("If-None-Match, weak", unless(2, &format!("W/{}", tag(1))), failed()),
            case("If-None-Match, a list", unless(2, &format!("{}, {}", tag(3), tag(1))), failed()),
            now(1),
            case("If-None-Match of another", unless(2, &tag(3)), yes(201)),
            now(2),
            case("If-Match", only_if(3, &tag(2)), yes(201)),
            now(3),
            case("If-Match, again", only_if(4, &tag(2)), failed()),
            case("If-Match, weak", only_if(4, &format!("W/{}", tag(3))), failed()),
            case("If-Match, what is to come", only_if(4, &tag(4)), failed()),
            case("If-Match, a list without it", only_if(4, &format!("{}, {}", tag(1), tag(2))), failed()),
            case("If-Match, an empty tag", only_if(4, "\"\""), failed()),
            case("If-Match, no tag", only_if(4, "x"), failed().or(400, "")),
            case("If-Match, empty", only_if(4, ""), failed().or(400, "")),
            now(3),
            case("If-Match, a list", only_if(4, &format!("{}, {}", tag(1), tag(3))), yes(201)),
            now(4),
            case("If-Match, two headers", only_if(5, &tag(1)).with("if-match", tag(4)), yes(201)),
            now(5),
            case("If-Match, any", only_if(6, "*"), yes(201)),
            now(6),
            case("both, one fails", only_if(7, &tag(6)).with("if-none-match", "*"), failed()),
            case("both, one fails", only_if(7, &tag(1)).with("if-none-match", tag(1)), failed()),
            case("both", only_if(7, &tag(6)).with("if-none-match", tag(1)), yes(201)),
            now(7),
            case(
                "a bad manifest before its condition",
                put_image("cond", "{}").with("if-match", tag(7)),
                no(400, "MANIFEST_INVALID"),
            ),
            case("reading", get(path("cond")).with("if-none-match", tag(7)), yes(304).field("etag", tag(7))),
            case("reading", get(path("cond")).with("if-none-match", format!("W/{}", tag(7))), yes(304)),
            case("reading", get(path("cond")).with("if-none-match", tag(6)), yes(200).body(image(7))),
            case("reading", head(path("cond")).with("if-none-match", "*"), yes(304)),
            case("delete, another", remove("if-match", &tag(6)), failed()),
            case("delete, weak", remove("if-match", &format!("W/{}", tag(7))), failed()),
            case("delete, none", remove("if-none-match", "*"), failed()),
            now(7),
            case("delete", remove("if-match", &tag(7)), yes(202)),
            case("deleted", get(path("cond")), gone()),
            case("delete again", remove("if-match", &tag(7)), no(404, "MANIFEST_UNKNOWN").or(412, "")),
            case("delete again", remove("if-match", "*"), no(404, "MANIFEST_UNKNOWN").or(412, "")),
        ])
        .await;

    // Of many writers that saw the same tag one wins.
    battery.one("race", &write(20), &yes(201)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for label in 21..33 {
        let (request, address) = (only_if(label, &tag(20)), battery.address());
        battery.requests += 1;
        tasks.spawn(async move {
            let mut wire = Wire::connect(&address).await.unwrap();
            wire.exchange(&request.sent(), false).await.map(|answer| (label, answer.status))
        });
    }
    let answers: Vec<_> = tasks.join_all().await.into_iter().filter_map(Result::ok).collect();
    let won: Vec<_> = answers.iter().filter(|(_, status)| *status == 201).collect();
    let lost = answers.iter().filter(|(_, status)| *status == 412).count();
    battery.expect("race", won.len() == 1 && lost == 11, || format!("{answers:?}"));
    if let Some((label, _)) = won.first() {
        battery.all([now(*label), now(*label), now(*label)]).await;
    }
}
