//! HTTP/1.1 over a bare socket: sends exactly the bytes a test says, and reads one answer at a time, strictly.

use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// An answer that takes longer is a hang.
pub const LIMIT: Duration = Duration::from_secs(10);
const HEAD_MAX: usize = 64 << 10;

/// One answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// Status of the final answer.
    pub status: u16,
    /// Statuses of the interim answers before it.
    pub interim: Vec<u16>,
    /// Header fields in their order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Body, without its chunks' framing.
    pub body: Vec<u8>,
    /// The connection does not go on after it.
    pub closes: bool,
}

impl Answer {
    /// The first field of that name; empty when absent.
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether there is such a field.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, _)| key == name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A connection.
pub struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Wire {
    /// To `host:port`.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader, writer, buffer: Vec::new() })
    }

    /// Sends bytes; a peer that stopped reading is not an error, its answer tells.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(LIMIT, self.writer.write_all(bytes)).await;
    }

    /// Ends the sending half.
    pub async fn half_close(&mut self) {
        let _ = self.writer.shutdown().await;
    }

    /// Sends a request while it reads the answer. What was not sent yet when a closing answer came is never sent.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        let is_head = request.starts_with(b"HEAD ");
        let Self { reader, writer, buffer } = self;
        let both = async {
            let mut write = std::pin::pin!(writer.write_all(request));
            let mut read = std::pin::pin!(read_answer(reader, buffer, is_head));
            tokio::select! {
                answer = &mut read => {
                    if answer.as_ref().is_ok_and(|answer| !answer.closes) {
                        let _ = write.await;
                    }
                    answer
                }
                _ = &mut write => read.await,
            }
        };
        timeout(LIMIT, both).await.context("no complete answer within the limit")?
    }

    /// The next answer.
    pub async fn answer(&mut self, is_head: bool) -> Result<Answer> {
        let answer = read_answer(&mut self.reader, &mut self.buffer, is_head);
        timeout(LIMIT, answer).await.context("no complete answer within the limit")?
    }

    /// Exactly `count` further bytes.
    pub async fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        timeout(LIMIT, async {
            while self.buffer.len() < count {
                ensure!(fill(&mut self.reader, &mut self.buffer).await?, "closed");
            }
            Ok(self.buffer.drain(..count).collect())
        })
        .await?
    }

    /// Waits for the end of the connection.
    ///
    /// # Errors
    /// When anything comes before it, or it does not come.
    pub async fn end(&mut self) -> Result<()> {
        let more = async { while fill(&mut self.reader, &mut self.buffer).await.unwrap_or(false) {} };
        let ended = timeout(LIMIT, more).await;
        ensure!(self.buffer.is_empty(), "something follows: {}", shown(&self.buffer));
        ended.context("the connection stays open")
    }
}

/// The beginning of some bytes, readable.
pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).escape_debug().to_string()
}

async fn fill(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Result<bool> {
    buffer.reserve(16 << 10);
    Ok(reader.read_buf(buffer).await? > 0)
}

async fn read_answer(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>, is_head: bool) -> Result<Answer> {
    let mut interim = Vec::new();
    loop {
        let mut answer = read_head(reader, buffer).await?;
        if (100..200).contains(&answer.status) && answer.status != 101 {
            interim.push(answer.status);
            continue;
        }
        answer.interim = interim;
        let bodiless = is_head || matches!(answer.status, 101 | 204 | 304);
        if !bodiless {
            read_body(reader, buffer, &mut answer).await?;
        }
        return Ok(answer);
    }
}

async fn read_head(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Result<Answer> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        ensure!(buffer.len() < HEAD_MAX, "an endless head: {}", shown(buffer));
        match fill(reader, buffer).await {
            Ok(true) => {}
            Ok(false) if buffer.is_empty() => bail!("closed without an answer"),
            Ok(false) => bail!("closed inside of a head: {}", shown(buffer)),
            Err(error) => bail!("{error} inside of a head: {}", shown(buffer)),
        }
    };
    let head: Vec<u8> = buffer.drain(..end + 4).take(end).collect();
    let head = String::from_utf8(head).context("a head that is no text")?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let (version, rest) = first.split_once(' ').with_context(|| format!("a status line: {first:?}"))?;
    ensure!(version == "HTTP/1.1" || version == "HTTP/1.0", "a status line: {first:?}");
    let status =
        rest.get(..3).and_then(|code| code.parse().ok()).with_context(|| format!("a status line: {first:?}"))?;
    let mut answer = Answer { status, ..Answer::default() };
    for line in lines {
        let (name, value) = line.split_once(':').with_context(|| format!("a header line: {line:?}"))?;
        ensure!(!value.contains(['\r', '\n', '\0', '\x1b']), "a control character in a header: {line:?}");
        answer.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let connection = answer.field("connection").to_ascii_lowercase();
    answer.closes = connection.contains("close") || (version == "HTTP/1.0" && !connection.contains("keep-alive"));
    Ok(answer)
}

async fn read_body(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>, answer: &mut Answer) -> Result<()> {
    let lengths = answer.fields.iter().filter(|(name, _)| name == "content-length").count();
    ensure!(lengths <= 1, "{lengths} lengths");
    if answer.has("transfer-encoding") {
        ensure!(lengths == 0, "a length and a transfer coding");
        ensure!(answer.field("transfer-encoding") == "chunked", "an unknown transfer coding");
        loop {
            let line = read_line(reader, buffer).await?;
            let size = usize::from_str_radix(&line, 16).with_context(|| format!("a chunk's size: {line:?}"))?;
            let bytes = read_exact(reader, buffer, size + 2).await?;
            ensure!(bytes.ends_with(b"\r\n"), "a chunk without its end");
            answer.body.extend_from_slice(&bytes[..size]);
            if size == 0 {
                return Ok(());
            }
        }
    }
    if lengths == 1 {
        let length = answer.field("content-length").parse().context("a length")?;
        answer.body = read_exact(reader, buffer, length).await?;
        return Ok(());
    }
    answer.closes = true;
    while fill(reader, buffer).await? {}
    answer.body = std::mem::take(buffer);
    Ok(())
}

async fn read_line(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Result<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|two| two == b"\r\n") {
            let line = buffer.drain(..at + 2).take(at).collect();
            return Ok(String::from_utf8(line)?);
        }
        ensure!(fill(reader, buffer).await?, "closed inside of a body");
    }
}

async fn read_exact(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>, length: usize) -> Result<Vec<u8>> {
    while buffer.len() < length {
        ensure!(fill(reader, buffer).await?, "closed after {} of {length} bytes of a body", buffer.len());
    }
    Ok(buffer.drain(..length).collect())
}
