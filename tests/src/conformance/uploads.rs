//! The ways a blob is pushed.

use super::{
    Suite,
    data::Blob,
    wire::{blob_path, encoded, header_is, refused, status, streamed},
};
use crate::http::{Response, full};
use anyhow::{Context, Result, bail, ensure};
use http::Method;

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// One POST that holds everything.
    PostOnly,
    /// POST, then PUT of everything.
    PostPut,
    /// POST, one PATCH with a range, PUT.
    OneChunk,
    /// POST, PATCHes with ranges, PUT.
    Chunks,
    /// As `Chunks`, the last one in the PUT.
    ChunksAndPut,
    /// As `Chunks`, each after a chunk at a wrong place and a GET that tells the right one.
    OutOfOrder,
    /// As `OutOfOrder`, the last chunk in the PUT.
    OutOfOrderAndPut,
    /// POST, one PATCH of undeclared length and without a range, PUT.
    Stream,
}

impl Way {
    pub(super) const ALL: [Self; 8] = [
        Self::PostOnly,
        Self::PostPut,
        Self::OneChunk,
        Self::Chunks,
        Self::ChunksAndPut,
        Self::OutOfOrder,
        Self::OutOfOrderAndPut,
        Self::Stream,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PostOnly => "POST only",
            Self::PostPut => "POST and PUT",
            Self::OneChunk => "one chunk",
            Self::Chunks => "several chunks",
            Self::ChunksAndPut => "several chunks, the last in the PUT",
            Self::OutOfOrder => "chunks out of order",
            Self::OutOfOrderAndPut => "chunks out of order, the last in the PUT",
            Self::Stream => "stream",
        }
    }

    /// Whether a blob goes in several pieces, and must be longer than one of them.
    pub(super) fn in_pieces(self) -> bool {
        !matches!(self, Self::PostOnly | Self::PostPut | Self::OneChunk | Self::Stream)
    }

    fn ends_in_put(self) -> bool {
        matches!(self, Self::ChunksAndPut | Self::OutOfOrderAndPut)
    }

    fn goes_astray(self) -> bool {
        matches!(self, Self::OutOfOrder | Self::OutOfOrderAndPut)
    }
}

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

impl Suite {
    /// Pushes a blob, and follows the location it is said to have.
    pub(super) async fn push(&self, repository: &str, way: Way, blob: &Blob) -> Result<()> {
        let answer = self.attempt(repository, way, blob).await?;
        self.created(&answer, blob).await
    }

    /// Pushes bytes under a digest that is not theirs, which must be refused and leave nothing behind.
    pub(super) async fn push_wrong(&self, repository: &str, way: Way, blob: &Blob) -> Result<()> {
        let answer = self.attempt(repository, way, blob).await?;
        refused(&answer, &[400], &["DIGEST_INVALID"])?;
        self.gone(&blob_path(repository, &blob.digest)).await.context("the blob was refused")
    }

    /// A 201 for this blob, whose `Location` gives it.
    pub(super) async fn created(&self, answer: &Response, blob: &Blob) -> Result<()> {
        status(answer, &[201])?;
        self.names_digest(answer, &blob.digest)?;
        let location = self.location(answer)?;
        self.pulls(&location, blob).await.with_context(|| format!("the location {location}"))
    }

    /// Opens a session and gives its location.
    pub(super) async fn open(&self, repository: &str) -> Result<String> {
        let answer = self.send_nothing(Method::POST, &format!("/v2/{repository}/blobs/uploads/")).await?;
        status(&answer, &[202]).context("POST")?;
        self.location(&answer)
    }

    /// Closes a session.
    pub(super) async fn close(&self, location: &str, digest: &str) -> Result<Response> {
        let url = with_digest(location, digest);
        self.send(Method::PUT, &url, &[("content-length", "0"), OCTETS], crate::http::empty()).await
    }

    /// A PUT or PATCH without a range.
    pub(super) async fn bytes(&self, method: Method, url: &str, blob: &Blob) -> Result<Response> {
        let length = blob.bytes.len().to_string();
        self.send(method, url, &[("content-length", &length), OCTETS], full(blob.bytes.clone())).await
    }

