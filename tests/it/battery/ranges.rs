//! Ranges of blobs (RFC 9110 §14) and conditional reads (§13), over blobs of one and of many objects.

#![expect(clippy::single_range_in_vec_init, reason = "a list of ranges may have one")]

use super::*;
use flotilla_tests::http::digest_of;
use std::ops::Range;

const REPO: &str = "ranges/app";
const RANGE_INVALID: &str = "RANGE_INVALID";

/// What a `Range` may be answered with.
#[derive(Clone, Debug)]
enum Wanted {
    Whole,
    /// These ranges, each once, in this order; one alone without multipart.
    Parts(Vec<Range<usize>>),
    /// 416
    Nothing,
    /// The specification lets a server ignore it, or refuse it, but not make something up.
    WholeOrNothing,
    /// Worth answering, but a server may send more than asked for.
    Any(Vec<Range<usize>>),
}
use Wanted::{Any, Nothing, Parts, Whole, WholeOrNothing};

/// What is asked of ten bytes.
fn of_ten() -> Vec<(String, Wanted)> {
    let part = |range: Range<usize>| Parts(vec![range]);
    let huge = "9".repeat(400);
    let mut table: Vec<(String, Wanted)> = [
        ("bytes=0-0", part(0..1)),
        ("bytes=0-9", part(0..10)),
        ("bytes=0-4", part(0..5)),
        ("bytes=3-3", part(3..4)),
        ("bytes=9-9", part(9..10)),
        ("bytes=2-6", part(2..7)),
        ("bytes=00002-0006", part(2..7)),
        ("bytes=5-100", part(5..10)),
        ("bytes=0-18446744073709551615", part(0..10)),
        ("bytes=0-18446744073709551616", part(0..10)),
        ("bytes=0-", part(0..10)),
        ("bytes=1-", part(1..10)),
        ("bytes=9-", part(9..10)),
        ("bytes=-1", part(9..10)),
        ("bytes=-3", part(7..10)),
        ("bytes=-10", part(0..10)),
        ("bytes=-11", part(0..10)),
        ("bytes=-18446744073709551616", part(0..10)),
        ("bytes=10-", Nothing),
        ("bytes=10-10", Nothing),
        ("bytes=11-", Nothing),
        ("bytes=18446744073709551615-", Nothing),
        ("bytes=18446744073709551615-18446744073709551615", Nothing),
        ("bytes=18446744073709551616-", Nothing),
        ("bytes=-0", Nothing),
        ("bytes=-00", Nothing),
        ("bytes=10-20,30-40", Nothing),
        ("bytes=10-,-0", Nothing),
        // Its last byte is before its first.
        ("bytes=500-0", Nothing),
        ("bytes=5-2", Nothing),
        ("bytes=1-0", Nothing),
        ("bytes=", WholeOrNothing),
        ("bytes=-", WholeOrNothing),
        ("bytes=,", WholeOrNothing),
        ("bytes=x", WholeOrNothing),
        ("bytes=1", WholeOrNothing),
        ("bytes=x-1", WholeOrNothing),
        ("bytes=1-x", WholeOrNothing),
        ("bytes=0x1-2", WholeOrNothing),
        ("bytes=+1-2", WholeOrNothing),
        ("bytes=1-+2", WholeOrNothing),
        ("bytes=1.0-2.0", WholeOrNothing),
        ("bytes=--1", WholeOrNothing),
        ("bytes=1--2", WholeOrNothing),
        ("bytes=0-1-2", WholeOrNothing),
        ("bytes=0-1;2-3", WholeOrNothing),
        ("bytes=0-1 2-3", WholeOrNothing),
        ("bytes=0 - 1", WholeOrNothing),
        ("bytes=0-1,x", WholeOrNothing),
        ("bytes=x,0-1", WholeOrNothing),
        ("bytes==0-1", WholeOrNothing),
        ("bytes=bytes=0-1", WholeOrNothing),
        ("bytes=\u{660}-\u{661}", WholeOrNothing),
        ("bytes=0\u{2013}1", WholeOrNothing),
        ("bytes=*", WholeOrNothing),
        ("bytes=0-*", WholeOrNothing),
        ("bytes 0-1", WholeOrNothing),
        ("bytes:0-1", WholeOrNothing),
        ("bytes", WholeOrNothing),
        ("0-1", WholeOrNothing),
        ("=0-1", WholeOrNothing),
        ("-", WholeOrNothing),
        ("", WholeOrNothing),
        // An unknown unit must be ignored (§14.2).
        ("lines=0-1", Whole),
        ("byte=0-1", Whole),
        ("bytesx=0-1", Whole),
        ("none=0-1", Whole),
        ("x=10-", Whole),
        // Units know no case, but servers may ignore any range.
        ("Bytes=0-1", Any(vec![0..2])),
        ("BYTES=-1", Any(vec![9..10])),
        ("bytes= 0-1", Any(vec![0..2])),
        ("bytes=0-1 ", part(0..2)),
        ("  bytes=0-1", part(0..2)),
        ("bytes =0-1", Any(vec![0..2])),
        // Several.
        ("bytes=0-1,4-5", Parts(vec![0..2, 4..6])),
        ("bytes=0-1, 4-5", Parts(vec![0..2, 4..6])),
        ("bytes=0-1 ,\t4-5", Parts(vec![0..2, 4..6])),
        ("bytes=4-5,0-1", Parts(vec![4..6, 0..2])),
        ("bytes=0-0,-1", Parts(vec![0..1, 9..10])),
        ("bytes=0-0,2-2,4-4,6-6,8-8", Parts(vec![0..1, 2..3, 4..5, 6..7, 8..9])),
        ("bytes=0-1,8-", Parts(vec![0..2, 8..10])),
        ("bytes=0-0,5-100", Parts(vec![0..1, 5..10])),
        ("bytes=0-1,20-30", part(0..2)),
        ("bytes=20-30,0-1", part(0..2)),
        ("bytes=20-,0-1,-0", part(0..2)),
        ("bytes=,0-1", part(0..2)),
        ("bytes=0-1,,", part(0..2)),
        ("bytes=,,0-1,,4-5,", Parts(vec![0..2, 4..6])),
        ("bytes=0-4,5-9", Any(vec![0..5, 5..10])),
        ("bytes=0-5,3-7", Any(vec![0..6, 3..8])),
        ("bytes=0-1,0-1", Any(vec![0..2, 0..2])),
        ("bytes=0-,0-", Any(vec![0..10, 0..10])),
        ("bytes=0-,1-,2-,3-", Any(vec![0..10, 1..10, 2..10, 3..10])),
        ("bytes=0-9,-10,0-", Any(vec![0..10; 3])),
        ("bytes=0-1,5-2", WholeOrNothing),
    ]
    .map(|(range, wanted)| (range.to_owned(), wanted))
    .into();
    table.push((format!("bytes=0-{huge}"), part(0..10)));
    table.push((format!("bytes={huge}-"), Nothing));
    table.push((format!("bytes=-{huge}"), part(0..10)));
    table.push((format!("bytes={}0-{}1", "0".repeat(400), "0".repeat(400)), part(0..2)));
    table.push((format!("bytes={}", vec!["0-0"; 1000].join(",")), Any(vec![0..1; 1000])));
    table.push((format!("bytes={}", vec!["0-"; 1000].join(",")), Whole));
    table.push((format!("bytes={}", vec!["0-"; 10_000].join(",")), Whole));
    table.push((format!("bytes={}", ",".repeat(10_000)), WholeOrNothing));
    table
}

