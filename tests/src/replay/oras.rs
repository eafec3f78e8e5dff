//! oras, helm and notation (oras-go).

use super::{Material, OCI_EMPTY, OCI_INDEX, Step, Table, delete, get, head, post, put};
use crate::http::OCI_MANIFEST;
use serde_json::json;

const ORAS: &str = "oras-go";
const HELM: &str = "Helm/3.18.0";
const NOTATION: &str = "notation/1.3.2";
/// It asks for the referrers of this digest to learn whether there is such an endpoint.
const NOBODY: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// HEAD, POST, and one PUT, which must answer 201.
fn blob(name: &'static str) -> Vec<Step> {
    vec![
        head(&format!("/v2/{{repo}}/blobs/{{{name}}}")).is(404),
        post("/v2/{repo}/blobs/uploads/").is(202).location("upload"),
        put("{upload}").digest(name).octets().sized(name).is(201),
    ]
}

/// By digest first, then by the tag.
fn manifest(tag: Option<&str>, name: &'static str) -> Vec<Step> {
    let path = format!("/v2/{{repo}}/manifests/{{{name}}}");
    let mut steps = vec![
        head(&path).accept(OCI_MANIFEST).is(404),
        put(&path).with("content-type", OCI_MANIFEST).sized(name).is(201).names(name),
    ];
    if let Some(tag) = tag {
        let path = format!("/v2/{{repo}}/manifests/{tag}");
        steps.push(put(&path).with("content-type", OCI_MANIFEST).sized(name).is(201).names(name));
    }
    steps
}

/// Reading by tag: HEAD, whose length must be the descriptor's, then the bytes.
fn resolve(material: &Material, tag: &str, name: &'static str) -> Vec<Step> {
    let length = material.of(name).len().to_string();
    vec![
        head(&format!("/v2/{{repo}}/manifests/{tag}"))
            .accept(&format!("{OCI_MANIFEST}, {OCI_INDEX}"))
            .is(200)
            .names(name)
            .says("content-type", OCI_MANIFEST)
            .says("content-length", &length),
        get(&format!("/v2/{{repo}}/manifests/{{{name}}}"))
            .accept(OCI_MANIFEST)
            .is(200)
            .gives(name)
            .says("content-length", &length),
    ]
}

fn fetch(material: &Material, name: &'static str) -> Step {
    let length = material.of(name).len().to_string();
    get(&format!("/v2/{{repo}}/blobs/{{{name}}}"))
        .is(200)
        .gives(name)
        .says("content-length", &length)
        .says("accept-ranges", "bytes")
}

/// Artifacts with a subject, reading at an offset, deletes.
pub fn oras(repository: &str) -> (Table, Material) {
    let mut material = Material::new(repository).image(71, &[80_000]).bytes("empty", "{}").bytes("note", "a note");
    let document = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "example/note",
        "config": material.descriptor("empty", OCI_EMPTY), "layers": [material.descriptor("note", "text/plain")],
        "subject": material.descriptor("manifest", OCI_MANIFEST)});
    material = material.json("artifact", &document);
    let table = Table::new("oras", ORAS)
        .then(blob("layer0"))
        .then(blob("config"))
        .then(manifest(Some("v1"), "manifest"))
        .then(resolve(&material, "v1", "manifest"))
        .then([
            // The type decides whether there is a referrers endpoint: no parameter, nothing else.
            get(&format!("/v2/{{repo}}/referrers/{NOBODY}")).is(200).says("content-type", OCI_INDEX),
        ])
        .then(blob("note"))
        .then(blob("empty"))
        .then([
            // With this header it does not write the fallback tag.
            put("/v2/{repo}/manifests/{artifact}")
                .with("content-type", OCI_MANIFEST)
                .sized("artifact")
                .is(201)
                .says("oci-subject", "{manifest}"),
            get("/v2/{repo}/referrers/{manifest}?artifactType=example%2Fnote")
                .is(200)
                .says("content-type", OCI_INDEX)
                .says("oci-filters-applied", "artifactType")
                .json("/manifests/0/digest", "\"{artifact}\""),
            get("/v2/{repo}/referrers/{manifest}?artifactType=example%2Fother").is(200).json("/manifests", "[]"),
            fetch(&material, "layer0"),
            // A reader that seeks.
            get("/v2/{repo}/blobs/{layer0}")
                .with("range", "bytes=70000-79999")
                .is(206)
                .gives_part("layer0", 70_000, 79_999),
            get("/v2/{repo}/tags/list").is(200).json("/tags", r#"["v1"]"#).last(),
            delete("/v2/{repo}/manifests/{artifact}").is(202),
            head("/v2/{repo}/manifests/{artifact}").accept(OCI_MANIFEST).is(404),
            get("/v2/{repo}/referrers/{manifest}").is(200).json("/manifests", "[]"),
        ])
        .then([
            get("/v2/nobody/here/tags/list").is(404).code("NAME_UNKNOWN"),
            delete("/v2/{repo}/blobs/{note}").is(202),
            head("/v2/{repo}/blobs/{note}").is(404),
        ]);
    (table, material)
}

