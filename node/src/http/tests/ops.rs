//! What operators switch: health, read-only mode, deletes; and the pages of the ops address.

use super::*;
use crate::health::Health;
use crate::http::Ops;

/// A second front over the same registry's data, in another state.
async fn beside(cluster: &mut Cluster, change: impl FnOnce(&mut Setup)) {
    let settings = Settings { delete: true, ..Settings::default() };
    beside_with(cluster, settings, change).await;
}

async fn beside_with(cluster: &mut Cluster, settings: Settings, change: impl FnOnce(&mut Setup)) {
    let (metadata, blobs) = (cluster.metadata.clone(), Arc::new(cluster.blobs.clone()));
    let registry = Registry::new(metadata, blobs, cluster.lifecycle.clone(), settings);
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let mut setup = Setup::new(registry, cluster.readiness.subscribe(), metrics);
    change(&mut setup);
    let front = Front::new(setup);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster.nodes.insert(0, listener.local_addr().unwrap());
    let handler = move |request| front.clone().handle(request);
    cluster.lifecycle.spawn(server::serve(listener, cluster.lifecycle.clone(), None, handler));
}

/// Every write there is, on an image that exists.
fn writes(manifest: &Digest, blob: &Digest, upload: &str) -> Vec<(Method, String, &'static str)> {
    let opened = "/v2/a/blobs/uploads/";
    vec![
        (Method::PUT, "/v2/a/manifests/v2".into(), "GET, HEAD"),
        (Method::PUT, format!("/v2/a/manifests/{manifest}"), "GET, HEAD"),
        (Method::DELETE, "/v2/a/manifests/v1".into(), "GET, HEAD"),
        (Method::DELETE, format!("/v2/a/manifests/{manifest}"), "GET, HEAD"),
        (Method::DELETE, format!("/v2/a/blobs/{blob}"), "GET, HEAD"),
        (Method::POST, opened.into(), ""),
        (Method::POST, format!("{opened}?digest={blob}"), ""),
        (Method::POST, format!("{opened}?mount={blob}&from=a"), ""),
        (Method::PATCH, upload.into(), "GET, HEAD"),
        (Method::PUT, format!("{upload}?digest={blob}"), "GET, HEAD"),
        (Method::DELETE, upload.into(), "GET, HEAD"),
    ]
}

#[tokio::test]
async fn a_failing_check_answers_everything_but_probes_by_503() {
    let (mut cluster, health) = (Cluster::of(1).await, Health::default());
    let (digest, _) = cluster.push_image("a", "v1", b"layer").await;
    beside(&mut cluster, |setup| setup.health = health.clone()).await;
    let paths = ["/", "/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/v1", "/nothing"].map(str::to_owned);
    let by_digest = format!("/v2/a/manifests/{digest}");
    health.set_out(true);
    for path in paths.iter().chain([&by_digest]) {
        let refused = cluster.get(path).await.expect(503);
        assert_eq!((refused.code().as_str(), refused.field("retry-after")), ("UNAVAILABLE", "5"), "{path}");
        assert_eq!(refused.field("connection"), "close", "{path}");
    }
    let body = vec![7; 100_000];
    assert_eq!(cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], body).await.expect(503).code(), "UNAVAILABLE");
    cluster.get("/livez").await.expect(200);
    let unready = cluster.get("/readyz").await.expect(503);
    assert_eq!(&unready.body[..], b"unhealthy: 1 failing; see /debug/health\n");
    // The node beside it is well.
    cluster.send_to(1, Method::GET, &by_digest, &[], "").await.expect(200);

    health.set_out(false);
    cluster.get("/readyz").await.expect(200);
    cluster.get(&by_digest).await.expect(200);
    cluster.get("/v2/a/manifests/v1").await.expect(200);
}

