//! Passwords and tokens.

use super::{
    Group, STORAGE,
    material::{Claims, DOCKER, Material},
    step::{Step, delete, get, head, post, put},
};

/// The groups.
pub fn groups(material: &Material) -> Vec<Group> {
    vec![htpasswd(material), token(material)]
}

/// Every endpoint once, without credentials.
fn strangers(material: &Material) -> Vec<Step> {
    let digest = &material.layer.digest;
    vec![
        get("/").rule("root"),
        get("/v2/"),
        head("/v2/"),
        get("/v2").rule("slashes"),
        get("/v2/_catalog"),
        get("/v2/team/app/tags/list"),
        get("/v2/team/app/manifests/v1"),
        head("/v2/team/app/manifests/v1"),
        put("/v2/team/app/manifests/v1", &material.image.bytes).field("Content-Type", DOCKER),
        delete(format!("/v2/team/app/manifests/{digest}")),
        get(format!("/v2/team/app/blobs/{digest}")),
        head(format!("/v2/team/app/blobs/{digest}")),
        delete(format!("/v2/team/app/blobs/{digest}")),
        post("/v2/team/app/blobs/uploads/"),
        post(format!("/v2/team/app/blobs/uploads/?mount={digest}&from=team/other")),
        get("/v2/team/app/blobs/uploads/6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
        get("/v2/Team/tags/list").rule("not-json").rule("name"),
        get("/v2/team/app/unknown").rule("not-json"),
    ]
}

/// A push and a pull, each request with what `sign` gives it.
fn round(material: &Material, sign: impl Fn(Step) -> Step) -> Vec<Step> {
    let Material { config, layer, image, .. } = material;
    let mut steps = vec![get("/v2/")];
    for blob in [config, layer] {
        steps.push(post("/v2/team/app/blobs/uploads/").save("u"));
        steps.push(put(format!("$u?digest={}", blob.digest), &blob.bytes));
    }
    steps.push(put("/v2/team/app/manifests/v1", &image.bytes).field("Content-Type", DOCKER));
    steps.push(get("/v2/team/app/manifests/v1").field("Accept", DOCKER));
    steps.push(get(format!("/v2/team/app/blobs/{}", layer.digest)));
    steps.into_iter().map(sign).collect()
}

fn htpasswd(material: &Material) -> Group {
    let sections = format!("{STORAGE}auth:\n  htpasswd:\n    realm: Registry Realm\n    path: $files/htpasswd\n");
    let mut steps = strangers(material);
    steps.extend(round(material, |step| step.login("alice", "wonderland")));
    steps.extend([
        get("/v2/_catalog").login("alice", "wonderland"),
        get("/v2/team/app/tags/list").login("alice", "wonderland"),
        get("/v2/nothing/tags/list").login("alice", "wonderland"),
        get("/v2/").login("alice", "looking-glass"),
        get("/v2/").login("bob", "wonderland"),
        get("/v2/").login("alice", ""),
        get("/v2/").login("", ""),
        get("/v2/").field("Authorization", "Basic nonsense!"),
        get("/v2/").field("Authorization", "Basic"),
        get("/v2/").bearer("nonsense"),
        get("/v2/team/app/manifests/v1").login("alice", "looking-glass"),
        delete(format!("/v2/team/app/manifests/{}", material.image.digest)).login("alice", "wonderland"),
    ]);
    Group::new("htpasswd", &sections, steps)
}

fn token(material: &Material) -> Group {
    let sections = format!(
        "{STORAGE}auth:\n  token:\n    realm: https://auth.example/token\n    service: service\n    issuer: issuer\n    \
         rootcertbundle: $files/tokens.pem\n"
    );
    let all = material.token(&Claims::to("repository:team/app:pull,push,delete"));
    let pull = material.token(&Claims::to("repository:team/app:pull"));
    let other = material.token(&Claims::to("repository:team/other:pull,push"));
    let catalog = material.token(&Claims::to("registry:catalog:*"));
    let expired = material.token(&Claims { ends: -1800, ..Claims::to("repository:team/app:pull") });
    let stranger = material.token(&Claims { issuer: "stranger", ..Claims::to("repository:team/app:pull") });
    let elsewhere = material.token(&Claims { audience: "elsewhere", ..Claims::to("repository:team/app:pull") });
    let unsigned = material.unsigned(&Claims::to("repository:team/app:pull,push"));
    let named = material.token_by_key_id(&Claims::to("repository:team/app:pull"));
    let tampered = {
        let (head, rest) = pull.split_once('.').unwrap_or_default();
        let (_, signature) = rest.split_once('.').unwrap_or_default();
        let claims = all.split('.').nth(1).unwrap_or_default();
        format!("{head}.{claims}.{signature}")
    };
    let manifest = || get("/v2/team/app/manifests/v1").field("Accept", DOCKER);
    let mut steps = strangers(material);
    // The one of an upload.
    steps[15] = steps[15].clone().rule("upload-scope");
    steps.extend(round(material, |step| step.bearer(&all)));
    steps.extend([
        manifest().bearer(&pull),
        manifest().bearer(&named),
        get("/v2/").bearer(&pull),
        post("/v2/team/app/blobs/uploads/").bearer(&pull),
        delete(format!("/v2/team/app/manifests/{}", material.image.digest)).bearer(&pull),
        manifest().bearer(&other),
        get("/v2/team/absent/tags/list").bearer(&other),
        post(format!("/v2/team/other/blobs/uploads/?mount={}&from=team/app", material.layer.digest))
            .bearer(&other)
            .rule("mount-without-pull"),
        get("/v2/_catalog").bearer(&all),
        get("/v2/_catalog").bearer(&catalog),
        manifest().bearer(&expired),
        manifest().bearer(&stranger),
        manifest().bearer(&elsewhere),
        manifest().bearer(&unsigned),
        manifest().bearer(&tampered),
        manifest().bearer("nonsense"),
        manifest().bearer("a.b.c"),
        get("/v2/").bearer("nonsense"),
        manifest().login("alice", "wonderland"),
        delete(format!("/v2/team/app/manifests/{}", material.image.digest)).bearer(&all),
    ]);
    Group::new("token", &sections, steps)
}
