//! docker 20 to 28: one PATCH without a length, and answers parsed to the letter.

use super::{DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_INDEX, Step, Table, delete, get, head, patch, post, put};
use crate::http::OCI_MANIFEST;

const AGENT: &str = "docker/28.3.0 go/go1.24 kernel/6.1 os/linux arch/amd64 UpstreamClient(Docker-Client/28.3.0)";

/// One header for each type.
fn accept_all(step: Step) -> Step {
    let types = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX];
    let types = types.into_iter().chain(["application/vnd.docker.distribution.manifest.v1+prettyjws"]);
    types.fold(step, Step::accept)
}

/// HEAD, POST, PATCH, PUT, HEAD.
fn layer(name: &'static str, size: usize) -> Vec<Step> {
    let blob = format!("/v2/{{repo}}/blobs/{{{name}}}");
    vec![
        head(&blob).is(404),
        // `0-0` is how it wants to hear of nothing, and it wants to hear of it.
        post("/v2/{repo}/blobs/uploads/").is(202).location("upload").received(0),
        patch("{upload}").stream(name).is(202).location("upload").received(size),
        put("{upload}").digest(name).is(201).names(name),
        head(&blob).is(200).says("content-length", &size.to_string()),
    ]
}

/// A push with mounts, a cancelled upload and a pull that resumes.
pub fn docker(repository: &str) -> (Table, Material) {
    let layers = [150_000, 2_500_000, 700_000, 40_000, 60_000];
    let material = Material::new(repository).word("base", "base/docker").docker_image(41, &layers);
    let last = layers[1] - 1;
    let table = Table::new("docker", AGENT)
        .then([
            get("/v2/").is(200),
            post("/v2/{base}/blobs/uploads/?digest={%layer4}").octets().sized("layer4").is(201),
        ])
        // Up to five at once; the fifth layer lies in a repository that it knows.
        .together([
            layer("layer0", layers[0]),
            layer("layer1", layers[1]),
            layer("layer2", layers[2]),
            layer("layer3", layers[3]),
            vec![
                head("/v2/{repo}/blobs/{layer4}").is(404),
                head("/v2/{base}/blobs/{layer4}").is(200),
                post("/v2/{repo}/blobs/uploads/?from={%base}&mount={%layer4}").is(201).at("/blobs/{layer4}"),
            ],
        ])
        .then(layer("config", material.of("config").len()))
        .then([
            // A mount that did not happen leaves an upload, which is given up; 404 for one that is gone is fine.
            post("/v2/{repo}/blobs/uploads/?from={%base}&mount={%manifest}").is(202).location("unused"),
            delete("{unused}").is(204),
            delete("{unused}").is(404).code("BLOB_UPLOAD_UNKNOWN"),
            put("/v2/{repo}/manifests/v1")
                .with("content-type", DOCKER_MANIFEST)
                .sized("manifest")
                .is(201)
                .names("manifest"),
            accept_all(head("/v2/{repo}/manifests/v1"))
                .is(200)
                .names("manifest")
                .says("content-type", DOCKER_MANIFEST)
                .says("content-length", &material.of("manifest").len().to_string()),
            accept_all(get("/v2/{repo}/manifests/v1")).is(200).gives("manifest").says("content-type", DOCKER_MANIFEST),
            get("/v2/{repo}/blobs/{config}").is(200).gives("config"),
        ])
        .together(["layer0", "layer2", "layer4"].map(|name| {
            let path = format!("/v2/{{repo}}/blobs/{{{name}}}");
            vec![get(&path).with("accept-encoding", "identity").is(200).gives(name)]
        }))
        .then([
            // A broken download goes on: 206, and a range up to the last byte.
            get("/v2/{repo}/blobs/{layer1}")
                .with("accept-encoding", "identity")
                .with("range", "bytes=1000000-")
                .is(206)
                .gives_part("layer1", 1_000_000, last),
            // What is not there is said so that it does not retry.
            accept_all(get("/v2/{repo}/manifests/absent")).is(404).code("MANIFEST_UNKNOWN"),
            get("/v2/{repo}/blobs/{manifest}").is(404).code("BLOB_UNKNOWN"),
        ]);
    (table, material)
}