/// A chart with its provenance; `+` of its version is `_` in its tag.
pub fn helm(repository: &str) -> (Table, Material) {
    let mut material = Material::new(repository)
        .json("config", &json!({"name": "chart", "version": "1.2.3+build.5", "apiVersion": "v2"}))
        .noise("chart", 7100, 30_000)
        .bytes("provenance", "-----BEGIN PGP SIGNED MESSAGE-----\n");
    let document = json!({"schemaVersion": 2,
        "config": material.descriptor("config", "application/vnd.cncf.helm.config.v1+json"),
        "layers": [material.descriptor("chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
            material.descriptor("provenance", "application/vnd.cncf.helm.chart.provenance.v1.prov")],
        "annotations": {"org.opencontainers.image.version": "1.2.3+build.5"}});
    material = material.json("manifest", &document);
    let tag = "1.2.3_build.5";
    let table = Table::new("helm", HELM)
        .together([blob("config"), blob("chart"), blob("provenance")])
        .then(manifest(Some(tag), "manifest"))
        .then([get("/v2/{repo}/tags/list").is(200).json("/tags", r#"["1.2.3_build.5"]"#).last()])
        .then(resolve(&material, tag, "manifest"))
        .then([fetch(&material, "config"), fetch(&material, "chart"), fetch(&material, "provenance")]);
    (table, material)
}

/// A signature as a referrer: put by digest, found by its type.
pub fn notation(repository: &str) -> (Table, Material) {
    let kind = "application/vnd.cncf.notary.signature";
    let mut material = Material::new(repository).image(72, &[60_000]).bytes("empty", "{}");
    material = material.json("envelope", &json!({"payload": "eyJ0", "protected": "eyJh", "signature": "c2ln"}));
    // Older versions say what it is by the type of the config.
    for (name, field, config) in [("signature", "artifactType", OCI_EMPTY), ("older", "note", kind)] {
        let mut document = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": material.descriptor("empty", config),
            "layers": [material.descriptor("envelope", "application/jose+json")],
            "subject": material.descriptor("manifest", OCI_MANIFEST),
            "annotations": {"io.cncf.notary.x509chain.thumbprint#S256": "[]"}});
        document[field] = json!(kind);
        material = material.json(name, &document);
    }
    let sign = |name: &'static str| {
        let path = format!("/v2/{{repo}}/manifests/{{{name}}}");
        put(&path).with("content-type", OCI_MANIFEST).sized(name).is(201).says("oci-subject", "{manifest}")
    };
    let table = Table::new("notation", NOTATION)
        .then(blob("layer0"))
        .then(blob("config"))
        .then(manifest(Some("v1"), "manifest"))
        .then(resolve(&material, "v1", "manifest"))
        .then(blob("envelope"))
        .then(blob("empty"))
        .then([
            sign("signature"),
            sign("older"),
            get("/v2/{repo}/referrers/{manifest}?artifactType=application%2Fvnd.cncf.notary.signature")
                .is(200)
                .says("content-type", OCI_INDEX)
                .says("oci-filters-applied", "artifactType")
                .json("/manifests/0/artifactType", &format!("\"{kind}\""))
                .json("/manifests/1/artifactType", &format!("\"{kind}\""))
                .has("{signature}")
                .has("{older}")
                .has("io.cncf.notary.x509chain.thumbprint#S256"),
            get("/v2/{repo}/manifests/{signature}").accept(OCI_MANIFEST).is(200).gives("signature"),
            fetch(&material, "envelope"),
        ]);
    (table, material)
}
