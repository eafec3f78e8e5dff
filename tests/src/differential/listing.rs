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
        get("/"),
        head("/"),
        get("/v2/"),
        head("/v2/"),
        get("/v2"),
        post("/v2/"),
        put("/v2/", b""),
        delete("/v2/"),
        ask("OPTIONS", "/v2/"),
        get("/v1/_ping"),
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
    let mut steps = vec![get("/v2/_catalog"), head("/v2/_catalog")];
    steps.extend(pushed(material, "alpha", &["v1"]));
    steps.extend(pushed(material, "alpha/beta", &["v1"]));
    steps.extend(pushed(material, "gamma", &["v1"]));
    steps.extend([
        get("/v2/_catalog"),
        head("/v2/_catalog"),
        get("/v2/_catalog?n=1"),
        get("/v2/_catalog?n=2"),
        get("/v2/_catalog?n=1&last=alpha"),
        get("/v2/_catalog?n=3"),
        get("/v2/_catalog?n=100"),
        get("/v2/_catalog?last=alpha%2Fbeta"),
        get("/v2/_catalog?n=5&last=zzz"),
        get("/v2/_catalog?n=0"),
        get("/v2/_catalog?n=-1"),
        get("/v2/_catalog?n=many"),
        get("/v2/_catalog/"),
        post("/v2/_catalog"),
        delete("/v2/_catalog"),
    ]);
    steps
}

fn tags(material: &Material) -> Vec<Step> {
    let mut steps = pushed(material, "team/app", &["v2", "v1", "latest", "V3", "1.0"]);
    steps.extend([
        get("/v2/team/app/tags/list"),
        head("/v2/team/app/tags/list"),
        get("/v2/nothing/here/tags/list"),
        head("/v2/nothing/here/tags/list"),
        get("/v2/team/app/tags/list?n=2"),
        get("/v2/team/app/tags/list?n=2&last=V3"),
        get("/v2/team/app/tags/list?n=0"),
        get("/v2/team/app/tags/list?n=none"),
        get("/v2/team/app/tags/list?last=latest"),
        get("/v2/Team/tags/list"),
        post("/v2/team/app/tags/list"),
        delete("/v2/team/app/tags/list"),
        get("/v2/team/app/tags/list/"),
        get("/v2/team/app/tags/v1"),
    ]);
    steps
}

fn paths(material: &Material) -> Vec<Step> {
    let digest = &material.layer.digest;
    vec![
        get("/v2/team/app"),
        get("/v2/team/app/"),
        get("/v2/team//app/tags/list"),
        get("/v2/team/./app/tags/list"),
        get("/v2/team/x/../app/tags/list"),
        get("/v2//tags/list"),
        get("/v2/team%2Fapp/tags/list"),
        get("/V2/"),
        get("/v2/team/app/manifests/"),
        get("/v2/team/app/blobs/"),
        get("/v2/team/app/unknown/v1"),
        get("/metrics"),
        get("/debug/health"),
        get(format!("/v2/{}/tags/list", "a".repeat(300))),
        get(format!("/v2/team-/blobs/{digest}")),
        get(format!("/v2/team__app/blobs/{digest}")),
        get(format!("/v2/team___app/blobs/{digest}")),
    ]
}
