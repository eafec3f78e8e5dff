//! HTTP itself (RFC 9112): framing, targets, versions, methods, slow and careless senders.

use super::{After, Area, Case, case, http2, request, with_body};
use flotilla_tests::{
    http::digest_of,
    wire::{Wire, shown},
};

const SMUGGLED: &str = "GET /livez HTTP/1.1\r\nHost: registry\r\n\r\n";
/// `hello` in one chunk.
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn http_is_read_as_rfc_9112_says() {
    let area = Area::start("robustness").await;
    let mut cases = Vec::new();
    transfer_codings(&mut cases);
    lengths(&mut cases);
    chunks(&mut cases);
    lines(&mut cases);
    targets(&mut cases);
    methods(&mut cases);
    versions(&mut cases);
    early_answers(&mut cases);
    area.run_all(cases).await;
    for depth in [2, 10, 50] {
        pipelining(&area, depth).await;
    }
    slow_senders(&area).await;
    http2::run(&area).await;
    other_listeners(&area).await;
    area.finish(120).await;
}

/// A push of `hello` in one request, with this framing.
fn push(fields: &str, body: &str) -> Vec<u8> {
    let line = format!("POST /v2/team/framing/blobs/uploads/?digest={}", digest_of(b"hello"));
    let mut bytes = request(&line, fields);
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// A faulty framing must end the connection, or what follows it could be read in two ways.
fn transfer_codings(cases: &mut Vec<Case>) {
    let smuggling = format!("{CHUNKS}{SMUGGLED}");
    for field in [
        "identity",
        "xchunked",
        "chunkedx",
        "chunk",
        "gzip",
        "chunked, identity",
        "chunked, gzip",
        "chunked; q=1",
        "\"chunked\"",
        "chunked\u{b}",
        "\u{b}chunked",
        "chunked\0",
        "",
        ",",
    ] {
        let bytes = push(&format!("Transfer-Encoding: {field}\r\n"), &smuggling);
        cases.push(case(format!("TE {field:?}"), bytes, &[400, 501]).after(After::Close));
        let bytes = push(&format!("Content-Length: 5\r\nTransfer-Encoding: {field}\r\n"), &smuggling);
        cases.push(case(format!("CL+TE {field:?}"), bytes, &[400, 501]).after(After::Close));
    }
    for (name, fields) in [
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        ("gzip and chunked in two lines", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        ("identity and chunked in two lines", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked and identity in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
        ("chunked in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
        ("a space before the name", " Transfer-Encoding: chunked\r\n"),
        ("a NUL in the name", "Transfer-Encoding\0: chunked\r\n"),
    ] {
        cases.push(case(format!("TE: {name}"), push(fields, &smuggling), &[400, 501]).after(After::Close));
    }
    // A folded line: refused, or its fold read as a space.
    let bytes = push("Transfer-Encoding:\r\n chunked\r\n", CHUNKS);
    cases.push(case("TE in a folded line", bytes, &[201, 400]).after(After::Honest));
    for field in ["chunked", " chunked", "\tchunked", "chunked ", "CHUNKED", "Chunked", ", chunked", "chunked,"] {
        let bytes = push(&format!("Transfer-Encoding:{field}\r\n"), CHUNKS);
        // Empty list elements may be skipped or refused.
        let statuses: &[u16] = if field.contains(',') { &[201, 400, 501] } else { &[201] };
        cases.push(case(format!("TE {field:?}"), bytes, statuses));
    }
    // Both: by the coding or refused, but never kept open (RFC 9112 §6.1).
    for (name, fields) in [
        ("CL then TE", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned()),
        ("TE then CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned()),
        ("CL of the chunks and TE", format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", CHUNKS.len())),
        ("TE and a CL of all", format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", smuggling.len())),
        ("CL 0 and TE", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned()),
        ("TE and a CL that is none", "Transfer-Encoding: chunked\r\nContent-Length: x\r\n".to_owned()),
    ] {
        cases.push(case(name, push(&fields, &smuggling), &[201, 400]).after(After::Close));
    }
    let old = format!("POST /v2/team/framing/blobs/uploads/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{smuggling}");
    cases.push(case("TE in HTTP/1.0", old, &[202, 400]).after(After::Close));
    let old = "POST /v2/team/framing/blobs/uploads/ HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked";
    let old = format!("{old}\r\n\r\n{smuggling}");
    cases.push(case("TE in HTTP/1.0 with keep-alive", old, &[202, 400]).after(After::Close));
    let bytes = push("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello");
    cases.push(case("an underscore is another name", bytes, &[201, 400]));
}

fn lengths(cases: &mut Vec<Case>) {
    for length in ["-5", "+5", "0x5", "5 5", "5;", "5.0", "5,6", "5e0", "", "five", "\u{665}", "5\0", "1_0", "5\u{b}"] {
        let bytes = push(&format!("Content-Length: {length}\r\n"), &format!("hello{SMUGGLED}"));
        cases.push(case(format!("CL {length:?}"), bytes, &[400]).after(After::Close));
    }
    for length in ["18446744073709551616", "99999999999999999999999999", &"9".repeat(400)] {
        let bytes = push(&format!("Content-Length: {length}\r\n"), &format!("hello{SMUGGLED}"));
        cases.push(case(format!("CL of {} digits", length.len()), bytes, &[400, 413]).after(After::Close));
    }
    for length in ["18446744073709551615", "9223372036854775807", "1099511627776"] {
        let head = request("PUT /v2/team/app/manifests/huge", &format!("Content-Length: {length}\r\n"));
        cases.push(case(format!("a manifest of {length} bytes"), head, &[400, 413, 431]).after(After::Close));
        let head = request("PUT /nothing", &format!("Content-Length: {length}\r\n"));
        cases.push(case(format!("{length} bytes to nothing"), head, &[400, 404, 413, 431]).after(After::Close));
    }
    for (name, fields) in [
        ("5 and 6", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("6 and 5", "Content-Length: 6\r\nContent-Length: 5\r\n"),
        ("0 and 5", "Content-Length: 0\r\nContent-Length: 5\r\n"),
        ("5 and nothing", "Content-Length: 5\r\nContent-Length:\r\n"),
        ("a space before the colon", "Content-Length : 5\r\n"),
        ("a space before the name", " Content-Length: 5\r\n"),
    ] {
        let bytes = push(fields, &format!("hello{SMUGGLED}"));
        cases.push(case(format!("CL: {name}"), bytes, &[400]).after(After::Close));
    }
    for (field, statuses) in [
        ("Content-Length: 5\r\n", &[201][..]),
        ("Content-Length:5\r\n", &[201]),
        ("Content-Length: \t5 \t\r\n", &[201]),
        ("content-length: 5\r\n", &[201]),
        ("CONTENT-LENGTH: 005\r\n", &[201]),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", &[201, 400]),
        ("Content-Length: 5, 5\r\n", &[201, 400]),
    ] {
        cases.push(case(format!("{field:?}"), push(field, "hello"), statuses));
    }
    cases.push(case("POST without a length has no body", push("", ""), &[400]));
}

fn chunks(cases: &mut Vec<Case>) {
    let chunked = |body: &str| push("Transfer-Encoding: chunked\r\n", body);
    for body in [
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a=b\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "3\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello\r0\r\r",
        "5;\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
    ] {
        let bytes = chunked(&format!("{body}{SMUGGLED}"));
        cases.push(case(format!("chunks {body:?}"), bytes, &[400]).after(After::Close));
    }
    for body in [
        CHUNKS,
        "05\r\nhello\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n00\r\n\r\n",
        "5;a=b\r\nhello\r\n0;c\r\n\r\n",
        "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
        "1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\nHost: evil\r\n\r\n",
    ] {
        cases.push(case(format!("chunks {body:?}"), chunked(body), &[201]));
    }
    let long = |count: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(count));
    cases.push(case("an extension of 1 KB", chunked(&long(1000)), &[201, 400]));
    cases.push(case("an extension of 1 MB", chunked(&long(1 << 20)), &[400]).after(After::Close));
    let fields: String = (0..10_000).map(|number| format!("x-{number}: a\r\n")).collect();
    let trailers = format!("5\r\nhello\r\n0\r\n{fields}\r\n");
    cases.push(case("10,000 trailer fields", chunked(&trailers), &[201, 400, 431]));
    for body in ["", "5", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0", "5\r\nhello\r\n0\r\n"]
    {
        // A body that is cut off must never count as complete.
        cases.push(case(format!("cut chunks {body:?}"), chunked(body), &[0, 400]).half_close());
    }
    for body in ["", "h", "hell"] {
        let bytes = push("Content-Length: 5\r\n", body);
        cases.push(case(format!("{} of 5 bytes", body.len()), bytes, &[0, 400]).half_close());
    }
}

/// Line ends and the shape of the head.
fn lines(cases: &mut Vec<Case>) {
    for (head, statuses) in [
        ("\r\nGET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n", &[200, 400][..]),
        ("\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n", &[200, 400]),
        ("GET /v2/ HTTP/1.1\nHost: registry\n\n", &[200, 400]),
        ("GET /v2/ HTTP/1.1\r\nHost: registry\n\r\n", &[200, 400]),
        ("GET  /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n", &[200, 400]),
        ("GET /v2/  HTTP/1.1\r\nHost: registry\r\n\r\n", &[200, 400]),
        ("GET\t/v2/ HTTP/1.1\r\nHost: registry\r\n\r\n", &[200, 400]),
        (" GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n", &[400]),
        ("GET /v2/ HTTP/1.1 \r\nHost: registry\r\n\r\n", &[200, 400]),
        ("GET /v2/ HTTP/1.1\rHost: registry\r\r", &[0, 400]),
        ("GET /v2/ HTTP/1.1\r\nHost: registry\r\nnothing\r\n\r\n", &[400]),
        ("GET /v2/ HTTP/1.1\r\nHost: registry\r\n: nothing\r\n\r\n", &[400]),
        ("GET /v2/ HTTP/1.1\r\nHost: registry\r\n\u{e9}: a\r\n\r\n", &[400]),
        ("GET /v2/ HTTP/1.1\r\nHost: registry\r\na b: c\r\n\r\n", &[400]),
        ("GET /v2/ HTTP/1.1\r\nHost: registry\r\na(b): c\r\n\r\n", &[400]),
        ("GET /v2/ HTTP/1.1\r\nHost: registry\r\nX:\r\n\r\n", &[200]),
        ("GET /v2/ HTTP/1.1\r\n X: first\r\nHost: registry\r\n\r\n", &[200, 400]),
        ("GET /v2/\r\n\r\n", &[0, 400, 505]),
        ("GET\r\n\r\n", &[400]),
        ("/v2/ GET HTTP/1.1\r\nHost: registry\r\n\r\n", &[400]),
        ("\0\0\0\0\r\n\r\n", &[400]),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", &[400]),
        ("EHLO registry\r\n\r\n", &[400]),
    ] {
        // What the parser refuses ends the connection; the half-close keeps a parser that waits for more from waiting.
        cases.push(case(format!("head {head:?}"), head, statuses).half_close());
    }
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.resize(517, b'x');
    cases.push(case("a TLS hello", hello, &[400]).after(After::Close));
    cases.push(case("half-closed GET", request("GET /v2/", ""), &[200]).half_close());
    let line = format!("PUT /v2/team/app/manifests/{}", "x".repeat(200));
    cases.push(case("half-closed PUT", with_body(&line, "", b"{}"), &[400]).half_close());
    cases.push(case("half-closed push", push("Content-Length: 5\r\n", "hello"), &[201]).half_close());
    cases.push(case("half-closed chunked push", push("Transfer-Encoding: chunked\r\n", CHUNKS), &[201]).half_close());
    cases.push(case("nothing but an end", "", &[0]).half_close());
    cases.push(case("half of a head", "GET /v2/ HT", &[0, 400]).half_close());
}

fn targets(cases: &mut Vec<Case>) {
    for (target, statuses) in [
        ("http://registry/v2/", &[200][..]),
        ("http://other/v2/", &[200]),
        ("HTTP://registry/v2/", &[200]),
        ("https://registry/v2/", &[200, 400, 421]),
        ("http://registry:80/v2/", &[200]),
        ("http://user:pass@registry/v2/", &[200, 400]),
        ("http://registry", &[200]),
        ("http://registry?x", &[200]),
        ("http:///v2/", &[400]),
        ("http://", &[400]),
        ("ftp://registry/v2/", &[200, 400]),
        ("registry:5000", &[400, 404]),
        ("registry", &[400, 404]),
        ("*", &[400, 404]),
        ("//evil/v2/", &[404]),
        ("///v2/", &[404]),
        ("/v2//", &[404]),
        ("/v2/../v2/", &[400, 404]),
        ("/v2/./", &[400, 404]),
        ("/v2/;x", &[404]),
        ("/v2/#fragment", &[200, 400]),
        ("/v2/team/app/manifests/v1#fragment", &[200, 400, 404]),
        ("/v2/?x#fragment", &[200, 400]),
        ("/v2%2F", &[404]),
        ("/V2/", &[404]),
        ("/v2/team%2Fapp/manifests/v1", &[400, 404]),
        ("/v2/team/app/manifests/%76%31", &[200, 404]),
        ("/v2/team/app/manifests/v1%00", &[400, 404]),
        ("/v2/team/app/manifests/v1%0d%0a", &[400, 404]),
        ("/v2/team/app/manifests/%", &[400, 404]),
        ("/v2/team/app/manifests/%zz", &[400, 404]),
        ("/v2/team/app/manifests/%ff", &[400, 404]),
        ("/v2/team/app/manifests/..%2f..%2fetc%2fpasswd", &[400, 404]),
        ("/v2/team/app/manifests/\u{e9}", &[400, 404]),
        ("/v2/team/\u{e9}/manifests/v1", &[400, 404]),
        ("/v2/team/app/manifests/v1?x=\u{e9}", &[200, 400]),
        ("/v2/?a=<>\"{}|\\^`", &[200, 400]),
        ("/v2/team\\app/manifests/v1", &[400, 404]),
        ("/v2/?", &[200]),
        ("/v2/??", &[200]),
        ("/v2/?&&&===", &[200]),
        ("/..", &[400, 404]),
        ("", &[400]),
        ("v2/", &[400, 404]),
        ("/\u{7f}", &[400, 404]),
    ] {
        cases.push(case(format!("target {target:?}"), request(&format!("GET {target}"), ""), statuses));
    }
    for bytes in [&b"\xff"[..], b"\xc3", b"\xc3\xa9\x80", b"\x01", b"\x1b[2J", b"\0"] {
        let mut head = b"GET /v2/".to_vec();
        head.extend_from_slice(bytes);
        head.extend_from_slice(b" HTTP/1.1\r\nHost: registry\r\n\r\n");
        cases.push(case(format!("target with {bytes:x?}"), head, &[400, 404]));
    }
    for (size, name, query) in [
        // At least 8,000 bytes are to be supported (RFC 9112 §3).
        (7_900, &[400, 414][..], &[200][..]),
        (8 << 10, &[400, 414], &[200, 414]),
        (64 << 10, &[400, 414, 431], &[200, 414, 431]),
        (1 << 20, &[414, 431], &[414, 431]),
    ] {
        let long = "a".repeat(size);
        for (line, statuses) in [
            (format!("GET /v2/{long}/tags/list"), name),
            (format!("GET /v2/?{long}"), query),
            (format!("GET /v2/team/app/manifests/v1?x={long}"), query),
            (format!("{long} /v2/"), &[400, 405, 414, 431, 501]),
        ] {
            cases.push(case(format!("{size} bytes in {}", &line[..8]), request(&line, ""), statuses));
        }
    }
}

fn methods(cases: &mut Vec<Case>) {
    for method in ["TRACE", "BREW", "PROPFIND", "get", "Get", "POST", "PATCH", "DELETE", "PUT", "GETT", "G", "OPTIONS"]
    {
        for path in ["/", "/v2/", "/v2/_catalog", "/v2/team/app/tags/list"] {
            let bytes = request(&format!("{method} {path}"), "Cookie: canary\r\n");
            let statuses: &[u16] = if method == "OPTIONS" { &[200, 204, 405] } else { &[405, 501] };
            cases.push(case(format!("{method} {path}"), bytes, statuses));
        }
    }
    for (line, statuses) in [
        ("OPTIONS *", &[200, 204, 400, 404, 405][..]),
        ("CONNECT registry:5000", &[400, 404, 405, 501]),
        ("CONNECT evil:443", &[400, 404, 405, 501]),
        ("CONNECT /v2/", &[400, 404, 405, 501]),
        ("PRI *", &[400, 404, 405, 501, 505]),
        ("G@T /v2/", &[400]),
        ("GE\u{e9} /v2/", &[400]),
        ("GET,POST /v2/", &[400]),
    ] {
        cases.push(case(line, request(line, ""), statuses));
    }
    for (method, path) in [
        ("PUT", "/v2/team/app/tags/list"),
        ("POST", "/v2/team/app/manifests/v1"),
        ("PATCH", "/v2/team/app/manifests/v1"),
        ("GET", "/v2/team/app/blobs/uploads/"),
        ("DELETE", "/v2/team/app/blobs/uploads/"),
        ("PUT", "/v2/team/app/blobs/uploads/"),
    ] {
        cases.push(case(format!("{method} {path}"), with_body(&format!("{method} {path}"), "", b"x"), &[405]));
    }
}

fn versions(cases: &mut Vec<Case>) {
    for (head, statuses, after) in [
        ("GET /v2/ HTTP/1.0\r\n\r\n", &[200][..], After::Close),
        ("GET /v2/ HTTP/1.0\r\nHost: registry\r\n\r\n", &[200], After::Close),
        ("GET /v2/ HTTP/1.0\r\nConnection: close\r\n\r\n", &[200], After::Close),
        ("GET /v2/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200], After::Honest),
        ("HEAD /v2/ HTTP/1.0\r\n\r\n", &[200], After::Close),
        ("GET /v2/ HTTP/1.2\r\nHost: registry\r\n\r\n", &[200, 400, 505], After::Honest),
        ("GET /v2/ HTTP/1.9\r\nHost: registry\r\n\r\n", &[200, 400, 505], After::Honest),
        ("GET /v2/ HTTP/2.0\r\nHost: registry\r\n\r\n", &[400, 505], After::Close),
        ("GET /v2/ HTTP/3\r\nHost: registry\r\n\r\n", &[400, 505], After::Close),
        ("GET /v2/ HTTP/0.9\r\n\r\n", &[400, 505], After::Close),
        ("GET /v2/ HTTP/11\r\nHost: registry\r\n\r\n", &[400, 505], After::Close),
        ("GET /v2/ HTTP/1.10\r\nHost: registry\r\n\r\n", &[400, 505], After::Close),
        ("GET /v2/ http/1.1\r\nHost: registry\r\n\r\n", &[400, 505], After::Close),
        ("GET /v2/ HTTPS/1.1\r\nHost: registry\r\n\r\n", &[400, 505], After::Close),
        ("GET /v2/ 1.1\r\nHost: registry\r\n\r\n", &[400, 505], After::Close),
    ] {
        cases.push(case(format!("{head:?}"), head, statuses).after(after));
    }
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Upgrade: h2c\r\n",
    ] {
        cases.push(case(format!("{fields:?}"), request("GET /v2/", fields), &[200]));
    }
}

/// Answers that come before the body was read: the client sees them, and whether the connection goes on.
fn early_answers(cases: &mut Vec<Case>) {
    for size in [0, 1, 64 << 10, 1 << 20, 8 << 20] {
        let body = vec![b'x'; size];
        for (line, status) in [
            ("POST /nothing", 404),
            ("PUT /v2/", 405),
            ("PUT /v2/team/app/manifests/.bad", 400),
            ("PATCH /v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000000", 404),
            ("PUT /v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000000?digest=x", 400),
        ] {
            cases.push(case(format!("{size} bytes to {line}"), with_body(line, "", &body), &[status]));
        }
        let mut chunked = request("PUT /v2/nothing", "Transfer-Encoding: chunked\r\n");
        chunked.extend_from_slice(format!("{:x}\r\n", size.max(1)).as_bytes());
        chunked.extend_from_slice(if size == 0 { b"x" } else { &body });
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        cases.push(case(format!("{size} chunked bytes to nothing"), chunked, &[404]));
        let get = with_body("GET /v2/team/app/manifests/v1", "", &body);
        cases.push(case(format!("a GET with {size} bytes"), get, &[200, 400]));
    }
}

/// Answers come in the order of the requests, each to its own.
async fn pipelining(area: &Area, depth: usize) {
    let lines =
        ["GET /v2/", "HEAD /v2/team/app/manifests/v1", "GET /livez", "GET /v2/team/app/manifests/none", "GET /"];
    let mut wire = Wire::connect(area.address()).await.unwrap();
    let mut all = Vec::new();
    for number in 0..depth {
        all.extend_from_slice(&request(lines[number % lines.len()], ""));
    }
    wire.send(&all).await;
    for number in 0..depth {
        let line = lines[number % lines.len()];
        match wire.answer(line.starts_with("HEAD")).await {
            Ok(answer) => {
                let expected = if line.ends_with("none") { 404 } else { 200 };
                area.expect(answer.status == expected, format!("pipelined {number} {line}: {}", answer.status));
            }
            Err(error) => return area.wrong(format!("pipelined {number} of {depth} {line}: {error:#}")),
        }
        area.count();
    }
}

/// A head and a body byte by byte, and a body that waits for `100 Continue`.
async fn slow_senders(area: &Area) {
    for bytes in [
        request("GET /v2/", ""),
        push("Content-Length: 5\r\n", "hello"),
        push("Transfer-Encoding: chunked\r\n", CHUNKS),
        request("PUT /v2/team/app/manifests/x", "Content-Length: 0\r\n"),
    ] {
        let mut wire = Wire::connect(area.address()).await.unwrap();
        for byte in &bytes {
            wire.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        area.count();
        let name = format!("byte by byte {}", shown(&bytes[..20]));
        match wire.answer(false).await {
            Ok(answer) => area.expect([200, 201, 400].contains(&answer.status), format!("{name}: {}", answer.status)),
            Err(error) => area.wrong(format!("{name}: {error:#}")),
        }
    }
    // The body comes after the answer: it is read as a body, never as a request.
    for path in ["/nothing", "/v2/team/app/manifests/.bad"] {
        let mut wire = Wire::connect(area.address()).await.unwrap();
        area.count();
        let head = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", SMUGGLED.len());
        wire.send(&request(&format!("PUT {path}"), &head)).await;
        match wire.answer(false).await {
            Ok(answer) => {
                area.expect(answer.status >= 400, format!("late body to {path}: {}", answer.status));
                wire.send(SMUGGLED.as_bytes()).await;
                let closed = answer.closes || answer.interim == [100];
                area.expect(closed, format!("late body to {path}: neither asked for nor refused"));
                if answer.closes {
                    let end = wire.end().await;
                    area.expect(end.is_ok(), format!("late body to {path}: {end:?}"));
                }
            }
            Err(error) => area.wrong(format!("late body to {path}: {error:#}")),
        }
    }
}

/// The ops address refuses like the public one; the cluster's address takes nothing that is not its protocol.
async fn other_listeners(area: &Area) {
    for node in &area.cluster.nodes {
        for (line, statuses) in [
            ("GET /metrics", &[200][..]),
            ("HEAD /metrics", &[200]),
            ("GET /debug/health", &[200]),
            ("POST /metrics", &[405]),
            ("DELETE /debug/health", &[405]),
            ("BREW /readyz", &[405, 501]),
            ("GET /", &[404]),
            ("GET /v2/", &[404]),
            ("GET /v2/team/app/manifests/v1", &[404]),
            ("GET /debug/pprof/", &[404]),
            ("GET /debug/vars", &[200]),
            ("GET /../etc/passwd", &[400, 404]),
            ("GET /metrics/../metrics", &[400, 404]),
            ("GET /%6detrics", &[404]),
            ("GET /debug/health?x=%00", &[200]),
        ] {
            let asked = case(format!("ops: {line}"), request(line, ""), statuses);
            area.run_at(&node.ops, asked).await;
        }
        let large = format!("X: {}\r\n", "a".repeat(1 << 20));
        area.run_at(&node.ops, case("ops: 1 MiB of head", request("GET /metrics", &large), &[200, 431])).await;
        area.run_at(&node.ops, case("ops: no HTTP", "\0\0\0\0\r\n\r\n", &[0, 400]).half_close()).await;
        for (name, bytes) in [
            ("HTTP/1.1", request("GET / ", "")),
            ("a push", push("Content-Length: 5\r\n", "hello")),
            ("zeros", vec![0; 10_000]),
            (
                "a large frame",
                [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\0\0\0\0\x01"[..], &[0; 100]].concat(),
            ),
            ("half of a preface", b"PRI * HT".to_vec()),
            ("nothing", Vec::new()),
        ] {
            area.count();
            let mut wire = Wire::connect(&node.cluster).await.unwrap();
            wire.send(&bytes).await;
            wire.half_close().await;
            // It may say something in its own protocol, but it ends.
            let end = wire.end().await.err().map(|error| error.to_string()).unwrap_or_default();
            area.expect(!end.contains("stays open"), format!("cluster address, {name}: {end}"));
            area.expect(!end.contains("200 OK"), format!("cluster address, {name}: {end}"));
        }
    }
}