/// What is wrong about an answer to a range of `blob`.
fn check(answer: &Answer, wanted: &Wanted, blob: &[u8]) -> Result<(), String> {
    let asked = |range: &Range<usize>| blob[range.clone()].to_vec();
    let whole = answer.status == 200 && answer.body == blob && answer.field("content-range").is_none();
    let unsatisfied = format!("bytes */{}", blob.len());
    let nothing = answer.status == 416 && answer.field("content-range") == Some(&unsatisfied);
    let found = || parts(answer, blob);
    let fits = match wanted {
        Whole => whole,
        Nothing => nothing,
        WholeOrNothing => whole || nothing,
        Parts(ranges) => found()?.is_some_and(|found| {
            found.len() == ranges.len()
                && ranges.iter().zip(&found).all(|(range, part)| asked(range) == part.1 && *range == part.0)
        }),
        // What is sent must be true and hold all that was asked for.
        Any(ranges) => {
            whole
                || found()?.is_some_and(|found| {
                    ranges
                        .iter()
                        .all(|range| found.iter().any(|(part, _)| part.start <= range.start && range.end <= part.end))
                })
        }
    };
    let shown = || {
        format!(
            "{} {:?} {:?}",
            answer.status,
            answer.fields,
            String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)])
        )
    };
    if fits { Ok(()) } else { Err(format!("{wanted:?} answered by {}", shown())) }
}

/// A range and its bytes.
type Part = (Range<usize>, Vec<u8>);

