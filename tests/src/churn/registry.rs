//! A client that tries again, as clients behind a balancer do, and says what it knows of the outcome.

use super::{
    content::Blob,
    model::{Image, Outcome},
    report::Report,
};
use crate::http::{AnyBody, Client, Response, digest_of, empty, full, path_of, with_digest};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// One attempt takes no longer: a node may be paused.
const ATTEMPT: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);

/// The answer to a request, perhaps after several attempts.
pub struct Answer {
    /// The last attempt's.
    pub response: Response,
    /// An earlier attempt had no answer, or one that says nothing: it may have been done, or be done later.
    pub repeated: bool,
}

impl Answer {
    /// For a change; `fine` says which answers tell that it was made.
    pub fn outcome(&self, fine: &[u16]) -> Outcome {
        match (fine.contains(&self.response.status.as_u16()), self.repeated) {
            (_, true) => Outcome::Unknown,
            (true, false) => Outcome::Done,
            (false, false) => Outcome::Refused,
        }
    }
}

/// Whether an answer says nothing about the request: the server or the balancer could not.
fn says_nothing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// How a blob came into a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// POST, PATCH, PUT.
    Stream,
    /// POST, several PATCHes, PUT.
    Chunks,
    /// POST with the digest.
    Single,
}

/// A registry behind one address.
pub struct Registry {
    client: Client,
    report: Arc<Report>,
}

impl Registry {
    /// At `host:port`; attempts that fail are counted.
    pub fn new(address: &str, report: Arc<Report>) -> Self {
        let mut client = Client::new([address]);
        client.limit = ATTEMPT;
        Self { client, report }
    }

    /// One attempt; `None` if its answer, if any, says nothing.
    async fn attempt(
        &self,
        by: Instant,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: AnyBody,
    ) -> Option<Response> {
        let attempt = self.client.send_body(method, path, headers, body);
        match tokio::time::timeout_at(by, attempt).await {
            Ok(Ok(response)) if !says_nothing(response.status) => return Some(response),
            Ok(Ok(_)) => self.report.count("attempts answered 5xx or 429"),
            Ok(Err(_)) | Err(_) => self.report.count("attempts without an answer"),
        }
        None
    }

    /// Asks until there is an answer; `None` when there was none by the deadline.
    pub async fn ask(
        &self,
        by: Instant,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Fn() -> AnyBody,
    ) -> Option<Answer> {
        let mut repeated = false;
        loop {
            if let Some(response) = self.attempt(by, method.clone(), path, headers, body()).await {
                return Some(Answer { response, repeated });
            }
            if Instant::now() + PAUSE >= by {
                return None;
            }
            repeated = true;
            sleep(PAUSE).await;
        }
    }

    /// Reads.
    pub async fn get(&self, by: Instant, path: &str) -> Option<Response> {
        self.ask(by, Method::GET, path, &[], empty).await.map(|answer| answer.response)
    }

    /// The status of a `HEAD`.
    pub async fn head(&self, by: Instant, path: &str) -> Option<u16> {
        let answer = self.ask(by, Method::HEAD, path, &[("accept", "*/*")], empty).await;
        answer.map(|answer| answer.response.status.as_u16())
    }

    /// Deletes; 404 after an attempt without an answer is no refusal.
    pub async fn delete(&self, by: Instant, path: &str) -> Outcome {
        let answer = self.ask(by, Method::DELETE, path, &[], empty).await;
        answer.map_or(Outcome::Unknown, |answer| answer.outcome(&[202]))
    }

