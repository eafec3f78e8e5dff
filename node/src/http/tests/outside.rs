//! Where answers say that the registry is: every header that names a place, under every setting, from clients that may and
//! may not say so.

use super::*;
use crate::config;
use crate::http::{AccessLog, Origins, server::Settings as Listener};

/// The tests' connections come from there.
const TRUSTED: &str = "trustedproxies: [127.0.0.0/8]";

/// One node with these keys of the section `http`.
pub(super) async fn configured(keys: &str) -> Cluster {
    noted(keys, Access::open(), AccessLog::Off).await
}

/// The same, with users and an access log.
pub(super) async fn noted(keys: &str, access: Access, access_log: AccessLog) -> Cluster {
    let text = format!("storage: filesystem\nhttp: {{{keys}}}");
    let http = config::from_yaml(&text, []).unwrap().config.http;
    let mut cluster = Cluster::of(0).await;
    let shared: Arc<dyn MetadataStore> = cluster.metadata.clone();
    let settings = Settings { delete: true, ..Settings::default() };
    let registry = Registry::new(shared, Arc::new(cluster.blobs.clone()), cluster.lifecycle.clone(), settings);
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let (access, origins, headers) = (Arc::new(access), Origins::from(&http), http.headers.clone());
    let setup = Setup::new(registry, cluster.readiness.subscribe(), metrics);
    let front = Front::new(Setup { access, access_log, origins, headers: headers.clone(), ..setup });
    let handler = move |request| front.clone().handle(request);
    let settings = Listener { headers, http1_only: !http.http2, ..Listener::default() };
    let listener: Listening = match http.net {
        config::Net::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            cluster.nodes.push(listener.local_addr().unwrap());
            listener.into()
        }
        config::Net::Unix => tokio::net::UnixListener::bind(&http.addr).unwrap().into(),
    };
    cluster.lifecycle.spawn(server::serve_with(listener, cluster.lifecycle.clone(), settings, handler));
    cluster
}

type Fields<'a> = &'a [(&'a str, &'a str)];

/// What every endpoint that names a place says, with the path that it means; `at` is how clients reach the API.
async fn places(cluster: &Cluster, at: &str, fields: Fields<'_>) -> Vec<(&'static str, String, String)> {
    let mut places = Vec::new();
    let (one, two) = (digest_of(b"{}"), digest_of(b"two"));
    let path = |path: &str| format!("{at}{path}");
    let upload = |answer: &Answer| format!("/v2/a/b/blobs/uploads/{}", answer.field("docker-upload-uuid"));
    let send =
        |method, path: String, body: &'static str| async move { cluster.send(method, &path, fields, body).await };

    let opened = send(Method::POST, path("/v2/a/b/blobs/uploads/"), "").await.expect(202);
    places.push(("POST upload", opened.location(), upload(&opened)));
    let session = path(&upload(&opened));
    let status = send(Method::GET, session.clone(), "").await.expect(204);
    places.push(("GET upload", status.location(), upload(&status)));
    let written = send(Method::PATCH, session.clone(), "{}").await.expect(202);
    places.push(("PATCH upload", written.location(), upload(&written)));
    let out_of_order = [fields, &[("content-range", "7-8")]].concat();
    let refused = cluster.send(Method::PATCH, &session, &out_of_order, "{}").await.expect(416);
    places.push(("PATCH out of order", refused.location(), upload(&refused)));
    let unplaced = [fields, &[("content-range", "x")]].concat();
    let refused = cluster.send(Method::PUT, &format!("{session}?digest={one}"), &unplaced, "{}").await.expect(416);
    places.push(("PUT out of order", refused.location(), upload(&refused)));
    let finished = send(Method::PUT, format!("{session}?digest={one}"), "").await.expect(201);
    places.push(("PUT upload", finished.location(), format!("/v2/a/b/blobs/{one}")));
    let whole = send(Method::POST, path(&format!("/v2/a/b/blobs/uploads/?digest={two}")), "two").await.expect(201);
    places.push(("POST blob", whole.location(), format!("/v2/a/b/blobs/{two}")));
    let mount = path(&format!("/v2/c/blobs/uploads/?mount={two}&from=a/b"));
    let mounted = send(Method::POST, mount, "").await.expect(201);
    places.push(("POST mount", mounted.location(), format!("/v2/c/blobs/{two}")));

    let manifest = manifest(&[(one, 2)], "");
    let typed = [fields, &[("content-type", MANIFEST)]].concat();
    for tag in ["v1", "v2"] {
        let to = path(&format!("/v2/a/b/manifests/{tag}"));
        let put = cluster.send(Method::PUT, &to, &typed, manifest.clone()).await.expect(201);
        let digest = digest_of(manifest.as_bytes());
        places.push(("PUT manifest", put.location(), format!("/v2/a/b/manifests/{digest}")));
    }
    let subject = format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{one}","size":2}}"#);
    for n in 0..2 {
        let referrer = super::manifest(&[(one, 2)], &format!("{subject},\"annotations\":{{\"n\":\"{n}\"}}"));
        cluster.send(Method::PUT, &path(&format!("/v2/c/manifests/r{n}")), &typed, referrer).await.expect(400);
        let referrer = super::manifest(&[(one, 2)], &format!("{subject},\"annotations\":{{\"n\":\"{n}\"}}"));
        cluster.send(Method::PUT, &path(&format!("/v2/a/b/manifests/r{n}")), &typed, referrer).await.expect(201);
    }
    places
}