/// The parts of a 206, each compared with the blob's bytes; `None` for another status.
fn parts(answer: &Answer, blob: &[u8]) -> Result<Option<Vec<Part>>, String> {
    if answer.status != 206 {
        return Ok(None);
    }
    let one = |stated: Option<&str>, body: &[u8]| -> Result<(Range<usize>, Vec<u8>), String> {
        let stated = stated.ok_or("206 without Content-Range")?;
        let (range, size) = stated.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or(stated)?;
        let (first, last) = range.split_once('-').ok_or(stated)?;
        let number = |text: &str| text.parse::<usize>().map_err(|error| format!("{stated}: {error}"));
        let range = number(first)?..number(last)? + 1;
        match number(size)? == blob.len() && blob.get(range.clone()) == Some(body) {
            true => Ok((range, body.to_vec())),
            false => Err(format!("{stated} comes with {} other bytes", body.len())),
        }
    };
    let kind = answer.field("content-type").unwrap_or_default();
    let Some(boundary) = kind.strip_prefix("multipart/byteranges; boundary=") else {
        return Ok(Some(vec![one(answer.field("content-range"), &answer.body)?]));
    };
    if answer.field("content-range").is_some() {
        return Err("Content-Range beside multipart (RFC 9110 §15.3.7.2)".into());
    }
    let boundary = boundary.trim_matches('"');
    let mut rest = answer.body.as_slice();
    let mut found = Vec::new();
    let line = |rest: &mut &[u8]| -> Result<String, String> {
        let at = rest.windows(2).position(|pair| pair == b"\r\n").ok_or("a line of multipart has no end")?;
        let line = String::from_utf8_lossy(&rest[..at]).into_owned();
        *rest = &rest[at + 2..];
        Ok(line)
    };
    if rest.starts_with(b"\r\n") {
        rest = &rest[2..];
    }
    loop {
        let delimiter = line(&mut rest)?;
        if delimiter == format!("--{boundary}--") {
            return if rest.is_empty() { Ok(Some(found)) } else { Err("bytes after the last boundary".into()) };
        }
        if delimiter != format!("--{boundary}") {
            return Err(format!("{delimiter:?} instead of a boundary"));
        }
        let (mut range, mut typed) = (None, false);
        loop {
            let field = line(&mut rest)?;
            let Some((name, value)) = field.split_once(':') else { break };
            typed |= name.eq_ignore_ascii_case("content-type") && value.trim() == "application/octet-stream";
            if name.eq_ignore_ascii_case("content-range") {
                range = Some(value.trim().to_owned());
            }
        }
        if !typed {
            return Err("a part without the blob's type".into());
        }
        let stated = range.as_deref().ok_or("a part without Content-Range")?;
        let length = stated.split(['-', '/', ' ']).skip(1).take(2).filter_map(|text| text.parse::<usize>().ok());
        let [first, last] = length.collect::<Vec<_>>()[..] else { return Err(format!("Content-Range {stated}")) };
        let body = rest.get(..(last + 1).saturating_sub(first)).ok_or("a part is cut short")?;
        found.push(one(Some(stated), body)?);
        rest = rest[body.len()..].strip_prefix(b"\r\n").ok_or("a part is longer than stated")?;
    }
}

impl Battery {
    /// Asks for ranges of a blob.
    async fn range(&mut self, blob: &str, range: &str, wanted: &Wanted, bytes: &[u8]) {
        let name = format!("Range: {}", range.chars().take(60).collect::<String>());
        let any = Want { any: vec![(200, ""), (206, ""), (416, RANGE_INVALID)], ..Want::default() };
        let Some(answer) = self.one(&name, &get(blob).with("range", range), &any).await else { return };
        let result = check(&answer, wanted, bytes);
        self.expect(&name, result.is_ok(), || result.unwrap_err());
        if answer.status != 416 {
            let caching = ["accept-ranges", "etag", "docker-content-digest"].map(|name| answer.field(name).is_some());
            self.expect(&name, caching == [true; 3], || {
                format!("headers of {} are missing: {caching:?}", answer.status)
            });
        }
    }

    /// Pushes a blob in chunks, each of which is an object of its own.
    async fn in_chunks(&mut self, bytes: &[u8], size: usize) -> String {
        let place = self.open(REPO).await;
        for chunk in bytes.chunks(size) {
            self.one("chunk", &patch(&place, chunk), &yes(202)).await;
        }
        let digest = digest_of(bytes);
        self.one("finish", &put(format!("{place}?digest={digest}"), ""), &yes(201)).await;
        format!("/v2/{REPO}/blobs/{digest}")
    }
}

