//! HTTP/2 without TLS, frame by frame: what is well-formed is answered, what is not ends its stream or the connection
//! (RFC 9113), and floods of frames cost nothing. Part of the area `robustness`.

use super::Area;
use flotilla_tests::wire::Wire;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const GET: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/v2/");
const AUTHORITY: (&str, &str) = (":authority", "registry");

/// What came back on stream 1 (or ended the connection).
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Status(u16),
    Refused,
}

pub async fn run(area: &Area) {
    requests(area).await;
    broken_frames(area).await;
    floods(area).await;
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as HPACK literals that are not indexed, without Huffman coding.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                bytes.push(u8::try_from(length).unwrap());
            } else {
                bytes.push(127);
                length -= 127;
                while length >= 128 {
                    bytes.push(u8::try_from(length % 128).unwrap() | 128);
                    length /= 128;
                }
                bytes.push(u8::try_from(length).unwrap());
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// Sends the preface, empty settings and `frames`, and reads until something is said of stream 1 or of the connection.
async fn ask(area: &Area, frames: &[u8]) -> anyhow::Result<Reply> {
    area.count();
    let mut wire = Wire::connect(area.address()).await?;
    wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, b""), frames].concat()).await;
    loop {
        let Ok(head) = wire.bytes(9).await else { return Ok(Reply::Refused) };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = wire.bytes(length).await?;
        match head[3] {
            HEADERS if stream == 1 => return Ok(Reply::Status(status(&payload)?)),
            RST_STREAM if stream == 1 => return Ok(Reply::Refused),
            // The end of the connection is told with NO_ERROR only when it is meant softly.
            GOAWAY if payload.get(4..8) != Some(&[0; 4]) => return Ok(Reply::Refused),
            _ => {}
        }
    }
}

/// `:status` comes first, indexed or as a literal with an indexed name (RFC 7541, appendix A).
fn status(payload: &[u8]) -> anyhow::Result<u16> {
    let known = [200, 204, 206, 304, 400, 404, 500];
    match payload {
        [first @ 0x88..=0x8e, ..] => Ok(known[usize::from(first - 0x88)]),
        // Three digits, plain or in Huffman code.
        [0x48 | 0x08, 3, digits @ ..] if digits.len() >= 3 => Ok(std::str::from_utf8(&digits[..3])?.parse()?),
        [0x48 | 0x08, 0x82, a, b, ..] => Ok(huffman_digits([*a, *b, 0])),
        [0x48 | 0x08, 0x83, a, b, c, ..] => Ok(huffman_digits([*a, *b, *c])),
        _ => anyhow::bail!("no status first: {:x?}", &payload[..payload.len().min(8)]),
    }
}

/// Three digits: `0`, `1`, `2` take five bits, `3` (0x19) to `9` take six.
fn huffman_digits([a, b, c]: [u8; 3]) -> u16 {
    let (mut bits, mut number) = (u32::from_be_bytes([a, b, c, 0]), 0);
    for _ in 0..3 {
        let (five, six) = (bits >> 27, bits >> 26);
        let (digit, taken) = if five <= 2 { (five, 5) } else { (six.wrapping_sub(0x19) + 3, 6) };
        (bits, number) = (bits << taken, number * 10 + digit);
    }
    u16::try_from(number).unwrap_or_default()
}