/// The addresses of next pages, which must lead to one.
async fn links(cluster: &Cluster, at: &str, fields: Fields<'_>) -> Vec<String> {
    let subject = digest_of(b"{}");
    let mut links = Vec::new();
    for path in ["/v2/_catalog?n=1", "/v2/a/b/tags/list?n=1", &format!("/v2/a/b/referrers/{subject}?n=1")] {
        let page = cluster.send(Method::GET, &format!("{at}{path}"), fields, "").await.expect(200);
        let link = page.field("link").strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        links.push(link.unwrap_or_else(|| panic!("{path}: {:?}", page.fields)).to_owned());
    }
    links
}

#[tokio::test]
async fn every_place_in_an_answer_is_as_the_operator_wants_it() {
    let proxied: Fields<'_> = &[("x-forwarded-proto", "https"), ("x-forwarded-host", "public:8443")];
    let modern: Fields<'_> = &[("forwarded", "for=192.0.2.1;proto=https;host=\"public:8443\"")];
    let both = [proxied, &[("forwarded", "proto=http;host=newer")]].concat();
    let untrusted = "relativeurls: false";
    let trusting = format!("relativeurls: false, {TRUSTED}");
    let hosted = format!("host: 'https://fixed.example.com', {TRUSTED}");
    let base = "host: 'https://fixed.example.com/base/', prefix: /registry/";
    for (keys, fields, at, expected, pages) in [
        ("", &[][..], "", "", ""),
        ("relativeurls: true", &[], "", "", ""),
        ("relativeurls: true", proxied, "", "", ""),
        (TRUSTED, proxied, "", "", ""),
        ("prefix: /registry/", &[], "/registry", "/registry", "/registry"),
        ("prefix: /a/b", &[], "/a/b", "/a/b", "/a/b"),
        (untrusted, &[], "", "http://registry", ""),
        (untrusted, &[("host", "registry:5000")], "", "http://registry:5000", ""),
        (untrusted, proxied, "", "http://registry", ""),
        (untrusted, modern, "", "http://registry", ""),
        (&trusting, &[], "", "http://registry", ""),
        (&trusting, proxied, "", "https://public:8443", ""),
        (&trusting, &[("x-forwarded-proto", "https")], "", "https://registry", ""),
        (&trusting, modern, "", "https://public:8443", ""),
        (&trusting, &both, "", "http://newer", ""),
        (&format!("{trusting}, prefix: /registry"), proxied, "/registry", "https://public:8443/registry", "/registry"),
        (&hosted, &[], "", "https://fixed.example.com", ""),
        (&hosted, proxied, "", "https://fixed.example.com", ""),
        ("host: 'http://[2001:db8::1]:5000'", &[], "", "http://[2001:db8::1]:5000", ""),
        ("host: 'https://fixed.example.com', prefix: /r", &[], "/r", "https://fixed.example.com/r", "/r"),
        ("host: 'https://fixed.example.com', relativeurls: true", &[], "", "https://fixed.example.com", ""),
        // The proxy in front has taken a path off.
        (base, &[], "/registry", "https://fixed.example.com/base", "/base"),
    ] {
        let cluster = configured(keys).await;
        for (what, location, path) in places(&cluster, at, fields).await {
            assert_eq!(location, format!("{expected}{path}"), "{keys} {fields:?}: {what}");
        }
        let found = links(&cluster, at, fields).await;
        let paths = ["/v2/_catalog?", "/v2/a/b/tags/list?", &format!("/v2/a/b/referrers/{}?", digest_of(b"{}"))];
        for (link, path) in found.iter().zip(paths) {
            assert!(link.starts_with(&format!("{pages}{path}")), "{keys} {fields:?}: {link}");
            let next = format!("{at}{}", link.strip_prefix(pages).unwrap());
            cluster.send(Method::GET, &next, fields, "").await.expect(200);
        }
    }
}

