//! Mounting blobs from other repositories: what is mounted is whole, what cannot be is an upload that works.

use super::{Area, request, with_body};
use flotilla_tests::http::digest_of;
use futures_util::future::join_all;
use sha2::{Digest, Sha512};

const SOURCE: &str = "mounts/source";

#[tokio::test]
async fn a_mount_gives_the_whole_blob_or_a_usable_upload() {
    let area = Area::start("mounts").await;
    let bytes = b"a blob to mount".to_vec();
    let digest = area.push(SOURCE, &bytes).await;
    let sha512 = format!("sha512:{}", hex::encode(Sha512::digest(&bytes)));
    area.push_as(SOURCE, &bytes, sha512.clone()).await;

    queries(&area, &digest, &bytes).await;
    bad_digests(&area).await;
    for wanted in [&digest, &sha512] {
        lives_of_a_mount(&area, wanted, &bytes).await;
    }
    fallbacks(&area).await;
    methods_and_bodies(&area, &digest, &bytes).await;
    at_once(&area, &digest, &bytes).await;
    chain(&area, &digest, &bytes).await;
    area.finish(120).await;
}

fn mount(repository: &str, query: &str) -> Vec<u8> {
    with_body(&format!("POST /v2/{repository}/blobs/uploads/?{query}"), "", b"")
}

async fn read(area: &Area, repository: &str, digest: &str, bytes: &[u8]) {
    let answer = area.ask("read", request(&format!("GET /v2/{repository}/blobs/{digest}"), ""), &[200]).await;
    area.expect(answer.body == bytes, format!("{repository}: other bytes"));
    area.expect(answer.field("docker-content-digest") == digest, format!("{repository}: another digest"));
    let head = area.ask("head", request(&format!("HEAD /v2/{repository}/blobs/{digest}"), ""), &[200]).await;
    area.expect(head.field("content-length") == bytes.len().to_string(), format!("{repository}: another length"));
}

async fn absent(area: &Area, repository: &str, digest: &str) {
    let answer = area.ask("absent", request(&format!("GET /v2/{repository}/blobs/{digest}"), ""), &[404]).await;
    area.expect(answer.text().contains("BLOB_UNKNOWN"), format!("{repository}: {}", answer.text()));
}

