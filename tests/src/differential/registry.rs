//! Debian's registry or ours, started as an operator starts it.

use super::{Group, answer::Answer, material::Material, step::Step};
use crate::{cluster::server, ports, process::Process};
use anyhow::{Context, Result, ensure};
use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::ServerName},
};

const LIMIT: Duration = Duration::from_secs(30);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Debian's `docker-registry`.
    Theirs,
    /// `flotilla`
    Ours,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP
    Plain,
    /// HTTP over TLS
    Tls,
}

/// One running registry.
pub struct Registry {
    /// Which it is.
    pub side: Side,
    /// `host:port`
    pub address: String,
    speech: Speech,
    authority: CertificateDer<'static>,
    _process: Process,
}

impl Registry {
    /// Starts one: the file and the variables are the same for both sides, but for the address and the directory.
    pub async fn start(side: Side, group: &Group, material: &Material, dir: &Path) -> Result<Self> {
        let root = dir.join(format!("{side:?}"));
        std::fs::create_dir_all(&root)?;
        let config = dir.join("config.yml");
        std::fs::write(&config, material.place(&group.config))?;
        let program = match side {
            Side::Theirs => "docker-registry".into(),
            Side::Ours => server(),
        };
        let address = ports::address();
        let mut command = Command::new(program);
        command.arg("serve").arg(&config);
        for (name, value) in &group.variables {
            command.env(name, material.place(value));
        }
        command.env("REGISTRY_HTTP_ADDR", &address).env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &root);
        let name = format!("{}: {side:?}", group.name);
        let mut process = Process::start(&name, &mut command, &dir.join(format!("{side:?}.log")))?;
        let began = Instant::now();
        // Ours listens before it is ready: what it says then is 503.
        let authority = material.authority.clone();
        loop {
            let answer = exchange(&address, group.speech, &authority, PROBE.as_bytes(), false).await;
            if answer.is_ok_and(|answer| answer.facts(false)["status"] != "503") {
                break;
            }
            ensure!(process.is_running(), "{name} ended: {}", process.log_tail());
            ensure!(began.elapsed() < LIMIT, "{name} is not up: {}", process.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { side, address, speech: group.speech, authority, _process: process })
    }

    /// One request on a connection of its own.
    pub async fn exchange(&self, bytes: &[u8], step: &Step) -> Result<Answer> {
        let speech = if step.in_plain { Speech::Plain } else { self.speech };
        let exchange = exchange(&self.address, speech, &self.authority, bytes, step.is_head());
        tokio::time::timeout(LIMIT, exchange).await.context("no whole answer in 30 s")?
    }
}

const PROBE: &str = "GET /v2/flotilla/probe/tags/list HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

async fn exchange(
    address: &str,
    speech: Speech,
    authority: &CertificateDer<'static>,
    bytes: &[u8],
    is_head: bool,
) -> Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let received = match speech {
        Speech::Plain => talk(stream, bytes).await?,
        Speech::Tls => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.clone())?;
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            let name = ServerName::try_from("127.0.0.1")?;
            talk(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, bytes).await?
        }
    };
    Answer::parse(&received, is_head)
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    let mut received = Vec::new();
    // A connection that ends without TLS' goodbye, or by a reset, may have brought a whole answer.
    if let Err(error) = stream.read_to_end(&mut received).await
        && received.is_empty()
    {
        return Err(error.into());
    }
    Ok(received)
}
