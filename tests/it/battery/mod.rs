//! Hostile and odd requests against a real cluster: tables of requests with the one answer that is right. A set of answers
//! stands only where the specification leaves it open.
//!
//! Each request goes to the next node. After each the connection must be usable, or end as its answer said.

mod manifests;
mod names;
mod ranges;
mod tags;
mod uploads;

use flotilla_tests::{
    cluster::Cluster,
    raw::{Answer, Sent, Wire},
};
use std::fmt::Write as _;

/// How much the memory of a node may grow under one battery: the caches of the state and of the log may fill, which hold 64 and
/// 32 MiB, and requests of a few MiB may leave something with the allocator.
const RSS_GROWTH_MAX: u64 = (64 + 32 + 48) << 20;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length,
    Chunked,
    /// By headers of the case itself, or not at all.
    Own,
}

/// A request.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    /// Sent as it is instead of all the above.
    raw: Option<Sent>,
}

fn request(method: &str, path: impl Into<String>) -> Request {
    let (path, framing) = (path.into(), Framing::Length);
    Request { method: method.into(), path, fields: Vec::new(), body: Vec::new(), framing, raw: None }
}

fn get(path: impl Into<String>) -> Request {
    request("GET", path)
}

fn head(path: impl Into<String>) -> Request {
    request("HEAD", path)
}

fn delete(path: impl Into<String>) -> Request {
    request("DELETE", path)
}

fn post(path: impl Into<String>) -> Request {
    request("POST", path)
}

fn patch(path: impl Into<String>, body: impl AsRef<[u8]>) -> Request {
    request("PATCH", path).body(body)
}

fn put(path: impl Into<String>, body: impl AsRef<[u8]>) -> Request {
    request("PUT", path).body(body)
}

/// Bytes that are sent as they are.
fn raw(bytes: impl AsRef<[u8]>) -> Request {
    Request { raw: Some(Sent { bytes: bytes.as_ref().to_vec(), ..Sent::default() }), ..request("RAW", "") }
}

impl Request {
    fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.fields.push((name.into(), value.as_ref().into()));
        self
    }

    fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    fn chunked(self) -> Self {
        self.framing(Framing::Chunked)
    }

    /// With `place` instead of a leading `@` in its path.
    fn at(&self, place: &str) -> Self {
        let mut request = self.clone();
        if let Some(rest) = self.path.strip_prefix('@') {
            request.path = format!("{place}{rest}");
        }
        if let Some(sent) = &mut request.raw {
            sent.bytes = String::from_utf8_lossy(&sent.bytes).replace('@', place).into_bytes();
        }
        request
    }

    fn sent(&self) -> Sent {
        if let Some(sent) = &self.raw {
            return sent.clone();
        }
        let mut text = format!("{} {} HTTP/1.1\r\nhost: battery\r\n", self.method, self.path);
        for (name, value) in &self.fields {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let mut bytes = match self.framing {
            Framing::Length if !self.body.is_empty() || !matches!(self.method.as_str(), "GET" | "HEAD") => {
                let _ = write!(text, "content-length: {}\r\n\r\n", self.body.len());
                [text.into_bytes(), self.body.clone()].concat()
            }
            Framing::Length => [text.as_bytes(), b"\r\n"].concat(),
            Framing::Own => [text.as_bytes(), b"\r\n", &self.body].concat(),
            Framing::Chunked => [text.as_bytes(), b"transfer-encoding: chunked\r\n\r\n"].concat(),
        };
        if self.framing == Framing::Chunked {
            for chunk in self.body.chunks(self.body.len().div_ceil(3).max(1)) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
            }
            bytes.extend(b"0\r\n\r\n");
        }
        Sent { bytes, ..Sent::default() }
    }
}