/// Each query into a repository of its own. A mount is 201 and readable; otherwise 202 and nothing is there.
async fn queries(area: &Area, digest: &str, bytes: &[u8]) {
    let escaped = digest.replace(':', "%3A");
    let unknown = digest_of(b"unknown");
    let long = "a".repeat(300);
    let very_long = "a/".repeat(4000);
    for (number, (query, statuses)) in [
        (format!("mount={digest}&from={SOURCE}"), &[201][..]),
        (format!("from={SOURCE}&mount={digest}"), &[201]),
        (format!("mount={escaped}&from=mounts%2Fsource"), &[201]),
        (format!("mount={digest}&from={SOURCE}&origin=docker.io"), &[201]),
        (format!("mount={digest}&from={SOURCE}&origin=evil.example%0d%0aX:y"), &[201]),
        (format!("mount={digest}&from={SOURCE}&digest-algorithm=sha512"), &[201]),
        (format!("mount={digest}&from={SOURCE}&n=1&last=x&ns=docker.io"), &[201]),
        (format!("mount={digest}&from={SOURCE}&"), &[201]),
        (format!("&&mount={digest}&&from={SOURCE}"), &[201]),
        (format!("mount={digest}&from={SOURCE}#fragment"), &[201, 400]),
        // Without a source the blob may be found by itself.
        (format!("mount={digest}"), &[201, 202]),
        (format!("mount={digest}&from="), &[201, 202]),
        (format!("mount={digest}&from"), &[201, 202]),
        // Repeated: one of them counts.
        (format!("mount={digest}&from={SOURCE}&from=mounts/none"), &[201, 202, 400]),
        (format!("mount={digest}&from=mounts/none&from={SOURCE}"), &[201, 202, 400]),
        (format!("mount={digest}&mount={unknown}&from={SOURCE}"), &[201, 202, 400]),
        (format!("mount={digest}&mount={digest}&from={SOURCE}"), &[201, 400]),
        // With `digest` too: the mount goes first, or it is a push of nothing, whose digest differs.
        (format!("mount={digest}&from={SOURCE}&digest={digest}"), &[201, 202, 400]),
        (format!("digest={digest}&mount={digest}&from={SOURCE}"), &[201, 202, 400]),
        // What the source lacks is not mounted.
        (format!("mount={digest}&from=mounts/none"), &[202]),
        (format!("mount={digest}&from=team/app"), &[202]),
        (format!("mount={unknown}&from={SOURCE}"), &[202]),
        (format!("mount={unknown}&from=mounts/none"), &[202]),
        (format!("mount={unknown}"), &[202]),
        (format!("from={SOURCE}"), &[202]),
        // What is no repository's name names no repository.
        (format!("mount={digest}&from=MOUNTS/SOURCE"), &[202, 400]),
        (format!("mount={digest}&from=../mounts/source"), &[202, 400]),
        (format!("mount={digest}&from=/mounts/source"), &[202, 400]),
        (format!("mount={digest}&from=mounts/source/"), &[202, 400]),
        (format!("mount={digest}&from=mounts//source"), &[202, 400]),
        (format!("mount={digest}&from=mounts%00source"), &[202, 400]),
        (format!("mount={digest}&from=mounts%0d%0asource"), &[202, 400]),
        (format!("mount={digest}&from=mounts%1b%5b31msource"), &[202, 400]),
        (format!("mount={digest}&from=%ff%fe"), &[202, 400]),
        (format!("mount={digest}&from=%"), &[202, 400]),
        (format!("mount={digest}&from=*"), &[202, 400]),
        (format!("mount={digest}&from=mounts/source%20"), &[202, 400]),
        (format!("mount={digest}&from=mounts/source+"), &[202, 400]),
        (format!("mount={digest}&from=http://evil/mounts/source"), &[202, 400]),
        (format!("mount={digest}&from=evil.example/mounts/source"), &[202]),
        (format!("mount={digest}&from=' OR 1=1 --").replace(' ', "%20"), &[202, 400]),
        (format!("mount={digest}&from={long}"), &[202, 400]),
        (format!("mount={digest}&from={very_long}"), &[202, 400, 414]),
        // Names are exact.
        (format!("Mount={digest}&From={SOURCE}"), &[202]),
        (format!("mount[]={digest}&from[]={SOURCE}"), &[202, 400]),
    ]
    .into_iter()
    .enumerate()
    {
        let repository = format!("mounts/query{number}");
        let answer = area.ask(&query[..query.len().min(150)], mount(&repository, &query), statuses).await;
        match answer.status {
            201 if answer.field("docker-content-digest") == digest => {
                let location = format!("/v2/{repository}/blobs/{digest}");
                area.expect(answer.field("location") == location, format!("{query}: another location"));
                read(area, &repository, digest, bytes).await;
            }
            201 => area.wrong(format!("{query}: another digest: {:?}", answer.field("docker-content-digest"))),
            202 => {
                area.expect(!answer.field("docker-upload-uuid").is_empty(), format!("{query}: no upload"));
                absent(area, &repository, digest).await;
            }
            _ => absent(area, &repository, digest).await,
        }
    }
    // Into itself: it is there already.
    let query = format!("mount={digest}&from={SOURCE}");
    area.ask("into itself", mount(SOURCE, &query), &[201]).await;
    area.ask("into itself without a source", mount(SOURCE, &format!("mount={digest}")), &[201, 202]).await;
    read(area, SOURCE, digest, bytes).await;
    for name in ["MOUNTS/x", "mounts//x", "mounts/%2e%2e", "-x", "mounts/x_"] {
        let answer = area.ask(&format!("into {name}"), mount(name, &query), &[400]).await;
        area.expect(answer.text().contains("NAME_INVALID"), format!("into {name}: {}", answer.text()));
    }
}

