use super::*;

/// A range as a client means it.
#[derive(Clone, Debug)]
enum Spec {
    Between(u64, u64),
    From(u64),
    Suffix(u64),
}

impl Spec {
    fn text(&self) -> String {
        match self {
            Self::Between(first, last) => format!("{first}-{last}"),
            Self::From(first) => format!("{first}-"),
            Self::Suffix(length) => format!("-{length}"),
        }
    }

    /// The positions it names, byte by byte.
    fn positions(&self, size: u64) -> Vec<u64> {
        let names = |at: &u64| match self {
            Self::Between(first, last) => first <= at && at <= last,
            Self::From(first) => first <= at,
            Self::Suffix(length) => size - at <= *length,
        };
        (0..size).filter(names).collect()
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        4 => (0..300_u64, 0..90_u64).prop_map(|(first, more)| Spec::Between(first, first + more)),
        1 => (0..300_u64).prop_map(Spec::From),
        1 => (0..300_u64).prop_map(Spec::Suffix),
    ]
}

/// Chunks of very different lengths, often of one byte.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(Just(1), 0..40), vec(prop_oneof![3 => Just(1_usize), 2 => 2..9_usize, 1 => 9..120_usize], 0..12)]
}

/// Pushes `bytes` in chunks.
async fn push_in_chunks(cluster: &Cluster, bytes: &[u8], lengths: &[usize]) -> String {
    let location = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202).location();
    let mut rest = bytes;
    for length in lengths {
        let (chunk, left) = rest.split_at(*length);
        cluster.send(Method::PATCH, &location, &[], chunk.to_vec()).await.expect(202);
        rest = left;
    }
    let digest = digest_of(bytes);
    cluster.send(Method::PUT, &format!("{location}?digest={digest}"), &[], rest.to_vec()).await.expect(201);
    format!("/v2/a/blobs/{digest}")
}

fn take(bytes: &[u8], positions: &[u64]) -> Vec<u8> {
    positions.iter().map(|at| bytes[*at as usize]).collect()
}

fn content_range(positions: &[u64], size: usize) -> String {
    format!("bytes {}-{}/{size}", positions[0], positions[positions.len() - 1])
}

/// Reads a `multipart/byteranges` body part by part; a part has as many bytes as its range says.
fn read_parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let boundary = answer.field("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let (open, close) = (format!("--{boundary}\r\n"), format!("--{boundary}--"));
    let (mut rest, mut parts) = (&answer.body[..], Vec::new());
    loop {
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        if let Some(end) = rest.strip_prefix(close.as_bytes()) {
            assert!(end.is_empty() || end == b"\r\n");
            return parts;
        }
        rest = rest.strip_prefix(open.as_bytes()).unwrap();
        let head = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let fields = std::str::from_utf8(&rest[..head]).unwrap();
        let range = fields.lines().find_map(|line| line.strip_prefix("Content-Range: ")).unwrap();
        let (first, last) = range["bytes ".len()..].split_once('/').unwrap().0.split_once('-').unwrap();
        let length = last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1;
        parts.push((range.to_owned(), rest[head + 4..head + 4 + length].to_vec()));
        rest = &rest[head + 4 + length..];
    }
}

/// What RFC 9110 and this registry's bound (no more bytes than the blob has) ask of the answer.
fn check_range(answer: &Answer, bytes: &[u8], specs: &[Spec]) {
    let size = bytes.len();
    let found: Vec<Vec<u64>> = specs.iter().map(|spec| spec.positions(size as u64)).filter(|p| !p.is_empty()).collect();
    let total: usize = found.iter().map(Vec::len).sum();
    match found.as_slice() {
        [] => {
            assert_eq!(
                (answer.status.as_u16(), answer.field("content-range")),
                (416, format!("bytes */{size}").as_str())
            );
            return;
        }
        [one] => {
            assert_eq!(answer.status, 206);
            assert_eq!(answer.field("content-range"), content_range(one, size));
            assert_eq!(answer.body, take(bytes, one));
        }
        _ if total > size => {
            assert_eq!((answer.status.as_u16(), answer.field("content-range")), (200, ""));
            assert_eq!(answer.body, bytes);
        }
        several => {
            assert_eq!((answer.status.as_u16(), answer.field("content-range")), (206, ""));
            let expected: Vec<_> = several.iter().map(|one| (content_range(one, size), take(bytes, one))).collect();
            assert_eq!(read_parts(answer), expected);
        }
    }
    assert_eq!(answer.field("content-length"), answer.body.len().to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// end-2
    #[test]
    fn a_range_is_that_part_of_the_blob(
        lengths in lengths(),
        rest in prop_oneof![Just(0), 1..30_usize],
        requests in vec(prop_oneof![vec(spec(), 1), vec(spec(), 2..6)], 1..12),
    ) {
        run(async {
            let cluster = Cluster::of(1).await;
            let size = lengths.iter().sum::<usize>() + rest;
            let bytes: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
            let path = push_in_chunks(&cluster, &bytes, &lengths).await;
            for specs in &requests {
                let range: Vec<String> = specs.iter().map(Spec::text).collect();
                let range = format!("bytes={}", range.join(", "));
                let answer = cluster.send(Method::GET, &path, &[("range", &range)], "").await;
                check_range(&answer, &bytes, specs);
            }
            let whole = cluster.get(&path).await.expect(200);
            assert_eq!(whole.body, bytes);
        });
    }
}