/// What must be answered.
#[derive(Clone, Debug, Default)]
struct Want {
    /// Status, and the code of its errors if not empty.
    any: Vec<(u16, &'static str)>,
    /// The HTTP library itself may refuse it: a status without a body, and the end of the connection.
    bare: bool,
    /// Headers, and `None` for those that must be absent.
    fields: Vec<(&'static str, Option<String>)>,
    body: Option<Vec<u8>>,
    /// How many errors the answer lists.
    errors: Option<usize>,
}

/// Success.
fn yes(status: u16) -> Want {
    Want { any: vec![(status, "")], ..Want::default() }
}

/// Refusal.
fn no(status: u16, code: &'static str) -> Want {
    Want { any: vec![(status, code)], ..Want::default() }
}

/// What is no HTTP.
fn no_http() -> Want {
    Want { any: vec![(400, "")], bare: true, ..Want::default() }
}

impl Want {
    fn or(mut self, status: u16, code: &'static str) -> Self {
        self.any.push((status, code));
        self
    }

    fn or_bare(mut self, status: u16) -> Self {
        self.bare = true;
        self.or(status, "")
    }

    fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, Some(value.into())));
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.fields.push((name, None));
        self
    }

    fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    fn errors(mut self, count: usize) -> Self {
        self.errors = Some(count);
        self
    }

    /// What is wrong about an answer to `method`.
    fn check(&self, method: &str, answer: &Answer) -> Vec<String> {
        let mut wrong = Vec::new();
        let refused = answer.status >= 400;
        let bare = self.bare && refused && answer.body.is_empty() && answer.closes();
        let errors = errors(answer);
        let code = errors.as_ref().and_then(|codes| codes.first()).map(String::as_str).unwrap_or_default();
        let is = |(status, wanted): &(u16, &str)| {
            *status == answer.status && (bare || method == "HEAD" || wanted.is_empty() || *wanted == code)
        };
        if !self.any.iter().any(is) {
            let got = format!(
                "{} {code} {}",
                answer.status,
                String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)])
            );
            wrong.push(format!("expected {:?}, got {got}", self.any));
        }
        if answer.status >= 500 {
            wrong.push("5xx".into());
        }
        let kind = answer.field("content-type").unwrap_or_default();
        if kind.contains("html") {
            wrong.push(format!("served as {kind}"));
        }
        if !bare {
            for (name, value) in
                [("x-content-type-options", "nosniff"), ("docker-distribution-api-version", "registry/2.0")]
            {
                if answer.field(name) != Some(value) {
                    wrong.push(format!("{name} is {:?}", answer.field(name)));
                }
            }
        }
        if refused && !bare && method != "HEAD" {
            if kind != "application/json" {
                wrong.push(format!("an error of type {kind:?}"));
            }
            match &errors {
                None => wrong.push(format!("no error document: {:?}", String::from_utf8_lossy(&answer.body))),
                Some(codes) if codes.iter().any(|code| *code != codes[0]) => wrong.push(format!("codes {codes:?}")),
                Some(codes) => {
                    if self.errors.is_some_and(|count| count != codes.len()) {
                        wrong.push(format!("{} errors instead of {:?}", codes.len(), self.errors));
                    }
                }
            }
        }
        if answer.status == 405 && answer.field("allow").is_none() && code != "UNSUPPORTED" {
            wrong.push("405 without Allow".into());
        }
        for (name, value) in &self.fields {
            if answer.field(name) != value.as_deref() {
                wrong.push(format!("{name} is {:?} instead of {value:?}", answer.field(name)));
            }
        }
        if self.body.as_ref().is_some_and(|body| *body != answer.body) {
            let got = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]);
            wrong.push(format!("another body ({} bytes): {got}", answer.body.len()));
        }
        wrong
    }
}

/// The codes of an error document, at least one, or `None` if it is none.
fn errors(answer: &Answer) -> Option<Vec<String>> {
    let document: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let list = document.get("errors")?.as_array()?;
    let codes: Option<Vec<String>> = list.iter().map(|entry| Some(entry.get("code")?.as_str()?.to_owned())).collect();
    let plain = |code: &String| !code.is_empty() && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    codes.filter(|codes| !codes.is_empty() && codes.iter().all(plain))
}

/// Where `Link` says the next page is.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.field("link")?;
    let (place, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| place.to_owned())
}

/// One line of a table.
type Case = (String, Request, Want);

fn case(name: impl Into<String>, request: Request, want: Want) -> Case {
    (name.into(), request, want)
}