#[tokio::test]
async fn nothing_is_served_beside_the_prefix_but_the_root_and_the_probes() {
    let cluster = configured("prefix: /registry/").await;
    for path in
        ["/", "/livez", "/readyz", "/registry/", "/registry/livez", "/registry/readyz", "/registry/v2", "/registry/v2/"]
    {
        cluster.get(path).await.expect(200);
    }
    for path in [
        "/v2/",
        "/registry",
        "/registryv2/",
        "/registry/registry/v2/",
        "//registry/v2/",
        "/Registry/v2/",
        "/registry%2fv2/",
        "/registry//v2/",
    ] {
        assert_eq!(cluster.get(path).await.expect(404).code(), "UNSUPPORTED", "{path}");
    }
    cluster.get("/registry/v2/_catalog").await.expect(200);
    cluster.get("/v2/_catalog").await.expect(404);
}

/// CVE-2024-22244 and its kind: no client can make the registry send another one elsewhere, nor itself to what is no host.
#[tokio::test]
async fn nobody_is_sent_to_a_place_that_a_stranger_names() {
    let tricks = [
        "//evil",
        "/\\evil",
        "evil/",
        "evil\\",
        "evil@good",
        "evil\"",
        "evil,good",
        "evil;x",
        "evil?x",
        "evil#x",
        "e vil",
        "<evil>",
        "evil:x",
        "evil:99999",
        "[evil]",
        "%65vil",
        "",
    ];
    let digest = digest_of(b"x");
    let post = format!("/v2/a/blobs/uploads/?digest={digest}");
    for keys in ["relativeurls: false", TRUSTED, ""] {
        let cluster = configured(keys).await;
        for trick in tricks.iter().chain(&["evil", "evil:443"]) {
            for name in [
                "x-forwarded-host",
                "x-forwarded-server",
                "x-original-host",
                "x-host",
                "x-forwarded-prefix",
                "x-original-url",
            ] {
                let answer =
                    cluster.send(Method::POST, &post, &[(name, trick), ("x-forwarded-proto", "https")], "x").await;
                let expected = if keys.starts_with("relative") { "http://registry" } else { "" };
                assert_eq!(
                    answer.expect(201).location(),
                    format!("{expected}/v2/a/blobs/{digest}"),
                    "{keys} {name} {trick}"
                );
            }
            let forwarded = format!("host={trick};proto=https");
            let answer = cluster.send(Method::POST, &post, &[("forwarded", &forwarded)], "x").await.expect(201);
            assert!(!answer.location().contains("evil"), "{keys} {trick}: {}", answer.location());
        }
        for path in ["//evil/v2/", "//evil", "/\\evil", "/v2//evil", "/v2/?next=//evil", "//evil/../v2/"] {
            let answer = cluster.send(Method::GET, path, &[], "").await;
            assert!(!answer.fields.contains_key("location") && !answer.status.is_redirection(), "{path}");
        }
    }
    // A trusted proxy is believed, but what is no host goes into no header.
    let cluster = configured(&format!("relativeurls: false, {TRUSTED}")).await;
    for trick in tricks {
        for fields in [&[("x-forwarded-host", trick)][..], &[("forwarded", &format!("host=\"{trick}\""))]] {
            let location = cluster.send(Method::POST, &post, fields, "x").await.expect(201).location();
            // Of a list only the last one counts.
            let known = ["registry", "good"].map(|host| format!("http://{host}/v2/a/blobs/{digest}"));
            assert!(known.contains(&location), "{fields:?}: {location}");
        }
    }
}

