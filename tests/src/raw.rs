//! A raw HTTP/1.1 client: it sends whatever bytes a test made up, and reads one answer as strictly as RFC 9112 asks.

use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long one answer may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// What is sent: some bytes, and then `times` times the same ones.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Head and body, or anything else.
    pub bytes: Vec<u8>,
    /// Sent again and again after them.
    pub tail: Vec<u8>,
    /// How often.
    pub times: usize,
    /// Whether the client ends its side afterwards.
    pub half_close: bool,
}

/// One answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server ends the connection after it.
    pub fn closes(&self) -> bool {
        self.all("connection").any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    /// Received, and not yet read as an answer.
    received: Vec<u8>,
}

impl Wire {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends bytes and waits for nothing.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(timeout(LIMIT, self.stream.write_all(bytes)).await.context("the server reads no more")??)
    }

    /// Sends and reads at once, as an answer may come before the last byte is sent. An answer to `HEAD` has no body.
    pub async fn exchange(&mut self, sent: &Sent, is_head: bool) -> Result<Answer> {
        timeout(LIMIT, self.exchange_patiently(sent, is_head)).await.context("no whole answer within 10 s")?
    }

    async fn exchange_patiently(&mut self, sent: &Sent, is_head: bool) -> Result<Answer> {
        let Self { stream, received } = self;
        let (mut reading, mut writing) = stream.split();
        let sending = async {
            writing.write_all(&sent.bytes).await?;
            for _ in 0..sent.times {
                writing.write_all(&sent.tail).await?;
            }
            if sent.half_close {
                writing.shutdown().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let mut sending = std::pin::pin!(sending);
        let mut answer = std::pin::pin!(answer(&mut reading, received, is_head));
        let mut is_sent = false;
        loop {
            tokio::select! {
                // A failure to send shows in the answer, or in its absence.
                _ = &mut sending, if !is_sent => is_sent = true,
                answer = &mut answer => {
                    let answer = answer?;
                    if !is_sent && !answer.closes() {
                        sending.await.context("the server neither reads the body nor closes")?;
                    }
                    return Ok(answer);
                }
            }
        }
    }

    /// Reads an answer.
    pub async fn answer(&mut self, is_head: bool) -> Result<Answer> {
        self.exchange(&Sent::default(), is_head).await
    }

    /// Fails unless the server ends the connection, without another byte.
    pub async fn ended(&mut self) -> Result<()> {
        let mut rest = [0; 256];
        ensure!(self.received.is_empty(), "bytes follow the answer");
        // A reset after the whole answer is an end too: the server had no use for the rest of the body.
        match timeout(LIMIT, self.stream.read(&mut rest)).await.context("the connection stays open")? {
            Ok(0) | Err(_) => Ok(()),
            Ok(_) => bail!("bytes follow the last answer"),
        }
    }
}

async fn answer(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>, is_head: bool) -> Result<Answer> {
    loop {
        let head = up_to(stream, received, b"\r\n\r\n").await.context("no head")?;
        let mut answer = parse(&head)?;
        if answer.status < 200 {
            continue; // 100 Continue
        }
        if is_head || matches!(answer.status, 204 | 304) {
            return Ok(answer);
        }
        ensure!(answer.all("content-length").count() <= 1, "several lengths");
        answer.body = match (answer.field("content-length"), answer.field("transfer-encoding")) {
            (Some(length), None) => exactly(stream, received, length.parse()?).await?,
            (None, Some("chunked")) => chunks(stream, received).await?,
            (None, None) if answer.closes() => bail!("the end of the body is the end of the connection"),
            framing => bail!("framed by {framing:?}"),
        };
        return Ok(answer);
    }
}

fn parse(head: &[u8]) -> Result<Answer> {
    let text = std::str::from_utf8(head).context("the head is not ASCII")?;
    let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(text).split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code = status.strip_prefix("HTTP/1.1 ").or_else(|| status.strip_prefix("HTTP/1.0 "));
    let code = code.and_then(|rest| rest.get(..3)).with_context(|| format!("status line {status:?}"))?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').with_context(|| format!("header line {line:?}"))?;
        ensure!(!name.is_empty() && !name.contains([' ', '\t']), "header line {line:?}");
        ensure!(!value.chars().any(|c| c.is_control() && c != '\t'), "header line {line:?}");
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Answer { status: code.parse()?, fields, body: Vec::new() })
}

async fn chunks(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = up_to(stream, received, b"\r\n").await?;
        let size = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
        body.extend(exactly(stream, received, size).await?);
        ensure!(exactly(stream, received, 2).await? == b"\r\n", "a chunk does not end with CR LF");
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn up_to(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>, end: &[u8]) -> Result<Vec<u8>> {
    loop {
        if let Some(at) = received.windows(end.len()).position(|window| window == end) {
            return Ok(received.drain(..at + end.len()).collect());
        }
        more(stream, received).await?;
    }
}

async fn exactly(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>, length: usize) -> Result<Vec<u8>> {
    while received.len() < length {
        more(stream, received).await?;
    }
    Ok(received.drain(..length).collect())
}

async fn more(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>) -> Result<()> {
    let read = stream.read_buf(received).await?;
    ensure!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(received));
    Ok(())
}
