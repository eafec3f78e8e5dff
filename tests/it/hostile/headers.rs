//! Header fields of every kind: what must not matter does not, what is broken is refused, nothing hangs.

use super::{After, Area, Case, Image, case, request, with_body};
use flotilla_tests::http::{OCI_MANIFEST, digest_of, manifest};

#[tokio::test]
async fn odd_header_fields_are_refused_or_do_not_matter() {
    let area = Area::start("headers").await;
    let image = &area.image;
    let mut cases = Vec::new();
    accept(&mut cases, image);
    accept_encoding(&mut cases, image);
    conditions(&mut cases, image);
    expectations(&mut cases);
    content_types(&mut cases, image);
    hosts(&mut cases);
    forwarded(&mut cases);
    ignored(&mut cases, image);
    counts_and_sizes(&mut cases, image);
    bytes_in_values(&mut cases, image);
    connection(&mut cases);
    ranges(&mut cases, image);
    area.run_all(cases).await;
    expect_continue(&area).await;
    conditional_writes(&area).await;
    area.finish(120).await;
}

/// A manifest is given as it was stored, whatever a client says it accepts.
fn accept(cases: &mut Vec<Case>, image: &Image) {
    let long = format!("Accept: {}*/*\r\n", "application/x, ".repeat(500));
    for fields in [
        "",
        "Accept: */*\r\n",
        "Accept:\r\n",
        "Accept: ,\r\n",
        "Accept: */*;q=0\r\n",
        "Accept: application/*\r\n",
        &format!("Accept: {OCI_MANIFEST}\r\n"),
        &format!("accept: {OCI_MANIFEST}, application/vnd.oci.image.index.v1+json, */*\r\n"),
        &format!("Accept: application/json\r\nAccept: {OCI_MANIFEST}\r\nAccept: */*\r\n"),
        &format!("Accept: {OCI_MANIFEST};q=0.9, application/json;q=1.0\r\n"),
        &format!("Accept: {OCI_MANIFEST};q=2\r\n"),
        &format!("Accept: {OCI_MANIFEST};q=x\r\n"),
        &format!("Accept: {OCI_MANIFEST};q=-1\r\n"),
        &format!("ACCEPT: {}\r\n", OCI_MANIFEST.to_uppercase()),
        "Accept: application/vnd.docker.distribution.manifest.v1+prettyjws\r\n",
        "Accept: text/html\r\n",
        "Accept: text/html, application/xhtml+xml, image/webp, */*;q=0.8\r\n",
        "Accept: nonsense\r\n",
        "Accept: a/b/c/d\r\n",
        "Accept: \"quoted, string\"\r\n",
        "Accept: (){}[]<>@,;:\\\"/?=\r\n",
        "Accept: %s%n%x\r\n",
        "Accept: ../../etc/passwd\r\n",
        "Accept: ' OR 1=1 --\r\n",
        &long,
    ] {
        for (method, path, body) in [
            ("GET", "/v2/team/app/manifests/v1".to_owned(), &image.manifest),
            ("GET", format!("/v2/team/app/manifests/{}", image.digest), &image.manifest),
            ("GET", image.layer_path(), &image.layer),
            ("HEAD", "/v2/team/app/manifests/v1".to_owned(), &Vec::new()),
        ] {
            let name = format!("{method} {} {:?}", &path[..20], &fields[..fields.len().min(60)]);
            cases.push(case(name, request(&format!("{method} {path}"), fields), &[200]).body(body));
        }
    }
}

/// No answer is ever encoded: `Content-Encoding` is a flaw of any answer, and the bytes are compared.
fn accept_encoding(cases: &mut Vec<Case>, image: &Image) {
    for value in [
        "gzip",
        "zstd, gzip, deflate",
        "br",
        "gzip;q=1.0, identity;q=0",
        "identity;q=0",
        "*;q=0",
        "*",
        "",
        "x-gzip",
        "gzip, gzip, gzip",
        "nonsense;;;",
    ] {
        for (path, body) in [(image.layer_path(), &image.layer), ("/v2/team/app/manifests/v1".into(), &image.manifest)]
        {
            let bytes = request(&format!("GET {path}"), &format!("Accept-Encoding: {value}\r\n"));
            let statuses: &[u16] = if value.contains("q=0") { &[200, 406] } else { &[200] };
            cases.push(case(format!("Accept-Encoding {value:?}"), bytes, statuses).body(body));
        }
    }
}