#[tokio::test]
async fn a_host_that_is_none_goes_into_no_header() {
    let cluster = configured("relativeurls: false").await;
    let digest = digest_of(b"x");
    for host in ["a'b", "a%41", "a;b", "a=b", "a*", "a:", "", "(a)"] {
        let answer =
            cluster.send(Method::POST, &format!("/v2/a/blobs/uploads/?digest={digest}"), &[("host", host)], "x").await;
        assert_eq!(answer.expect(201).location(), format!("/v2/a/blobs/{digest}"), "{host}");
    }
}

/// Clients follow the realm to where they show their password.
#[tokio::test]
async fn the_realm_of_a_challenge_is_a_whole_address() {
    let proxied: Fields<'_> = &[("x-forwarded-proto", "https"), ("x-forwarded-host", "public:8443")];
    for (keys, at, fields, expected) in [
        ("", "", &[][..], "http://registry"),
        ("relativeurls: true", "", &[("host", "registry:5000")], "http://registry:5000"),
        // Nobody is trusted with the host. But a password must not leave TLS because nobody told us where that ends.
        ("", "", proxied, "https://registry"),
        ("", "", &[("x-forwarded-proto", "http")], "http://registry"),
        ("", "", &[("forwarded", "for=1.1.1.1;host=public;proto=https")], "https://registry"),
        ("host: 'http://fixed.example.com'", "", proxied, "http://fixed.example.com"),
        (TRUSTED, "", &[("x-forwarded-proto", "https, http"), ("x-forwarded-for", "192.0.2.1")], "http://registry"),
        ("", "", &[("host", "a'b")], "http://localhost"),
        (TRUSTED, "", proxied, "https://public:8443"),
        (TRUSTED, "", &[("forwarded", "host=\"evil/x\";proto=https")], "https://registry"),
        (&format!("{TRUSTED}, prefix: /r"), "/r", proxied, "https://public:8443/r"),
        ("host: 'https://fixed.example.com', prefix: /r", "/r", proxied, "https://fixed.example.com/r"),
    ] {
        let access = super::access::access(Some(crate::auth::Signer::Cluster));
        let cluster = noted(keys, access, AccessLog::Off).await;
        let refused = cluster.send(Method::GET, &format!("{at}/v2/team/app/tags/list"), fields, "").await.expect(401);
        let challenge = refused.fields.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap());
        let challenge: Vec<&str> = challenge.filter(|challenge| challenge.starts_with("Bearer ")).collect();
        let start = format!("Bearer realm=\"{expected}/auth/token\",service=\"registry\"");
        assert!(challenge.len() == 1 && challenge[0].starts_with(&start), "{keys} {fields:?}: {challenge:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_served_and_its_client_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sock");
    let cluster = configured(&format!("net: unix, addr: '{}', relativeurls: false", path.display())).await;
    let digest = digest_of(b"x");
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    cluster.lifecycle.spawn(connection);
    for (fields, expected) in [
        (&[][..], "http://registry"),
        (
            &[("x-forwarded-proto", "https"), ("x-forwarded-host", "public"), ("x-forwarded-for", "192.0.2.1")],
            "https://public",
        ),
    ] {
        let mut request = Request::post(format!("/v2/a/blobs/uploads/?digest={digest}")).header("host", "registry");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = sender.send_request(request.body(Full::new(Bytes::from_static(b"x"))).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["location"], format!("{expected}/v2/a/blobs/{digest}"));
        answer.into_body().collect().await.unwrap();
    }
    let get = Request::get(format!("/v2/a/blobs/{digest}")).header("host", "registry").body(Full::default()).unwrap();
    let answer = sender.send_request(get).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "x");
    // Idle connections are put away on a socket, too, and end at a soft stop.
    cluster.lifecycle.drain();
    assert!(cluster.lifecycle.drained(std::time::Duration::from_secs(10)).await);
    assert!(tokio::net::UnixStream::connect(&path).await.is_err());
}
