//! Manifests: pushes, reads by tag and digest, conditions, deletes, and documents that are none.

use super::{
    material::{Content, DOCKER, DOCKER_LIST, INDEX, Material},
    step::{Step, ask, delete, get, head, patch, post, put},
};
use crate::http::{OCI_MANIFEST, digest_of, manifest};

/// The requests; `team/app` holds the image.
pub fn steps(material: &Material) -> Vec<Step> {
    let mut steps = read(material);
    steps.extend(written(material));
    steps.extend(refused(material));
    steps.extend(deleted(material));
    steps
}

fn at(reference: &str) -> String {
    format!("/v2/team/app/manifests/{reference}")
}

fn read(material: &Material) -> Vec<Step> {
    let image = &material.image;
    let etag = format!("\"{}\"", image.digest);
    let unknown = format!("sha256:{}", "0".repeat(64));
    vec![
        get(at("v1")).field("Accept", DOCKER),
        head(at("v1")).field("Accept", DOCKER),
        get(at("v1")).field("Accept", format!("{DOCKER_LIST}, {DOCKER};q=0.5, */*;q=0.1")),
        get(at("v1")).field("Accept", DOCKER_LIST).field("Accept", DOCKER),
        get(at(&image.digest)).field("Accept", DOCKER),
        head(at(&image.digest)).field("Accept", DOCKER),
        get(at(&image.digest)),
        get(at(&image.digest.replace(':', "%3A"))).field("Accept", DOCKER),
        get(at("absent")).field("Accept", DOCKER),
        head(at("absent")).field("Accept", DOCKER),
        get(at(&unknown)).field("Accept", DOCKER),
        head(at(&unknown)).field("Accept", DOCKER),
        get("/v2/nothing/here/manifests/v1"),
        head("/v2/nothing/here/manifests/v1"),
        get(at(".dot")).rule("not-json").rule("tag"),
        get(at(&"t".repeat(129))).rule("not-json").rule("tag"),
        get(at("sha256:abc")).rule("digest"),
        get(at("v1/")).rule("slashes"),
        get("/v2/Team/app/manifests/v1").rule("name"),
        get(at("v1")).field("Accept", DOCKER).field("If-None-Match", &etag).rule("not-modified"),
        get(at("v1")).field("Accept", DOCKER).field("If-None-Match", &image.digest).rule("not-modified"),
        head(at("v1")).field("Accept", DOCKER).field("If-None-Match", &etag).rule("not-modified"),
        get(at("v1")).field("Accept", DOCKER).field("If-None-Match", "\"other\""),
        get(at(&image.digest)).field("Accept", DOCKER).field("If-None-Match", &etag).rule("not-modified"),
        get(at("v1")).field("Accept", DOCKER).field("Range", "bytes=0-9"),
        // Without, or with other, types.
        get(at("v1")).rule("accept"),
        get(at("v1")).field("Accept", "*/*").rule("accept"),
        get(at("v1")).field("Accept", OCI_MANIFEST).rule("accept"),
        post(at("v1")).rule("not-json"),
        patch(at("v1"), b"{}").rule("not-json"),
        ask("OPTIONS", at("v1")).rule("options"),
    ]
}

fn written(material: &Material) -> Vec<Step> {
    let Material { image, oci, list, index, .. } = material;
    let write =
        |reference: &str, content: &Content, kind: &str| put(at(reference), &content.bytes).field("Content-Type", kind);
    vec![
        write("again", image, DOCKER),
        write("again", image, DOCKER),
        write(&image.digest, image, DOCKER),
        write("chunked", image, DOCKER).chunked(),
        write("oci", oci, OCI_MANIFEST),
        get(at("oci")).field("Accept", OCI_MANIFEST),
        head(at("oci")).field("Accept", OCI_MANIFEST),
        get(at(&oci.digest)).field("Accept", OCI_MANIFEST),
        get(at("oci")).rule("accept"),
        get(at("oci")).field("Accept", DOCKER).rule("accept"),
        write("list", list, DOCKER_LIST),
        get(at("list")).field("Accept", format!("{DOCKER_LIST}, {DOCKER}")),
        get(at("list")).field("Accept", DOCKER).rule("accept"),
        get(at("list")).rule("accept"),
        write("index", index, INDEX),
        get(at("index")).field("Accept", INDEX),
        get(at("index")).field("Accept", OCI_MANIFEST).rule("accept"),
        get(at("index")).rule("accept"),
        write("typed", image, &format!("{DOCKER}; charset=utf-8")),
        write("untyped-oci", oci, OCI_MANIFEST),
        get("/v2/team/app/tags/list").rule("tags-order"),
        get(format!("/v2/team/app/referrers/{}", image.digest)).rule("referrers"),
    ]
}

