//! Blobs: reads, ranges, conditions, deletes.

use super::{
    material::Material,
    step::{Step, ask, delete, get, head, post, put},
};

/// The requests; `team/app` holds the image.
pub fn steps(material: &Material) -> Vec<Step> {
    let Material { layer, config, .. } = material;
    let blob = format!("/v2/team/app/blobs/{}", layer.digest);
    let etag = format!("\"{}\"", layer.digest);
    let unknown = format!("sha256:{}", "0".repeat(64));
    let range = |value: &str| get(&blob).field("Range", value);
    let mut steps = vec![
        get(&blob),
        head(&blob),
        get(format!("/v2/team/app/blobs/{}", config.digest)),
        get(blob.replace(':', "%3A")),
        head(blob.replace(':', "%3A")),
        get(format!("/v2/team/app/blobs/{unknown}")),
        head(format!("/v2/team/app/blobs/{unknown}")),
        get(format!("/v2/nothing/here/blobs/{}", layer.digest)),
        head(format!("/v2/nothing/here/blobs/{}", layer.digest)),
        get("/v2/team/app/blobs/latest").rule("not-json").rule("digest"),
        get("/v2/team/app/blobs/sha256:abc"),
        get(format!("/v2/team/app/blobs/{}", layer.digest.to_uppercase().replace("SHA256", "sha256"))),
        get(format!("/v2/team/app/blobs/md5:{}", "0".repeat(32))),
        get(format!("/v2/Team/app/blobs/{}", layer.digest)).rule("name"),
        // A manifest is a blob too.
        get(format!("/v2/team/app/blobs/{}", material.image.digest)),
    ];
    steps.extend([
        range("bytes=0-9"),
        range("bytes=10-"),
        range("bytes=990-5000"),
        range("bytes=-10"),
        range("bytes=-5000"),
        range("bytes=1000-").rule("unsatisfiable"),
        range("bytes=5000-6000").rule("unsatisfiable"),
        range("bytes=10-5").rule("unsatisfiable"),
        range("bytes=0-0"),
        range("bytes=-0").rule("no-last-bytes"),
        range("lines=0-9").rule("strange-range"),
        range("bytes=x").rule("strange-range"),
        range("bytes=0-1,10-11").rule("parts"),
        range("bytes=0-9").field("If-Range", &etag),
        range("bytes=0-9").field("If-Range", "\"other\""),
        head(&blob).field("Range", "bytes=0-9").rule("head-range"),
    ]);
    steps.extend([
        get(&blob).field("If-None-Match", &etag),
        head(&blob).field("If-None-Match", &etag),
        get(&blob).field("If-None-Match", "*"),
        get(&blob).field("If-None-Match", format!("\"other\", {etag}")),
        get(&blob).field("If-None-Match", format!("W/{etag}")),
        get(&blob).field("If-None-Match", "\"other\""),
        get(&blob).field("If-Match", &etag),
        get(&blob).field("If-Match", "\"other\"").rule("unsatisfiable"),
        get(&blob).field("If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        get(&blob).field("Accept-Encoding", "gzip, zstd"),
        get(&blob).field("Accept", "application/json"),
    ]);
    steps.extend([
        put(&blob, &layer.bytes).rule("not-json"),
        post(&blob).rule("not-json"),
        ask("PATCH", &blob).rule("not-json"),
        ask("OPTIONS", &blob).rule("options"),
        delete(format!("/v2/team/app/blobs/{unknown}")),
        delete(format!("/v2/nothing/here/blobs/{}", layer.digest)).rule("delete-in-no-repository"),
        delete("/v2/team/app/blobs/latest").rule("not-json").rule("digest"),
        // Nothing in this repository needs it.
        post("/v2/spare/blobs/uploads/").save("spare"),
        put(format!("$spare?digest={}", layer.digest), &layer.bytes),
        delete(format!("/v2/spare/blobs/{}", layer.digest)),
        get(format!("/v2/spare/blobs/{}", layer.digest)),
        delete(format!("/v2/spare/blobs/{}", layer.digest)),
        get(&blob),
    ]);
    steps
}
