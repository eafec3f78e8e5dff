use crate::config::HttpTls;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// No PEM file is larger.
const BYTES_MAX: u64 = 4 << 20;

/// The files as they were at one look, or why one could not be read.
pub(super) struct Contents {
    pub(super) certificate: Content,
    pub(super) key: Content,
    pub(super) authorities: Vec<Content>,
}

/// One file.
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) bytes: io::Result<Vec<u8>>,
}

/// Tells contents apart without keeping a key in memory twice.
pub(super) type Fingerprint = [u8; 32];

impl Contents {
    /// Blocks.
    pub(super) fn read(config: &HttpTls) -> Self {
        let authorities = config.clients.iter().flat_map(|clients| &clients.authorities);
        Self {
            certificate: Content::read(&config.certificate),
            key: Content::read(&config.key),
            authorities: authorities.map(|path| Content::read(path)).collect(),
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Sha256::new();
        for content in [&self.certificate, &self.key].into_iter().chain(&self.authorities) {
            match &content.bytes {
                Ok(bytes) => {
                    hasher.update((bytes.len() as u64).to_le_bytes());
                    hasher.update(bytes);
                }
                Err(error) => {
                    hasher.update(u64::MAX.to_le_bytes());
                    hasher.update(error.to_string());
                }
            }
        }
        hasher.finalize().into()
    }
}

impl Content {
    fn read(path: &Path) -> Self {
        let read = || {
            let mut bytes = Vec::new();
            File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
            match bytes.len() as u64 > BYTES_MAX {
                true => Err(io::Error::other("it is too large for a PEM file")),
                false => Ok(bytes),
            }
        };
        Self { path: path.to_owned(), bytes: read() }
    }
}