    /// Sends the bytes from `start` to before `end` as one chunk.
    pub(super) async fn chunk(
        &self,
        method: Method,
        url: &str,
        blob: &Blob,
        start: usize,
        end: usize,
    ) -> Result<Response> {
        let length = (end - start).to_string();
        let range = format!("{start}-{}", end - 1);
        let headers = [("content-length", length.as_str()), ("content-range", &range), OCTETS];
        self.send(method, url, &headers, full(blob.bytes.slice(start..end))).await
    }

    /// The status of a session: its location now, and the last byte it has (0 or less when it has none).
    pub(super) async fn progress(&self, location: &str) -> Result<(String, i64)> {
        let answer = self.get(location).await?;
        status(&answer, &[204])?;
        let range = answer.header("range");
        let Some(end) = range.strip_prefix("0-") else { bail!("Range is {range:?}") };
        let end = end.parse().with_context(|| format!("Range is {range:?}"))?;
        Ok((self.location(&answer)?, end))
    }

    /// The least a chunk may have, as the answer to a POST says.
    pub(super) async fn chunk_bytes(&self) -> usize {
        const LEAST: usize = 1024;
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        let Ok(answer) = self.send_nothing(Method::POST, &path).await else { return LEAST };
        if let Ok(location) = self.location(&answer) {
            let _ = self.delete(&location).await;
        }
        answer.header("oci-chunk-min-length").parse().map_or(LEAST, |least: usize| least.max(LEAST))
    }

    /// Everything up to the answer that decides about the blob.
    async fn attempt(&self, repository: &str, way: Way, blob: &Blob) -> Result<Response> {
        match way {
            Way::PostOnly => {
                let url = with_digest(&format!("/v2/{repository}/blobs/uploads/"), &blob.digest);
                self.bytes(Method::POST, &url, blob).await
            }
            Way::PostPut => {
                let location = self.open(repository).await?;
                self.bytes(Method::PUT, &with_digest(&location, &blob.digest), blob).await
            }
            Way::Stream => {
                let location = self.open(repository).await?;
                let answer = self.send(Method::PATCH, &location, &[OCTETS], streamed(&blob.bytes)).await?;
                status(&answer, &[202]).context("PATCH")?;
                if let Some(last) = blob.bytes.len().checked_sub(1) {
                    header_is(&answer, "range", &format!("0-{last}"))?;
                }
                self.close(&self.location(&answer)?, &blob.digest).await
            }
            _ => self.in_chunks(repository, way, blob).await,
        }
    }

    async fn in_chunks(&self, repository: &str, way: Way, blob: &Blob) -> Result<Response> {
        let total = blob.bytes.len();
        let step = if way == Way::OneChunk { total } else { self.chunk };
        let mut location = self.open(repository).await?;
        let mut sent = 0;
        while sent < total {
            if way.goes_astray() {
                location = self.stray(&location, way, blob, sent).await.context("out of order")?;
            }
            let end = (sent + step).min(total);
            if end == total && way.ends_in_put() {
                return self.chunk(Method::PUT, &with_digest(&location, &blob.digest), blob, sent, end).await;
            }
            let answer = self.chunk(Method::PATCH, &location, blob, sent, end).await?;
            status(&answer, &[202]).context("PATCH")?;
            header_is(&answer, "range", &format!("0-{}", end - 1))?;
            location = self.location(&answer)?;
            sent = end;
        }
        self.close(&location, &blob.digest).await
    }

    /// Sends the chunk after the next one (or the first one, when there is none), which is refused; asks where to go on.
    async fn stray(&self, location: &str, way: Way, blob: &Blob, sent: usize) -> Result<String> {
        let total = blob.bytes.len();
        let start = if sent + self.chunk < total { sent + self.chunk } else { 0 };
        let end = (start + self.chunk).min(total);
        ensure!(start != sent, "the blob is shorter than two chunks");
        let closes = way.ends_in_put() && end == total;
        let (method, url) = match closes {
            true => (Method::PUT, with_digest(location, &blob.digest)),
            false => (Method::PATCH, location.to_owned()),
        };
        status(&self.chunk(method, &url, blob, start, end).await?, &[416])?;
        let (location, last) = self.progress(&url).await?;
        let expected = i64::try_from(sent)? - 1;
        ensure!(last == expected || (sent == 0 && last <= 0), "Range ends at {last}, expected {expected}");
        Ok(location)
    }
}

/// An upload's location with a digest in its query, whose colon is encoded.
pub(super) fn with_digest(location: &str, digest: &str) -> String {
    crate::http::with_digest(location, &encoded(digest))
}
