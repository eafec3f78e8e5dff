//! Uploads between their POST and their end.

use super::{
    Suite, Version,
    data::{Algorithm, Blob},
    uploads::with_digest,
    wire::{blob_path, refused, status, streamed},
};
use crate::http::{empty, full};
use anyhow::{Context, Result, ensure};
use http::Method;

const UNKNOWN: [&str; 1] = ["BLOB_UPLOAD_UNKNOWN"];

impl Suite {
    pub(super) async fn sessions(&self, algorithm: Algorithm) {
        let area = format!("uploads/{}", algorithm.name());
        let (blob, small) = (Blob::random(algorithm, self.chunk * 3), Blob::random(algorithm, 1000));
        self.check(format!("{area}/a new upload has a location with an id of its own"), self.new_upload()).await;
        self.check(format!("{area}/an upload may announce its algorithm"), async {
            let path = format!("/v2/{}/blobs/uploads/?digest-algorithm={}", self.repository, algorithm.name());
            let answer = self.send_nothing(Method::POST, &path).await?;
            status(&answer, &[202])?;
            let url = with_digest(&self.location(&answer)?, &small.digest);
            self.created(&self.bytes(Method::PUT, &url, &small).await?, &small).await?;
            self.delete_for_good(&blob_path(&self.repository, &small.digest)).await
        })
        .await;
        self.check(format!("{area}/the range grows with every chunk"), self.growth(&blob)).await;
        self.check(format!("{area}/a blob is unknown before its upload is closed"), self.early(&blob)).await;
        self.check(format!("{area}/a first chunk that does not begin at 0"), self.strays(&small, 5, 100)).await;
        self.check(format!("{area}/a chunk sent twice"), self.repeated(&blob)).await;
        self.check(format!("{area}/a gap between chunks"), self.gap(&blob)).await;
        for range in ["abc", "0", "-5", "9-0", "0-9,20-29", "0-99999999999999999999999999"] {
            let name = format!("{area}/a malformed range {range:?} is refused");
            self.check(name, self.malformed(&small, range, 10)).await;
        }
        self.check(format!("{area}/a range longer than the chunk is refused"), self.malformed(&small, "0-99", 10))
            .await;
        self.check(format!("{area}/a range shorter than the chunk is refused"), self.malformed(&small, "0-4", 10))
            .await;
        self.check(format!("{area}/a stream goes on with chunks"), self.mixed(&blob)).await;
        self.check(format!("{area}/closing needs a digest"), self.without_digest(&small)).await;
        self.check(format!("{area}/a closed upload is unknown"), self.closed(&small)).await;
        if self.version >= Version::Dev {
            self.check(format!("{area}/a new upload can be cancelled"), async {
                let location = self.open(&self.repository).await?;
                self.cancelled(&location, &small).await
            })
            .await;
            self.check(format!("{area}/an upload with chunks can be cancelled"), async {
                let location = self.advance(&self.open(&self.repository).await?, &blob, 0).await?;
                self.cancelled(&location, &small).await
            })
            .await;
        }
        self.check(format!("{area}/nothing is left of it all"), async {
            self.gone(&blob_path(&self.repository, &blob.digest)).await?;
            self.gone(&blob_path(&self.repository, &small.digest)).await
        })
        .await;
    }

    async fn new_upload(&self) -> Result<()> {
        let (first, second) = (self.open(&self.repository).await?, self.open(&self.repository).await?);
        ensure!(first != second, "two uploads at {first}");
        // 32 hexadecimal digits, with or without dashes: a UUID as text.
        let digits = first.chars().filter(|letter| *letter != '-').collect::<String>();
        let longest = digits.split(|letter: char| !letter.is_ascii_hexdigit()).map(str::len).max();
        ensure!(longest >= Some(32), "no UUID in {first}");
        for location in [first, second] {
            let (_, last) = self.progress(&location).await?;
            ensure!(last <= 0, "a new upload has {last} bytes");
        }
        Ok(())
    }

    async fn growth(&self, blob: &Blob) -> Result<()> {
        let mut location = self.open(&self.repository).await?;
        for number in 0..3 {
            location = self.advance(&location, blob, number).await?;
            let (now, last) = self.progress(&location).await?;
            ensure!(last == i64::try_from((number + 1) * self.chunk)? - 1, "after {} chunks: {last}", number + 1);
            location = now;
        }
        self.finish(&location, blob).await
    }

    async fn early(&self, blob: &Blob) -> Result<()> {
        let mut location = self.open(&self.repository).await?;
        for number in 0..3 {
            location = self.advance(&location, blob, number).await?;
            self.gone(&blob_path(&self.repository, &blob.digest)).await?;
        }
        self.finish(&location, blob).await
    }

