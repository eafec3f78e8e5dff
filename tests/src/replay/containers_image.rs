//! The library of podman, buildah and skopeo.

use super::{DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_INDEX, Step, Table, delete, get, head, patch, post, put};
use crate::http::OCI_MANIFEST;

const AGENT: &str = "containers/5.34.1 (github.com/containers/image)";

/// One header for each type that it understands.
fn accept_all(step: Step) -> Step {
    let old = [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
    ];
    [OCI_MANIFEST, DOCKER_MANIFEST].into_iter().chain(old).chain([DOCKER_LIST, OCI_INDEX]).fold(step, Step::accept)
}

fn blob(name: &'static str) -> Vec<Step> {
    vec![
        head(&format!("/v2/{{repo}}/blobs/{{{name}}}")).is(404),
        post("/v2/{repo}/blobs/uploads/").is(202).location("upload"),
        patch("{upload}").octets().stream(name).is(202).location("upload"),
        put("{upload}").digest(name).octets().is(201),
    ]
}

/// A push with mounts, signature look-ups, and pulls, whole and of chunks.
pub fn containers_image(repository: &str) -> (Table, Material) {
    let size = 1_000_000;
    let material = Material::new(repository).word("base", "base/podman").image(51, &[250_000, size]);
    let material = material.bytes("invalid", r#"{"schemaVersion":2,"mediaType":"text/plain"}"#);
    let hex = material.digest("manifest").replace(':', "-");
    let signatures = format!("/v2/{{repo}}/manifests/{hex}.sig");
    let chunk = |range: &str| get("/v2/{repo}/blobs/{layer1}").with("range", range);
    let table = Table::new("containers/image", AGENT)
        .then([
            get("/v2/").is(200),
            post("/v2/{base}/blobs/uploads/?digest={%layer0}").octets().sized("layer0").is(201),
            head("/v2/{repo}/blobs/{layer0}").is(404),
            head("/v2/{base}/blobs/{layer0}").is(200).says("content-length", "250000"),
            post("/v2/{repo}/blobs/uploads/?from={%base}&mount={%layer0}").is(201),
            // Not mounted after all: the upload is unwanted.
            post("/v2/{repo}/blobs/uploads/?from={%base}&mount={%layer1}").is(202).location("unwanted"),
            delete("{unwanted}").is(204),
        ])
        .then(blob("layer1"))
        .then(blob("config"))
        .then([
            put("/v2/{repo}/manifests/v1").with("content-type", OCI_MANIFEST).sized("manifest").is(201),
            // By this code it learns that another format may be taken.
            put("/v2/{repo}/manifests/v2")
                .with("content-type", OCI_MANIFEST)
                .sized("invalid")
                .is(400)
                .code("MANIFEST_INVALID"),
            accept_all(get("/v2/{repo}/manifests/v1"))
                .is(200)
                .gives("manifest")
                .names("manifest")
                .says("content-type", OCI_MANIFEST),
            accept_all(get(&signatures)).is(404).code("MANIFEST_UNKNOWN"),
            get("/v2/{repo}/blobs/{config}").is(200).gives("config"),
            get("/v2/{repo}/blobs/{layer0}").is(200).gives("layer0"),
            get("/v2/{repo}/tags/list").is(200).json("/tags", r#"["v1"]"#),
            get("/v2/_catalog").is(200).has("\"{repo}\""),
            // zstd:chunked: the table of contents at the end, then only what is missing.
            chunk("bytes=990000-999999").is(206).gives_part("layer1", 990_000, size - 1),
            chunk("bytes=0-99,5000-5999,700000-700000")
                .is(206)
                .gives_parts("layer1", &[(0, 99), (5000, 5999), (700_000, 700_000)]),
        ]);
    (table, material)
}
