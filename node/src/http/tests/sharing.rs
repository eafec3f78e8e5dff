//! `http.headers`: every answer has them, and with them pages of other origins may read the registry (CORS).

use super::outside::configured;
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHARED: &str = "headers: {Access-Control-Allow-Origin: ['https://ui'], Access-Control-Allow-Methods: [HEAD, GET, OPTIONS, DELETE], \
     Access-Control-Allow-Headers: [Authorization, Accept], Access-Control-Expose-Headers: [Docker-Content-Digest], X-Own: [a, b]}";
const PREFLIGHT: &[(&str, &str)] = &[
    ("origin", "https://ui"),
    ("access-control-request-method", "DELETE"),
    ("access-control-request-headers", "authorization"),
];

#[track_caller]
fn has_own(answer: &Answer, what: &str) {
    let all = |name: &str| answer.fields.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("x-own"), ["a", "b"], "{what}");
    assert_eq!(all("access-control-allow-origin"), ["https://ui"], "{what}");
    assert_eq!(all("x-content-type-options"), ["nosniff"], "{what}");
    assert_eq!(all("docker-distribution-api-version"), ["registry/2.0"], "{what}");
}

#[tokio::test]
async fn every_answer_has_the_headers_of_the_operator() {
    let fixed = "X-Content-Type-Options: [nosniff], Docker-Distribution-Api-Version: [registry/2.0]";
    let cluster = configured(&SHARED.replace("X-Own", &format!("{fixed}, X-Own"))).await;
    let (digest, _) = cluster.push_image("a", "v1", b"layer").await;
    for (method, path, status) in [
        (Method::GET, "/", 200),
        (Method::GET, "/readyz", 200),
        (Method::GET, "/v2/", 200),
        (Method::HEAD, "/v2/a/manifests/v1", 200),
        (Method::GET, &format!("/v2/a/manifests/{digest}"), 200),
        (Method::GET, &format!("/v2/a/blobs/{}", digest_of(b"layer")), 200),
        (Method::GET, "/v2/a/manifests/none", 404),
        (Method::GET, "/none", 404),
        (Method::POST, "/v2/", 405),
        (Method::TRACE, "/v2/", 405),
        (Method::POST, "/v2/a/blobs/uploads/", 202),
        (Method::GET, "/v2/A/tags/list", 400),
        (Method::DELETE, "/v2/a/manifests/v1", 202),
    ] {
        has_own(&cluster.send(method, path, &[], "").await.expect(status), path);
    }
    for bytes in [
        "GET /v2/ HTTP/1.1\r\n\r\n",
        "nonsense\r\n\r\n",
        &format!("GET /{} HTTP/1.1\r\nhost: r\r\n\r\n", "x".repeat(9_000)),
    ] {
        let mut stream = TcpStream::connect(cluster.nodes[0]).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let start = &bytes[..bytes.len().min(20)];
        assert!(
            answer.starts_with("HTTP/1.1 4") && answer.contains("access-control-allow-origin: https://ui\r\n"),
            "{start}: {answer}"
        );
        assert!(answer.contains("x-own: a\r\nx-own: b\r\n"), "{start}: {answer}");
    }
}

#[tokio::test]
async fn a_browser_may_ask_without_credentials_what_a_page_may_send() {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, format!("ann:{hash}\n").as_bytes()).unwrap();
    let users = crate::auth::Htpasswd::open(file.path(), 2).unwrap();
    let access = Access::users(crate::auth::Passwords { realm: "r".into(), users });
    let cluster = super::outside::noted(SHARED, access, AccessLog::Off).await;
    let digest = digest_of(b"x");
    let upload = uuid::Uuid::new_v4();
    for (path, allow) in [
        ("/", "GET, HEAD"),
        ("/livez", "GET, HEAD"),
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/_oci/ext/discover", "GET, HEAD"),
        ("/v2/a/tags/list", "GET, HEAD"),
        (&format!("/v2/a/referrers/{digest}"), "GET, HEAD"),
        ("/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE"),
        (&format!("/v2/a/blobs/{digest}"), "GET, HEAD, DELETE"),
        ("/v2/a/blobs/uploads/", "POST"),
        (&format!("/v2/a/blobs/uploads/{upload}"), "GET, HEAD, PATCH, PUT, DELETE"),
    ] {
        let answer = cluster.send(Method::OPTIONS, path, PREFLIGHT, "").await.expect(204);
        assert_eq!((answer.field("allow"), answer.body.len()), (allow, 0), "{path}");
        assert!(
            !answer.fields.contains_key("www-authenticate") && !answer.fields.contains_key("content-length"),
            "{path}"
        );
        has_own(&answer, path);
    }
    for (path, status) in [("/none", 404), ("/v2/A/tags/list", 400), ("/auth/token", 404)] {
        has_own(&cluster.send(Method::OPTIONS, path, PREFLIGHT, "").await.expect(status), path);
    }
    // The question is free, the rest is not; and the page may read why.
    has_own(&cluster.send(Method::GET, "/v2/", PREFLIGHT, "").await.expect(401), "GET");
}

#[tokio::test]
async fn nothing_is_shared_unless_the_operator_says_so() {
    for keys in ["", "headers: {Access-Control-Allow-Methods: [GET], X-Frame-Options: [DENY]}"] {
        let cluster = configured(keys).await;
        for origin in ["https://evil", "null"] {
            let fields = [("origin", origin), ("access-control-request-method", "GET")];
            for path in ["/", "/v2/", "/v2/a/manifests/v1", "/v2/a/blobs/uploads/"] {
                let answer = cluster.send(Method::OPTIONS, path, &fields, "").await.expect(405);
                assert!(answer.fields.contains_key("allow"), "{path}");
                assert!(!answer.fields.contains_key("access-control-allow-origin"), "{path}");
            }
            let answer = cluster.send(Method::GET, "/v2/", &fields, "").await.expect(200);
            assert!(!answer.fields.contains_key("access-control-allow-origin"));
        }
    }
    // The origin is the operator's, whoever asks.
    let cluster = configured(SHARED).await;
    for origin in ["https://evil", "null"] {
        let answer = cluster.send(Method::GET, "/v2/", &[("origin", origin)], "").await.expect(200);
        assert_eq!(answer.field("access-control-allow-origin"), "https://ui");
    }
}