fn conditions(cases: &mut Vec<Case>, image: &Image) {
    let other = digest_of(b"other");
    for (path, digest) in
        [("/v2/team/app/manifests/v1", &image.digest), (&image.layer_path(), &digest_of(&image.layer))]
    {
        for (fields, statuses) in [
            (format!("If-None-Match: \"{digest}\""), &[304][..]),
            (format!("If-None-Match: W/\"{digest}\""), &[304]),
            (format!("If-None-Match: \"a\", \"{digest}\", \"b\""), &[304]),
            (format!("If-None-Match: \"a\"\r\nIf-None-Match: \"{digest}\""), &[304]),
            (format!("If-None-Match: {digest}"), &[200, 304]),
            ("If-None-Match: *".into(), &[304]),
            (format!("If-None-Match: \"{other}\""), &[200]),
            ("If-None-Match: \"".into(), &[200]),
            ("If-None-Match:".into(), &[200]),
            ("If-None-Match: \u{1f4a9}".into(), &[200]),
            (format!("If-None-Match: {}", "\"x\", ".repeat(1000)), &[200]),
            (format!("If-Match: \"{digest}\""), &[200]),
            ("If-Match: *".into(), &[200]),
            // An origin server should evaluate it; many do not for reads.
            (format!("If-Match: \"{other}\""), &[200, 412]),
            ("If-Match: nonsense".into(), &[200, 400, 412]),
            ("If-Modified-Since: Sat, 21 Nov 2026 00:00:00 GMT".into(), &[200]),
            ("If-Modified-Since: yesterday".into(), &[200]),
            ("If-Unmodified-Since: Sat, 21 Nov 1970 00:00:00 GMT".into(), &[200]),
            ("If-Range: nonsense".into(), &[200]),
            ("If: (<urn:x>)".into(), &[200]),
        ] {
            let name = format!("{} {:?}", &path[..20], &fields[..fields.len().min(70)]);
            cases.push(case(name, request(&format!("GET {path}"), &format!("{fields}\r\n")), statuses));
        }
    }
    let none = format!("If-None-Match: \"{}\"\r\n", image.digest);
    cases.push(case("HEAD, unchanged", request("HEAD /v2/team/app/manifests/v1", &none), &[304]));
    // What does not exist is not there, whatever the condition.
    cases.push(case("*, absent", request("GET /v2/team/app/manifests/none", "If-None-Match: *\r\n"), &[404]));
    cases.push(case("If-Match, absent", request("GET /v2/team/app/manifests/none", "If-Match: *\r\n"), &[404, 412]));
}

