//! The base, the catalogue, lists of tags, and paths and methods that are none.

use super::{
    material::{DOCKER, Material},
    step::{Step, ask, delete, get, head, post, put},
};

/// The requests.
pub fn steps(material: &Material) -> Vec<Step> {
    let mut steps = base();
    steps.extend(catalog(material));
    steps.extend(tags(material));
    steps.extend(paths(material));
    steps
}

fn base() -> Vec<Step> {
    vec![
        get("/").rule("root"),
        head("/").rule("root"),
        get("/v2/"),
        head("/v2/"),
        get("/v2").rule("slashes"),
        post("/v2/").rule("base-methods"),
        put("/v2/", b"").rule("base-methods"),
        delete("/v2/").rule("base-methods"),
        ask("OPTIONS", "/v2/").rule("options"),
        get("/v1/_ping").rule("not-json"),
        get("/v2/?ns=docker.io"),
        get("/v2/").field("Accept", "text/html"),
    ]
}

/// An image in `repository` under `tag`.
fn pushed(material: &Material, repository: &str, tags: &[&str]) -> Vec<Step> {
    let Material { config, layer, image, .. } = material;
    let mut steps = Vec::new();
    for blob in [config, layer] {
        steps.push(post(format!("/v2/{repository}/blobs/uploads/")).save("push"));
        steps.push(put(format!("$push?digest={}", blob.digest), &blob.bytes));
    }
    for tag in tags {
        let path = format!("/v2/{repository}/manifests/{tag}");
        steps.push(put(path, &image.bytes).field("Content-Type", DOCKER));
    }
    steps
}

fn catalog(material: &Material) -> Vec<Step> {
    let mut steps = vec![get("/v2/_catalog"), head("/v2/_catalog").rule("head-of-lists")];
    steps.extend(pushed(material, "alpha", &["v1"]));
    steps.extend(pushed(material, "alpha/beta", &["v1"]));
    steps.extend(pushed(material, "gamma", &["v1"]));
    steps.extend([
        get("/v2/_catalog"),
        head("/v2/_catalog").rule("head-of-lists"),
        get("/v2/_catalog?n=1"),
        get("/v2/_catalog?n=2"),
        get("/v2/_catalog?n=1&last=alpha"),
        get("/v2/_catalog?n=3"),
        get("/v2/_catalog?n=100"),
        get("/v2/_catalog?last=alpha%2Fbeta"),
        get("/v2/_catalog?n=5&last=zzz"),
        get("/v2/_catalog?n=0"),
        get("/v2/_catalog?n=5000").rule("catalog-page"),
        get("/v2/_catalog?n=-1").rule("page-size"),
        get("/v2/_catalog?n=many").rule("page-size"),
        get("/v2/_catalog/").rule("slashes"),
        post("/v2/_catalog").rule("not-json").rule("head-of-lists"),
        delete("/v2/_catalog").rule("not-json").rule("head-of-lists"),
    ]);
    steps
}

fn tags(material: &Material) -> Vec<Step> {
    let mut steps = pushed(material, "team/app", &["v2", "v1", "latest", "V3", "1.0"]);
    steps.extend([
        get("/v2/team/app/tags/list").rule("tags-order"),
        head("/v2/team/app/tags/list").rule("head-of-lists"),
        get("/v2/nothing/here/tags/list"),
        head("/v2/nothing/here/tags/list").rule("head-of-lists"),
        get("/v2/team/app/tags/list?n=2").rule("tags-pages"),
        get("/v2/team/app/tags/list?n=2&last=V3").rule("tags-pages"),
        get("/v2/team/app/tags/list?n=0").rule("tags-pages"),
        get("/v2/team/app/tags/list?n=none").rule("page-size"),
        get("/v2/team/app/tags/list?last=latest").rule("tags-pages"),
        get("/v2/Team/tags/list").rule("not-json").rule("name"),
        post("/v2/team/app/tags/list").rule("not-json").rule("head-of-lists"),
        delete("/v2/team/app/tags/list").rule("not-json").rule("head-of-lists"),
        get("/v2/team/app/tags/list/").rule("slashes"),
        get("/v2/team/app/tags/v1").rule("not-json"),
    ]);
    steps
}

fn paths(material: &Material) -> Vec<Step> {
    let digest = &material.layer.digest;
    vec![
        get("/v2/team/app").rule("not-json"),
        get("/v2/team/app/").rule("not-json"),
        get("/v2/team//app/tags/list").rule("slashes"),
        get("/v2/team/./app/tags/list").rule("slashes"),
        get("/v2/team/x/../app/tags/list").rule("slashes"),
        get("/v2//tags/list").rule("slashes"),
        get("/v2/team%2Fapp/tags/list").rule("escaped-slash"),
        get("/V2/").rule("not-json"),
        get("/v2/team/app/manifests/").rule("not-json"),
        get("/v2/team/app/blobs/").rule("not-json"),
        get("/v2/team/app/unknown/v1").rule("not-json"),
        get("/metrics").rule("not-json"),
        get("/debug/health").rule("not-json"),
        get(format!("/v2/{}/tags/list", "a".repeat(300))).rule("name"),
        get(format!("/v2/team-/blobs/{digest}")).rule("not-json").rule("name"),
        get(format!("/v2/team__app/blobs/{digest}")),
        get(format!("/v2/team___app/blobs/{digest}")).rule("not-json").rule("name"),
    ]
}