    /// Puts a manifest under a tag or its digest. An answer that refuses it is given too.
    pub async fn put(
        &self,
        by: Instant,
        repository: &str,
        reference: &str,
        image: &Image,
    ) -> (Outcome, Option<Response>) {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("content-type", image.media_type)];
        let answer = self.ask(by, Method::PUT, &path, &headers, || full(image.body.clone())).await;
        match answer {
            Some(answer) if answer.response.status == StatusCode::CREATED => (answer.outcome(&[201]), None),
            Some(answer) => (answer.outcome(&[201]), Some(answer.response)),
            None => (Outcome::Unknown, None),
        }
    }

    /// Mounts a blob; `false` when the registry opened an upload instead (which is cancelled), or did not answer.
    ///
    /// # Errors
    /// The answer, when it is neither.
    pub async fn mount(&self, by: Instant, from: &str, to: &str, blob: &Blob) -> Result<bool, Response> {
        let path = format!("/v2/{to}/blobs/uploads/?mount={}&from={from}", blob.digest);
        let Some(answer) = self.ask(by, Method::POST, &path, &[], empty).await else { return Ok(false) };
        match answer.response.status.as_u16() {
            201 => Ok(true),
            202 => {
                self.cancel(by, &path_of(answer.response.header("location"))).await;
                Ok(false)
            }
            _ => Err(answer.response),
        }
    }

    /// Uploads a blob, from the beginning after each attempt that failed. `false` when the deadline came first.
    ///
    /// # Errors
    /// An answer that refuses an upload that lost no answer.
    pub async fn upload(&self, by: Instant, repository: &str, blob: &Blob, way: Way) -> Result<bool, Response> {
        while Instant::now() < by {
            match self.upload_once(by, repository, blob, way).await {
                Try::Done => return Ok(true),
                Try::Refused(response) => return Err(response),
                Try::Lost => sleep(PAUSE).await,
            }
        }
        Ok(false)
    }

    /// Begins an upload, sends half of a blob, and either cancels it or leaves it as it is.
    pub async fn abandon(&self, by: Instant, repository: &str, blob: &Blob, cancel: bool) {
        let Some(location) = self.open(by, repository).await else { return };
        let half = blob.bytes.slice(..blob.bytes.len() / 2);
        let Some(location) = self.patch(by, &location, 0, half, false).await.location() else { return };
        if cancel {
            self.cancel(by, &location).await;
        }
    }

    async fn upload_once(&self, by: Instant, repository: &str, blob: &Blob, way: Way) -> Try {
        if way == Way::Single {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
            let octets = [("content-type", "application/octet-stream")];
            return self.one(by, Method::POST, &path, &octets, blob.bytes.clone()).await.committed();
        }
        let Some(mut location) = self.open(by, repository).await else { return Try::Lost };
        let pieces = if way == Way::Chunks { 3 } else { 1 };
        let length = blob.bytes.len().div_ceil(pieces).max(1);
        let mut at = 0;
        while at < blob.bytes.len() {
            let chunk = blob.bytes.slice(at..(at + length).min(blob.bytes.len()));
            let sent = chunk.len();
            match self.patch(by, &location, at, chunk, way == Way::Chunks).await {
                Patch::Taken(next) => location = next,
                Patch::Refused(response) => return Try::Refused(response),
                Patch::Lost => {
                    self.cancel(by, &location).await;
                    return Try::Lost;
                }
            }
            at += sent;
        }
        // A commit is answered again while its end is remembered, so that this may be repeated.
        let path = with_digest(&location, &blob.digest);
        let answer = self.ask(by, Method::PUT, &path, &[], empty).await;
        match answer {
            Some(answer) if answer.response.status == 201 => Try::Done,
            Some(answer) if !answer.repeated => Try::Refused(answer.response),
            _ => Try::Lost,
        }
    }

    async fn open(&self, by: Instant, repository: &str) -> Option<String> {
        let answer = self.ask(by, Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], empty).await?;
        (answer.response.status == 202).then(|| path_of(answer.response.header("location")))
    }

    async fn patch(&self, by: Instant, location: &str, at: usize, chunk: Bytes, ranged: bool) -> Patch {
        let range = format!("{at}-{}", (at + chunk.len()).saturating_sub(1));
        let mut headers = vec![("content-type", "application/octet-stream")];
        if ranged {
            headers.push(("content-range", &range));
        }
        match self.one(by, Method::PATCH, location, &headers, chunk).await {
            One::Answer(response) if response.status == 202 => Patch::Taken(path_of(response.header("location"))),
            One::Answer(response) => Patch::Refused(response),
            One::Nothing => Patch::Lost,
        }
    }

    /// A single attempt: what is sent twice here is not the same.
    async fn one(&self, by: Instant, method: Method, path: &str, headers: &[(&str, &str)], bytes: Bytes) -> One {
        self.attempt(by, method, path, headers, full(bytes)).await.map_or(One::Nothing, One::Answer)
    }

    /// The reaper ends what this does not.
    async fn cancel(&self, by: Instant, location: &str) {
        self.delete(by, location).await;
    }
}

enum Try {
    Done,
    Refused(Response),
    Lost,
}

enum One {
    Answer(Response),
    Nothing,
}

impl One {
    fn committed(self) -> Try {
        match self {
            Self::Answer(response) if response.status == 201 => Try::Done,
            Self::Answer(response) => Try::Refused(response),
            Self::Nothing => Try::Lost,
        }
    }
}

enum Patch {
    Taken(String),
    Refused(Response),
    Lost,
}

impl Patch {
    fn location(self) -> Option<String> {
        match self {
            Self::Taken(location) => Some(location),
            _ => None,
        }
    }
}

/// Whether the bytes are those of the digest.
pub fn is_whole(digest: &str, bytes: &[u8]) -> bool {
    digest_of(bytes) == digest
}