/// Writes of a tag that must not overwrite what the writer has not seen (RFC 9110 §13).
async fn conditional_writes(area: &Area) {
    let (old, other) = (&area.image.digest, digest_of(b"other"));
    let document = |number: usize| {
        let text = manifest(&digest_of(b"{}"), 2, &[]);
        text.replacen('{', &format!("{{\"annotations\":{{\"n\":\"{number}\"}},"), 1).into_bytes()
    };
    for (number, (fields, on_old, on_none)) in [
        ("If-None-Match: *".to_owned(), 412, 201),
        ("If-Match: *".to_owned(), 201, 412),
        (format!("If-Match: \"{old}\""), 201, 412),
        (format!("If-Match: \"x\", \"{old}\", \"y\""), 201, 412),
        (format!("If-Match: \"x\"\r\nIf-Match: \"{old}\""), 201, 412),
        (format!("If-Match: \"{other}\""), 412, 412),
        (format!("If-Match: W/\"{old}\""), 412, 412),
        ("If-Match: \"\"".to_owned(), 412, 412),
        ("If-Match: \"".to_owned(), 412, 412),
        ("If-Match: nonsense".to_owned(), 412, 412),
        ("If-Match: \u{e9}".to_owned(), 412, 412),
        (format!("If-None-Match: \"{old}\""), 412, 201),
        (format!("If-None-Match: W/\"{old}\""), 412, 201),
        (format!("If-None-Match: \"{other}\""), 201, 201),
        (format!("If-Match: \"{old}\"\r\nIf-None-Match: \"{other}\""), 201, 412),
        (format!("If-Match: \"{old}\"\r\nIf-None-Match: *"), 412, 412),
        ("If-Unmodified-Since: Sat, 21 Nov 1970 00:00:00 GMT".to_owned(), 201, 201),
    ]
    .into_iter()
    .enumerate()
    {
        let put = |tag: &str, fields: &str, body: &[u8]| {
            let fields = format!("Content-Type: {OCI_MANIFEST}\r\n{fields}\r\n");
            with_body(&format!("PUT /v2/team/app/manifests/{tag}"), &fields, body)
        };
        let read = |tag: &str| request(&format!("GET /v2/team/app/manifests/{tag}"), "");
        let (there, none, new) = (format!("there{number}"), format!("none{number}"), document(number));
        area.put("team/app", &there, &area.image.manifest).await;
        // The refused first, while the manifest to come is unknown: a refusal must leave nothing behind.
        let writes = [(&there, on_old), (&none, on_none)];
        for (tag, _) in writes.into_iter().filter(|(_, expected)| *expected == 412) {
            let answer = area.ask(&format!("PUT {tag} {fields}"), put(tag, &fields, &new), &[412]).await;
            area.expect(!answer.has("docker-content-digest"), format!("{tag} {fields}: a digest"));
            let after = if *tag == there { 200 } else { 404 };
            area.run(case(format!("{tag} after {fields}"), read(tag), &[after]).body(&area.image.manifest)).await;
        }
        for (tag, _) in writes.into_iter().filter(|(_, expected)| *expected == 201) {
            area.ask(&format!("PUT {tag} {fields}"), put(tag, &fields, &new), &[201]).await;
            area.run(case(format!("{tag} after {fields}"), read(tag), &[200]).body(&new)).await;
        }
        // A delete follows the same rules; of a tag that is not there, 404 or 412 are both true.
        area.put("team/app", &there, &area.image.manifest).await;
        let delete = |tag: &str| request(&format!("DELETE /v2/team/app/manifests/{tag}"), &format!("{fields}\r\n"));
        let (expected, after) = if on_old == 201 { (202, 404) } else { (412, 200) };
        area.ask(&format!("DELETE {there} {fields}"), delete(&there), &[expected]).await;
        area.ask(&format!("{there} after DELETE {fields}"), read(&there), &[after]).await;
        area.ask(&format!("DELETE absent {fields}"), delete("absent"), &[404, 412]).await;
    }
}

fn expectations(cases: &mut Vec<Case>) {
    cases.push(case("Expect on a GET", request("GET /v2/", "Expect: 100-continue\r\n"), &[200]));
    for value in
        ["200-ok", "nonsense", "", "100-continue, nonsense", "100-continue\r\nExpect: nonsense", "x=y;z", "101"]
    {
        let get = request("GET /v2/", &format!("Expect: {value}\r\n"));
        cases.push(case(format!("Expect {value:?}"), get, &[200, 400, 417]));
        let line = format!("POST /v2/team/expect/blobs/uploads/?digest={}", digest_of(b"hello"));
        let post = with_body(&line, &format!("Expect: {value}\r\n"), b"hello");
        cases.push(case(format!("Expect {value:?} with a body"), post, &[201, 400, 417]));
    }
    let line = format!("POST /v2/team/expect/blobs/uploads/?digest={}", digest_of(b"hello"));
    for value in ["100-continue", "100-Continue"] {
        let post = with_body(&line, &format!("Expect: {value}\r\n"), b"hello");
        cases.push(case(format!("{value}, not waited for"), post, &[201]));
    }
}

