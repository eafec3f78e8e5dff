use super::{
    SHORT, Shared,
    error::{self, map},
};
use crate::blobstore::{ByteStream, Error, Operation};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{ops::Range, sync::Arc, time::Duration};

/// How long the store may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(20);
/// Bodies of one read that may break before it fails.
const BREAKS_MAX: u32 = 5;

struct Reader {
    shared: Arc<Shared>,
    path: String,
    key: String,
    /// What is still to come; its end is within the object.
    rest: Range<u64>,
    body: Option<aws_sdk_s3::primitives::ByteStream>,
    breaks: u32,
}

/// Opens the range; its stream goes on at the same offset if a body breaks, and fails if it stays short.
pub(super) async fn read(
    shared: Arc<Shared>,
    path: String,
    key: String,
    range: Range<u64>,
) -> Result<ByteStream, Error> {
    if range.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let mut reader = Reader { shared, path, key, rest: range, body: None, breaks: 0 };
    reader.open().await?;
    if reader.rest.is_empty() {
        return Ok(stream::empty().boxed());
    }
    Ok(stream::unfold(Some(reader), |reader| async { reader?.next().await }).fuse().boxed())
}

impl Reader {
    /// Asks for the rest of the range and cuts it to what the object has.
    async fn open(&mut self) -> Result<(), Error> {
        let Range { start, end } = self.rest;
        let shared = &self.shared;
        let request = shared.client.get_object().bucket(&shared.config.bucket).key(&self.path);
        let request = request.range(format!("bytes={start}-{}", end - 1)).send();
        let answer = async {
            match request.await {
                Ok(found) => Ok(Some(found)),
                Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 416) => Ok(None),
                Err(error) => Err(map(error, "GET", &self.path)),
            }
        };
        let found = match shared.send(Operation::Read, SHORT, answer).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Err(Error::NotFound { key: self.key.clone() }),
            Err(error) => return Err(error),
        };
        // 416: the object ends before the range begins.
        let Some(found) = found else {
            self.rest.end = start;
            return Ok(());
        };
        let length = found.content_length().and_then(|length| u64::try_from(length).ok());
        let length = length.ok_or_else(|| error::refused(format!("GET {}: no length in the answer", self.path)))?;
        let ranged = found.content_range().is_some_and(|range| range.starts_with(&format!("bytes {start}-")));
        if (!ranged && start > 0) || (ranged && length > end - start) {
            return Err(error::refused(format!("GET {}: the store ignores ranges", self.path)));
        }
        self.rest.end = end.min(start + length);
        self.body = Some(found.body);
        Ok(())
    }

    async fn next(mut self) -> Option<(Result<Bytes, Error>, Option<Self>)> {
        while !self.rest.is_empty() {
            let broken = match &mut self.body {
                Some(body) => match tokio::time::timeout(SILENCE, body.next()).await {
                    Ok(Some(Ok(bytes))) if bytes.is_empty() => continue,
                    Ok(Some(Ok(mut bytes))) => {
                        let wanted = self.rest.end - self.rest.start;
                        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                        self.rest.start += bytes.len() as u64;
                        self.shared.metrics.read.inc_by(bytes.len() as u64);
                        self.breaks = 0;
                        return Some((Ok(bytes), Some(self)));
                    }
                    Ok(Some(Err(error))) => error.to_string(),
                    Ok(None) => "the body ended early".to_owned(),
                    Err(_) => format!("silent for {} s", SILENCE.as_secs()),
                },
                None => "not open".to_owned(),
            };
            self.body = None;
            self.breaks += 1;
            if self.breaks > BREAKS_MAX {
                return Some((Err(error::unavailable(format!("GET {}: {broken}", self.path))), None));
            }
            self.shared.metrics.retried(Operation::Read);
            tokio::time::sleep(Duration::from_millis(u64::from(rand::random_range(0..=50 * self.breaks)))).await;
            let end = self.rest.end;
            if let Err(error) = self.open().await {
                return Some((Err(error), None));
            }
            if self.rest.end != end {
                return Some((Err(error::refused(format!("GET {}: the object shrank", self.path))), None));
            }
        }
        None
    }
}