#[tokio::test]
async fn every_form_of_range_is_answered_as_rfc_9110_says() {
    let mut battery = Battery::start("ranges").await;
    let (ten, other, long) = (
        b"0123456789".as_slice(),
        b"9876543210".as_slice(),
        flotilla_tests::http::Noise::new(5, 100_000).take().unwrap(),
    );
    let one = battery.in_chunks(ten, 10).await;
    let many = battery.in_chunks(other, 3).await;
    let large = battery.in_chunks(&long, 9_000).await;
    let empty = format!("/v2/{REPO}/blobs/{}", battery.blob(REPO, b"").await);
    for (range, wanted) in of_ten() {
        battery.range(&one, &range, &wanted, ten).await;
        battery.range(&many, &range, &wanted, other).await;
    }

    // Over the borders of objects, and many at once.
    let span = |ranges: &[Range<usize>]| {
        let set: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
        (format!("bytes={}", set.join(",")), ranges.to_vec())
    };
    for ranges in [
        vec![8_999..9_001],
        vec![8_999..9_000],
        vec![9_000..9_001],
        vec![0..100_000],
        vec![17_999..36_001],
        vec![99_999..100_000],
        vec![1..99_999],
    ] {
        let (text, ranges) = span(&ranges);
        battery.range(&large, &text, &Parts(ranges), &long).await;
    }
    for count in [2, 3, 10, 31, 32, 33, 100, 1_000] {
        let step = 100_000 / count;
        let (text, ranges) = span(&(0..count).map(|n| n * step..n * step + 7).collect::<Vec<_>>());
        let wanted = if count <= 32 { Parts(ranges) } else { Any(ranges) };
        battery.range(&large, &text, &wanted, &long).await;
        let backwards = text.trim_start_matches("bytes=").split(',').rev().collect::<Vec<_>>().join(",");
        let wanted = match wanted {
            Parts(mut ranges) => {
                ranges.reverse();
                Parts(ranges)
            }
            other => other,
        };
        battery.range(&large, &format!("bytes={backwards}"), &wanted, &long).await;
    }
    // Of nothing there is no byte; for a suffix of it RFC 9110 has no answer.
    for range in ["bytes=0-", "bytes=0-0", "bytes=1-", "bytes=-0", "bytes=0-0,1-1"] {
        battery.range(&empty, range, &Nothing, b"").await;
    }
    for range in ["bytes=-1", "bytes=-5", "bytes=", "bytes=x"] {
        battery.range(&empty, range, &WholeOrNothing, b"").await;
    }
    battery.range(&empty, "lines=0-", &Whole, b"").await;

    conditions(&mut battery, &one, ten, &empty).await;
    for _ in 0..3 {
        battery.one("end", &get(&one), &yes(200).body(ten)).await;
        battery.one("end", &get(&many), &yes(200).body(other)).await;
        battery.one("end", &get(&large), &yes(200).body(&long)).await;
    }
    battery.finish();
}

