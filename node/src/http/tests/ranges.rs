use super::*;

/// A blob of 100 bytes in four objects.
async fn blob(cluster: &Cluster) -> (String, Vec<u8>, Digest) {
    let bytes: Vec<u8> = (0..100).collect();
    let digest = digest_of(&bytes);
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    for chunk in bytes.chunks(30) {
        cluster.send(Method::PATCH, &opened.location(), &[], chunk.to_vec()).await.expect(202);
    }
    cluster.send(Method::PUT, &format!("{}?digest={digest}", opened.location()), &[], "").await.expect(201);
    (format!("/v2/a/blobs/{digest}"), bytes, digest)
}

/// Splits a `multipart/byteranges` body into ranges and bytes.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let boundary = answer.field("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let body = &answer.body[..];
    let open = format!("\r\n--{boundary}\r\n").into_bytes();
    let close = format!("\r\n--{boundary}--\r\n").into_bytes();
    let body = body.strip_prefix(&open[..]).unwrap().strip_suffix(&close[..]).unwrap();
    let mut parts = Vec::new();
    let mut rest = body;
    loop {
        let end = rest.windows(open.len()).position(|window| window == open);
        let part = &rest[..end.unwrap_or(rest.len())];
        let head = part.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let fields = std::str::from_utf8(&part[..head]).unwrap();
        let (media_type, range) = fields.split_once("\r\n").unwrap();
        assert_eq!(media_type, "Content-Type: application/octet-stream");
        parts.push((range.strip_prefix("Content-Range: bytes ").unwrap().to_owned(), part[head + 4..].to_vec()));
        match end {
            Some(end) => rest = &rest[end + open.len()..],
            None => return parts,
        }
    }
}

/// end-2
#[tokio::test]
async fn several_ranges_come_as_one_multipart_answer() {
    let cluster = Cluster::of(1).await;
    let (path, bytes, digest) = blob(&cluster).await;
    let answer = cluster.send(Method::GET, &path, &[("range", "bytes=25-64, 0-0,-3,200-")], "").await.expect(206);
    assert_eq!(answer.field("content-length"), answer.body.len().to_string());
    assert_eq!(answer.field("docker-content-digest"), digest.to_string());
    assert_eq!(answer.field("content-range"), "");
    let expected = [(25..65, "25-64/100"), (0..1, "0-0/100"), (97..100, "97-99/100")];
    let expected: Vec<_> = expected.into_iter().map(|(part, text)| (text.to_owned(), bytes[part].to_vec())).collect();
    assert_eq!(parts(&answer), expected);
}

/// end-2
#[tokio::test]
async fn ranges_that_make_no_sense_are_refused_or_ignored() {
    let cluster = Cluster::of(1).await;
    let (path, bytes, digest) = blob(&cluster).await;
    for range in ["bytes=100-", "bytes=50-0", "bytes=100-,200-300", "bytes=-0"] {
        let refused = cluster.send(Method::GET, &path, &[("range", range)], "").await.expect(416);
        assert_eq!((refused.code().as_str(), refused.field("content-range")), ("RANGE_INVALID", "bytes */100"));
    }
    for range in ["bytes=x", "lines=1-2", "bytes=0-99,0-99", "bytes=0-1;2-3"] {
        let whole = cluster.send(Method::GET, &path, &[("range", range)], "").await.expect(200);
        assert_eq!(whole.body, bytes, "{range}");
    }
    let head = cluster.send(Method::HEAD, &path, &[("range", "bytes=0-1")], "").await.expect(200);
    assert_eq!(head.field("content-length"), "100");

    let range = ("range", "bytes=0-1");
    for (if_range, status) in [(format!("\"{digest}\""), 206), ("\"other\"".into(), 200)] {
        cluster.send(Method::GET, &path, &[range, ("if-range", &if_range)], "").await.expect(status);
    }
    let failed = cluster.send(Method::GET, &path, &[("if-match", "\"other\"")], "").await.expect(412);
    assert!(!failed.body.is_empty());
}

/// A last byte that is missing in the store breaks the answer off; it never ends it early as if it were whole.
#[tokio::test]
async fn a_part_that_cannot_be_read_breaks_the_answer_off() {
    let cluster = Cluster::of(1).await;
    let (path, ..) = blob(&cluster).await;
    let keys = cluster.blobs.keys();
    cluster.blobs.delete(keys).await;
    let refused = cluster.send(Method::GET, &path, &[("range", "bytes=0-1,40-41")], "").await;
    assert_eq!(refused.expect(503).code(), "UNAVAILABLE");
}
