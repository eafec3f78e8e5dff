//! containerd's transport (docker from 29 on, nerdctl, kubernetes) and buildkit, which pushes through it.

use super::{
    DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_CONFIG, OCI_INDEX, OCI_LAYER, Step, Table, get, head, post, put,
};
use crate::http::OCI_MANIFEST;
use serde_json::json;

const AGENT: &str = "containerd/2.1.4";
/// What it asks of blobs. An answer that were encoded would be decoded, and its digest would differ.
const ENCODINGS: &str = "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5";

/// The types it resolves a tag with.
fn resolve(path: &str) -> Step {
    head(path).accept(&format!("{DOCKER_MANIFEST}, {DOCKER_LIST}, {OCI_MANIFEST}, {OCI_INDEX}, */*"))
}

/// A blob: HEAD, POST, and the whole of it in one PUT.
fn blob(name: &'static str, media_type: &str) -> Vec<Step> {
    vec![
        head(&format!("/v2/{{repo}}/blobs/{{{name}}}")).accept(&format!("{media_type}, */*")).is(404),
        post("/v2/{repo}/blobs/uploads/").is(202).location("upload"),
        whole(name),
    ]
}

/// A status of 200, 201, 202 or 204 would do, but a digest that is sent must match.
fn whole(name: &'static str) -> Step {
    put("{upload}").digest(name).octets().sized(name).is(201).names(name).at(&format!("/blobs/{{{name}}}"))
}

fn manifest(reference: &str, name: &'static str, media_type: &str) -> Vec<Step> {
    let path = format!("/v2/{{repo}}/manifests/{reference}");
    vec![
        head(&path).accept(&format!("{media_type}, */*")).is(404),
        put(&path).with("content-type", media_type).sized(name).is(201).names(name),
    ]
}

/// A push with a mount, a second push that finds everything, and a pull through a mirror.
pub fn containerd(repository: &str) -> (Table, Material) {
    let material = Material::new(repository).word("base", "base/containerd").image(31, &[200_000, 3_000_000, 100]);
    let (first, size) = (material.of("layer0").len(), material.of("layer1").len());
    let mount = "/v2/{repo}/blobs/uploads/?mount={layer0}&from={base}";
    let table = Table::new("containerd", AGENT)
        .then([post("/v2/{base}/blobs/uploads/?digest={%layer0}").octets().sized("layer0").is(201)])
        .together([
            vec![
                head("/v2/{repo}/blobs/{layer0}").accept(&format!("{OCI_LAYER}, */*")).is(404),
                post(mount).is(201).names("layer0").at("/v2/{repo}/blobs/{layer0}"),
            ],
            blob("layer1", OCI_LAYER),
            // A repository that lacks the blob: the upload that it opens is used.
            vec![
                post("/v2/{repo}/blobs/uploads/?mount={layer2}&from={base}").is(202).location("upload"),
                whole("layer2"),
            ],
            blob("config", OCI_CONFIG),
        ])
        .then(manifest("v1", "manifest", OCI_MANIFEST))
        .then([
            // The second push skips what HEAD names with the right digest.
            head("/v2/{repo}/blobs/{layer1}").accept(&format!("{OCI_LAYER}, */*")).is(200).names("layer1"),
            head("/v2/{repo}/manifests/v1").accept(&format!("{OCI_MANIFEST}, */*")).is(200).names("manifest"),
            // A pull through a mirror names the registry that is meant; the answer does not depend on it.
            resolve("/v2/{repo}/manifests/v1?ns=registry.example.org")
                .is(200)
                .names("manifest")
                .says("content-type", OCI_MANIFEST)
                .says("content-length", &material.of("manifest").len().to_string()),
            get("/v2/{repo}/manifests/{manifest}?ns=registry.example.org")
                .accept(&format!("{OCI_MANIFEST}, */*"))
                .with("accept-encoding", ENCODINGS)
                .is(200)
                .says("content-type", OCI_MANIFEST)
                .gives("manifest"),
            // What is no manifest is asked for as a blob.
            resolve("/v2/{repo}/manifests/{layer1}?ns=registry.example.org").is(404),
            resolve("/v2/{repo}/blobs/{layer1}?ns=registry.example.org")
                .is(200)
                .names("layer1")
                .says("content-length", &size.to_string()),
        ])
        .together([
            vec![fetch("config").is(200).gives("config")],
            vec![fetch("layer0").is(200).gives("layer0").says("content-length", &first.to_string())],
            // Large layers in parallel: a part of one request, and requests from later offsets on.
            vec![fetch("layer1").is(200).gives("layer1")],
            vec![range(1 << 20).gives_part("layer1", 1 << 20, size - 1)],
            vec![range(2 << 20).gives_part("layer1", 2 << 20, size - 1)],
        ])
        .then([range(size - 1).gives_part("layer1", size - 1, size - 1)]);
    (table, material)
}

