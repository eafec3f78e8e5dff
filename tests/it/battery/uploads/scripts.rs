//! What one client may do with one upload, in order and out of it.

use super::*;

/// Steps with one upload, whose location `@` stands for.
pub(super) type Script = (&'static str, Vec<(Request, Want)>);

fn taken(last: u64) -> Want {
    yes(202).field("range", format!("0-{last}"))
}

pub(super) fn at(last: u64) -> Want {
    yes(204).field("range", format!("0-{last}"))
}

pub(super) fn out_of_order(last: u64) -> Want {
    no(416, "RANGE_INVALID").field("range", format!("0-{last}"))
}

pub(super) fn ranged(range: &str, body: &[u8]) -> Request {
    patch("@", body).with("content-range", range)
}

pub(super) fn finish(digest: &str, body: &[u8]) -> Request {
    put(format!("@?digest={digest}"), body)
}

/// One upload each, step by step.
pub(super) fn scripts() -> Vec<Script> {
    let whole = digest_of(WHOLE);
    let (half, empty) = (digest_of(HALF), digest_of(b""));
    let place = |digest: &str| format!("/v2/{REPO}/blobs/{digest}");
    let done = || {
        yes(201).field("location", place(&whole)).field("docker-content-digest", &whole).field("content-length", "0")
    };
    let gone = || no(404, UNKNOWN);
    let chunked_head = "PATCH @ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![
        (
            "a new one",
            vec![
                (get("@"), at(0)),
                (head("@"), at(0)),
                (get("@/"), at(0)),
                (get("@?x=y"), at(0)),
                (post("@"), no(405, "UNSUPPORTED")),
            ],
        ),
        (
            "two chunks",
            vec![
                (ranged("0-4", HALF), taken(4)),
                (get("@"), at(4)),
                (ranged("5-9", REST), taken(9)),
                (get("@"), at(9)),
                (finish(&whole, b""), done()),
                (finish(&whole, b""), done()),
                (finish(&whole, WHOLE), done()),
                (finish(&half, b""), gone()),
                (put("@", ""), no(400, "DIGEST_INVALID")),
                (patch("@", "x"), gone()),
                (ranged("10-10", b"x"), gone()),
                (get("@"), gone()),
                (head("@"), gone()),
                (delete("@"), gone()),
                (finish(&whole, b""), done()),
            ],
        ),
        (
            "chunks without a place",
            vec![(patch("@", HALF), taken(4)), (patch("@", REST).chunked(), taken(9)), (finish(&whole, b""), done())],
        ),
        ("the last chunk in the PUT", vec![(patch("@", HALF), taken(4)), (finish(&whole, REST), done())]),
        (
            "the last chunk in the PUT, with its place",
            vec![
                (patch("@", HALF), taken(4)),
                (finish(&whole, REST).with("content-range", "4-8"), out_of_order(4)),
                (finish(&whole, REST).with("content-range", "5-8"), no(400, "SIZE_INVALID")),
                (finish(&whole, REST).with("content-range", "x"), out_of_order(4)),
                (finish(&whole, REST).with("content-range", "5-9"), done()),
            ],
        ),
        ("a whole chunked PUT", vec![(finish(&whole, WHOLE).chunked(), done())]),
        ("a PUT of another media type", vec![(finish(&whole, WHOLE).with("content-type", "text/html"), done())]),
        (
            "wrong digests, then the right one",
            vec![
                (patch("@", HALF), taken(4)),
                (finish(&half, REST), no(400, "DIGEST_INVALID")),
                (get("@"), at(4)),
                (finish(&empty, b""), no(400, "DIGEST_INVALID")),
                (finish(&sha512_of(HALF), REST), no(400, "DIGEST_INVALID")),
                (finish(&whole, REST), done()),
            ],
        ),
        (
            "overlaps and gaps",
            vec![
                (ranged("1-5", HALF), out_of_order(0)),
                (ranged("0-4", HALF), taken(4)),
                (ranged("0-4", HALF), out_of_order(4)),
                (ranged("3-7", REST), out_of_order(4)),
                (ranged("4-8", REST), out_of_order(4)),
                (ranged("6-10", REST), out_of_order(4)),
                (ranged("9-13", REST), out_of_order(4)),
                (get("@"), at(4)),
                (ranged("5-9", REST), taken(9)),
                (finish(&whole, b""), done()),
            ],
        ),
        (
            "lengths that differ from the range",
            vec![
                (ranged("0-3", HALF), no(400, "SIZE_INVALID")),
                (ranged("0-5", HALF), no(400, "SIZE_INVALID")),
                (ranged("0-0", b""), no(400, "SIZE_INVALID")),
                (ranged("0-18446744073709551615", HALF), no(400, "SIZE_INVALID")),
                (ranged("0-18446744073709551614", HALF), no(400, "SIZE_INVALID")),
                (ranged("0-3", HALF).chunked(), no(400, "SIZE_INVALID")),
                (ranged("0-5", HALF).chunked(), no(400, "SIZE_INVALID")),
                (get("@"), at(0)),
                (ranged("0-4", HALF).chunked(), taken(4)),
                (finish(&half, b""), yes(201)),
            ],
        ),
        (
            "zero bytes",
            vec![
                (patch("@", ""), taken(0)),
                (patch("@", "").chunked(), taken(0)),
                (patch("@", HALF), taken(4)),
                (patch("@", ""), taken(4)),
                (patch("@", "").chunked(), taken(4)),
                (finish(&half, b""), yes(201)),
            ],
        ),
        ("the empty blob", vec![(finish(&empty, b""), yes(201).field("location", place(&empty)))]),
        (
            "the empty blob after an empty chunk",
            vec![(patch("@", ""), taken(0)), (finish(&empty, b"").chunked(), yes(201))],
        ),
        ("the empty blob of something", vec![(finish(&empty, b"x"), no(400, "DIGEST_INVALID"))]),
        (
            "sha512",
            vec![
                (patch("@", HALF), taken(4)),
                (finish(&sha512_of(WHOLE), REST), yes(201).field("docker-content-digest", sha512_of(WHOLE))),
                (finish(&whole, b""), gone().or(201, "")),
                (finish(&sha512_of(WHOLE), b""), yes(201)),
            ],
        ),
        (
            "sha512 of something else",
            vec![
                (finish(&sha512_of(b"x"), WHOLE), no(400, "DIGEST_INVALID")),
                (finish(&sha512_of(WHOLE), WHOLE), yes(201)),
            ],
        ),
        (
            "cancelled",
            vec![
                (patch("@", HALF), taken(4)),
                (delete("@"), yes(204)),
                (delete("@"), gone()),
                (get("@"), gone()),
                (patch("@", REST), gone()),
                (finish(&whole, REST), gone()),
                (finish(&half, b""), gone()),
            ],
        ),
        (
            "two digests",
            vec![
                (put(format!("@?digest={half}&digest={whole}"), WHOLE), no(400, "DIGEST_INVALID")),
                (put(format!("@?digest=&digest={whole}"), WHOLE), no(400, "DIGEST_INVALID")),
                (put(format!("@?digest={whole}&digest={whole}"), WHOLE), done().or(400, "DIGEST_INVALID")),
            ],
        ),
        ("an escaped digest", vec![(put(format!("@?digest={}", whole.replace(':', "%3a")), WHOLE), done())]),
        ("a digest among other words", vec![(put(format!("@?x=1&y&&=z&digest={whole}&_state=a%2Fb"), WHOLE), done())]),
        (
            "headers that mean nothing here",
            vec![
                (patch("@", HALF).with("content-encoding", "gzip"), taken(4)),
                (patch("@", REST).with("content-type", "text/html"), taken(9)),
                (finish(&whole, b"").with("range", "bytes=0-1").with("if-match", "\"x\""), done()),
            ],
        ),
        (
            "100-continue",
            vec![
                (patch("@", HALF).with("expect", "100-continue"), taken(4)),
                (patch("@", "").with("expect", "100-continue"), taken(4)),
                (finish(&half, b"").with("expect", "something"), yes(201).or(417, "").or_bare(417)),
            ],
        ),
        (
            "lengths that are none",
            vec![
                (patch("@", HALF).framing(Framing::Own).with("content-length", "-1"), no_http()),
                (patch("@", HALF).framing(Framing::Own).with("content-length", "+5"), no_http()),
                (patch("@", HALF).framing(Framing::Own).with("content-length", "5.0"), no_http()),
                (patch("@", HALF).framing(Framing::Own).with("content-length", "0x5"), no_http()),
                (patch("@", HALF).framing(Framing::Own).with("content-length", ""), no_http()),
                (patch("@", HALF).framing(Framing::Own).with("content-length", "99999999999999999999"), no_http()),
                (
                    patch("@", HALF).framing(Framing::Own).with("content-length", "5").with("content-length", "6"),
                    no_http(),
                ),
                (patch("@", HALF).framing(Framing::Own).with("content-length", "5, 6"), no_http()),
                (get("@"), at(0)),
                (
                    patch("@", HALF).framing(Framing::Own).with("content-length", "5").with("content-length", "5"),
                    taken(4).or_bare(400),
                ),
                (get("@"), at(4).or(204, "")),
            ],
        ),
        ("no length at all", vec![(patch("@", "").framing(Framing::Own), taken(0)), (get("@"), at(0))]),
        (
            "a length beside chunks",
            vec![(
                patch("@", "5\r\n01234\r\n0\r\n\r\n")
                    .framing(Framing::Own)
                    .with("transfer-encoding", "chunked")
                    .with("content-length", "5"),
                no_http().or(202, "").field("connection", "close"),
            )],
        ),
        (
            "encodings that are none",
            vec![
                (patch("@", HALF).framing(Framing::Own).with("transfer-encoding", "gzip"), no_http().or_bare(501)),
                (
                    patch("@", HALF).framing(Framing::Own).with("transfer-encoding", "chunked, gzip"),
                    no_http().or_bare(501),
                ),
                (patch("@", HALF).framing(Framing::Own).with("transfer-encoding", "identity"), no_http().or_bare(501)),
                (get("@"), at(0)),
            ],
        ),
        (
            "trailers and extensions of chunks",
            vec![(raw(format!("{chunked_head}5;a=b\r\n01234\r\n0\r\nx-t: v\r\n\r\n")), taken(4)), (get("@"), at(4))],
        ),
        (
            "damaged chunks",
            vec![
                (raw(format!("{chunked_head}zz\r\n01234\r\n0\r\n\r\n")), no(400, "BLOB_UPLOAD_INVALID")),
                (raw(format!("{chunked_head}5\r\n01234xx0\r\n\r\n")), no(400, "BLOB_UPLOAD_INVALID")),
                (raw(format!("{chunked_head}-5\r\n01234\r\n0\r\n\r\n")), no(400, "BLOB_UPLOAD_INVALID")),
                (
                    raw(format!("{chunked_head}ffffffffffffffffff\r\n01234\r\n0\r\n\r\n")),
                    no(400, "BLOB_UPLOAD_INVALID"),
                ),
                (raw(format!("{chunked_head}5\n01234\n0\n\n")), no(400, "BLOB_UPLOAD_INVALID")),
                (get("@"), at(0)),
                (finish(&whole, WHOLE), done()),
            ],
        ),
        (
            "more bytes than the length",
            vec![
                // What follows is a request of its own, and none.
                (patch("@", HALF), taken(4)),
                (get("@"), at(4)),
                (finish(&whole, REST), done()),
            ],
        ),
    ]
}