/// Runs requests and collects what is wrong.
struct Battery {
    area: &'static str,
    cluster: Cluster,
    wires: Vec<Option<Wire>>,
    rss: Vec<u64>,
    requests: usize,
    wrong: Vec<String>,
}

impl Battery {
    async fn start(area: &'static str) -> Self {
        let mut cluster = Cluster::builder().start().await.unwrap();
        let rss = cluster.nodes.iter_mut().map(|node| node.process().rss()).collect();
        let wires = cluster.nodes.iter().map(|_| None).collect();
        Self { area, cluster, wires, rss, requests: 0, wrong: Vec::new() }
    }

    /// The address of the node for the next request.
    fn address(&self) -> String {
        self.cluster.nodes[self.requests % self.cluster.nodes.len()].http.clone()
    }

    /// Notes a fact that does not hold.
    fn expect(&mut self, name: &str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(format!("{name}: {}", what()));
        }
    }

    /// Runs a table.
    async fn all(&mut self, cases: impl IntoIterator<Item = Case>) {
        for (name, request, want) in cases {
            self.one(&name, &request, &want).await;
        }
    }

    /// Sends one request to the next node; `None` when there was no answer.
    async fn one(&mut self, name: &str, request: &Request, want: &Want) -> Option<Answer> {
        let node = self.requests % self.wires.len();
        self.requests += 1;
        let shown = format!("{name}: {} {}", request.method, &request.path[..request.path.len().min(120)]);
        let address = self.cluster.nodes[node].http.clone();
        let mut wire = match self.wires[node].take() {
            Some(wire) => wire,
            None => Wire::connect(&address).await.unwrap(),
        };
        let is_head = request.method == "HEAD";
        let answer = match wire.exchange(&request.sent(), is_head).await {
            Ok(answer) => answer,
            Err(error) => {
                self.wrong.push(format!("{shown}: {error:#}"));
                return None;
            }
        };
        self.wrong.extend(want.check(&request.method, &answer).into_iter().map(|wrong| format!("{shown}: {wrong}")));
        if answer.closes() {
            if let Err(error) = wire.ended().await {
                self.wrong.push(format!("{shown}: after Connection: close: {error:#}"));
            }
            return Some(answer);
        }
        // The connection must carry another request.
        match wire.exchange(&get("/v2/").sent(), false).await {
            Ok(next) if next.status == 200 && next.body == b"{}" => self.wires[node] = Some(wire),
            Ok(next) => self.wrong.push(format!("{shown}: the next answer of the connection is {next:?}")),
            Err(error) => self.wrong.push(format!("{shown}: the next request of the connection: {error:#}")),
        }
        Some(answer)
    }

    /// Opens an upload and gives its location.
    async fn open(&mut self, repository: &str) -> String {
        let answer = self.one("open", &post(format!("/v2/{repository}/blobs/uploads/")), &yes(202)).await;
        answer.and_then(|answer| answer.field("location").map(str::to_owned)).expect("an upload opens")
    }

    /// Pushes a blob and gives its digest.
    async fn blob(&mut self, repository: &str, bytes: &[u8]) -> String {
        let digest = flotilla_tests::http::digest_of(bytes);
        let location = self.open(repository).await;
        self.one("push", &put(format!("{location}?digest={digest}"), bytes), &yes(201)).await;
        digest
    }

    /// Says how it went, and fails if anything was wrong.
    fn finish(mut self) {
        for (number, node) in self.cluster.nodes.iter_mut().enumerate() {
            let (before, after) = (self.rss[number], node.process().rss());
            if after > before + RSS_GROWTH_MAX {
                self.wrong.push(format!("node {number} grew from {} to {} MiB", before >> 20, after >> 20));
            }
            // A line of the log with `panicked` is a request that should have been refused.
            if node.process().log_text().contains("panicked") {
                self.wrong.push(format!("node {number} panicked"));
            }
        }
        println!("{}: {} requests, {} wrong", self.area, self.requests, self.wrong.len());
        for wrong in &self.wrong {
            println!("  {wrong}");
        }
        assert!(self.requests > 120, "only {} requests", self.requests);
        assert!(self.wrong.is_empty(), "{} wrong answers, see above", self.wrong.len());
    }
}