fn fetch(name: &'static str) -> Step {
    get(&format!("/v2/{{repo}}/blobs/{{{name}}}?ns=registry.example.org"))
        .accept(&format!("{OCI_LAYER}, */*"))
        .with("accept-encoding", ENCODINGS)
}

fn range(from: usize) -> Step {
    fetch("layer1").with("range", &format!("bytes={from}-")).is(206)
}

/// An image with four layers and an attestation, under an index; then both kinds of cache export.
pub fn buildkit(repository: &str) -> (Table, Material) {
    let in_toto = "application/vnd.in-toto+json";
    let cache_config = "application/vnd.buildkit.cacheconfig.v0";
    let mut material = Material::new(repository).image(32, &[300_000, 1_000_000, 50_000, 2_000_000]);
    material = material
        .json("statement", &json!({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "slsa"}))
        .json("statement_config", &json!({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers"}}))
        .json("cache", &json!({"layers": [{"blob": "x", "parent": -1}], "records": [{"digest": "y"}]}));
    let image = material.descriptor("manifest", OCI_MANIFEST);
    let attestation = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": material.descriptor("statement_config", OCI_CONFIG),
        "layers": [material.descriptor("statement", in_toto)]});
    material = material.json("attestation", &attestation);
    let mut runnable = image.clone();
    runnable["platform"] = json!({"architecture": "amd64", "os": "linux"});
    let mut unknown = material.descriptor("attestation", OCI_MANIFEST);
    unknown["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    unknown["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": material.digest("manifest")});
    let layers: Vec<_> = (0..4).map(|number| material.descriptor(&format!("layer{number}"), OCI_LAYER)).collect();
    let cache = material.descriptor("cache", cache_config);
    let children: Vec<_> = layers.iter().cloned().chain([cache.clone()]).collect();
    material = material
        .json("index", &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [runnable, unknown]}))
        // The older kind of cache lists layers as if they were manifests.
        .json("cache_index", &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}))
        .json(
            "cache_manifest",
            &json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": cache, "layers": layers}),
        );
    let table = Table::new("buildkit", "buildkit/v0.23")
        .together(["layer0", "layer1", "layer2", "layer3"].map(|layer| blob(layer, OCI_LAYER)))
        .then(blob("config", OCI_CONFIG))
        .then(manifest("{manifest}", "manifest", OCI_MANIFEST))
        .then(blob("statement", in_toto))
        .then(blob("statement_config", OCI_CONFIG))
        .then(manifest("{attestation}", "attestation", OCI_MANIFEST))
        .then(manifest("v1", "index", OCI_INDEX))
        .then(blob("cache", cache_config))
        .then(manifest("cache", "cache_manifest", OCI_MANIFEST))
        .then(manifest("oldcache", "cache_index", OCI_INDEX))
        .then([
            resolve("/v2/{repo}/manifests/v1").is(200).says("content-type", OCI_INDEX).names("index"),
            get("/v2/{repo}/manifests/{index}").accept(&format!("{OCI_INDEX}, */*")).is(200).gives("index"),
            get("/v2/{repo}/manifests/{attestation}").accept(&format!("{OCI_MANIFEST}, */*")).is(200),
            fetch("statement").is(200).gives("statement"),
            resolve("/v2/{repo}/manifests/cache").is(200).names("cache_manifest"),
            resolve("/v2/{repo}/manifests/oldcache").is(200).names("cache_index"),
            get("/v2/{repo}/manifests/{cache_index}").is(200).gives("cache_index"),
            fetch("cache").is(200).gives("cache"),
            fetch("layer3").is(200).gives("layer3"),
        ]);
    (table, material)
}