/// A client that does wait for `100 Continue`: it comes before a wanted body, and never before a refusal.
async fn expect_continue(area: &Area) {
    for (name, path, expected) in [
        ("wanted", format!("/v2/team/expect/blobs/uploads/?digest={}", digest_of(b"hello")), 201),
        ("a bad digest", "/v2/team/expect/blobs/uploads/?digest=x".into(), 400),
        ("a bad name", "/v2/TEAM/blobs/uploads/".into(), 400),
        ("nothing", "/nothing".into(), 404),
    ] {
        let mut wire = flotilla_tests::wire::Wire::connect(area.address()).await.unwrap();
        area.count();
        let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
        wire.send(&request(&format!("POST {path}"), fields)).await;
        if expected == 201 {
            match wire.bytes(25).await {
                Ok(first) => area.expect(first == b"HTTP/1.1 100 Continue\r\n\r\n", format!("{name}: no 100")),
                Err(error) => area.wrong(format!("{name}, waiting for 100: {error:#}")),
            }
            wire.send(b"hello").await;
        }
        match wire.answer(false).await {
            Ok(answer) => {
                area.expect(answer.status == expected, format!("{name}: expected {expected}, got {}", answer.status));
                area.expect(answer.interim.is_empty(), format!("{name}: a 100 before a refusal"));
            }
            Err(error) => area.wrong(format!("{name}: {error:#}")),
        }
    }
}

/// Of a manifest the type must fit; of a blob any will do.
fn content_types(cases: &mut Vec<Case>, image: &Image) {
    for (value, statuses) in [
        (OCI_MANIFEST, &[201][..]),
        ("application/vnd.oci.image.manifest.v1+json; charset=utf-8", &[201]),
        ("application/vnd.oci.image.manifest.v1+json;charset=\"a;b\"", &[201]),
        ("application/vnd.oci.image.manifest.v1+json;", &[201]),
        ("APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON", &[201]),
        ("", &[201, 400]),
        ("application/json", &[400]),
        ("text/html", &[400]),
        ("application/vnd.oci.image.index.v1+json", &[400]),
        ("application/vnd.docker.distribution.manifest.v2+json", &[400]),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", &[400]),
        ("multipart/form-data; boundary=x", &[400]),
        ("application/x-www-form-urlencoded", &[400]),
        ("nonsense", &[400]),
        ("*/*", &[400]),
        ("<script>alert(1)</script>", &[400]),
        ("application/vnd.oci.image.manifest.v1+json, text/html", &[400]),
        ("application/vnd.oci.image.manifest.v1+json\r\nContent-Type: text/html", &[201, 400]),
        ("text/html\r\nContent-Type: application/vnd.oci.image.manifest.v1+json", &[201, 400]),
        ("\u{e9}", &[400]),
        ("\0", &[400]),
        (&"x".repeat(100 << 10), &[400, 431]),
    ] {
        let fields = format!("Content-Type: {value}\r\n");
        let bytes = with_body("PUT /v2/team/app/manifests/v1", &fields, &image.manifest);
        cases.push(case(format!("a manifest of {:?}", &value[..value.len().min(60)]), bytes, statuses));
        let line = format!("POST /v2/team/types/blobs/uploads/?digest={}", digest_of(b"typed"));
        let statuses: &[u16] = match value {
            "\0" => &[400],
            _ if value.len() > 8192 => &[201, 431],
            _ => &[201],
        };
        let name = format!("a blob of {:?}", &value[..value.len().min(60)]);
        cases.push(case(name, with_body(&line, &fields, b"typed"), statuses));
    }
    let absent = with_body("PUT /v2/team/app/manifests/v1", "", &image.manifest);
    cases.push(case("a manifest of no type", absent, &[201]));
}

