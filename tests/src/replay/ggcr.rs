//! crane, ko and kaniko (go-containerregistry), and cosign, which stands on it.

use super::{DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_CONFIG, OCI_INDEX, Step, Table, get, head, patch, post, put};
use crate::http::OCI_MANIFEST;
use serde_json::json;

const CRANE: &str = "crane/0.20.3 go-containerregistry/v0.20.3";
const COSIGN: &str = "cosign/v2.5.0 (linux; amd64) go-containerregistry/v0.20.3";

fn accept_all(step: Step) -> Step {
    step.accept(&format!("{DOCKER_MANIFEST},{OCI_MANIFEST},{OCI_INDEX},{DOCKER_LIST}"))
}

/// A blob that is streamed: HEAD, POST, PATCH, PUT.
fn blob(name: &'static str) -> Vec<Step> {
    vec![
        head(&format!("/v2/{{repo}}/blobs/{{{name}}}")).is(404),
        post("/v2/{repo}/blobs/uploads/").with("content-type", "application/json").is(202).location("upload"),
        // Of known length, or a stream; both exist.
        patch("{upload}").stream(name).is(202).location("upload"),
        put("{upload}").digest(name).is(201),
    ]
}

fn manifest(reference: &str, name: &'static str, media_type: &str) -> Vec<Step> {
    let path = format!("/v2/{{repo}}/manifests/{reference}");
    vec![
        accept_all(head(&path)).is(404),
        put(&path).with("content-type", media_type).sized(name).is(201),
        accept_all(head(&path)).is(200).names(name).says("content-type", media_type),
    ]
}