#[tokio::test]
async fn a_read_only_node_refuses_every_write_and_reads_on() {
    let mut cluster = Cluster::of(1).await;
    let (manifest, body) = cluster.push_image("a", "v1", b"layer").await;
    let blob = digest_of(b"layer");
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    let before = cluster.metadata.view().unwrap().cluster().unwrap();
    beside(&mut cluster, |setup| setup.read_only = true).await;
    let content = [("content-type", MANIFEST)];
    for (method, path, allow) in writes(&manifest, &blob, &opened.location()) {
        let refused = cluster.send(method.clone(), &path, &content, body.clone()).await.expect(405);
        assert_eq!((refused.code().as_str(), refused.field("allow")), ("UNSUPPORTED", allow), "{method} {path}");
    }
    assert_eq!(cluster.metadata.view().unwrap().cluster().unwrap(), before);
    for path in [
        "/v2/".to_owned(),
        "/v2/_catalog".into(),
        "/v2/a/tags/list".into(),
        "/v2/a/manifests/v1".into(),
        format!("/v2/a/manifests/{manifest}"),
        format!("/v2/a/blobs/{blob}"),
        format!("/v2/a/referrers/{manifest}"),
    ] {
        cluster.get(&path).await.expect(200);
        cluster.send(Method::HEAD, &path, &[], "").await.expect(200);
    }
    cluster.get(&opened.location()).await.expect(204);
    // The switch is this node's own.
    let put = format!("{}?digest={}", opened.location(), digest_of(b"x"));
    cluster.send_to(1, Method::PUT, &put, &[], "x").await.expect(201);
}

#[tokio::test]
async fn the_body_of_a_refused_write_is_not_asked_for() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut cluster = Cluster::of(0).await;
    beside(&mut cluster, |setup| setup.read_only = true).await;
    let mut stream = TcpStream::connect(cluster.nodes[0]).await.unwrap();
    let head = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: r\r\nexpect: 100-continue\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn strangers_do_not_learn_that_a_node_is_read_only() {
    let mut cluster = Cluster::of(1).await;
    let (manifest, _) = cluster.push_image("a", "v1", b"layer").await;
    let upload = format!("/v2/a/blobs/uploads/{}", uuid::Uuid::new_v4());
    let mut answers = Vec::new();
    for read_only in [false, true] {
        let policy = tempfile::NamedTempFile::new().unwrap();
        let users = crate::auth::Htpasswd::open(policy.path(), 1).unwrap();
        let access = Access::users(crate::auth::Passwords { realm: "r".into(), users });
        beside(&mut cluster, |setup| (setup.access, setup.read_only) = (Arc::new(access), read_only)).await;
        let mut seen = Vec::new();
        for (method, path, _) in writes(&manifest, &digest_of(b"layer"), &upload) {
            let mut answer = cluster.send(method, &path, &[], "x").await.expect(401);
            for own in ["x-request-id", "date"] {
                answer.fields.remove(own);
            }
            seen.push((answer.fields, answer.body));
        }
        answers.push(seen);
    }
    assert_eq!(answers[0], answers[1]);
}

/// Of a registry that must not forget, no verb deletes: a tag neither (CVE-2026-41888).
#[tokio::test]
async fn without_deletes_nothing_that_was_pushed_goes() {
    let mut cluster = Cluster::of(1).await;
    let (manifest, _) = cluster.push_image("a", "v1", b"layer").await;
    let unused = cluster.push_blob("a", b"unused").await;
    beside_with(&mut cluster, Settings::default(), |_| {}).await;
    let absent = digest_of(b"absent");
    let paths = [
        "/v2/a/manifests/v1".to_owned(),
        "/v2/a/manifests/absent".into(),
        format!("/v2/a/manifests/{manifest}"),
        format!("/v2/a/manifests/{absent}"),
        format!("/v2/a/blobs/{unused}"),
        format!("/v2/a/blobs/{}", digest_of(b"layer")),
        format!("/v2/a/blobs/{absent}"),
        "/v2/b/manifests/v1".into(),
    ];
    for path in &paths {
        assert_eq!(cluster.send(Method::DELETE, path, &[], "").await.expect(405).code(), "UNSUPPORTED", "{path}");
    }
    for present in ["/v2/a/manifests/v1", &format!("/v2/a/blobs/{unused}")] {
        cluster.get(present).await.expect(200);
    }
    // What was not pushed yet may be given up.
    let opened = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    cluster.send(Method::DELETE, &opened.location(), &[], "").await.expect(204);
}