/// Well-formed and malformed heads (RFC 9113 §8).
async fn requests(area: &Area) {
    let long = "a".repeat(20 << 10);
    for (name, fields, statuses) in [
        ("GET", vec![GET, SCHEME, PATH, AUTHORITY], &[200][..]),
        ("no authority, but a host", vec![GET, SCHEME, PATH, ("host", "registry")], &[200]),
        ("HEAD", vec![(":method", "HEAD"), SCHEME, PATH, AUTHORITY], &[200]),
        ("nothing", vec![GET, SCHEME, (":path", "/nothing"), AUTHORITY], &[404]),
        ("a method unknown", vec![(":method", "BREW"), SCHEME, PATH, AUTHORITY], &[405, 501]),
        ("a bad name", vec![GET, SCHEME, (":path", "/v2/A/tags/list"), AUTHORITY], &[400]),
        ("te: trailers", vec![GET, SCHEME, PATH, AUTHORITY, ("te", "trailers")], &[200]),
        ("a long field", vec![GET, SCHEME, PATH, AUTHORITY, ("x", long.as_str())], &[200, 431]),
    ] {
        // More than a frame's 16 KiB goes on in CONTINUATION.
        let block = block(&fields);
        let (first, rest) = block.split_at(block.len().min(16 << 10));
        let mut frames = frame(HEADERS, END_STREAM | if rest.is_empty() { END_HEADERS } else { 0 }, 1, first);
        if !rest.is_empty() {
            frames.extend(frame(CONTINUATION, END_HEADERS, 1, rest));
        }
        match ask(area, &frames).await {
            Ok(Reply::Status(status)) if statuses.contains(&status) => {}
            Ok(Reply::Refused) if name == "a long field" => {}
            other => area.wrong(format!("HTTP/2, {name}: {other:?}")),
        }
    }
    for (name, fields) in [
        ("no method", vec![SCHEME, PATH, AUTHORITY]),
        ("no scheme", vec![GET, PATH, AUTHORITY]),
        ("no path", vec![GET, SCHEME, AUTHORITY]),
        ("an empty path", vec![GET, SCHEME, (":path", ""), AUTHORITY]),
        ("two methods", vec![GET, GET, SCHEME, PATH, AUTHORITY]),
        ("two paths", vec![GET, SCHEME, PATH, (":path", "/"), AUTHORITY]),
        ("a pseudo-field after a field", vec![GET, SCHEME, ("x", "y"), PATH, AUTHORITY]),
        ("a pseudo-field unknown", vec![GET, SCHEME, PATH, AUTHORITY, (":x", "y")]),
        ("a status in a request", vec![GET, SCHEME, PATH, AUTHORITY, (":status", "200")]),
        ("a name in upper case", vec![GET, SCHEME, PATH, AUTHORITY, ("X-Upper", "y")]),
        ("an empty name", vec![GET, SCHEME, PATH, AUTHORITY, ("", "y")]),
        ("a name with a space", vec![GET, SCHEME, PATH, AUTHORITY, ("x y", "z")]),
        ("a value with a line end", vec![GET, SCHEME, PATH, AUTHORITY, ("x", "y\r\nz: a")]),
        ("a value with NUL", vec![GET, SCHEME, PATH, AUTHORITY, ("x", "y\0")]),
        ("connection", vec![GET, SCHEME, PATH, AUTHORITY, ("connection", "close")]),
        ("transfer-encoding", vec![GET, SCHEME, PATH, AUTHORITY, ("transfer-encoding", "chunked")]),
        ("upgrade", vec![GET, SCHEME, PATH, AUTHORITY, ("upgrade", "websocket")]),
        ("te: chunked", vec![GET, SCHEME, PATH, AUTHORITY, ("te", "chunked")]),
        ("a length without a body", vec![GET, SCHEME, PATH, AUTHORITY, ("content-length", "5")]),
        ("a length that is none", vec![GET, SCHEME, PATH, AUTHORITY, ("content-length", "x")]),
    ] {
        // A malformed request is a stream error; a 400 before it is allowed (RFC 9113 §8.1.1).
        match ask(area, &headers(1, END_STREAM, &fields)).await {
            Ok(Reply::Refused | Reply::Status(400)) => {}
            other => area.wrong(format!("HTTP/2, {name}: {other:?}")),
        }
    }
    let push = |length: &str| {
        let path = format!("/v2/team/two/blobs/uploads/?digest={}", flotilla_tests::http::digest_of(b"hello"));
        headers(1, 0, &[(":method", "POST"), SCHEME, (":path", &path), AUTHORITY, ("content-length", length)])
    };
    for (name, length, body, expected) in [
        ("a push", "5", &b"hello"[..], Some(201)),
        ("more than its length", "4", b"hello", None),
        ("less than its length", "6", b"hello", None),
    ] {
        match (ask(area, &[push(length), frame(DATA, END_STREAM, 1, body)].concat()).await, expected) {
            (Ok(Reply::Status(status)), Some(expected)) if status == expected => {}
            (Ok(Reply::Refused | Reply::Status(400)), None) => {}
            (other, _) => area.wrong(format!("HTTP/2, {name}: {other:?}")),
        }
    }
}

