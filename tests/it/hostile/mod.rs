//! Hostile and odd requests against real processes: one test per area, over 120 requests each, and one test per advisory.
//!
//! Every answer is checked for what must hold of all answers ([`flaws`]), every connection for what comes after it
//! ([`After`]). A test goes on to its end and lists everything wrong at once.

mod advisories;
mod concurrency;
mod headers;
mod http2;
mod mounts;
mod referrers;
mod robustness;

use flotilla_tests::{
    cluster::Cluster,
    http::{OCI_MANIFEST, digest_of, manifest},
    wire::{Answer, Wire, shown},
};
use futures_util::{StreamExt, stream};
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// How much a node's resident memory may grow in one area.
const GROWTH_MAX: u64 = 128 << 20;
/// Cases that run at the same time.
const AT_ONCE: usize = 8;

/// What must come after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The end of the connection, and nothing before it.
    Close,
    /// The connection answers a further request.
    Keep,
    /// One of both, as the answer says.
    Honest,
}

/// One line of a table.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// 0 stands for an end of the connection without an answer.
    statuses: Vec<u16>,
    after: After,
    /// The body of an answer with status 200.
    body: Option<Vec<u8>>,
    half_close: bool,
}

impl Case {
    fn after(mut self, after: After) -> Self {
        self.after = after;
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    fn half_close(mut self) -> Self {
        self.half_close = true;
        self
    }
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, statuses: &[u16]) -> Case {
    let (name, bytes, statuses) = (name.into(), bytes.into(), statuses.to_vec());
    Case { name, bytes, statuses, after: After::Honest, body: None, half_close: false }
}

/// The bytes of a request; `fields` are whole lines.
fn request(line: &str, fields: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: registry\r\n{fields}\r\n").into_bytes()
}

/// The bytes of a request with a body.
fn with_body(line: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = request(line, &format!("{fields}Content-Length: {}\r\n", body.len()));
    bytes.extend_from_slice(body);
    bytes
}

/// An image whose parts are read again and again.
struct Image {
    layer: Vec<u8>,
    manifest: Vec<u8>,
    digest: String,
}

impl Image {
    fn layer_path(&self) -> String {
        format!("/v2/team/app/blobs/{}", digest_of(&self.layer))
    }
}

/// One area: a cluster, an image in it, and what was wrong so far.
struct Area {
    name: &'static str,
    cluster: Cluster,
    addresses: Vec<String>,
    image: Image,
    rss: Vec<u64>,
    next: AtomicUsize,
    asked: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Area {
    async fn start(name: &'static str) -> Self {
        Self::on(name, Cluster::builder().start().await.unwrap()).await
    }

    async fn on(name: &'static str, cluster: Cluster) -> Self {
        let addresses = cluster.addresses();
        let layer: Vec<u8> = (0..1000_u32).map(|number| b'a' + (number % 26) as u8).collect();
        let config = b"{}";
        let text = manifest(&digest_of(config), 2, &[(digest_of(&layer), layer.len() as u64)]);
        let image = Image { layer, digest: digest_of(text.as_bytes()), manifest: text.into_bytes() };
        let (next, asked, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let mut area = Self { name, cluster, addresses, image, rss: Vec::new(), next, asked, wrong };
        area.push("team/app", config).await;
        area.push("team/app", &area.image.layer).await;
        let put = area.put("team/app", "v1", &area.image.manifest).await;
        assert_eq!(put.status, 201, "{}", put.text());
        // Every node has warmed up before its memory is taken as the measure.
        for _ in 0..30 {
            area.ask("warm up", request(&format!("GET {}", area.image.layer_path()), ""), &[200]).await;
        }
        area.rss = area.cluster.nodes.iter_mut().map(|node| node.process().rss()).collect();
        area.asked.store(0, Ordering::Relaxed);
        area
    }

    /// The next node's address.
    fn address(&self) -> &str {
        &self.addresses[self.next.fetch_add(1, Ordering::Relaxed) % self.addresses.len()]
    }

    /// Counts a request that does not go through [`Area::run`].
    fn count(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes down that something is wrong.
    fn wrong(&self, what: impl Into<String>) {
        self.wrong.lock().unwrap().push(what.into());
    }

    /// Writes `what` down unless it `holds`.
    fn expect(&self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.wrong(what);
        }
    }

    /// Sends one request to the next node, and checks its answer. Without any answer, gives an empty one.
    async fn ask(&self, name: &str, bytes: impl Into<Vec<u8>>, statuses: &[u16]) -> Answer {
        self.run(case(name, bytes, statuses)).await
    }

    /// Runs all cases, several at once.
    async fn run_all(&self, cases: Vec<Case>) {
        stream::iter(cases).for_each_concurrent(AT_ONCE, |case| async { drop(self.run(case).await) }).await;
    }

    async fn run(&self, case: Case) -> Answer {
        self.run_at(self.address(), case).await
    }

    async fn run_at(&self, address: &str, case: Case) -> Answer {
        self.count();
        let (answer, problems) = exchange(address, &case).await;
        for problem in problems {
            let got = shown(answer.text().as_bytes());
            self.wrong(format!("{}: {problem} (status {}, body {got:?}; sent {})", case.name, answer.status, {
                shown(&case.bytes[..case.bytes.len().min(120)])
            }));
        }
        answer
    }

    /// Pushes a blob in one request.
    async fn push(&self, repository: &str, bytes: &[u8]) -> String {
        self.push_as(repository, bytes, digest_of(bytes)).await
    }

    /// Pushes a blob under this digest.
    async fn push_as(&self, repository: &str, bytes: &[u8], digest: String) -> String {
        let line = format!("POST /v2/{repository}/blobs/uploads/?digest={digest}");
        self.ask("a push in one request", with_body(&line, "", bytes), &[201]).await;
        digest
    }

    /// Puts an image manifest.
    async fn put(&self, repository: &str, reference: &str, bytes: &[u8]) -> Answer {
        let line = format!("PUT /v2/{repository}/manifests/{reference}");
        self.ask("a manifest", with_body(&line, &format!("Content-Type: {OCI_MANIFEST}\r\n"), bytes), &[201]).await
    }

    /// Opens an upload and gives its location.
    async fn open(&self, repository: &str) -> String {
        let line = format!("POST /v2/{repository}/blobs/uploads/");
        self.ask("an upload", with_body(&line, "", b""), &[202]).await.field("location").to_owned()
    }

    /// How far the resident memory of any node ever rose above what it was at the start.
    fn risen(&mut self) -> u64 {
        let peaks = self.cluster.nodes.iter_mut().map(|node| node.process().peak_rss());
        peaks.zip(&self.rss).map(|(peak, before)| peak.saturating_sub(*before)).max().unwrap_or_default()
    }

    /// The nodes' logs.
    fn logs(&mut self) -> Vec<String> {
        self.cluster.nodes.iter_mut().map(|node| node.process().log_text()).collect()
    }

    /// Checks that nothing was damaged, and fails with all that was wrong.
    async fn finish(self, at_least: usize) {
        let (name, count) = (self.name, self.asked.load(Ordering::Relaxed));
        let (wrong, cluster) = self.aftermath().await;
        println!("{name}: {count} requests, {} wrong", wrong.len());
        assert!(wrong.is_empty(), "{name}: {} wrong\n  {}", wrong.len(), wrong.join("\n  "));
        assert!(count > at_least, "{name}: only {count} requests");
        cluster.wait_equal_hash().await;
    }

    async fn aftermath(mut self) -> (Vec<String>, Cluster) {
        for address in self.addresses.clone() {
            let Image { layer, manifest, digest } = &self.image;
            for (path, bytes) in [
                ("/v2/team/app/manifests/v1".to_owned(), manifest),
                (format!("/v2/team/app/manifests/{digest}"), manifest),
                (self.image.layer_path(), layer),
                ("/v2/".to_owned(), &b"{}".to_vec()),
            ] {
                let name = format!("afterwards {path}");
                self.run_at(&address, case(name, request(&format!("GET {path}"), ""), &[200]).body(bytes)).await;
            }
        }
        for (number, before) in self.rss.clone().into_iter().enumerate() {
            let process = self.cluster.nodes[number].process();
            assert!(process.is_running(), "node {number} ended: {}", process.log_tail());
            let (now, log) = (process.rss(), process.log_text());
            let growth = now.saturating_sub(before);
            self.expect(growth < GROWTH_MAX, format!("node {number} grew from {before} to {now} bytes"));
            let line = log.lines().find(|line| line.contains(r#""level":"ERROR""#) || line.contains("panicked"));
            self.expect(line.is_none(), format!("node {number} logged {}", line.unwrap_or_default()));
        }
        (self.wrong.into_inner().unwrap(), self.cluster)
    }
}

/// The answer to a case, and what is wrong with it.
async fn exchange(address: &str, case: &Case) -> (Answer, Vec<String>) {
    let mut wire = match Wire::connect(address).await {
        Ok(wire) => wire,
        Err(error) => return (Answer::default(), vec![format!("cannot connect: {error}")]),
    };
    let answer = if case.half_close {
        wire.send(&case.bytes).await;
        wire.half_close().await;
        wire.answer(case.bytes.starts_with(b"HEAD ")).await
    } else {
        wire.exchange(&case.bytes).await
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if case.statuses.contains(&0) && error.to_string() == "closed without an answer" => {
            return (Answer::default(), Vec::new());
        }
        Err(error) => return (Answer::default(), vec![format!("{error:#}")]),
    };
    let mut problems = Vec::new();
    if !case.statuses.contains(&answer.status) {
        problems.push(format!("expected {:?}, got {}", case.statuses, answer.status));
    }
    if let Some(body) = &case.body
        && answer.status == 200
        && answer.body != *body
    {
        problems.push("another body".into());
    }
    problems.extend(flaws(&answer, case.bytes.starts_with(b"HEAD ")));
    let next = match case.after {
        _ if case.half_close => wire.end().await,
        After::Close => wire.end().await,
        After::Honest if answer.closes => wire.end().await,
        After::Keep | After::Honest => follow_up(&mut wire).await,
    };
    if let Err(error) = next {
        problems.push(format!("afterwards: {error:#}"));
    }
    (answer, problems)
}

/// A further request on the same connection.
async fn follow_up(wire: &mut Wire) -> anyhow::Result<()> {
    let next = wire.exchange(b"GET /livez HTTP/1.1\r\nHost: registry\r\n\r\n").await?;
    anyhow::ensure!(next.status == 200 && next.body == b"alive\n", "{} {}", next.status, shown(&next.body));
    Ok(())
}

/// What no answer may be like.
fn flaws(answer: &Answer, is_head: bool) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut unless = |holds: bool, what: &str| {
        if !holds {
            flaws.push(what.to_owned());
        }
    };
    let ours = answer.has("docker-distribution-api-version");
    unless(answer.status < 500 || matches!(answer.status, 501 | 505), "a status of the 5xx");
    unless(!answer.has("content-encoding"), "a Content-Encoding");
    unless(!answer.has("x-registry-supports-signatures"), "X-Registry-Supports-Signatures");
    unless(!answer.field("content-type").contains("html"), "HTML");
    unless(!ours || answer.field("x-content-type-options") == "nosniff", "no nosniff");
    unless(!answer.fields.iter().any(|(_, value)| value.contains("evil")), "a header that follows the client's");
    let origin = answer.field("access-control-allow-origin");
    unless(
        !answer.has("access-control-allow-credentials") || origin.is_empty(),
        "credentials allowed to another origin",
    );
    unless(answer.status != 204 || !answer.has("content-length"), "a Content-Length with 204");
    unless(!answer.has("location") || answer.field("location").starts_with("/v2/"), "a Location that is not relative");
    if answer.status >= 400 && ours {
        unless(answer.field("content-type") == "application/json", "an error that is not JSON");
        if !is_head {
            let json = answer.json();
            let codes = json["errors"].as_array().into_iter().flatten().map(|error| error["code"].as_str());
            let codes: Vec<_> = codes.map(Option::unwrap_or_default).collect();
            let plain =
                |code: &&str| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            unless(!codes.is_empty() && codes.iter().all(plain), "an error document without codes");
        }
    }
    flaws
}
