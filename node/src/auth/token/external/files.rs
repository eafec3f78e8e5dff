use super::keys::Keys;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::Instant};
use tracing::{info, warn};

/// The files are looked at again after this long, when someone asks.
const FRESH: Duration = Duration::from_secs(2);
/// Longest file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the keys of tokens in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The file holds no keys.
    #[error("cannot use the keys of tokens in {}: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The files with the trusted keys, read again when they change.
pub(super) struct Files {
    paths: Arc<Paths>,
    last: Mutex<Arc<Last>>,
    /// Held by the one who looks at the files; the last warning.
    looking: tokio::sync::Mutex<String>,
}

struct Paths {
    bundle: Option<PathBuf>,
    jwks: Option<PathBuf>,
}

/// What was last read that could be used.
struct Last {
    contents: Contents,
    keys: Arc<Keys>,
    looked: Instant,
}

#[derive(Clone, PartialEq, Eq)]
struct Contents {
    bundle: Option<Vec<u8>>,
    jwks: Option<Vec<u8>>,
}

impl Files {
    pub(super) fn open(bundle: Option<PathBuf>, jwks: Option<PathBuf>) -> Result<Self, KeysError> {
        let paths = Paths { bundle, jwks };
        let contents = paths.read()?;
        let keys = Arc::new(paths.parse(&contents)?);
        report(&keys);
        let last = Last { contents, keys, looked: Instant::now() };
        Ok(Self { paths: Arc::new(paths), last: Mutex::new(Arc::new(last)), looking: Default::default() })
    }

    /// The keys of the present files; the last good ones while these cannot be used.
    pub(super) async fn keys(&self) -> Arc<Keys> {
        let last = self.last();
        if last.looked.elapsed() < FRESH {
            return last.keys.clone();
        }
        let Ok(mut warned) = self.looking.try_lock() else { return last.keys.clone() };
        let (paths, known) = (self.paths.clone(), last.clone());
        let look = spawn_blocking(move || {
            let contents = paths.read()?;
            let keys = if contents == known.contents { None } else { Some(Arc::new(paths.parse(&contents)?)) };
            Ok::<_, KeysError>((contents, keys))
        });
        let (contents, keys) = match look.await {
            Ok(Ok((contents, changed))) => {
                warned.clear();
                if let Some(keys) = &changed {
                    report(keys);
                }
                (contents, changed.unwrap_or_else(|| last.keys.clone()))
            }
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let text = format!("{error} {cause}");
                if *warned != text {
                    warn!(%error, cause, "the last keys of tokens go on");
                    *warned = text;
                }
                (last.contents.clone(), last.keys.clone())
            }
            Err(_) => return last.keys.clone(),
        };
        let last = Last { contents, keys: keys.clone(), looked: Instant::now() };
        *self.last.lock().expect("no holder panics") = Arc::new(last);
        keys
    }

    fn last(&self) -> Arc<Last> {
        self.last.lock().expect("no holder panics").clone()
    }

    /// Without a look at the files.
    #[cfg(test)]
    pub(super) fn last_keys(&self) -> Arc<Keys> {
        self.last().keys.clone()
    }
}

impl Paths {
    fn read(&self) -> Result<Contents, KeysError> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(bounded).transpose();
        Ok(Contents { bundle: read(&self.bundle)?, jwks: read(&self.jwks)? })
    }

    fn parse(&self, contents: &Contents) -> Result<Keys, KeysError> {
        let mut keys = Keys::default();
        if let (Some(path), Some(pem)) = (&self.bundle, &contents.bundle) {
            keys.add_bundle(pem).map_err(|problem| KeysError::Unusable { path: path.clone(), problem })?;
        }
        if let (Some(path), Some(json)) = (&self.jwks, &contents.jwks) {
            keys.add_jwks(json).map_err(|problem| KeysError::Unusable { path: path.clone(), problem })?;
        }
        Ok(keys)
    }
}

fn bounded(path: &Path) -> Result<Vec<u8>, KeysError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|cause| KeysError::Unreadable { path: path.to_owned(), cause })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(KeysError::Unusable { path: path.to_owned(), problem: "it is too long".to_owned() });
    }
    Ok(bytes)
}

fn report(keys: &Keys) {
    info!(roots = keys.roots.len(), "read the keys of tokens");
    if !keys.skipped.is_empty() {
        let skipped = keys.skipped.join(", ");
        warn!(skipped, "some of them cannot be used: only RSA of 2048 to 8192 bits, P-256, P-384 and Ed25519");
    }
}