/// Frames that no peer may send (RFC 9113 §4 to §6).
async fn broken_frames(area: &Area) {
    let get = || headers(1, END_STREAM, &[GET, SCHEME, PATH, AUTHORITY]);
    for (name, frames) in [
        ("a frame too long", [&b"\xff\xff\xff\x00\0\0\0\0\x01"[..], &[0; 64]].concat()),
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x")),
        ("HEADERS on stream 0", frame(HEADERS, END_STREAM | END_HEADERS, 0, b"\x82")),
        ("HEADERS with broken HPACK", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff")),
        ("an index of HPACK that does not exist", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xfe")),
        (
            "a text of HPACK without its end",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x7f\xff\xff\xff\xff\x0f"),
        ),
        ("an even stream", headers(2, END_STREAM, &[GET, SCHEME, PATH, AUTHORITY])),
        ("SETTINGS of a bad size", frame(SETTINGS, 0, 0, b"x")),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, b"")),
        ("an acknowledgement with content", frame(SETTINGS, 1, 0, &[0; 6])),
        ("a frame size of 1", frame(SETTINGS, 0, 0, b"\0\x05\0\0\0\x01")),
        ("a window of 4 GiB", frame(SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff")),
        ("PING of a bad size", frame(PING, 0, 0, b"x")),
        ("WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("WINDOW_UPDATE beyond its limit", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff").repeat(2)),
        ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, b"")),
        ("a PUSH_PROMISE", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("padding longer than its frame", frame(HEADERS, END_STREAM | END_HEADERS | 8, 1, b"\xff\x82")),
        (
            "a frame between HEADERS and CONTINUATION",
            [frame(HEADERS, END_STREAM, 1, b"\x82"), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
    ] {
        match ask(area, &frames).await {
            Ok(Reply::Refused) => {}
            other => area.wrong(format!("HTTP/2, {name}: {other:?}")),
        }
    }
    for (name, frames) in [
        ("a frame of an unknown kind", frame(0x7f, 0xff, 0, &[0; 100])),
        ("an unknown setting", frame(SETTINGS, 0, 0, b"\xff\xff\0\0\0\0")),
        ("a PING", frame(PING, 0, 0, &[7; 8])),
        ("PRIORITY", frame(2, 0, 3, &[0, 0, 0, 0, 7])),
    ] {
        match ask(area, &[frames, get()].concat()).await {
            Ok(Reply::Status(200)) => {}
            other => area.wrong(format!("HTTP/2, {name}, then a GET: {other:?}")),
        }
    }
}

/// Floods (CVE-2019-9512 to 9518, CVE-2023-44487, CVE-2024-27316): the connection may end, others go on, memory stays.
async fn floods(area: &Area) {
    let get = |stream: u32| headers(stream, END_STREAM, &[GET, SCHEME, PATH, AUTHORITY]);
    let resets = |number: u32| [get(2 * number + 1), frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8])].concat();
    let field = block(&[("x", &"a".repeat(1000))]);
    for (name, frames) in [
        ("rapid resets", (1..3000).flat_map(resets).collect::<Vec<_>>()),
        ("settings", frame(SETTINGS, 0, 0, b"").repeat(20_000)),
        ("pings", frame(PING, 0, 0, &[1; 8]).repeat(20_000)),
        (
            "empty DATA",
            [headers(1, 0, &[GET, SCHEME, PATH, AUTHORITY]), frame(DATA, 0, 1, b"").repeat(20_000)].concat(),
        ),
        ("empty CONTINUATION", [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, b"").repeat(20_000)].concat()),
        ("large CONTINUATION", [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, &field).repeat(10_000)].concat()),
        (
            "streams that never end",
            (0..3000).flat_map(|number| headers(2 * number + 1, 0, &[GET, SCHEME, PATH, AUTHORITY])).collect(),
        ),
        ("updates of the window", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01").repeat(20_000)),
        ("a table of HPACK that changes its size", frame(SETTINGS, 0, 0, b"\0\x01\xff\xff\xff\xff").repeat(1000)),
    ] {
        area.count();
        let address = area.address().to_owned();
        let mut wire = Wire::connect(&address).await.unwrap();
        let flood = async {
            wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &frames].concat()).await;
            // It stays open while another connection is served.
            wire
        };
        let other = super::case(format!("beside {name}"), super::request("GET /v2/", ""), &[200]);
        let (wire, _) = futures_util::join!(flood, area.run_at(&address, other));
        drop(wire);
    }
}
