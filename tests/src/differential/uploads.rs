//! Uploads: whole, in chunks, mounted, given up, and wrong.

use super::{
    material::Material,
    step::{Step, ask, delete, get, head, patch, post, put},
};
use crate::http::digest_of;

const UPLOADS: &str = "/v2/team/up/blobs/uploads/";

/// The requests; `team/app` holds the image.
pub fn steps(material: &Material) -> Vec<Step> {
    let mut steps = whole(material);
    steps.extend(in_chunks(material));
    steps.extend(mounts(material));
    steps.extend(given_up());
    steps.extend(wrong(material));
    steps
}

fn whole(material: &Material) -> Vec<Step> {
    let layer = &material.layer;
    let octets = |step: Step| step.field("Content-Type", "application/octet-stream");
    let empty = digest_of(b"");
    vec![
        post(UPLOADS).save("u"),
        octets(put(format!("$u?digest={}", layer.digest), &layer.bytes)),
        head(format!("/v2/team/up/blobs/{}", layer.digest)),
        // Pushed again.
        post(UPLOADS).save("u"),
        octets(put(format!("$u?digest={}", layer.digest), &layer.bytes)),
        post(UPLOADS).save("u"),
        octets(put(format!("$u?digest={}", layer.digest), &layer.bytes).chunked()),
        post(UPLOADS).save("u"),
        put(format!("$u?digest={}", layer.digest.replace(':', "%3A")), &layer.bytes),
        // The empty blob.
        post(UPLOADS).save("u"),
        put(format!("$u?digest={empty}"), b""),
        get(format!("/v2/team/up/blobs/{empty}")),
        head(format!("/v2/team/up/blobs/{empty}")),
        // POST with the whole blob.
        octets(post(format!("{UPLOADS}?digest={}", layer.digest)).body(&layer.bytes)).rule("post-with-digest"),
        // Without a slash at the end.
        post("/v2/team/up/blobs/uploads").rule("slashes"),
        post(UPLOADS).body(b"what is this"),
        post(UPLOADS).field("Content-Type", "application/json"),
    ]
}

fn in_chunks(material: &Material) -> Vec<Step> {
    let layer = &material.layer;
    let (first, second) = layer.bytes.split_at(400);
    let last = format!("$u?digest={}", layer.digest);
    vec![
        post(UPLOADS).save("u"),
        get("$u"),
        head("$u"),
        patch("$u", &layer.bytes).chunked().save("u"),
        get("$u").save("u"),
        put(&last, b""),
        // After its end.
        get("$u"),
        put(&last, b"").rule("put-again"),
        patch("$u", b"more"),
        delete("$u"),
        post(UPLOADS).save("u"),
        patch("$u", first).save("u"),
        get("$u").save("u"),
        patch("$u", second).save("u"),
        put(&last, b""),
        // With ranges, the last chunk in PUT.
        post(UPLOADS).save("u"),
        patch("$u", first).field("Content-Range", "0-399").save("u"),
        put(&last, second).field("Content-Range", "400-999"),
        get(format!("/v2/team/up/blobs/{}", layer.digest)),
        // An empty chunk.
        post(UPLOADS).save("u"),
        patch("$u", b"").save("u"),
        get("$u").save("u"),
        put(&last, &layer.bytes),
        // Out of order, and of another length.
        post(UPLOADS).save("u"),
        patch("$u", first).field("Content-Range", "5-404").rule("content-range"),
        post(UPLOADS).save("u"),
        patch("$u", first).field("Content-Range", "0-99").rule("content-range"),
        post(UPLOADS).save("u"),
        patch("$u", first).field("Content-Range", "bytes 0-399/*"),
        post(UPLOADS).save("u"),
        patch("$u", first).field("Content-Range", "nonsense").rule("content-range"),
        post(UPLOADS).save("u"),
        patch("$u", first).save("u"),
        put(&last, second).field("Content-Range", "0-599").rule("content-range"),
        // Of another type.
        post(UPLOADS).save("u"),
        ask("PATCH", "$u").body(first).field("Content-Type", "text/plain").rule("chunk-type"),
        post(UPLOADS).save("u"),
        ask("PATCH", "$u").body(first),
    ]
}

fn mounts(material: &Material) -> Vec<Step> {
    let digest = &material.layer.digest;
    let unknown = format!("sha256:{}", "1".repeat(64));
    let mount = |query: String| post(format!("/v2/team/mounted/blobs/uploads/?{query}"));
    vec![
        head(format!("/v2/team/mounted/blobs/{digest}")),
        mount(format!("mount={unknown}&from=team/app")),
        mount(format!("mount={digest}&from=nothing/here")),
        mount("mount=nonsense&from=team/app".into()),
        mount(format!("mount={digest}&from=Nonsense")),
        mount(format!("mount={digest}&from=team/app")),
        mount(format!("mount={digest}&from=team/app")),
        mount(format!("mount={digest}&from=team%2Fapp")),
        mount(format!("mount={}&from=team%2Fapp", digest.replace(':', "%3A"))),
        get(format!("/v2/team/mounted/blobs/{digest}")),
        post(format!("/v2/team/automatic/blobs/uploads/?mount={digest}")).rule("mount-without-from"),
    ]
}

fn given_up() -> Vec<Step> {
    let strange = "/v2/team/up/blobs/uploads/6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    vec![
        post(UPLOADS).save("u"),
        delete("$u"),
        get("$u"),
        delete("$u"),
        get(strange).rule("no-such-upload"),
        head(strange),
        patch(strange, b"x").rule("no-such-upload"),
        put(format!("{strange}?digest={}", digest_of(b"x")), b"x").rule("no-such-upload"),
        delete(strange).rule("no-such-upload"),
        get("/v2/team/up/blobs/uploads/nonsense").rule("no-such-upload"),
        patch("/v2/team/up/blobs/uploads/nonsense", b"x").rule("no-such-upload"),
    ]
}

fn wrong(material: &Material) -> Vec<Step> {
    let layer = &material.layer;
    let other = digest_of(b"other");
    vec![
        post(UPLOADS).save("u"),
        put(format!("$u?digest={other}"), &layer.bytes),
        get("$u").rule("kept-upload"),
        post(UPLOADS).save("u"),
        put("$u", &layer.bytes),
        post(UPLOADS).save("u"),
        put("$u?digest=nonsense", &layer.bytes),
        post(UPLOADS).save("u"),
        put("$u?digest=sha256:abc", &layer.bytes),
        post(UPLOADS).save("u"),
        put(format!("$u?digest=md5:{}", "0".repeat(32)), &layer.bytes),
        // An upload of another repository.
        post("/v2/team/else/blobs/uploads/").save("v"),
        get("$v"),
        get(UPLOADS).rule("upload-methods"),
        delete(UPLOADS).rule("upload-methods"),
        put(UPLOADS, b"").rule("upload-methods"),
        post("/v2/Team/blobs/uploads/").rule("not-json").rule("name"),
        post(format!("/v2/{}/blobs/uploads/", "a".repeat(256))).rule("name"),
        ask("OPTIONS", UPLOADS).rule("options"),
        post("$v").rule("upload-methods"),
    ]
}