async fn bad_digests(area: &Area) {
    let hex = "a".repeat(64);
    for digest in [
        "",
        ":",
        "sha256",
        "sha256:",
        "sha256:abc",
        "latest",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        &format!("sha256:{}", hex.to_uppercase()),
        &format!("SHA256:{hex}"),
        &format!("sha256:{hex}a"),
        &format!("sha256:{}", &hex[1..]),
        &format!("sha512:{hex}"),
        &format!("sha256:{}g", &hex[1..]),
        &format!("sha256::{hex}"),
        &format!("sha256-{hex}"),
        &format!("%20sha256:{hex}"),
        &format!("sha256:{hex}%00"),
        &format!("sha256:{hex}%0a"),
        &format!("sha256:{hex}/../x"),
        "../../../etc/passwd",
        "%ff",
        &"a".repeat(5000),
    ] {
        let name = format!("mount={}", &digest[..digest.len().min(80)]);
        // Refused, or like a blob that the source lacks.
        let answer = area.ask(&name, mount("mounts/bad", &format!("mount={digest}&from={SOURCE}")), &[202, 400]).await;
        let clear = answer.status == 202 || answer.text().contains("DIGEST_INVALID");
        area.expect(clear, format!("{name}: {}", answer.text()));
        if answer.status == 202 {
            let location = answer.field("location");
            area.ask("its status", request(&format!("GET {location}"), ""), &[204]).await;
            area.ask("its end", request(&format!("DELETE {location}"), ""), &[204]).await;
        }
    }
}

/// A mounted blob outlives its deletion in the source, and the source's outlives the mount's.
async fn lives_of_a_mount(area: &Area, digest: &str, bytes: &[u8]) {
    let algorithm = &digest[..6];
    let (first, second) = (format!("lives/{algorithm}/first"), format!("lives/{algorithm}/second"));
    area.ask("mount", mount(&first, &format!("mount={digest}&from={SOURCE}")), &[201]).await;
    area.ask("again", mount(&first, &format!("mount={digest}&from={SOURCE}")), &[201]).await;
    area.ask("delete in the source", request(&format!("DELETE /v2/{SOURCE}/blobs/{digest}"), ""), &[202]).await;
    for _ in &area.addresses {
        absent(area, SOURCE, digest).await;
        read(area, &first, digest, bytes).await;
    }
    // The source does not hold it any more; the first mount does.
    area.ask("from the source", mount(&second, &format!("mount={digest}&from={SOURCE}")), &[202]).await;
    area.ask("from the mount", mount(&second, &format!("mount={digest}&from={first}")), &[201]).await;
    area.ask("delete the mount", request(&format!("DELETE /v2/{first}/blobs/{digest}"), ""), &[202]).await;
    area.ask("delete it twice", request(&format!("DELETE /v2/{first}/blobs/{digest}"), ""), &[404]).await;
    for _ in &area.addresses {
        absent(area, &first, digest).await;
        read(area, &second, digest, bytes).await;
    }
    area.ask("back", mount(SOURCE, &format!("mount={digest}&from={second}")), &[201]).await;
    read(area, SOURCE, digest, bytes).await;
}

