//! Names, tags and digests in paths, and the paths themselves.

use super::*;
use flotilla_tests::http::{digest_of, manifest};

const LONGEST: usize = 255;

/// No repository names.
fn bad_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "A",
        "Names/app",
        "names/App",
        "names//app",
        "/names/app",
        "names/app/",
        "names/./app",
        "names/../names/app",
        "..",
        ".",
        "names/..",
        "-a",
        "a-",
        "_a",
        "a_",
        ".a",
        "a.",
        "a..b",
        "a___b",
        "a._b",
        "a-_b",
        "a.-b",
        "a b",
        "a+b",
        "a~b",
        "a@b",
        "a:b",
        "a:5000/b",
        "a,b",
        "a;b",
        "a;v=1/b",
        "a!b",
        "a$b",
        "a&b",
        "a'b",
        "a(b)",
        "a*b",
        "a=b",
        "a|b",
        "a\\b",
        "a\"b",
        "a<b>",
        "a^b",
        "a`b",
        "a{b}",
        "a[b]",
        "names%2Fapp",
        "names%2fapp",
        "%6eames/app",
        "names%2F..%2Fapp",
        "%2e%2e/app",
        "names/%2e/app",
        "a%00b",
        "a%0d%0ab",
        "a%0d%0aset-cookie:%20x=1",
        "a%20b",
        "a%3Fb",
        "a%23b",
        "a%25b",
        "a%252Fb",
        "a%",
        "a%zz",
        "a%2",
        "%C3%A4",
        "a%c0%af",
        "a%1bb",
        "a%7fb",
        "_catalog",
        "_oci/a",
        "a/_uploads",
        "%61",
        "a%5cb",
        "xn--a%C2%AD",
        "a%e2%80%8bb",
        "a%EF%BC%8Fb",
    ]
    .map(str::to_owned)
    .into();
    names.push("a".repeat(LONGEST + 1));
    names.push(format!("{}/{}", "a".repeat(127), "b".repeat(128)));
    names.push(vec!["a"; 129].join("/"));
    names.push("a/".repeat(2000) + "a");
    names
}

/// Repository names at the edges of the grammar, and such as look like endpoints.
fn good_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "a",
        "0",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a--b",
        "a---------b",
        "a.b_c__d-e/f",
        "blobs/uploads",
        "tags/list",
        "manifests",
        "blobs",
        "uploads",
        "tags",
        "list",
        "referrers",
        "manifests/tags/list",
        "a/blobs/uploads",
        "a/tags/list/b",
        "v2",
        "v2/v2",
        "a/manifests/v1",
        "catalog",
        "a/blobs/uploads/b",
        "xn--bcher-kva",
        "00/00/00",
        "livez",
        "metrics",
        "debug/pprof",
    ]
    .map(str::to_owned)
    .into();
    names.push("a".repeat(LONGEST));
    names.push(vec!["a"; 128].join("/"));
    names
}

fn bad_digests() -> Vec<String> {
    let (a64, a128) = ("a".repeat(64), "a".repeat(128));
    [
        "latest",
        "sha256",
        "sha256:",
        ":",
        "sha256:a",
        "sha256:..",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "a:b",
        "multihash+base58:QmRZ",
        "sha256:%00",
        "sha256:%2e%2e",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        format!("sha256:{}", "A".repeat(64)),
        format!("sha256:{}", "g".repeat(64)),
        format!("SHA256:{a64}"),
        format!("Sha256:{a64}"),
        format!("sha256:{a64}a"),
        format!("sha256:{}", "a".repeat(63)),
        format!("sha256:{a128}"),
        format!("sha512:{a64}"),
        format!("sha512:{a128}a"),
        format!("sha384:{}", "a".repeat(96)),
        format!("sha256:{a64}%00"),
        format!("sha256:{a64}%0a"),
        format!("sha256:%20{a64}"),
        format!("sha256::{a64}"),
        format!("sha256%253A{a64}"),
        format!("sha256:{}%61", "a".repeat(63)),
        format!("sha256:sha256:{a64}"),
        format!("sha256-{a64}"),
        format!("blake3:{a64}"),
        format!("sha256+b64:{a64}"),
        format!("sha256:{a64}@"),
        format!("sha256:{a64};v=1"),
    ])
    .collect()
}