fn refused(material: &Material) -> Vec<Step> {
    let Material { image, oci, config, .. } = material;
    let absent = digest_of(b"absent");
    let without = manifest(&config.digest, config.bytes.len() as u64, &[(absent.clone(), 6)]);
    let twice = manifest(&absent, 6, &[(digest_of(b"also absent"), 11)]);
    let size = String::from_utf8_lossy(&oci.bytes).replace("1000", "1001");
    let childless = format!(
        r#"{{"schemaVersion":2,"mediaType":"{DOCKER_LIST}","manifests":[{{"mediaType":"{DOCKER}","digest":"{absent}","size":6,"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#
    );
    let write = |reference: &str, text: &[u8], kind: &str| put(at(reference), text).field("Content-Type", kind);
    vec![
        write("bad", without.as_bytes(), OCI_MANIFEST),
        write("bad", twice.as_bytes(), OCI_MANIFEST),
        write("bad", childless.as_bytes(), DOCKER_LIST),
        write("bad", b"", DOCKER),
        write("bad", b"{}", DOCKER),
        write("bad", b"not json", DOCKER),
        write("bad", b"[]", DOCKER),
        write("bad", b"{\"schemaVersion\":1}", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        write("bad", &image.bytes[..image.bytes.len() - 1], DOCKER),
        write("bad", &image.bytes, OCI_MANIFEST),
        write("bad", &image.bytes, "text/plain"),
        put(at("bad"), &image.bytes).rule("manifest-type"),
        write(&absent, &image.bytes, DOCKER),
        write("sha256:abc", &image.bytes, DOCKER).rule("digest"),
        write(&"t".repeat(129), &image.bytes, DOCKER).rule("not-json").rule("tag"),
        write(".dot", &image.bytes, DOCKER).rule("not-json").rule("tag"),
        write("bad", size.as_bytes(), OCI_MANIFEST).rule("descriptor-size"),
        put("/v2/Team/manifests/v1", &image.bytes).field("Content-Type", DOCKER).rule("not-json").rule("name"),
        put("/v2/team/nowhere/manifests/v1", &image.bytes).field("Content-Type", DOCKER),
    ]
}

fn deleted(material: &Material) -> Vec<Step> {
    let Material { image, index, .. } = material;
    let unknown = format!("sha256:{}", "0".repeat(64));
    let alpha = |reference: &str| format!("/v2/alpha/manifests/{reference}");
    vec![
        delete(at(&unknown)),
        delete(format!("/v2/nothing/here/manifests/{unknown}")).rule("delete-in-no-repository"),
        delete(at("sha256:abc")),
        delete(at("absent")).rule("delete-tag"),
        delete(at(&index.digest)),
        get(at("index")).field("Accept", INDEX),
        // A tag.
        delete("/v2/gamma/manifests/v1").rule("delete-tag"),
        get("/v2/gamma/manifests/v1").field("Accept", DOCKER).rule("delete-tag"),
        // A manifest with its tag.
        delete(alpha(&image.digest)),
        get(alpha("v1")).field("Accept", DOCKER),
        get(alpha(&image.digest)).field("Accept", DOCKER),
        head(alpha(&image.digest)).field("Accept", DOCKER),
        delete(alpha(&image.digest)),
        get("/v2/alpha/tags/list").rule("no-tags"),
        get("/v2/_catalog").rule("mount-without-from"),
        // And pushed again.
        put(alpha("v1"), &image.bytes).field("Content-Type", DOCKER),
        get(alpha("v1")).field("Accept", DOCKER),
        // A layer that a manifest names, and a manifest that a list names.
        delete(format!("/v2/alpha/blobs/{}", material.layer.digest)).rule("delete-in-use"),
        delete(at(&image.digest)).rule("delete-in-use"),
    ]
}
