//! The upload state machine: order, offsets, lengths, digests, mounts, and requests that meet each other.

mod scripts;

use super::*;
use flotilla_tests::http::digest_of;
use scripts::{at, finish, out_of_order, ranged, scripts};
use sha2::{Digest, Sha512};
use std::time::Duration;
use tokio::task::JoinSet;

/// Repository of the uploads.
const REPO: &str = "up/app";
/// What most uploads hold, in two halves.
const WHOLE: &[u8] = b"0123456789";
const HALF: &[u8] = b"01234";
const REST: &[u8] = b"56789";
const UNKNOWN: &str = "BLOB_UPLOAD_UNKNOWN";

fn sha512_of(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

/// Texts that are no place of a chunk.
const BAD_RANGES: [&str; 26] = [
    "",
    "abc",
    "-",
    "0-",
    "-4",
    "4-0",
    "0-4-5",
    "0 - 4",
    "0- 4",
    "+0-4",
    "0-+4",
    "0x0-4",
    "0--4",
    "0-4,5-9",
    "0-4;",
    "0:4",
    "0–4",
    "18446744073709551616-18446744073709551620",
    "0-99999999999999999999",
    "1e0-4",
    "0.0-4.0",
    "bytes",
    "bytes=",
    "lines=0-4",
    "bytes */5",
    "\u{660}-\u{664}",
];

const BAD_DIGESTS: [&str; 16] = [
    "",
    "x",
    "sha256",
    "sha256:",
    "sha256:abc",
    "sha256:..",
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "%00",
    "%0d%0a",
    "sha256%3A",
    "SHA256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
    "sha256:84D89877F0D4041EFB6BF91A16F0248F2FD573E6AF05C19F96BEDB9F882F7882",
    "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f788",
    "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882+",
    "sha512:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
    "+sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
];

#[tokio::test]
async fn uploads_in_any_order_hold_exactly_what_was_sent() {
    let mut battery = Battery::start("uploads").await;
    let (whole, other) = (digest_of(WHOLE), battery.blob("up/other", b"other").await);
    for (name, steps) in scripts() {
        let place = battery.open(REPO).await;
        for (number, (request, want)) in steps.iter().enumerate() {
            battery.one(&format!("{name}, step {}", number + 1), &request.at(&place), want).await;
        }
    }
    let blob = format!("/v2/{REPO}/blobs/{whole}");
    battery.one("the blob", &get(&blob), &yes(200).body(WHOLE).field("content-type", "application/octet-stream")).await;
    battery.one("the empty blob", &get(format!("/v2/{REPO}/blobs/{}", digest_of(b""))), &yes(200).body("")).await;
    battery.one("by sha512", &get(format!("/v2/{REPO}/blobs/{}", sha512_of(WHOLE))), &yes(200).body(WHOLE)).await;

    let place = battery.open(REPO).await;
    for range in BAD_RANGES {
        battery.one(&format!("Content-Range {range:?}"), &ranged(range, HALF).at(&place), &out_of_order(0)).await;
    }
    for other in ["5-9", "0-4"] {
        let twice = ranged("0-4", HALF).with("content-range", other).at(&place);
        battery.one("two places", &twice, &out_of_order(0)).await;
    }
    for digest in BAD_DIGESTS {
        battery.one("bad digest", &finish(digest, WHOLE).at(&place), &no(400, "DIGEST_INVALID")).await;
        let single = post(format!("/v2/{REPO}/blobs/uploads/?digest={digest}")).body(WHOLE);
        battery.one("bad digest", &single, &no(400, "DIGEST_INVALID")).await;
        let mount = post(format!("/v2/{REPO}/blobs/uploads/?mount={digest}&from=up/other"));
        // What cannot be mounted is to be uploaded.
        battery.one("bad digest", &mount, &yes(202)).await;
    }
    battery.one("still empty", &get(&place), &at(0)).await;

    // Another repository's upload, and uploads that never were.
    let place = battery.open(REPO).await;
    let id = place.rsplit('/').next().unwrap().to_owned();
    let mut ids: Vec<String> =
        ["x", "0", "-", "..%2f", "%00", "00000000-0000-0000-0000-000000000000", "_state", "*", "1%0d%0a2"]
            .map(|id| format!("/v2/{REPO}/blobs/uploads/{id}"))
            .into();
    ids.extend(["up/other", "up", "up/app/app", "up/none"].map(|name| format!("/v2/{name}/blobs/uploads/{id}")));
    ids.push(format!("{place}0"));
    ids.push(format!("{place}%20"));
    ids.push(place[..place.len() - 1].to_owned());
    ids.push(place.replace('-', "%2d"));
    for place in &ids {
        for request in [get("@"), head("@"), patch("@", HALF), finish(&digest_of(HALF), HALF), delete("@")] {
            battery.one("no such upload", &request.at(place), &no(404, UNKNOWN)).await;
        }
    }
    for id in [id.to_uppercase(), id.replace('-', ""), format!("{{{id}}}"), format!("urn:uuid:{id}")] {
        let place = format!("/v2/{REPO}/blobs/uploads/{id}");
        battery.one("another spelling", &get(place), &no(404, UNKNOWN).or(204, "").or_bare(400)).await;
    }
    battery.one("untouched", &get(&place), &at(0)).await;
    battery.one("untouched", &finish(&whole, WHOLE).at(&place), &yes(201)).await;

    let uploads = |query: String| post(format!("/v2/up/to/blobs/uploads/{query}"));
    let opened = || yes(202).field("range", "0-0");
    let mounted = |digest: &str| yes(201).field("location", format!("/v2/up/to/blobs/{digest}"));
    let nothing = format!("sha256:{}", "0".repeat(64));
    battery
        .all([
            case("single POST", uploads(format!("?digest={whole}")).body(WHOLE), mounted(&whole)),
            case("single POST, chunked", uploads(format!("?digest={whole}")).body(WHOLE).chunked(), mounted(&whole)),
            case(
                "single POST of the empty blob",
                uploads(format!("?digest={}", digest_of(b""))),
                mounted(&digest_of(b"")),
            ),
            case(
                "single POST of sha512",
                uploads(format!("?digest={}", sha512_of(WHOLE))).body(WHOLE),
                mounted(&sha512_of(WHOLE)),
            ),
            case("single POST of less", uploads(format!("?digest={whole}")).body(HALF), no(400, "DIGEST_INVALID")),
            case("single POST of nothing", uploads(format!("?digest={whole}")), no(400, "DIGEST_INVALID")),
            case(
                "single POST with two digests",
                uploads(format!("?digest={nothing}&digest={whole}")).body(WHOLE),
                no(400, "DIGEST_INVALID"),
            ),
            case("POST with a body and no digest", uploads(String::new()).body(WHOLE), opened()),
            case("POST with a chunked body and no digest", uploads(String::new()).body(WHOLE).chunked(), opened()),
            case("POST without a length", uploads(String::new()).framing(Framing::Own), opened()),
            case(
                "POST with JSON",
                uploads(String::new()).body("{}").with("content-type", "application/json"),
                opened(),
            ),
            case("POST without a slash", post("/v2/up/to/blobs/uploads"), opened()),
            case("algorithm", uploads("?digest-algorithm=sha256".into()), opened()),
            case("algorithm", uploads("?digest-algorithm=sha512".into()), opened()),
            case("algorithm", uploads("?digest-algorithm=md5".into()), no(400, "")),
            case("algorithm", uploads("?digest-algorithm=".into()), no(400, "").or(202, "")),
            case("algorithm", uploads("?digest-algorithm=SHA256".into()), no(400, "")),
            case("mount", uploads(format!("?mount={other}&from=up/other")), mounted(&other)),
            case("mount again", uploads(format!("?mount={other}&from=up/other")), mounted(&other)),
            case(
                "mount, escaped",
                uploads(format!("?mount={}&from=up%2Fother", other.replace(':', "%3A"))),
                mounted(&other),
            ),
            case("mount from itself", uploads(format!("?mount={other}&from=up/to")), mounted(&other)),
            case(
                "mount and origin",
                uploads(format!("?mount={other}&from=up/other&origin=example.org")),
                mounted(&other),
            ),
            case("mount without from", post(format!("/v2/up/auto/blobs/uploads/?mount={other}")), yes(201).or(202, "")),
            case("mount from nothing", uploads(format!("?mount={other}&from=up/none")), opened()),
            case(
                "mount from a bad name",
                uploads(format!("?mount={other}&from=Up/..")),
                opened().or(400, "NAME_INVALID"),
            ),
            case(
                "mount from an escape",
                uploads(format!("?mount={other}&from=%00%0d%0a")),
                opened().or(400, "NAME_INVALID"),
            ),
            case("mount from a repository without it", uploads(format!("?mount={other}&from={REPO}")), opened()),
            case("mount of nothing", uploads(format!("?mount={nothing}&from=up/other")), opened()),
            case("mount of nothing at all", uploads(format!("?mount={nothing}")), opened()),
            case(
                "mount by another algorithm",
                uploads(format!("?mount={}&from=up/other", sha512_of(b"other"))),
                opened(),
            ),
            case(
                "mount of nothing named twice",
                uploads(format!("?mount={nothing}&mount={nothing}&from=up/other")),
                opened(),
            ),
            case("what was not mounted", get(format!("/v2/up/to/blobs/{nothing}")), no(404, "BLOB_UNKNOWN")),
            case("what was mounted", get(format!("/v2/up/to/blobs/{other}")), yes(200).body("other")),
        ])
        .await;

    ends_early(&mut battery).await;
    at_once(&mut battery).await;
    cancelled_while_a_chunk_runs(&mut battery).await;
    finished_while_it_changes(&mut battery).await;

    for _ in 0..3 {
        battery.one("end", &get(&blob), &yes(200).body(WHOLE)).await;
        battery.one("end", &get(format!("/v2/up/other/blobs/{other}")), &yes(200).body("other")).await;
        battery.one("end", &head(format!("/v2/{REPO}/blobs/{nothing}")), &no(404, "BLOB_UNKNOWN")).await;
    }
    battery.finish();
}

/// A body that ends early leaves nothing, and the upload goes on.
async fn ends_early(battery: &mut Battery) {
    let place = battery.open(REPO).await;
    for (framing, body) in [
        ("content-length: 10", "01234"),
        ("content-length: 18446744073709551615", "01234"),
        ("content-length: 9223372036854775807", "01234"),
        ("content-length: 5\r\ncontent-range: 0-4", "0123"),
        ("transfer-encoding: chunked", "5\r\n01234\r\n"),
        ("transfer-encoding: chunked", "5\r\n012"),
        ("transfer-encoding: chunked", ""),
    ] {
        for method in ["PATCH", "PUT"] {
            let query = if method == "PUT" { format!("?digest={}", digest_of(HALF)) } else { String::new() };
            let text = format!("{method} {place}{query} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}");
            let mut wire = Wire::connect(&battery.address()).await.unwrap();
            battery.requests += 1;
            // Ends its side: the server may refuse or close; it may not take the bytes.
            let sent = Sent { bytes: text.into_bytes(), half_close: true, ..Sent::default() };
            if let Ok(answer) = wire.exchange(&sent, false).await {
                battery.expect("ends early", matches!(answer.status, 400 | 413 | 431), || {
                    format!("{method} {framing}: {answer:?}")
                });
            }
            drop(wire);
            battery.one("after an early end", &get(&place), &at(0)).await;
        }
    }
    // More bytes than stated are no part of the body.
    let mut wire = Wire::connect(&battery.address()).await.unwrap();
    let text = format!("PATCH {place} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n01234more\0bytes\r\n\r\n");
    let first = wire.exchange(&Sent { bytes: text.into_bytes(), ..Sent::default() }, false).await;
    battery.expect("more bytes", matches!(&first, Ok(answer) if answer.status == 202), || format!("{first:?}"));
    let second = wire.answer(false).await;
    battery.expect("more bytes", matches!(&second, Ok(answer) if answer.status == 400), || format!("{second:?}"));
    battery.one("after more bytes", &get(&place), &at(4)).await;
    battery.one("after early ends", &finish(&digest_of(WHOLE), REST).at(&place), &yes(201)).await;
}

/// Sends requests at once, each on a connection of its own to the next node; gives their answers in order.
async fn together(battery: &mut Battery, requests: Vec<Request>) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    let count = requests.len();
    for (number, request) in requests.into_iter().enumerate() {
        let address = battery.address();
        battery.requests += 1;
        tasks.spawn(async move {
            let mut wire = Wire::connect(&address).await.unwrap();
            (number, wire.exchange(&request.sent(), false).await)
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    let answers: Vec<_> = answers.into_iter().filter_map(|(_, answer)| answer.ok()).collect();
    battery.expect("together", answers.len() == count, || format!("{} of {count} answered", answers.len()));
    answers
}

/// Of chunks for the same place one is taken; the same blob may come as often as it likes.
async fn at_once(battery: &mut Battery) {
    for round in 0..5 {
        let place = battery.open(REPO).await;
        let bodies: Vec<_> = (0..6).map(|number| format!("{round}-{number}").repeat(20_000)).collect();
        let range = format!("0-{}", bodies[0].len() - 1);
        let answers =
            together(battery, bodies.iter().map(|body| ranged(&range, body.as_bytes()).at(&place)).collect()).await;
        let won: Vec<_> = (0..answers.len()).filter(|number| answers[*number].status == 202).collect();
        let lost = answers.iter().filter(|answer| answer.status == 416).count();
        battery.expect("at once", won.len() == 1 && lost == 5, || {
            format!("{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>())
        });
        let Some(winner) = won.first().map(|number| &bodies[*number]) else { continue };
        battery.one("after the race", &get(&place), &yes(204).field("range", &range)).await;
        let digest = digest_of(winner.as_bytes());
        let puts = together(battery, vec![finish(&digest, b"").at(&place); 6]).await;
        battery.expect("PUTs at once", puts.iter().all(|answer| answer.status == 201), || format!("{puts:?}"));
        battery.one("the winner", &get(format!("/v2/{REPO}/blobs/{digest}")), &yes(200).body(winner)).await;
    }
    let blob = b"pushed by twenty".repeat(1000);
    let digest = digest_of(&blob);
    let single = post(format!("/v2/{REPO}/blobs/uploads/?digest={digest}")).body(&blob);
    let answers = together(battery, vec![single; 20]).await;
    battery.expect("twenty POSTs", answers.iter().all(|answer| answer.status == 201), || format!("{answers:?}"));
    battery.one("pushed by twenty", &get(format!("/v2/{REPO}/blobs/{digest}")), &yes(200).body(blob)).await;
}

/// A cancelled upload takes no more bytes.
async fn cancelled_while_a_chunk_runs(battery: &mut Battery) {
    let place = battery.open(REPO).await;
    let mut wire = Wire::connect(&battery.address()).await.unwrap();
    let text = format!("PATCH {place} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n");
    wire.send(text.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // its bytes are on their way; any order must give the same
    battery.one("cancel", &delete(&place), &yes(204)).await;
    let answer = wire.exchange(&Sent { bytes: b"5\r\n56789\r\n0\r\n\r\n".to_vec(), ..Sent::default() }, false).await;
    battery.expect("cancel", matches!(&answer, Ok(answer) if answer.status == 404), || format!("{answer:?}"));
    battery.one("cancelled", &get(&place), &no(404, UNKNOWN)).await;
    battery.one("cancelled", &finish(&digest_of(WHOLE), b"").at(&place), &no(404, UNKNOWN)).await;
}

/// Of two requests that exclude each other one succeeds, and what it says is so.
async fn finished_while_it_changes(battery: &mut Battery) {
    for round in 0..8 {
        let body = format!("{round} of a race");
        let digest = digest_of(body.as_bytes());
        let blob = get(format!("/v2/up/race/blobs/{digest}"));
        let place = battery.open("up/race").await;
        battery.one("race", &patch(&place, &body), &yes(202)).await;
        let mut requests =
            vec![finish(&digest, b"").at(&place), if round % 2 == 0 { delete(&place) } else { patch(&place, "more") }];
        let turned = round / 2 % 2 == 1;
        if turned {
            requests.reverse();
        }
        let mut answers = together(battery, requests).await;
        if turned {
            answers.reverse();
        }
        let [put, other] = &answers[..] else { continue };
        let codes = (put.status, other.status);
        let right = match codes {
            (201, 404 | 416) => true,
            (404, 204) => round % 2 == 0,
            // The chunk came first: the upload holds other bytes now.
            (400 | 416, 202) => round % 2 == 1,
            _ => false,
        };
        battery.expect("race", right, || {
            format!("PUT and {} gave {codes:?}", if round % 2 == 0 { "DELETE" } else { "PATCH" })
        });
        let found = if put.status == 201 { yes(200).body(&body) } else { no(404, "BLOB_UNKNOWN") };
        battery.one("after the race", &blob, &found).await;
    }
}
