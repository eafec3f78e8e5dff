//! The wall clock of one node is a day ahead, then a day behind, while its monotonic clock goes on as ever: nothing expires
//! early, and nothing stops.

use flotilla_tests::{
    churn::gc_status,
    cluster::{Cluster, Node},
    http::{digest_of, empty, full, path_of, with_digest},
    skip, wait_for,
};
use http::Method;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Less than the day that a clock jumps by, and far more than the test takes. The steps of the replicated clock are 5 s.
const GC_SECTION: &str = "gc:\n  unsafedelays: true\n  grace: 12h\n  promise: 6h\n  deletedelay: 6h\n  sweepdelay: 6h\n  deleteuntagged: 12h\n";
const LIMIT: Duration = Duration::from_secs(60);
/// More than all of it takes, less than any of the delays.
const TEST_MAX_MS: u64 = 20 * 60 * 1000;

/// The library that answers for the clock: `FLOTILLA_FAKETIME`, else where Debian has it.
fn faketime() -> Option<PathBuf> {
    let named = std::env::var_os("FLOTILLA_FAKETIME").map(PathBuf::from);
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = libraries.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    named.into_iter().chain(found).find(|file| file.is_file())
}

/// The day that a node writes into its log now. Not that of its answers: hyper keeps a `Date` that is ahead of the clock.
async fn day(node: &Node) -> Option<String> {
    node.client().send(Method::GET, "/v2/").await.ok()?;
    let log = node.log_text();
    let (_, last) = log.rsplit_once("\"timestamp\":\"")?;
    last.get(..10).map(str::to_owned)
}

async fn mono(cluster: &Cluster, node: usize) -> u64 {
    gc_status(&cluster.nodes[node]).await.unwrap()["mono"].as_u64().unwrap()
}

fn set(clock: &Path, offset: &str) {
    // Replaced whole: it is read at every look at the clock.
    let new = clock.with_extension("new");
    std::fs::write(&new, offset).unwrap();
    std::fs::rename(new, clock).unwrap();
}

#[tokio::test]
async fn nothing_expires_early_when_the_wall_clock_of_a_node_jumps_by_a_day() {
    let test = "nothing_expires_early_when_the_wall_clock_of_a_node_jumps_by_a_day";
    let Some(library) = faketime() else { return skip(test, "libfaketime is not installed") };
    let mut cluster = Cluster::builder().sections(GC_SECTION).prepare().unwrap();
    let mut clocks = Vec::new();
    for node in &mut cluster.nodes {
        let clock = node.data.with_extension("clock");
        set(&clock, "+0");
        let variables = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        node.environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        clocks.push(clock);
        node.start().unwrap();
    }
    cluster.wait_ready().await;
    let client = cluster.client();

    // Everything that has an end: a blob that nothing names, an upload, a manifest without a tag, a deleted one.
    let lone = b"named by no manifest";
    client.push_blob("team/app", &digest_of(lone), full(lone.as_slice().into())).await.unwrap();
    let upload = client.open_upload("team/app").await.unwrap();
    let answer =
        client.send_body(Method::PATCH, &upload, &[], full("first, ".into())).await.unwrap().expect(202).unwrap();
    let mut upload = path_of(answer.header("location"));
    let mut content = String::from("first, ");
    let untagged = client.push_image("team/app", "moved", "untagged").await.unwrap();
    client.push_image("team/app", "moved", "tagged").await.unwrap();
    let deleted = client.push_image("team/app", "deleted", "deleted").await.unwrap();
    client.send(Method::DELETE, &format!("/v2/team/app/manifests/{deleted}")).await.unwrap().expect(202).unwrap();
    let begun = mono(&cluster, 0).await;

    // The leader, by whose clock all others go, and a follower.
    let leader = cluster.leader().await;
    for node in [leader, (leader + 1) % 3] {
        let (jumping, steady) = (&cluster.nodes[node], &cluster.nodes[(node + 1) % 3]);
        for offset in ["+1d", "-1d", "+0"] {
            set(&clocks[node], offset);
            wait_for("the clock to be seen", LIMIT, || async {
                let (theirs, ours) = (day(jumping).await?, day(steady).await?);
                ((theirs == ours) == (offset == "+0")).then_some(())
            })
            .await;
            // Two steps of the replicated clock, taken by it or by its leader, and whatever follows from them.
            let before = mono(&cluster, node).await;
            wait_for("replicated time to go on", LIMIT, || async {
                (mono(&cluster, node).await > before + 10_000).then_some(())
            })
            .await;
            for path in
                [format!("blobs/{}", digest_of(lone)), format!("manifests/{untagged}"), "manifests/moved".to_owned()]
            {
                client.get(&format!("/v2/team/app/{path}")).await.unwrap();
            }
            let piece = format!("{node} {offset}, ");
            content.push_str(&piece);
            let answer =
                client.send_body(Method::PATCH, &upload, &[], full(piece.into())).await.unwrap().expect(202).unwrap();
            upload = path_of(answer.header("location"));
        }
    }
    let digest = digest_of(content.as_bytes());
    client.send_body(Method::PUT, &with_digest(&upload, &digest), &[], empty()).await.unwrap().expect(201).unwrap();
    assert_eq!(client.get(&format!("/v2/team/app/blobs/{digest}")).await.unwrap().body, content.as_bytes());
    let undelete = ["undelete", &format!("team/app@{deleted}")];
    let answer = cluster.nodes[leader].operate(&undelete, LIMIT).await.unwrap();
    assert!(answer.status.success(), "undelete: {}", String::from_utf8_lossy(&answer.stderr));
    client.get("/v2/team/app/manifests/deleted").await.unwrap();
    let passed = mono(&cluster, 0).await - begun;
    assert!(passed < TEST_MAX_MS, "replicated time went on by {passed} ms");
    cluster.wait_equal_hash().await;
}