fn bad_tags() -> Vec<String> {
    let mut tags: Vec<String> = [
        ".a",
        "-a",
        "a+b",
        "a~b",
        "a@b",
        "a,b",
        "a;b",
        "a!b",
        "a$b",
        "a*b",
        "a=b",
        "a%20b",
        "a%2Fb",
        "a%00",
        "%00",
        "a%0d%0ab",
        "v%31",
        "%2e%2e",
        "..",
        ".",
        "%C3%A4",
        "a\\b",
        "a\"b",
        "a<script>",
        "a%3Cscript%3E",
        "a&b",
        "a'b",
        "a%",
        "%",
    ]
    .map(str::to_owned)
    .into();
    tags.push("t".repeat(129));
    tags.push("t".repeat(5000));
    tags
}

#[tokio::test]
async fn odd_names_tags_and_digests_are_refused_and_good_ones_work() {
    let mut battery = Battery::start("names").await;
    let content = br#"{"names":1}"#;
    let config = battery.blob("names/app", content).await;
    let image = manifest(&config, content.len() as u64, &[]);
    let digest = digest_of(image.as_bytes());
    let kind = ("content-type", flotilla_tests::http::OCI_MANIFEST);
    let push = |path: String| put(path, &image).with(kind.0, kind.1);
    let push_to = |name: &str, reference: &str| push(format!("/v2/{name}/manifests/{reference}"));
    battery.one("setup", &push_to("names/app", "v1"), &yes(201)).await;

    let mut cases = Vec::new();
    for name in bad_names() {
        // What the HTTP library takes for no URI it refuses itself.
        let refused = || no(400, "NAME_INVALID").or_bare(400);
        cases.push(case("bad name", get(format!("/v2/{name}/tags/list")), refused()));
        cases.push(case("bad name", head(format!("/v2/{name}/blobs/{config}")), refused()));
        cases.push(case("bad name", push_to(&name, "v1"), refused()));
        cases.push(case("bad name", post(format!("/v2/{name}/blobs/uploads/")), refused()));
    }
    for reference in bad_digests() {
        let path = format!("/v2/names/app/blobs/{reference}");
        cases.push(case("bad digest", get(&path), no(400, "DIGEST_INVALID")));
        cases.push(case("bad digest", delete(&path), no(400, "DIGEST_INVALID")));
        cases.push(case("bad digest", push_to("names/app", &format!("sha256:{reference}")), no(400, "DIGEST_INVALID")));
    }
    for tag in bad_tags() {
        // A reader asks for a manifest that cannot exist; a writer names what cannot be a tag.
        let path = format!("/v2/names/app/manifests/{tag}");
        cases.push(case("bad tag", get(&path), no(404, "MANIFEST_UNKNOWN").or_bare(400)));
        cases.push(case("bad tag", push(path.clone()), no(400, "TAG_INVALID").or_bare(400)));
        cases.push(case("bad tag", delete(&path), no(400, "TAG_INVALID").or_bare(400)));
    }
    battery.all(cases).await;

    let colon = digest.replace(':', "%3A");
    let other = format!("sha256:{}", "0".repeat(64));
    let absent = || no(404, "");
    let mut cases: Vec<Case> = [
        ("base", get("/v2/"), yes(200).body("{}")),
        ("base", get("/v2"), yes(200).body("{}")),
        ("base", head("/v2/"), yes(200).field("content-length", "2")),
        ("base", get("/v2/?a=b&%zz"), yes(200)),
        ("base", get("/v2/?"), yes(200)),
        ("absolute form", get("http://battery/v2/"), yes(200).body("{}")),
        ("absolute form", get(format!("http://other.example/v2/names/app/blobs/{config}")), yes(200).body(content)),
        ("root", get("/"), yes(200)),
        ("root", head("/"), yes(200)),
        ("root", post("/"), no(405, "UNSUPPORTED").field("allow", "GET, HEAD")),
        ("probe", get("/livez"), yes(200)),
        ("probe", get("/LIVEZ"), absent()),
        ("v1", get("/v1/"), absent()),
        ("v1", get("/v1/_ping"), absent()),
        ("v1", get("/v1/search?q=a"), absent()),
        ("v1", put("/v1/repositories/a/images", "[]"), absent()),
        ("v3", get("/v3/"), absent()),
        ("case", get("/V2/"), absent()),
        ("case", get("/V2/names/app/manifests/v1"), absent()),
        ("case", get("/v2/names/app/Manifests/v1"), absent()),
        ("case", get("/v2/names/app/TAGS/list"), absent()),
        ("prefix", get("/v2x"), absent()),
        ("prefix", get("/v2.0/"), absent()),
        ("prefix", get("/%76%32/"), absent().or(200, "")),
        ("prefix", get("/v2%2F"), absent()),
        ("slashes", get("//v2/"), absent()),
        ("slashes", get("/v2//"), absent()),
        ("slashes", get("//evil.example/v2/"), absent()),
        ("slashes", get("/\\evil.example/v2/"), absent().or_bare(400)),
        ("slashes", get("/v2///names/app/manifests/v1"), no(400, "NAME_INVALID")),
        ("dots", get("/v2/."), absent()),
        ("dots", get("/v2/.."), absent()),
        ("dots", get("/v2/../metrics"), absent()),
        ("dots", get("/../../etc/passwd"), absent()),
        ("dots", get("/v2/names/app/blobs/../manifests/v1"), no(400, "NAME_INVALID")),
        ("dots", get("/v2/names/app/blobs/uploads/../../manifests/v1"), no(400, "NAME_INVALID")),
        ("dots", get("/v2/names/app/blobs/sha256:../../x"), absent()),
        ("ops paths", get("/metrics"), absent()),
        ("ops paths", get("/debug/pprof/"), absent()),
        ("ops paths", get("/debug/vars"), absent()),
        ("catalogue", get("/v2/_catalog/"), absent()),
        ("catalogue", get("/v2/_Catalog"), absent()),
        ("catalogue", post("/v2/_catalog"), no(405, "UNSUPPORTED").field("allow", "GET, HEAD")),
        ("extensions", get("/v2/_oci/ext/discover"), yes(200).field("content-type", "application/json")),
        ("extensions", get("/v2/_oci/ext/other"), absent()),
        ("no endpoint", get("/v2/tags/list"), absent()),
        ("no endpoint", get("/v2/manifests/v1"), absent()),
        ("no endpoint", get("/v2/names/app"), absent()),
        ("no endpoint", get("/v2/names/app/"), absent()),
        ("no endpoint", get("/v2/names/app/tags"), absent()),
        ("no endpoint", get("/v2/names/app/tags/"), absent()),
        ("no endpoint", get("/v2/names/app/tags/list/"), absent()),
        ("no endpoint", get("/v2/names/app/tags/v1"), absent()),
        ("no endpoint", get("/v2/names/app/manifests"), absent()),
        ("no endpoint", get("/v2/names/app/manifests/"), absent()),
        ("no endpoint", get("/v2/names/app/manifests/v1/"), absent()),
        ("no endpoint", get(format!("/v2/names/app/manifests/{digest}/")), absent()),
        ("no endpoint", get(format!("/v2/names/app/blobs/{config}/")), absent()),
        ("no endpoint", get("/v2/names/app/blobs/"), absent().or(400, "DIGEST_INVALID")),
        ("no endpoint", get("/v2/names/app/blobs"), absent()),
        ("no endpoint", get("/v2/names/app/blobs/uploads//"), absent()),
        ("no upload", get("/v2/names/app/blobs/uploads/x"), no(404, "BLOB_UPLOAD_UNKNOWN")),
        ("no upload", get("/v2/names/app/blobs/uploads/%2e%2e"), no(404, "BLOB_UPLOAD_UNKNOWN")),
        ("methods", post("/v2/names/app/tags/list"), no(405, "UNSUPPORTED").field("allow", "GET, HEAD")),
        ("methods", delete("/v2/"), no(405, "UNSUPPORTED")),
        ("methods", get("/v2/names/app/blobs/uploads/"), no(405, "UNSUPPORTED")),
        ("methods", put("/v2/names/app/blobs/uploads/", ""), no(405, "UNSUPPORTED")),
        ("methods", patch("/v2/names/app/manifests/v1", "{}"), no(405, "UNSUPPORTED")),
        ("methods", post("/v2/names/app/manifests/v1"), no(405, "UNSUPPORTED")),
        ("methods", put(format!("/v2/names/app/blobs/{config}"), content), no(405, "UNSUPPORTED")),
        ("methods", patch(format!("/v2/names/app/blobs/{config}"), "x"), no(405, "UNSUPPORTED")),
        ("methods", request("OPTIONS", "/v2/"), no(405, "UNSUPPORTED").or(200, "").or(204, "")),
        ("methods", request("TRACE", "/v2/"), no(405, "UNSUPPORTED")),
        ("methods", request("BREW", "/v2/"), no(405, "UNSUPPORTED")),
        ("methods", request("get", "/v2/"), no(405, "UNSUPPORTED")),
        ("methods", request("OPTIONS", "*"), absent().or(200, "").or(204, "").or(405, "").or_bare(400)),
        ("spellings of the colon", get(format!("/v2/names/app/manifests/{colon}")), yes(200).body(&image)),
        (
            "spellings of the colon",
            get(format!("/v2/names/app/manifests/{}", colon.replace("%3A", "%3a"))),
            yes(200).body(&image),
        ),
        (
            "spellings of the colon",
            get(format!("/v2/names/app/blobs/{}", config.replace(':', "%3A"))),
            yes(200).body(content),
        ),
        ("a query of a mirror", get("/v2/names/app/manifests/v1?ns=docker.io"), yes(200).body(&image)),
        ("a query with a fragment", get("/v2/names/app/manifests/v1#x"), yes(200).body(&image).or_bare(400)),
        ("another repository", get(format!("/v2/names/apps/blobs/{config}")), no(404, "BLOB_UNKNOWN")),
        ("another repository", get(format!("/v2/names/blobs/{config}")), no(404, "BLOB_UNKNOWN")),
        ("unknown digest", get(format!("/v2/names/app/blobs/{other}")), no(404, "BLOB_UNKNOWN")),
        ("unknown digest", get(format!("/v2/names/app/manifests/{other}")), no(404, "MANIFEST_UNKNOWN")),
        ("unknown digest", get(format!("/v2/names/app/manifests/{config}")), no(404, "MANIFEST_UNKNOWN")),
        ("unknown digest", delete(format!("/v2/names/app/blobs/{other}")), no(404, "BLOB_UNKNOWN")),
        ("unknown digest", delete(format!("/v2/names/app/manifests/{other}")), no(404, "MANIFEST_UNKNOWN")),
        ("unknown repository", delete(format!("/v2/names/none/manifests/{other}")), no(404, "NAME_UNKNOWN")),
        (
            "unknown repository",
            delete(format!("/v2/names/none/blobs/{other}")),
            no(404, "NAME_UNKNOWN").or(404, "BLOB_UNKNOWN"),
        ),
        ("a tag in another case", get("/v2/names/app/manifests/V1"), no(404, "MANIFEST_UNKNOWN")),
        ("longest tag", get(format!("/v2/names/app/manifests/{}", "t".repeat(128))), no(404, "MANIFEST_UNKNOWN")),
        ("referrers", get("/v2/names/app/referrers/latest"), no(400, "DIGEST_INVALID")),
        ("referrers", get(format!("/v2/names/none/referrers/{other}")), yes(200)),
        ("referrers", get(format!("/v2/names/App/referrers/{other}")), no(400, "NAME_INVALID")),
        ("referrers", get(format!("/v2/names/app/referrers/{other}/")), absent()),
        ("referrers", get("/v2/names/app/referrers/"), no(400, "DIGEST_INVALID").or(404, "")),
        ("referrers", delete(format!("/v2/names/app/referrers/{other}")), no(405, "UNSUPPORTED")),
        (
            "long",
            get(format!("/v2/{}/manifests/v1", "a".repeat(60_000))),
            no(400, "NAME_INVALID").or_bare(414).or_bare(431),
        ),
        (
            "very long",
            get(format!("/v2/{}/manifests/v1", "a".repeat(300_000))),
            no(400, "NAME_INVALID").or_bare(414).or_bare(431),
        ),
        ("not HTTP", raw("GET /v2/a\0b/tags/list HTTP/1.1\r\nhost: a\r\n\r\n"), no_http()),
        ("not HTTP", raw("GET /v2/a b/tags/list HTTP/1.1\r\nhost: a\r\n\r\n"), no_http()),
        ("not HTTP", raw("GET /v2/a\x7fb/tags/list HTTP/1.1\r\nhost: a\r\n\r\n"), no_http()),
        ("not HTTP", raw("GET /v2/a\tb/tags/list HTTP/1.1\r\nhost: a\r\n\r\n"), no_http()),
        ("not HTTP", raw("GET v2/ HTTP/1.1\r\nhost: a\r\n\r\n"), no_http().or(404, "")),
        ("not HTTP", raw("GET  HTTP/1.1\r\nhost: a\r\n\r\n"), no_http()),
        ("not HTTP", raw("GET /v2/ä/tags/list HTTP/1.1\r\nhost: a\r\n\r\n"), no(400, "NAME_INVALID").or_bare(400)),
        (
            "not HTTP",
            raw(b"GET /v2/\xff\xfe/tags/list HTTP/1.1\r\nhost: a\r\n\r\n"),
            no(400, "NAME_INVALID").or_bare(400),
        ),
    ]
    .map(|(name, request, want)| case(name, request, want))
    .into();
    for name in good_names() {
        cases.push(case("good name", get(format!("/v2/{name}/tags/list")), no(404, "NAME_UNKNOWN")));
        cases.push(case("good name", get(format!("/v2/{name}/blobs/{config}")), no(404, "BLOB_UNKNOWN")));
        let mount = format!("/v2/{name}/blobs/uploads/?mount={config}&from=names/app");
        cases.push(case("good name", post(mount), yes(201).field("location", format!("/v2/{name}/blobs/{config}"))));
        let location = format!("/v2/{name}/manifests/{digest}");
        cases.push(case("good name", push_to(&name, "_Tag.1-x"), yes(201).field("location", location)));
        let list = format!(r#"{{"name":"{name}","tags":["_Tag.1-x"]}}"#);
        cases.push(case("good name", get(format!("/v2/{name}/tags/list")), yes(200).body(list)));
        cases.push(case("good name", get(format!("/v2/{name}/manifests/_Tag.1-x")), yes(200).body(&image)));
        cases.push(case("good name", get(format!("/v2/{name}/blobs/{config}")), yes(200).body(content)));
    }
    battery.all(cases).await;

    // Nothing bad was taken, and what was there is as it was.
    let mut names: Vec<String> = good_names().into_iter().chain(["names/app".into()]).collect();
    names.sort();
    let catalogue = serde_json::json!({ "repositories": names }).to_string();
    let list = r#"{"name":"names/app","tags":["v1"]}"#;
    for _ in 0..3 {
        battery.one("end", &get("/v2/_catalog?n=1000"), &yes(200).body(&catalogue)).await;
        battery.one("end", &get("/v2/names/app/tags/list"), &yes(200).body(list)).await;
        battery.one("end", &get("/v2/names/app/manifests/v1"), &yes(200).body(&image)).await;
    }
    battery.finish();
}