/// A mount that could not be is an upload: it takes the blob by PUT or PATCH, and can be cancelled.
async fn fallbacks(area: &Area) {
    let bytes = b"pushed after all";
    let digest = digest_of(bytes);
    for how in ["put", "patch", "cancel"] {
        let repository = format!("fallback/{how}");
        let query = format!("mount={digest}&from=fallback/none-{how}");
        let answer = area.ask("no mount", mount(&repository, &query), &[201, 202]).await;
        if answer.status == 201 {
            area.wrong(format!("{how}: mounted from a repository that does not exist"));
            continue;
        }
        area.expect(answer.field("range") == "0-0", format!("{how}: range {:?}", answer.field("range")));
        let location = answer.field("location").to_owned();
        area.ask("status", request(&format!("GET {location}"), ""), &[204]).await;
        match how {
            "put" => {
                let line = format!("PUT {location}?digest={digest}");
                area.ask("put", with_body(&line, "", bytes), &[201]).await;
                area.ask("put again", with_body(&line, "", b""), &[201]).await;
                read(area, &repository, &digest, bytes).await;
            }
            "patch" => {
                area.ask("patch", with_body(&format!("PATCH {location}"), "", &bytes[..6]), &[202]).await;
                let line = format!("PUT {location}?digest={digest}");
                area.ask("put the rest", with_body(&line, "", &bytes[6..]), &[201]).await;
                read(area, &repository, &digest, bytes).await;
            }
            _ => {
                area.ask("cancel", request(&format!("DELETE {location}"), ""), &[204]).await;
                area.ask("cancel twice", request(&format!("DELETE {location}"), ""), &[404]).await;
                area.ask("status", request(&format!("GET {location}"), ""), &[404]).await;
                let line = format!("PUT {location}?digest={digest}");
                area.ask("put", with_body(&line, "", bytes), &[404]).await;
                absent(area, &repository, &digest).await;
            }
        }
    }
}

/// A body beside a mount is no part of it; a mount is a POST.
async fn methods_and_bodies(area: &Area, digest: &str, bytes: &[u8]) {
    let line = format!("/v2/mounts/odd/blobs/uploads/?mount={digest}&from={SOURCE}");
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        area.ask(method, with_body(&format!("{method} {line}"), "", b""), &[405]).await;
    }
    absent(area, "mounts/odd", digest).await;
    for (name, bytes) in [
        ("a body", with_body(&format!("POST {line}"), "", b"other bytes")),
        ("a large body", with_body(&format!("POST {line}"), "", &vec![b'x'; 1 << 20])),
        ("JSON", with_body(&format!("POST {line}"), "Content-Type: application/json\r\n", b"{}")),
        ("no length", request(&format!("POST {line}"), "")),
        ("Content-Range", with_body(&format!("POST {line}"), "Content-Range: 5-9\r\n", b"")),
        ("no slash", with_body(&format!("POST {}", line.replace("/?", "?")), "", b"")),
        ("HTTP/1.0", format!("POST {line} HTTP/1.0\r\nContent-Length: 0\r\n\r\n").into_bytes()),
    ] {
        area.ask(name, bytes, &[201]).await;
    }
    read(area, "mounts/odd", digest, bytes).await;
    // The empty blob can be mounted like any other.
    let empty = area.push(SOURCE, b"").await;
    area.ask("the empty blob", mount("mounts/odd", &format!("mount={empty}&from={SOURCE}")), &[201]).await;
    read(area, "mounts/odd", &empty, b"").await;
}

/// Many mounts at the same time, into one repository and into many.
async fn at_once(area: &Area, digest: &str, bytes: &[u8]) {
    let same =
        (0..20).map(|_| area.ask("one target", mount("once/same", &format!("mount={digest}&from={SOURCE}")), &[201]));
    join_all(same).await;
    let many = (0..20).map(|number| async move {
        let query = format!("mount={digest}&from={SOURCE}");
        area.ask("many targets", mount(&format!("once/many{number}"), &query), &[201]).await
    });
    join_all(many).await;
    read(area, "once/same", digest, bytes).await;
    for number in [0, 7, 19] {
        read(area, &format!("once/many{number}"), digest, bytes).await;
    }
}

/// From repository to repository, each step asked of another node, each source deleted behind.
async fn chain(area: &Area, digest: &str, bytes: &[u8]) {
    let mut from = SOURCE.to_owned();
    for number in 0..10 {
        let to = format!("chain/link{number}");
        area.ask("a link", mount(&to, &format!("mount={digest}&from={from}")), &[201]).await;
        area.ask("the one before", request(&format!("DELETE /v2/{from}/blobs/{digest}"), ""), &[202]).await;
        from = to;
    }
    read(area, &from, digest, bytes).await;
    absent(area, "chain/link8", digest).await;
}
