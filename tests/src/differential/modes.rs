//! Other configurations: TLS, no deletes, read-only, own headers, a prefix, forms of `Location`.

use super::{
    Group, STORAGE,
    material::{DOCKER, Material},
    registry::Speech,
    step::{Step, ask, delete, get, head, patch, post, put},
};

/// The groups.
pub fn groups(material: &Material) -> Vec<Group> {
    let mut tls = Group::new("tls", STORAGE, tls());
    tls.speech = Speech::Tls;
    tls.variables = vec![
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "$files/node.pem".into()),
        ("REGISTRY_HTTP_TLS_KEY", "$files/node.key".into()),
    ];
    let no_deletes = STORAGE.replace("enabled: true", "enabled: false");
    let mut read_only = Group::new("read-only", STORAGE, refused_writes(material));
    read_only.variables = vec![("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{enabled: true}".into())];
    let headers = "http:\n  headers:\n    X-Content-Type-Options: [nosniff]\n    Access-Control-Allow-Origin: ['*']\n    \
                   Cache-Control: [no-cache, no-store]\n";
    let mut relative = Group::new("relative", STORAGE, locations(""));
    relative.variables = vec![("REGISTRY_HTTP_RELATIVEURLS", "true".into())];
    relative.rules = vec!["nosniff"];
    let absolute = |name, sections: &str, steps| {
        let mut group = Group::new(name, &format!("{STORAGE}{sections}"), steps);
        group.variables = vec![("REGISTRY_HTTP_RELATIVEURLS", "false".into())];
        group.rules = vec!["nosniff"];
        group
    };
    // The fields of proxies are in the third request and the three after it.
    let mut from_strangers = locations("");
    for step in &mut from_strangers[2..6] {
        *step = step.clone().rule("forwarded");
    }
    let mut host = Group::new("host", STORAGE, locations(""));
    host.variables = vec![("REGISTRY_HTTP_HOST", "https://registry.example:8443".into())];
    host.rules = vec!["nosniff"];
    let mut headers = Group::new("headers", &format!("{STORAGE}{headers}"), own_headers());
    headers.rules = vec!["json-charset", "location"];
    read_only.rules = vec!["json-charset", "nosniff"];
    vec![
        tls,
        Group::new("no-deletes", &no_deletes, refused_deletes(material)),
        read_only,
        headers,
        relative,
        absolute("absolute", "", from_strangers),
        absolute("absolute-behind-proxy", "http:\n  trustedproxies: [127.0.0.0/8]\n", locations("")),
        host,
        Group::new("prefix", &format!("{STORAGE}http:\n  prefix: /x/\n"), prefixed()),
    ]
}

fn tls() -> Vec<Step> {
    vec![
        get("/v2/"),
        get("/v2/").in_plain().rule("http-to-https"),
        post("/v2/team/app/blobs/uploads/").save("u"),
        patch("$u", b"bytes").save("u"),
        put(format!("$u?digest={}", crate::http::digest_of(b"bytes")), b""),
        get(format!("/v2/team/app/blobs/{}", crate::http::digest_of(b"bytes"))),
        get("/v2/team/app/tags/list").rule("no-tags"),
    ]
}

fn refused_deletes(material: &Material) -> Vec<Step> {
    let digest = &material.layer.digest;
    vec![
        delete(format!("/v2/team/app/manifests/{digest}")),
        delete(format!("/v2/team/app/blobs/{digest}")),
        delete("/v2/team/app/manifests/v1"),
        post("/v2/team/app/blobs/uploads/").save("u"),
        put(format!("$u?digest={digest}"), &material.layer.bytes),
        delete(format!("/v2/team/app/blobs/{digest}")),
        post("/v2/team/app/blobs/uploads/").save("u"),
        delete("$u"),
        get(format!("/v2/team/app/blobs/{digest}")),
    ]
}

fn refused_writes(material: &Material) -> Vec<Step> {
    let digest = &material.layer.digest;
    let upload = "/v2/team/app/blobs/uploads/6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    vec![
        get("/v2/"),
        get("/v2/_catalog"),
        get("/v2/team/app/tags/list"),
        get(format!("/v2/team/app/blobs/{digest}")),
        put("/v2/team/app/manifests/v1", &material.image.bytes).field("Content-Type", DOCKER).rule("not-json"),
        delete(format!("/v2/team/app/manifests/{digest}")).rule("not-json"),
        delete(format!("/v2/team/app/blobs/{digest}")).rule("not-json"),
        post("/v2/team/app/blobs/uploads/").rule("not-json").rule("read-only"),
        post(format!("/v2/team/app/blobs/uploads/?mount={digest}&from=team/other")).rule("not-json").rule("read-only"),
        patch(upload, b"bytes").rule("read-only"),
        put(format!("{upload}?digest={digest}"), b"").rule("read-only"),
        get(upload).rule("no-such-upload"),
        delete(upload).rule("read-only"),
    ]
}

fn own_headers() -> Vec<Step> {
    vec![
        get("/").rule("root").rule("own-headers"),
        get("/v2/"),
        head("/v2/"),
        get("/v2/nothing/tags/list"),
        get("/v2/nothing").rule("not-json").rule("own-headers"),
        ask("OPTIONS", "/v2/_catalog")
            .field("Origin", "https://ui.example")
            .field("Access-Control-Request-Method", "GET")
            .rule("options"),
        post("/v2/team/app/blobs/uploads/"),
    ]
}

/// What a client that comes through proxies is told to go to.
fn locations(prefix: &str) -> Vec<Step> {
    let uploads = format!("{prefix}/v2/team/app/blobs/uploads/");
    let open = || post(&uploads);
    vec![
        open(),
        open().field("Host", "registry.example"),
        open().field("X-Forwarded-Proto", "https"),
        open().field("X-Forwarded-Proto", "https").field("X-Forwarded-Host", "front.example"),
        open().field("Forwarded", "for=192.0.2.1;proto=https;host=front.example"),
        open().field("X-Forwarded-Proto", "https").field("X-Forwarded-Port", "8443"),
        open().save("u"),
        patch("$u", b"bytes").save("u"),
        get("$u").save("u"),
        put(format!("$u?digest={}", crate::http::digest_of(b"bytes")), b""),
    ]
}

fn prefixed() -> Vec<Step> {
    let mut steps = vec![
        get("/").rule("root"),
        get("/x/").rule("prefix-root"),
        get("/x").rule("not-json"),
        get("/v2/").rule("not-json"),
        get("/x/v2/"),
        get("/x/v2").rule("slashes"),
        get("/v2/_catalog").rule("not-json"),
        get("/x/v2/_catalog"),
        get("/x/v2/nothing/tags/list"),
        get("/x/v2/Nothing/tags/list").rule("not-json").rule("name"),
        get("/x/v1/").rule("not-json"),
    ];
    steps.extend(locations("/x"));
    steps.push(get("/x/v2/_catalog?n=1"));
    steps
}
