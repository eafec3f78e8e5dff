//! What a check looks at.

use super::{Kind, http};
use crate::{blobstore::BlobStore, config};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};

pub(super) enum Probe {
    /// Well while there is no such file.
    File(PathBuf),
    /// Well if it answers with the status.
    Http(http::Target),
    /// Well if it accepts a connection.
    Tcp(String),
    /// Well if the marker can be read.
    Storage(Arc<dyn BlobStore>),
}

impl Probe {
    pub(super) fn new(check: &config::Check) -> anyhow::Result<Self> {
        Ok(match &check.what {
            config::Checked::File(path) => Self::File(path.clone()),
            config::Checked::Http(service) => Self::Http(http::Target::new(service)?),
            config::Checked::Tcp(address) => Self::Tcp(address.clone()),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Http(_) => Kind::Http,
            Self::Tcp(_) => Kind::Tcp,
            Self::Storage(_) => Kind::Storage,
        }
    }

    /// How long to wait for [`Probe::check`] before the wait alone is a failure. File work cannot be given up, so it is
    /// waited for; the others keep the limit themselves.
    pub(super) fn patience(&self, limit: Duration) -> Duration {
        match self {
            Self::File(_) | Self::Storage(_) => limit,
            Self::Http(_) | Self::Tcp(_) => Duration::MAX,
        }
    }

    /// Looks once.
    pub(super) async fn check(&self, limit: Duration) -> Result<(), String> {
        let late = |_| format!("no answer in {} s", limit.as_secs_f32());
        match self {
            Self::File(path) => match tokio::fs::metadata(path).await {
                Ok(_) => Err("file exists".to_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Self::Http(target) => timeout(limit, target.ask()).await.map_err(late)?,
            Self::Tcp(address) => match timeout(limit, TcpStream::connect(address)).await.map_err(late)? {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("cannot connect: {error}")),
            },
            Self::Storage(blobs) => match blobs.read_marker().await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("the marker flotilla.json is missing".to_owned()),
                Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
            },
        }
    }
}