/// RFC 9112 §3.2: exactly one valid `Host`, in HTTP/1.1.
fn hosts(cases: &mut Vec<Case>) {
    for (fields, statuses) in [
        ("", &[400][..]),
        ("Host: a\r\nHost: b\r\n", &[400]),
        ("Host: a\r\nHost: a\r\n", &[400]),
        ("Host: a\r\nHost:\r\n", &[400]),
        ("Host: a b\r\n", &[400]),
        ("Host: a/b\r\n", &[400]),
        ("Host: user@a\r\n", &[400]),
        ("Host: http://a\r\n", &[400]),
        ("Host: a\\b\r\n", &[400]),
        ("Host: <a>\r\n", &[400]),
        ("Host: a?b\r\n", &[400]),
        ("Host: a#b\r\n", &[400]),
        ("Host: a\tb\r\n", &[400]),
        ("Host: [::1\r\n", &[400]),
        ("Host: a:port\r\n", &[400]),
        ("Host : a\r\n", &[400]),
        ("Host: a\0\r\n", &[400]),
        ("Host: \u{e9}\r\n", &[200, 400]),
        ("Host: a:99999999\r\n", &[200, 400]),
        ("Host: a,b\r\n", &[200, 400]),
        ("Host: %41\r\n", &[200, 400]),
        ("Host:\r\n", &[200, 400]),
        ("Host: a:\r\n", &[200]),
        ("Host: a\r\n", &[200]),
        ("host: a:5000\r\n", &[200]),
        ("HOST: A.EXAMPLE.\r\n", &[200]),
        ("Host: 127.0.0.1:5000\r\n", &[200]),
        ("Host: [::1]:5000\r\n", &[200]),
        ("Host: evil.example\r\n", &[200]),
        ("Host: a_b\r\n", &[200]),
        ("X: y\r\nHost: a\r\n", &[200]),
    ] {
        let bytes = format!("GET /v2/ HTTP/1.1\r\n{fields}\r\n").into_bytes();
        cases.push(case(format!("{fields:?}"), bytes, statuses));
    }
    for host in ["evil.example", "evil.example:443", ".evil"] {
        let bytes = format!("POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        cases.push(case(format!("a push to {host}"), bytes, &[202]));
    }
}

/// A `Location` is relative, whatever a proxy says or pretends (checked of every answer).
fn forwarded(cases: &mut Vec<Case>) {
    for fields in [
        "X-Forwarded-Host: evil",
        "X-Forwarded-Host: evil, evil2",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Proto: javascript",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil",
        "X-Forwarded-Port: 99999",
        "X-Forwarded-Prefix: //evil",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-For: evil, 127.0.0.1, ::1",
        "X-Forwarded-Server: evil",
        "X-Real-IP: 127.0.0.1",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "X-Host: evil",
        "Forwarded: host=evil;proto=https",
        "Forwarded: for=\"[::1]\";host=\"evil\"",
        "Forwarded: ;;;,,,",
        "Via: 1.1 evil",
        "Client-IP: 127.0.0.1",
        "X-ProxyUser-Ip: 127.0.0.1",
    ] {
        let fields = format!("{fields}\r\n");
        let bytes = with_body("POST /v2/team/app/blobs/uploads/", &fields, b"");
        cases.push(case(format!("{fields:?}"), bytes, &[202]));
        cases.push(case(format!("GET {fields:?}"), request("GET /v2/", &fields), &[200]));
    }
}

/// Fields that change nothing here: credentials, origins, method overrides.
fn ignored(cases: &mut Vec<Case>, image: &Image) {
    let dots = format!("Authorization: Bearer {}", ".".repeat(30_000));
    for fields in [
        "Authorization:",
        "Authorization: Basic",
        "Authorization: Basic !!!",
        "Authorization: Basic Og==",
        "Authorization: Basic dXNlcjpwYXNz",
        "Authorization: Bearer",
        "Authorization: Bearer a.b.c",
        "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.",
        "Authorization: Digest username=\"x\"",
        "Authorization: \u{e9}",
        "Authorization: Basic a\r\nAuthorization: Bearer b",
        &dots,
        "Proxy-Authorization: Basic x",
        "Cookie: a=b; c=d",
        "Cookie: =;;;=",
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: *",
        "Referer: https://evil.example/",
        "Sec-Fetch-Site: cross-site",
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "X-Original-Method: DELETE",
        "_method: DELETE",
    ] {
        let line = format!("GET /v2/team/app/manifests/{}", image.digest);
        let bytes = request(&line, &format!("{fields}\r\n"));
        let name = format!("{:?}", &fields[..fields.len().min(60)]);
        cases.push(case(name, bytes, &[200]).body(&image.manifest));
    }
    let preflight = "Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    cases.push(case("a preflight", request("OPTIONS /v2/team/app/manifests/v1", preflight), &[200, 204, 405]));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    cases.push(case("an override in a form", with_body("POST /v2/", form, b"_method=DELETE"), &[405]));
    cases.push(case("an override in the query", request("GET /v2/team/app/manifests/v1?_method=DELETE", ""), &[200]));
}

/// 431, or a plain answer: never a cut connection.
fn counts_and_sizes(cases: &mut Vec<Case>, image: &Image) {
    for count in [1, 10, 50, 90, 150, 200, 1_000, 10_000, 60_000] {
        let fields: String = (0..count).map(|number| format!("x-{number}: a\r\n")).collect();
        let statuses: &[u16] = if count <= 50 { &[200] } else { &[200, 431] };
        cases.push(case(format!("{count} fields"), request("GET /v2/", &fields), statuses));
        let same = "x: a\r\n".repeat(count);
        cases.push(case(format!("{count} equal fields"), request("HEAD /v2/", &same), statuses));
    }
    for size in [100, 4 << 10, 16 << 10, 64 << 10, 100 << 10, 256 << 10, 512 << 10, 1 << 20, 4 << 20] {
        let long = "a".repeat(size);
        let statuses: &[u16] = if size <= 4 << 10 { &[200] } else { &[200, 431] };
        for fields in [format!("X: {long}\r\n"), format!("Accept: {long}\r\n"), format!("Cookie: {long}\r\n")] {
            let bytes = request("GET /v2/team/app/manifests/v1", &fields);
            cases.push(case(format!("{size} bytes in {}", &fields[..6]), bytes, statuses).body(&image.manifest));
        }
    }
    for size in [100, 4 << 10, 64 << 10, 1 << 20] {
        let name = format!("{}: a\r\n", "a".repeat(size));
        let statuses: &[u16] = if size <= 4 << 10 { &[200] } else { &[200, 400, 431] };
        cases.push(case(format!("a name of {size} bytes"), request("GET /v2/", &name), statuses));
    }
    // The answer to a large head comes before its body.
    let fields = format!("X: {}\r\n", "a".repeat(1 << 20));
    let bytes = with_body("PUT /v2/team/app/manifests/x", &fields, &vec![b'x'; 1 << 20]);
    cases.push(case("1 MiB of head and of body", bytes, &[400, 431]));
}

fn bytes_in_values(cases: &mut Vec<Case>, image: &Image) {
    for name in ["User-Agent", "X-Anything", "Accept", "Authorization", "If-None-Match", "Range", "Content-Range"] {
        for (value, statuses) in [
            (&b"a\0b"[..], &[400][..]),
            (b"a\rb", &[400]),
            (b"a\nb", &[400]),
            (b"a\r\n\tfolded", &[200, 400]),
            (b"a\r\n folded: field", &[200, 400]),
            (b"a\x1b[31mred", &[200, 400]),
            (b"a\x7f", &[200, 400]),
            (b"a\x08\x08\x08", &[200, 400]),
            (b"\xff\xfe", &[200]),
            ("\u{e9}\u{1f4a9}".as_bytes(), &[200]),
            (b"\xc2\x85\xe2\x80\xa8", &[200]),
            (b"a\tb", &[200]),
        ] {
            let mut bytes =
                format!("GET /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: registry\r\n{name}: ").into_bytes();
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n\r\n");
            let title = format!("{name}: {}", value.escape_ascii());
            cases.push(case(title, bytes, statuses).body(&image.manifest));
        }
    }
    for fields in
        ["X : a\r\n", "X\t: a\r\n", "X\u{b}: a\r\n", "X y: a\r\n", "(X): a\r\n", ": a\r\n", "X\r\n", "\u{e9}: a\r\n"]
    {
        cases.push(case(format!("the line {fields:?}"), request("GET /v2/", fields), &[400]));
    }
}

fn connection(cases: &mut Vec<Case>) {
    for value in ["close", "CLOSE", "Close", "close, x-other", "keep-alive, close", "x, close", "close, close"] {
        let bytes = request("GET /v2/", &format!("Connection: {value}\r\n"));
        cases.push(case(format!("Connection: {value}"), bytes, &[200]).after(After::Close));
        let bytes = with_body("POST /nothing", &format!("Connection: {value}\r\n"), b"hello");
        cases.push(case(format!("Connection: {value} with a body"), bytes, &[404]).after(After::Close));
    }
    let two = request("GET /v2/", "Connection: x\r\nConnection: close\r\n");
    cases.push(case("close in the second line", two, &[200]).after(After::Close));
    for fields in [
        "Connection: keep-alive",
        "Connection: Keep-Alive\r\nKeep-Alive: timeout=5, max=1000",
        "Connection: x-anything\r\nX-Anything: y",
        "Connection: host",
        "Connection: content-length, transfer-encoding",
        "Connection:",
        "Connection: ,,,",
        "Proxy-Connection: close",
        "Keep-Alive: 300",
        "TE: trailers",
        "TE: chunked;q=0",
        "Trailer: X-Checksum",
        "Trailer: Content-Length, Transfer-Encoding, Host",
        "Upgrade: websocket",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket, TLS/1.2",
        "Connection: Upgrade\r\nUpgrade:",
        "Upgrade-Insecure-Requests: 1",
        "Max-Forwards: 0",
        "Prefer: respond-async",
        "Alt-Used: evil",
        "DNT: 1",
        "Cache-Control: no-cache, no-store, only-if-cached",
        "Pragma: no-cache",
        "Warning: 199 - \"x\"",
    ] {
        let bytes = request("GET /v2/", &format!("{fields}\r\n"));
        cases.push(case(format!("{fields:?}"), bytes, &[200]).after(After::Keep));
    }
}

fn ranges(cases: &mut Vec<Case>, image: &Image) {
    let many = format!("bytes={}0-0", "0-0,".repeat(5000));
    for (value, statuses) in [
        ("bytes=0-9", &[206][..]),
        ("bytes=990-", &[206]),
        ("bytes=-10", &[206]),
        ("bytes=-9999999999999999999999999", &[206]),
        ("bytes=999-99999999999999999999999999", &[206]),
        ("bytes=1000-", &[416]),
        ("bytes=99999999999999999999999999-", &[416]),
        ("bytes=-0", &[416]),
        ("bytes=500-0", &[200, 416]),
        ("bytes=0-0,-1", &[200, 206]),
        ("bytes=0-0, 2-2 , 4-4", &[200, 206]),
        (&many, &[200, 206, 416, 431]),
        ("bytes=0-999,0-999,0-999,0-999", &[200, 206, 416]),
        ("bytes", &[200, 416]),
        ("bytes=", &[200, 416]),
        ("bytes=-", &[200, 416]),
        ("bytes=--1", &[200, 416]),
        ("bytes=0", &[200, 416]),
        ("bytes=a-b", &[200, 416]),
        ("bytes=+1-2", &[200, 416]),
        ("bytes=0x0-0x9", &[200, 416]),
        ("bytes=1.5-2", &[200, 416]),
        ("bytes=\u{661}-\u{662}", &[200, 416]),
        ("bytes 0-9", &[200, 416]),
        ("BYTES=0-9", &[200, 206]),
        ("lines=0-9", &[200]),
        ("seconds=1-", &[200]),
        ("", &[200]),
        (",", &[200, 416]),
        ("bytes=0-9\r\nRange: bytes=10-19", &[200, 206, 400, 416]),
    ] {
        let name = format!("Range: {:?}", &value[..value.len().min(60)]);
        let fields = format!("Range: {value}\r\n");
        let blob = request(&format!("GET {}", image.layer_path()), &fields);
        cases.push(case(name.clone(), blob, statuses).body(&image.layer));
        // A manifest has no ranges; of HEAD a range means nothing.
        let statuses: &[u16] = if value.len() > 8192 { &[200, 431] } else { &[200] };
        let manifest = request("GET /v2/team/app/manifests/v1", &fields);
        cases.push(case(format!("{name} of a manifest"), manifest, statuses).body(&image.manifest));
        let head = request(&format!("HEAD {}", image.layer_path()), &fields);
        let statuses: &[u16] = if value.len() > 8192 { &[200, 206, 416, 431] } else { &[200, 206, 416] };
        cases.push(case(format!("{name} of a HEAD"), head, statuses));
    }
}