/// A push with mounts, tags page by page, a pull, referrers.
///
/// Expects 1001 tags `t0000`… in `{many}`.
pub fn crane(repository: &str) -> (Table, Material) {
    let material = Material::new(repository).word("base", "base/crane").image(61, &[120_000, 900_000]);
    let mount = "/v2/{repo}/blobs/uploads/?from={%base}&mount={%layer0}&origin=registry.example.org";
    let table = Table::new("crane", CRANE)
        .then([
            get("/v2/").is(200),
            post("/v2/{base}/blobs/uploads/?digest={%layer0}").octets().sized("layer0").is(201),
            head("/v2/{repo}/blobs/{layer0}").is(404),
            post(mount).with("content-type", "application/json").is(201),
            // `origin` names where the layer comes from; without the layer there, an upload is opened and used.
            post("/v2/{repo}/blobs/uploads/?from={%base}&mount={%layer1}&origin=registry.example.org")
                .with("content-type", "application/json")
                .is(202)
                .location("upload"),
            patch("{upload}").sized("layer1").is(202).location("upload"),
            put("{upload}").digest("layer1").is(201),
        ])
        .then(blob("config"))
        .then(manifest("v1", "manifest", OCI_MANIFEST))
        .then([
            accept_all(get("/v2/{repo}/manifests/v1")).is(200).gives("manifest").names("manifest"),
            get("/v2/{repo}/blobs/{config}").is(200).gives("config"),
            get("/v2/{repo}/blobs/{layer1}").is(200).gives("layer1"),
            // kaniko's cache asks for tags that are not there, and takes anything but 404 as a failure.
            accept_all(get("/v2/{repo}/cache/manifests/absent")).is(404),
            accept_all(head("/v2/{repo}/cache/manifests/absent")).is(404),
            get("/v2/{repo}/tags/list?n=1000").is(200).json("/tags", r#"["v1"]"#).last(),
            get("/v2/{many}/tags/list?n=1000").is(200).has("\"t0000\"").has("\"t0999\"").next("more"),
            get("{more}").is(200).json("/tags", r#"["t1000"]"#).last(),
            get("/v2/{repo}/referrers/{manifest}")
                .accept(OCI_INDEX)
                .is(200)
                .says("content-type", OCI_INDEX)
                .json("/manifests", "[]"),
        ]);
    (table, material)
}

/// Signatures, attestations and SBOMs as tags, and the newer bundle as a referrer.
pub fn cosign(repository: &str) -> (Table, Material) {
    let (simple, dsse) = ("application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json");
    let (sbom, bundle) = ("text/spdx+json", "application/vnd.dev.sigstore.bundle.v0.3+json");
    let mut material = Material::new(repository).image(62, &[90_000]);
    for (name, layer) in [("sig", simple), ("sig2", simple), ("att", dsse), ("sbom", sbom)] {
        let (payload, config) = (format!("{name}_payload"), format!("{name}_config"));
        let of = material.digest("manifest");
        material = material.json(&payload, &json!({"payload": name, "of": of}));
        material = material.json(&config, &json!({"rootfs": {"type": "layers"}, "kind": name, "of": of}));
        let mut signed = material.descriptor(&payload, layer);
        signed["annotations"] = json!({"dev.cosignproject.cosign/signature": "c2ln"});
        let mut layers = vec![signed];
        if name == "sig2" {
            // A second signature is added to the first.
            layers.insert(0, material.descriptor("sig_payload", simple));
        }
        let config = material.descriptor(&config, OCI_CONFIG);
        let document = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        material = material.json(name, &document);
    }
    material = material.bytes("empty", "{}").json("bundle_payload", &json!({"mediaType": bundle}));
    let document = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": bundle,
        "config": material.descriptor("empty", "application/vnd.oci.empty.v1+json"),
        "layers": [material.descriptor("bundle_payload", bundle)],
        "subject": material.descriptor("manifest", OCI_MANIFEST)});
    material = material.json("bundle", &document);

    let tag = |suffix: &str| format!("{}.{suffix}", material.digest("manifest").replace(':', "-"));
    let tagged = |suffix: &str| format!("/v2/{{repo}}/manifests/{}", tag(suffix));
    let signature = put(&tagged("sig")).with("content-type", OCI_MANIFEST).sized("sig2").is(201).names("sig2");
    let referrers = "/v2/{repo}/referrers/{manifest}";
    let table = Table::new("cosign", COSIGN)
        .then(blob("layer0"))
        .then(blob("config"))
        .then(manifest("v1", "manifest", OCI_MANIFEST))
        .then([accept_all(get(&tagged("sig"))).is(404).code("MANIFEST_UNKNOWN")])
        .then(blob("sig_payload"))
        .then(blob("sig_config"))
        .then(manifest(&tag("sig"), "sig", OCI_MANIFEST))
        .then([accept_all(get(&tagged("sig"))).is(200).gives("sig")])
        .then(blob("sig2_payload"))
        .then(blob("sig2_config"))
        .then([signature, accept_all(get(&tagged("sig"))).is(200).gives("sig2")])
        .then(blob("att_payload"))
        .then(blob("att_config"))
        .then(manifest(&tag("att"), "att", OCI_MANIFEST))
        .then(blob("sbom_payload"))
        .then(blob("sbom_config"))
        .then(manifest(&tag("sbom"), "sbom", OCI_MANIFEST))
        .then(blob("bundle_payload"))
        .then(blob("empty"))
        .then([
            put("/v2/{repo}/manifests/{bundle}")
                .with("content-type", OCI_MANIFEST)
                .sized("bundle")
                .is(201)
                .says("oci-subject", "{manifest}"),
            get(referrers)
                .accept(OCI_INDEX)
                .is(200)
                .says("content-type", OCI_INDEX)
                .json("/manifests/0/digest", "\"{bundle}\"")
                .json("/manifests/0/artifactType", &format!("\"{bundle}\""))
                // Its own tags are no fallback tags.
                .lacks("{sig2}")
                .lacks("{att}"),
            accept_all(get("/v2/{repo}/manifests/{bundle}")).is(200).gives("bundle"),
            get("/v2/{repo}/blobs/{bundle_payload}").is(200).gives("bundle_payload"),
        ]);
    (table, material)
}