/// The ops address of a node, and what it follows.
async fn ops(metrics_path: Option<&str>) -> (Cluster, Health) {
    let (mut cluster, health) = (Cluster::of(0).await, Health::default());
    let mut figures = prometheus_client::registry::Registry::default();
    Metrics::new(&mut figures);
    let pages = Ops::new(cluster.readiness.subscribe(), health.clone(), Arc::new(figures), metrics_path);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster.nodes.push(listener.local_addr().unwrap());
    let handler = move |request| pages.clone().handle(request);
    cluster.lifecycle.spawn(server::serve(listener, cluster.lifecycle.clone(), None, handler));
    (cluster, health)
}

/// Status, media type and text of a page.
async fn page(cluster: &Cluster, method: Method, path: &str, accept: &str) -> (u16, String, String) {
    let stream = TcpStream::connect(cluster.nodes[0]).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    cluster.lifecycle.spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "ops").header("accept", accept);
    let answer = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_health_page_lists_what_fails() {
    let (cluster, health) = ops(None).await;
    let (status, kind, body) = page(&cluster, Method::GET, "/debug/health", "").await;
    assert_eq!((status, kind.as_str(), body.as_str()), (200, "application/json", "{}"));
    assert_eq!(page(&cluster, Method::POST, "/debug/health/down", "").await.0, 200);
    assert!(health.is_out());
    let (status, _, body) = page(&cluster, Method::GET, "/debug/health", "").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["manual_http_status"]), (503, &"an operator took this node out".into()));
    assert_eq!(page(&cluster, Method::GET, "/readyz", "").await.0, 503);
    assert_eq!(page(&cluster, Method::GET, "/livez", "").await.0, 200);
    cluster.readiness.send(Readiness::Unready("stopping".into())).unwrap();
    assert!(page(&cluster, Method::GET, "/debug/health", "").await.2.contains(r#""node":"stopping""#));
    cluster.readiness.send(Readiness::Ready).unwrap();
    // Looking does not change anything.
    assert_ne!(page(&cluster, Method::GET, "/debug/health/up", "").await.0, 200);
    assert!(health.is_out());
    assert_eq!(page(&cluster, Method::POST, "/debug/health/up", "").await.0, 200);
    assert_eq!(page(&cluster, Method::GET, "/debug/health", "").await.0, 200);
}

#[tokio::test]
async fn metrics_are_where_the_operator_wants_them_in_the_format_asked_for() {
    let (cluster, _) = ops(Some("/figures")).await;
    assert_eq!(page(&cluster, Method::GET, "/metrics", "").await.0, 404);
    let (status, kind, body) = page(&cluster, Method::GET, "/figures", "*/*").await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    assert!(body.contains("# TYPE registry_http_requests_total counter\n") && !body.contains("# EOF"), "{body}");
    let (_, kind, body) = page(&cluster, Method::GET, "/figures", "application/openmetrics-text;version=1.0.0").await;
    assert!(kind.starts_with("application/openmetrics-text") && body.ends_with("# EOF\n"), "{kind} {body}");
    let (cluster, _) = ops(None).await;
    assert_eq!(page(&cluster, Method::GET, "/metrics", "").await.0, 404);
}

#[tokio::test]
async fn pages_of_go_are_answered_in_words() {
    let (cluster, _) = ops(None).await;
    let (status, kind, vars) = page(&cluster, Method::GET, "/debug/vars", "").await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert!(vars.contains("registry"), "{vars}");
    for path in ["/debug/pprof/", "/debug/pprof/heap"] {
        let (status, _, why) = page(&cluster, Method::GET, path, "").await;
        assert!(status == 404 && why.contains("Go"), "{why}");
    }
}