/// `If-Range`, `If-None-Match` and `If-Match` of a blob, and ranges of what is no blob.
async fn conditions(battery: &mut Battery, blob: &str, ten: &[u8], empty: &str) {
    let digest = blob.rsplit('/').next().unwrap_or_default();
    let (etag, other) = (format!("\"{digest}\""), format!("\"sha256:{}\"", "0".repeat(64)));
    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    let (whole, part) =
        (|| yes(200).body(ten).without("content-range"), || yes(206).body("01").field("content-range", "bytes 0-1/10"));
    // Another answer than the whole is right too, and has other headers.
    let whole_or = |status: u16| Want { body: None, fields: Vec::new(), ..whole().or(status, "") };
    let unchanged = || yes(304).field("etag", &etag).without("content-range");
    let ranged = |range: &str| get(blob).with("range", range);
    let if_range = |value: &str| ranged("bytes=0-1").with("if-range", value);
    let unless = |value: &str| get(blob).with("if-none-match", value);
    let only_if = |value: &str| get(blob).with("if-match", value);
    let nowhere = format!("/v2/{REPO}/blobs/{}", other.trim_matches('"'));
    let cases = vec![
        case(
            "plain",
            get(blob),
            whole().field("etag", &etag).field("accept-ranges", "bytes").field("content-length", "10"),
        ),
        case("HEAD", head(blob), yes(200).field("content-length", "10").field("accept-ranges", "bytes")),
        // Of a HEAD a range means nothing (§14.2).
        case(
            "HEAD",
            head(blob).with("range", "bytes=0-1"),
            yes(200).field("content-length", "10").without("content-range"),
        ),
        case("HEAD", head(blob).with("range", "bytes=99-"), yes(200).field("content-length", "10")),
        case("HEAD", head(blob).with("range", "bytes=0-1,3-4"), yes(200).field("content-length", "10")),
        case("HEAD", head(empty).with("range", "bytes=0-"), yes(200).field("content-length", "0")),
        case("the empty blob", get(empty), yes(200).body("").field("content-length", "0")),
        case("If-Range", if_range(&etag), part()),
        case("If-Range", if_range(&other), whole()),
        case("If-Range, weak", if_range(&format!("W/{etag}")), whole()),
        case("If-Range, a date", if_range(date), whole()),
        case("If-Range, a bad date", if_range("yesterday"), whole()),
        case("If-Range, empty", if_range(""), whole_or(206)),
        case("If-Range, bare", if_range(digest), whole_or(206)),
        case("If-Range, any", if_range("*"), whole()),
        case("If-Range, a list", if_range(&format!("{other}, {etag}")), whole()),
        case("If-Range, not closed", if_range(&etag[..etag.len() - 1]), whole()),
        case("If-Range twice", if_range(&other).with("if-range", &etag), whole_or(206).or(400, "")),
        case("If-Range without Range", get(blob).with("if-range", &other), whole()),
        case(
            "If-Range with nothing",
            ranged("bytes=10-").with("if-range", &etag),
            no(416, RANGE_INVALID).field("content-range", "bytes */10"),
        ),
        case("If-Range with nothing", ranged("bytes=10-").with("if-range", &other), whole()),
        case("If-None-Match", unless(&etag), unchanged()),
        case("If-None-Match", head(blob).with("if-none-match", &etag), unchanged()),
        case("If-None-Match, weak", unless(&format!("W/{etag}")), unchanged()),
        case("If-None-Match, any", unless("*"), unchanged()),
        case("If-None-Match, a list", unless(&format!("{other}, {etag}")), unchanged()),
        case("If-None-Match, a list", unless(&format!("{other},W/{etag},\"\"")), unchanged()),
        case("If-None-Match, two headers", unless(&other).with("if-none-match", &etag), unchanged()),
        case("If-None-Match, bare", unless(digest), whole_or(304)),
        case("If-None-Match, other", unless(&other), whole()),
        case("If-None-Match, empty", unless(""), whole()),
        case("If-None-Match, an empty tag", unless("\"\""), whole()),
        case("If-None-Match, part of it", unless(&format!("\"{}\"", &digest[..20])), whole()),
        case("If-None-Match, nonsense", unless("\"\"\",,,W/"), whole()),
        case("If-None-Match before Range", ranged("bytes=0-1").with("if-none-match", &etag), unchanged()),
        case("If-None-Match before Range", ranged("bytes=99-").with("if-none-match", &etag), unchanged()),
        case("If-None-Match and Range", ranged("bytes=0-1").with("if-none-match", &other), part()),
        case("If-None-Match of nothing", get(&nowhere).with("if-none-match", "*"), no(404, "BLOB_UNKNOWN")),
        case("If-Match", only_if(&etag), whole()),
        case("If-Match, any", only_if("*"), whole()),
        case("If-Match, other", only_if(&other), no(412, "").or(200, "")),
        case("If-Match of nothing", get(&nowhere).with("if-match", "*"), no(404, "BLOB_UNKNOWN").or(412, "")),
        case("If-Modified-Since", get(blob).with("if-modified-since", date), whole()),
        case("If-Modified-Since", get(blob).with("if-modified-since", "Fri, 31 Dec 2100 00:00:00 GMT"), whole_or(304)),
        case("If-Modified-Since", get(blob).with("if-modified-since", "x"), whole()),
        case("If-Unmodified-Since", get(blob).with("if-unmodified-since", date), no(412, "").or(200, "")),
        case(
            "two Range headers",
            ranged("bytes=0-1").with("range", "bytes=4-5"),
            Want { body: None, ..yes(206).or(200, "").or(400, "").or(416, "") },
        ),
        case("Range of nothing", get(&nowhere).with("range", "bytes=0-1"), no(404, "BLOB_UNKNOWN")),
        case("Range of nothing", get(&nowhere).with("range", "bytes=99-1"), no(404, "BLOB_UNKNOWN")),
        case("Range of a catalogue", get("/v2/_catalog").with("range", "bytes=0-1"), yes(200)),
        case("codings", get(blob).with("accept-encoding", "zstd, gzip, deflate"), whole().without("content-encoding")),
        case("codings", get(blob).with("accept-encoding", "identity;q=0"), whole_or(406)),
        case(
            "codings of a part",
            ranged("bytes=0-1").with("accept-encoding", "gzip"),
            part().without("content-encoding"),
        ),
        case("a body", get(blob).with("range", "bytes=0-1").body("x"), part()),
    ];
    battery.all(cases).await;
}
