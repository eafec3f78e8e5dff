//! regctl and regsync, zot's sync (which reads through the same library), and the runners that only watch tags.

use super::{
    DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_EMPTY, OCI_INDEX, Step, Table, delete, get, head, patch, post, put,
};
use crate::http::OCI_MANIFEST;
use serde_json::json;

const REGCLIENT: &str = "regclient/regclient (v0.9.0)";
const ZOT: &str = "zot sync";
const RUNNER: &str = "Watchtower/1.7.1";

fn accept_all(step: Step) -> Step {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].into_iter().fold(step, Step::accept)
}

/// An anonymous mount, whose upload is used when there is nothing to mount.
fn blob(name: &'static str) -> Vec<Step> {
    vec![
        head(&format!("/v2/{{repo}}/blobs/{{{name}}}")).is(404),
        post(&format!("/v2/{{repo}}/blobs/uploads/?mount={{%{name}}}")).is(202).location("upload"),
        put("{upload}").digest(name).octets().sized(name).is(201),
    ]
}

/// A referrer before its subject, a chunked upload that goes wrong and recovers, a cancelled one, deletes.
pub fn regclient(repository: &str) -> (Table, Material) {
    let size = 300_000;
    let mut material = Material::new(repository).image(81, &[110_000, size]).bytes("empty", "{}");
    let document = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "example/note",
        "config": material.descriptor("empty", OCI_EMPTY), "layers": [material.descriptor("empty", OCI_EMPTY)],
        "subject": material.descriptor("manifest", OCI_MANIFEST)});
    material = material.json("artifact", &document);
    let put_manifest = |reference: &str, name: &'static str| {
        let path = format!("/v2/{{repo}}/manifests/{reference}");
        put(&path).with("content-type", OCI_MANIFEST).sized(name).is(201).names(name)
    };
    let chunk = |from: usize, to: usize| {
        let range = format!("{from}-{}", to - 1);
        patch("{upload}").octets().with("content-range", &range).part("layer1", from, to)
    };
    let status = || get("{upload}").is(204).location("upload");
    let table = Table::new("regclient", REGCLIENT)
        .then([get("/v2/").is(200)])
        .then(blob("empty"))
        // What has a subject may come first.
        .then([put_manifest("{artifact}", "artifact").says("oci-subject", "{manifest}")])
        .then(blob("layer0"))
        .then(blob("config"))
        .then([
            post("/v2/{repo}/blobs/uploads/").is(202).location("upload"),
            chunk(0, 100_000).is(202).location("upload").received(100_000),
            // A chunk that came twice, and one that left a gap: where to go on is in the answer.
            chunk(0, 100_000).is(416).location("upload").received(100_000),
            chunk(200_000, size).is(416).location("upload").received(100_000),
            status().received(100_000),
            chunk(100_000, 200_000).is(202).location("upload").received(200_000),
            status().received(200_000),
            chunk(200_000, size).is(202).location("upload").received(size),
            put("{upload}").digest("layer1").octets().is(201),
            put_manifest("v1", "manifest"),
            get("/v2/{repo}/referrers/{manifest}")
                .accept(OCI_INDEX)
                .is(200)
                .says("content-type", OCI_INDEX)
                .json("/manifests/0/digest", "\"{artifact}\"")
                .json("/manifests/0/artifactType", "\"example/note\""),
            accept_all(head("/v2/{repo}/manifests/v1")).is(200).names("manifest"),
            accept_all(get("/v2/{repo}/manifests/v1")).is(200).gives("manifest"),
            get("/v2/{repo}/blobs/{layer1}").is(200).gives("layer1"),
            // Another algorithm is told before the bytes come; here nothing came yet.
            post("/v2/{repo}/blobs/uploads/?digest-algorithm=sha512").is(202).location("upload"),
            delete("{upload}").is(204),
            get("{upload}").is(404).code("BLOB_UPLOAD_UNKNOWN"),
            // A tag goes and the manifest stays.
            put_manifest("v2", "manifest"),
            delete("/v2/{repo}/manifests/v2").is(202),
            get("/v2/{repo}/tags/list").is(200).json("/tags", r#"["v1"]"#),
            accept_all(head("/v2/{repo}/manifests/{manifest}")).is(200).names("manifest"),
        ]);
    (table, material)
}

/// What zot's sync reads of a registry: all repositories, all tags, signatures in both places, the bytes. Of what
/// [`regclient`] left in the same repository.
pub fn zot() -> Table {
    let tag = "/v2/{repo}/manifests/v1";
    Table::new("zot sync", ZOT).then([
        get("/v2/").is(200),
        get("/v2/_catalog").is(200).has("\"{repo}\""),
        get("/v2/{repo}/tags/list").is(200).json("/name", "\"{repo}\"").has("\"v1\""),
        accept_all(head(tag)).is(200).names("manifest"),
        accept_all(get(tag)).is(200).gives("manifest").names("manifest"),
        get("/v2/{repo}/referrers/{manifest}").accept(OCI_INDEX).is(200).has("{artifact}"),
        accept_all(get("/v2/{repo}/manifests/{artifact}")).is(200).gives("artifact"),
        accept_all(get("/v2/{repo}/manifests/sha256-0000.sig")).is(404).code("MANIFEST_UNKNOWN"),
        get("/v2/{repo}/blobs/{config}").is(200).gives("config"),
        get("/v2/{repo}/blobs/{layer0}").is(200).gives("layer0"),
    ])
}

/// Watching tags: HEAD at a high rate, conditional reads, lists page by page.
pub fn runner(repository: &str) -> (Table, Material) {
    let first = Material::new(repository).image(82, &[70_000]);
    let mut moved: serde_json::Value = serde_json::from_slice(first.of("manifest")).unwrap_or_default();
    moved["annotations"] = json!({"moved": "yes"});
    let material = first.json("newer", &moved);
    let tag = "/v2/{repo}/manifests/latest";
    let push = |reference: &str, name: &'static str| {
        let path = format!("/v2/{{repo}}/manifests/{reference}");
        put(&path).with("content-type", OCI_MANIFEST).sized(name).is(201)
    };
    let watch = || {
        let length = material.of("manifest").len().to_string();
        accept_all(head(tag))
            .is(200)
            .names("manifest")
            .says("etag", "\"{manifest}\"")
            .says("content-type", OCI_MANIFEST)
            .says("content-length", &length)
    };
    let table = Table::new("runner", RUNNER)
        .then([get("/").is(200), get("/v2/").is(200)])
        .then(blob("layer0"))
        .then(blob("config"))
        .then([push("latest", "manifest"), push("v2", "manifest"), push("v3", "manifest")])
        .together((0..20).map(|_| vec![watch(); 5]))
        .then([
            accept_all(get(tag)).with("if-none-match", "\"{manifest}\"").is(304).names("manifest"),
            accept_all(head(tag)).with("if-none-match", "W/\"{manifest}\"").is(304),
            accept_all(head(tag)).with("if-none-match", "\"{config}\"").is(200),
            get("/v2/{repo}/tags/list?n=2").is(200).json("/tags", r#"["latest","v2"]"#).next("more"),
            get("{more}").is(200).json("/tags", r#"["v3"]"#).last(),
            // The tag moves: every node says so at once.
            push("latest", "newer"),
        ])
        .together(
            (0..6).map(|_| vec![accept_all(get(tag)).with("if-none-match", "\"{manifest}\"").is(200).gives("newer")]),
        );
    (table, material)
}