    /// A chunk at a wrong place of a new upload, which then takes the right ones.
    async fn strays(&self, blob: &Blob, start: usize, end: usize) -> Result<()> {
        let location = self.open(&self.repository).await?;
        status(&self.chunk(Method::PATCH, &location, blob, start, end).await?, &[416])?;
        let (location, last) = self.progress(&location).await?;
        ensure!(last <= 0, "the chunk was kept: {last}");
        let answer = self.chunk(Method::PATCH, &location, blob, 0, blob.bytes.len()).await?;
        status(&answer, &[202])?;
        self.finish(&self.location(&answer)?, blob).await
    }

    async fn repeated(&self, blob: &Blob) -> Result<()> {
        let location = self.advance(&self.open(&self.repository).await?, blob, 0).await?;
        status(&self.chunk(Method::PATCH, &location, blob, 0, self.chunk).await?, &[416])?;
        self.resumes_after_one(&location, blob).await
    }

    async fn gap(&self, blob: &Blob) -> Result<()> {
        let location = self.advance(&self.open(&self.repository).await?, blob, 0).await?;
        let answer = self.chunk(Method::PATCH, &location, blob, self.chunk + 1, self.chunk * 2).await?;
        status(&answer, &[416])?;
        self.resumes_after_one(&location, blob).await
    }

    async fn resumes_after_one(&self, location: &str, blob: &Blob) -> Result<()> {
        let (location, last) = self.progress(location).await?;
        ensure!(last == i64::try_from(self.chunk)? - 1, "Range ends at {last}");
        self.rest(location, blob, 1).await
    }

    async fn malformed(&self, blob: &Blob, range: &str, length: usize) -> Result<()> {
        let location = self.open(&self.repository).await?;
        let headers = [("content-range", range), ("content-type", "application/octet-stream")];
        let body = full(blob.bytes.slice(..length));
        status(&self.send(Method::PATCH, &location, &headers, body).await?, &[400, 416])?;
        let (location, last) = self.progress(&location).await?;
        ensure!(last <= 0, "the chunk was kept: {last}");
        let answer = self.chunk(Method::PATCH, &location, blob, 0, blob.bytes.len()).await?;
        status(&answer, &[202])?;
        self.finish(&self.location(&answer)?, blob).await
    }

    async fn mixed(&self, blob: &Blob) -> Result<()> {
        let location = self.open(&self.repository).await?;
        let answer = self.send(Method::PATCH, &location, &[], streamed(&blob.bytes.slice(..self.chunk))).await?;
        status(&answer, &[202])?;
        self.rest(self.location(&answer)?, blob, 1).await
    }

    async fn without_digest(&self, blob: &Blob) -> Result<()> {
        let location = self.open(&self.repository).await?;
        let codes = ["DIGEST_INVALID", "BLOB_UPLOAD_INVALID"];
        refused(&self.bytes(Method::PUT, &location, blob).await?, &[400], &codes)?;
        self.gone(&blob_path(&self.repository, &blob.digest)).await
    }

    async fn closed(&self, blob: &Blob) -> Result<()> {
        let location = self.open(&self.repository).await?;
        let answer = self.bytes(Method::PUT, &with_digest(&location, &blob.digest), blob).await?;
        self.created(&answer, blob).await?;
        refused(&self.get(&location).await?, &[404], &UNKNOWN).context("GET")?;
        refused(&self.chunk(Method::PATCH, &location, blob, 0, 9).await?, &[404], &UNKNOWN).context("PATCH")?;
        refused(&self.delete(&location).await?, &[404], &UNKNOWN).context("DELETE")?;
        self.delete_for_good(&blob_path(&self.repository, &blob.digest)).await
    }

    async fn cancelled(&self, location: &str, blob: &Blob) -> Result<()> {
        status(&self.send_nothing(Method::DELETE, location).await?, &[204])?;
        refused(&self.get(location).await?, &[404], &UNKNOWN).context("GET")?;
        refused(&self.chunk(Method::PATCH, location, blob, 0, 9).await?, &[404], &UNKNOWN).context("PATCH")?;
        let url = with_digest(location, &blob.digest);
        refused(&self.bytes(Method::PUT, &url, blob).await?, &[404], &UNKNOWN).context("PUT")?;
        let answer = self.send(Method::DELETE, location, &[], empty()).await?;
        refused(&answer, &[404], &UNKNOWN).context("DELETE")
    }

    /// Sends the chunk `number`, counted from 0; gives the location to go on at.
    async fn advance(&self, location: &str, blob: &Blob, number: usize) -> Result<String> {
        let start = number * self.chunk;
        let answer = self.chunk(Method::PATCH, location, blob, start, start + self.chunk).await?;
        status(&answer, &[202])?;
        self.location(&answer)
    }

    /// Sends the chunks from `number` on, and ends the upload.
    async fn rest(&self, mut location: String, blob: &Blob, number: usize) -> Result<()> {
        for number in number..3 {
            location = self.advance(&location, blob, number).await?;
        }
        self.finish(&location, blob).await
    }

    async fn finish(&self, location: &str, blob: &Blob) -> Result<()> {
        let answer = self.close(location, &blob.digest).await?;
        self.created(&answer, blob).await?;
        self.delete_for_good(&blob_path(&self.repository, &blob.digest)).await
    }
}
