//! Many clients at the same things at once: each answer is one that some order of the requests explains.

use super::{Area, request, with_body};
use flotilla_tests::{
    http::{Noise, OCI_MANIFEST, digest_of, manifest},
    wait_for,
    wire::Answer,
};
use futures_util::future::join_all;
use std::{collections::BTreeSet, path::Path, time::Duration};

/// Longest wait for the worker that deletes what nobody names.
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn requests_at_the_same_time_leave_one_truth() {
    let area = Area::start("concurrency").await;
    one_layer(&area).await;
    one_tag(&area).await;
    chunks_of_one_session(&area).await;
    ends_of_one_session(&area).await;
    ends_with_unlike_digests(&area).await;
    delete_against_push(&area).await;
    mount_against_delete(&area).await;
    lists_during_writes(&area).await;
    cancel_during_a_chunk(&area).await;
    pulls(&area).await;
    opened_and_cancelled(&area).await;
    manifests_against_their_blobs(&area).await;
    conditional_writers(&area).await;
    tags_in_one_step(&area).await;
    referrers_during_lists(&area).await;
    one_copy_left(&area).await;
    area.finish(120).await;
}

/// `count` requests at the same time.
async fn at_once(
    area: &Area,
    name: &str,
    statuses: &[u16],
    requests: impl IntoIterator<Item = Vec<u8>>,
) -> Vec<Answer> {
    join_all(requests.into_iter().map(|bytes| area.ask(name, bytes, statuses))).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

fn noise(seed: u64, length: u64) -> Vec<u8> {
    let mut noise = Noise::new(seed, length);
    let mut bytes = Vec::new();
    while let Some(block) = noise.take() {
        bytes.extend_from_slice(&block);
    }
    bytes
}

/// Bytes of the files of the store.
fn stored(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => stored(&entry.path()),
            false => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}

/// 20 clients push the same layer, in 20 repositories and in one: all 201, and in the end it is stored once.
async fn one_layer(area: &Area) {
    let bytes = noise(1, 1 << 20);
    let digest = digest_of(&bytes);
    let mut locations = Vec::new();
    for number in 0..20 {
        locations.push(area.open(if number % 2 == 0 { "once/shared" } else { "once/other" }).await);
    }
    let requests = locations.iter().map(|location| with_body(&format!("PUT {location}?digest={digest}"), "", &bytes));
    at_once(area, "one layer", &[201], requests).await;
    let repeated = locations.iter().map(|location| with_body(&format!("PUT {location}?digest={digest}"), "", b""));
    at_once(area, "one layer, repeated", &[201], repeated).await;
    for repository in ["once/shared", "once/other"] {
        let answer = area.ask("it", request(&format!("GET /v2/{repository}/blobs/{digest}"), ""), &[200]).await;
        area.expect(answer.body == bytes, "one layer: other bytes");
    }
    let mount = format!("POST /v2/once/third/blobs/uploads/?mount={digest}&from=once/other");
    area.ask("a mount of it", with_body(&mount, "", b""), &[201]).await;
}

/// 16 writers of one tag: its last value is one of theirs, and the same everywhere.
async fn one_tag(area: &Area) {
    let config = area.push("tags/app", b"{}").await;
    let bodies: Vec<_> = (0..16)
        .map(|number| {
            let text = manifest(&config, 2, &[]);
            text.replacen('{', &format!("{{\"annotations\":{{\"writer\":\"{number}\"}},"), 1).into_bytes()
        })
        .collect();
    let fields = format!("Content-Type: {OCI_MANIFEST}\r\n");
    for round in 0..3 {
        let tag = format!("round{round}");
        let requests = bodies.iter().map(|body| with_body(&format!("PUT /v2/tags/app/manifests/{tag}"), &fields, body));
        at_once(area, "one tag", &[201], requests).await;
        let reads = area.addresses.iter().map(|_| request(&format!("GET /v2/tags/app/manifests/{tag}"), ""));
        let answers = at_once(area, "its value", &[200], reads).await;
        area.expect(bodies.contains(&answers[0].body), "one tag: a value nobody wrote");
        let equal = answers.iter().all(|answer| answer.body == answers[0].body);
        area.expect(equal, "one tag: nodes differ");
    }
    // Every manifest stays, also those that lost the tag.
    let reads = bodies.iter().map(|body| request(&format!("GET /v2/tags/app/manifests/{}", digest_of(body)), ""));
    at_once(area, "by digest", &[200], reads).await;
}

/// Chunks that claim the same place: one is taken, the others are told where the upload is.
async fn chunks_of_one_session(area: &Area) {
    for round in 0..5_u8 {
        let location = area.open("race/chunks").await;
        let chunk = |number: u8| vec![b'a' + number, b'0' + round];
        let requests =
            (0..8).map(|number| with_body(&format!("PATCH {location}"), "Content-Range: 0-1\r\n", &chunk(number)));
        let answers = at_once(area, "chunks", &[202, 416], requests).await;
        area.expect(count(&answers, 202) == 1, format!("chunks: {} taken", count(&answers, 202)));
        for answer in answers.iter().filter(|answer| answer.status == 416) {
            area.expect(answer.has("location") && answer.has("range"), "chunks: a 416 without place and range");
        }
        let status = area.ask("status", request(&format!("GET {location}"), ""), &[204]).await;
        area.expect(status.field("range") == "0-1", format!("chunks: range {:?}", status.field("range")));
        let winner = answers.iter().position(|answer| answer.status == 202).unwrap_or_default();
        let digest = digest_of(&chunk(u8::try_from(winner).unwrap()));
        area.ask("its end", with_body(&format!("PUT {location}?digest={digest}"), "", b""), &[201]).await;
    }
    // Without a range each chunk is put wherever it comes, or refused; none is mixed with another.
    let location = area.open("race/chunks").await;
    let requests = (0..6).map(|number| with_body(&format!("PATCH {location}"), "", &[b'a' + number; 1000]));
    let answers = at_once(area, "chunks without ranges", &[202, 416], requests).await;
    let taken = count(&answers, 202);
    area.expect(taken >= 1, "chunks without ranges: none was taken");
    let status = area.ask("status", request(&format!("GET {location}"), ""), &[204]).await;
    let range = format!("0-{}", taken * 1000 - 1);
    area.expect(status.field("range") == range, format!("{taken} chunks: range {:?}", status.field("range")));
}

/// The end of one session, sent eight times: all 201, or one and clear refusals.
async fn ends_of_one_session(area: &Area) {
    for (round, chunk) in [&b""[..], b"begun ", b"all"].into_iter().enumerate() {
        let location = area.open("race/ends").await;
        if !chunk.is_empty() {
            area.ask("a chunk", with_body(&format!("PATCH {location}"), "", chunk), &[202]).await;
        }
        let rest = if chunk == b"all" { "".to_owned() } else { format!("and ended {round}") };
        let digest = digest_of(&[chunk, rest.as_bytes()].concat());
        let requests = (0..8).map(|_| with_body(&format!("PUT {location}?digest={digest}"), "", rest.as_bytes()));
        let answers = at_once(area, "ends", &[201, 400, 404, 409, 416], requests).await;
        area.expect(count(&answers, 201) >= 1, "ends: none is 201");
        let answer = area.ask("it", request(&format!("GET /v2/race/ends/blobs/{digest}"), ""), &[200]).await;
        area.expect(digest_of(&answer.body) == digest, "ends: other bytes");
        area.ask(
            "the end once more",
            with_body(&format!("PUT {location}?digest={digest}"), "", rest.as_bytes()),
            &[201],
        )
        .await;
    }
}

/// Ends that name different blobs: one of them is right, and nothing else comes to be.
async fn ends_with_unlike_digests(area: &Area) {
    let location = area.open("race/unlike").await;
    let bodies: Vec<Vec<u8>> = (0..8).map(|number| format!("body {number}").into_bytes()).collect();
    let requests = bodies.iter().map(|body| with_body(&format!("PUT {location}?digest={}", digest_of(body)), "", body));
    let answers = at_once(area, "unlike ends", &[201, 400, 404, 409, 416], requests).await;
    area.expect(count(&answers, 201) == 1, format!("unlike ends: {} are 201", count(&answers, 201)));
    for (answer, body) in answers.iter().zip(&bodies) {
        let path = format!("GET /v2/race/unlike/blobs/{}", digest_of(body));
        let expected = if answer.status == 201 { 200 } else { 404 };
        area.ask("what they said", request(&path, ""), &[expected]).await;
    }
}

/// A push and a delete of one blob: whatever came last, all nodes agree, and a push after it brings it back.
async fn delete_against_push(area: &Area) {
    let bytes = b"pushed and deleted";
    let digest = digest_of(bytes);
    let push = || with_body(&format!("POST /v2/race/delete/blobs/uploads/?digest={digest}"), "", bytes);
    let delete = || request(&format!("DELETE /v2/race/delete/blobs/{digest}"), "");
    for _ in 0..5 {
        let requests = (0..8).map(|number| if number % 2 == 0 { push() } else { delete() });
        at_once(area, "delete against push", &[201, 202, 404], requests).await;
        let path = format!("GET /v2/race/delete/blobs/{digest}");
        let reads = at_once(area, "read", &[200, 404], (0..3).map(|_| request(&path, ""))).await;
        let equal = reads.iter().all(|answer| answer.status == reads[0].status);
        area.expect(equal, "delete against push: nodes differ");
        area.ask("a push afterwards", push(), &[201]).await;
        area.ask("brings it back", request(&path, ""), &[200]).await;
    }
}

/// A mount that was answered by 201 can be read, whatever became of its source.
async fn mount_against_delete(area: &Area) {
    let bytes = b"mounted and deleted";
    let digest = area.push("race/source", bytes).await;
    for round in 0..8 {
        let target = format!("race/target{round}");
        let mount = with_body(&format!("POST /v2/{target}/blobs/uploads/?mount={digest}&from=race/source"), "", b"");
        let delete = request(&format!("DELETE /v2/race/source/blobs/{digest}"), "");
        let (mounted, _) = futures_util::join!(
            area.ask("mount against delete", mount, &[201, 202]),
            area.ask("delete against mount", delete, &[202]),
        );
        let expected = if mounted.status == 201 { 200 } else { 404 };
        let path = format!("GET /v2/{target}/blobs/{digest}");
        at_once(area, "the target", &[expected], (0..3).map(|_| request(&path, ""))).await;
        area.push("race/source", bytes).await;
    }
}

/// A list taken while tags are written is in order, without duplicates, and has every tag that was there before.
async fn lists_during_writes(area: &Area) {
    let config = area.push("lists/app", b"{}").await;
    let body = manifest(&config, 2, &[]).into_bytes();
    let fields = format!("Content-Type: {OCI_MANIFEST}\r\n");
    let put = |tag: String| with_body(&format!("PUT /v2/lists/app/manifests/{tag}"), &fields, &body);
    at_once(area, "tags before", &[201], (0..20).map(|number| put(format!("before-{number:02}")))).await;
    let before: BTreeSet<String> = (0..20).map(|number| format!("before-{number:02}")).collect();
    let writes = at_once(area, "tags meanwhile", &[201], (0..30).map(|number| put(format!("while-{number:02}"))));
    let lists = at_once(area, "lists", &[200], (0..30).map(|_| request("GET /v2/lists/app/tags/list", "")));
    let (_, lists) = futures_util::join!(writes, lists);
    for list in lists {
        let json = list.json();
        let tags: Vec<String> = json["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tag| tag.as_str().unwrap_or_default().to_owned())
            .collect();
        let sorted: BTreeSet<String> = tags.iter().cloned().collect();
        area.expect(tags.iter().eq(sorted.iter()), "lists: out of order or twice");
        area.expect(before.is_subset(&sorted), "lists: an old tag is missing");
    }
}

/// A session cancelled while a chunk comes in: the chunk is 202 or 404, and the session is gone for good.
async fn cancel_during_a_chunk(area: &Area) {
    let bytes = noise(3, 512 << 10);
    for _ in 0..6 {
        let location = area.open("race/cancel").await;
        let (_, cancelled) = futures_util::join!(
            area.ask("a chunk", with_body(&format!("PATCH {location}"), "", &bytes), &[202, 404, 416]),
            area.ask("cancel", request(&format!("DELETE {location}"), ""), &[204]),
        );
        area.expect(cancelled.body.is_empty(), "cancel: a body");
        let status = at_once(area, "cancelled", &[404], (0..3).map(|_| request(&format!("GET {location}"), ""))).await;
        area.expect(status.iter().all(|answer| answer.text().contains("BLOB_UPLOAD_UNKNOWN")), "cancel: another code");
        let put = with_body(&format!("PUT {location}?digest={}", digest_of(&bytes)), "", b"");
        area.ask("its end", put, &[404]).await;
    }
}

async fn pulls(area: &Area) {
    let bytes = noise(4, 2 << 20);
    let digest = area.push("pulls/app", &bytes).await;
    let path = format!("GET /v2/pulls/app/blobs/{digest}");
    let answers = at_once(area, "pulls", &[200], (0..50).map(|_| request(&path, ""))).await;
    area.expect(answers.iter().all(|answer| answer.body == bytes), "pulls: other bytes");
    let ranges = (0..50_usize)
        .map(|number| request(&path, &format!("Range: bytes={}-{}\r\n", number * 1000, number * 1000 + 999)));
    let answers = at_once(area, "ranges", &[206], ranges).await;
    for (number, answer) in answers.iter().enumerate() {
        area.expect(answer.body == bytes[number * 1000..number * 1000 + 1000], "ranges: other bytes");
    }
}

async fn opened_and_cancelled(area: &Area) {
    let opens = (0..60).map(|_| with_body("POST /v2/many/app/blobs/uploads/", "", b""));
    let opened = at_once(area, "opened", &[202], opens).await;
    let locations: BTreeSet<_> = opened.iter().map(|answer| answer.field("location").to_owned()).collect();
    area.expect(locations.len() == 60, format!("opened: only {} locations", locations.len()));
    let cancels =
        locations.iter().flat_map(|location| [location; 2]).map(|location| request(&format!("DELETE {location}"), ""));
    let cancelled = at_once(area, "cancelled", &[204, 404], cancels).await;
    area.expect(count(&cancelled, 204) == 60, format!("cancelled: {} are 204", count(&cancelled, 204)));
}

/// A manifest against the deletion of its blob: 201 means that the blob is there.
async fn manifests_against_their_blobs(area: &Area) {
    let fields = format!("Content-Type: {OCI_MANIFEST}\r\n");
    for round in 0..8 {
        let layer = format!("layer {round}").into_bytes();
        let (config, digest) = (area.push("race/image", b"{}").await, area.push("race/image", &layer).await);
        let body = manifest(&config, 2, &[(digest.clone(), layer.len() as u64)]).into_bytes();
        let put = with_body(&format!("PUT /v2/race/image/manifests/round{round}"), &fields, &body);
        let delete = request(&format!("DELETE /v2/race/image/blobs/{digest}"), "");
        let (put, deleted) = futures_util::join!(
            area.ask("manifest against delete", put, &[201, 400]),
            area.ask("delete against manifest", delete, &[202, 405]),
        );
        area.expect(
            (put.status == 201) == (deleted.status == 405),
            format!("put {}, deleted {}", put.status, deleted.status),
        );
        let expected = if put.status == 201 { 200 } else { 404 };
        area.ask("the blob", request(&format!("GET /v2/race/image/blobs/{digest}"), ""), &[expected]).await;
        area.ask("the tag", request(&format!("GET /v2/race/image/manifests/round{round}"), ""), &[expected]).await;
    }
}

/// Writers that say what they saw: of those that saw the same, one is taken.
async fn conditional_writers(area: &Area) {
    let config = area.push("conditions/app", b"{}").await;
    let body = |round: usize, writer: usize| {
        let text = manifest(&config, 2, &[]);
        text.replacen('{', &format!("{{\"annotations\":{{\"by\":\"{round}-{writer}\"}},"), 1).into_bytes()
    };
    let mut condition = "If-None-Match: *".to_owned();
    for round in 0..6 {
        let fields = format!("Content-Type: {OCI_MANIFEST}\r\n{condition}\r\n");
        let writes =
            (0..8).map(|writer| with_body("PUT /v2/conditions/app/manifests/v1", &fields, &body(round, writer)));
        let answers = at_once(area, "conditional writers", &[201, 412], writes).await;
        area.expect(count(&answers, 201) == 1, format!("{} conditional writers are 201", count(&answers, 201)));
        let Some(winner) = answers.iter().position(|answer| answer.status == 201) else { return };
        let reads = (0..3).map(|_| request("GET /v2/conditions/app/manifests/v1", ""));
        for answer in at_once(area, "its value", &[200], reads).await {
            area.expect(answer.body == body(round, winner), "the value is not the winner's");
        }
        condition = format!("If-Match: \"{}\"", digest_of(&body(round, winner)));
    }
    let delete = (0..8).map(|_| request("DELETE /v2/conditions/app/manifests/v1", &format!("{condition}\r\n")));
    let deleted = at_once(area, "conditional deletes", &[202, 404, 412], delete).await;
    area.expect(count(&deleted, 202) == 1, format!("{} conditional deletes are 202", count(&deleted, 202)));
}

/// Pushes that set the same three tags: in the end, as at any time, all three stand for one manifest.
async fn tags_in_one_step(area: &Area) {
    let config = area.push("steps/app", b"{}").await;
    let fields = format!("Content-Type: {OCI_MANIFEST}\r\n");
    for round in 0..4 {
        let puts = (0..8).map(|writer| {
            let text = manifest(&config, 2, &[]);
            let body =
                text.replacen('{', &format!("{{\"annotations\":{{\"by\":\"{round}-{writer}\"}},"), 1).into_bytes();
            let line = format!("PUT /v2/steps/app/manifests/{}?tag=a&tag=b&tag=c", digest_of(&body));
            with_body(&line, &fields, &body)
        });
        let answers = at_once(area, "tags in one step", &[201], puts).await;
        for answer in answers {
            let tags = answer.fields.iter().filter(|(name, _)| name == "oci-tag").count();
            area.expect(tags == 3, format!("tags in one step: {tags} are named"));
        }
        let mut values = BTreeSet::new();
        for tag in ["a", "b", "c"] {
            let reads = (0..3).map(|_| request(&format!("HEAD /v2/steps/app/manifests/{tag}"), ""));
            let answers = at_once(area, "their values", &[200], reads).await;
            values.extend(answers.iter().map(|answer| answer.field("docker-content-digest").to_owned()));
        }
        area.expect(values.len() == 1, format!("tags in one step: {} manifests", values.len()));
    }
}

/// What refers is listed from its 201 on, by every node, while others are pushed.
async fn referrers_during_lists(area: &Area) {
    let config = area.push("refs/race", b"{}").await;
    let subject = digest_of(b"a subject of a race");
    let fields = format!("Content-Type: {OCI_MANIFEST}\r\n");
    let path = format!("GET /v2/refs/race/referrers/{subject}");
    let refer = |number: usize| {
        let text = manifest(&config, 2, &[]);
        let descriptor = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":1}}"#);
        let more = format!("{{\"annotations\":{{\"n\":\"{number}\"}},\"subject\":{descriptor},");
        let body = text.replacen('{', &more, 1).into_bytes();
        let (digest, path) = (digest_of(&body), path.clone());
        let put = with_body(&format!("PUT /v2/refs/race/manifests/{digest}"), &fields, &body);
        async move {
            area.ask("a referrer", put, &[201]).await;
            let lists = at_once(area, "its list", &[200], (0..3).map(|_| request(&path, ""))).await;
            area.expect(
                lists.iter().all(|list| list.text().contains(&digest)),
                "a referrer is not listed after its 201",
            );
        }
    };
    join_all((0..24).map(refer)).await;
    let list = area.ask("the list", request(&path, ""), &[200]).await.json();
    let count = list["manifests"].as_array().map_or(0, Vec::len);
    area.expect(count == 24, format!("{count} of 24 referrers are listed"));
}

/// The copies of the layer that many clients pushed are garbage, which a worker deletes; what stays is one.
async fn one_copy_left(area: &Area) {
    let bytes = noise(1, 1 << 20);
    let dir = area.cluster.dir().join("store");
    // Beside it, the areas' other blobs: 2 MiB of the pulls, and small ones.
    wait_for("one stored copy", LIMIT, || async { (stored(&dir) < 4 << 20).then_some(()) }).await;
    for repository in ["once/shared", "once/other", "once/third"] {
        let path = format!("GET /v2/{repository}/blobs/{}", digest_of(&bytes));
        let answer = area.ask("the copy that is left", request(&path, ""), &[200]).await;
        area.expect(answer.body == bytes, "the copy that is left: other bytes");
    }
}
