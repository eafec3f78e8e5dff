//! Who this data directory is: a random disk id made with it, and the cluster and node id it may vote under. Written and
//! synced before the first vote, so that a wiped directory can never speak for the node it used to be.

use super::{
    error::Error,
    types::{DiskId, NodeInfo},
};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

const FORMAT: u32 = 1;

/// What the identity file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This data directory.
    pub disk_id: DiskId,
    /// The cluster this disk is a node of, once it is.
    pub member: Option<Member>,
    /// The bootstrap this disk has promised to be part of, until the cluster is seen to run.
    pub promise: Option<Promise>,
}

/// A place in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The cluster.
    pub cluster_id: String,
    /// The id this disk votes under.
    pub node_id: u64,
    /// Whether this disk holds the cluster's log. If it is gone then, it was lost.
    pub log_seen: bool,
}

/// The one list of first members this disk agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The cluster to be.
    pub cluster_id: String,
    /// All its first voters; the one with the lowest id initializes it.
    pub nodes: BTreeMap<u64, NodeInfo>,
}

impl Promise {
    /// The id of `disk` in the list.
    pub fn node_of(&self, disk: DiskId) -> Option<u64> {
        self.nodes.iter().find(|(_, info)| info.disk_id == disk).map(|(id, _)| *id)
    }
}

/// The file, with the lock on its directory.
pub struct IdentityFile {
    path: PathBuf,
    _lock: File,
    current: Mutex<Identity>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    disk_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_id: Option<u64>,
    #[serde(default)]
    log_seen: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promise: Option<StoredPromise>,
}

#[derive(Serialize, Deserialize)]
struct StoredPromise {
    cluster_id: String,
    nodes: Vec<StoredNode>,
}

#[derive(Serialize, Deserialize)]
struct StoredNode {
    node_id: u64,
    address: String,
    disk_id: String,
    name: String,
}

impl IdentityFile {
    /// Locks `dir` and reads its identity; a directory without one gets a new disk id.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        super::private::make_dir(dir).map_err(|error| Error::Io("the data directory could not be made", error))?;
        let lock = lock(dir)?;
        let path = dir.join("identity.json");
        let current = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|reason| Error::Identity { path: path.clone(), reason })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut disk_id = DiskId::default();
                rand::rng().fill_bytes(&mut disk_id.0);
                let identity = Identity { disk_id, member: None, promise: None };
                write(&path, &identity).map_err(|error| Error::Io("the identity could not be written", error))?;
                identity
            }
            Err(error) => return Err(Error::Io("the identity could not be read", error)),
        };
        Ok(Self { path, _lock: lock, current: Mutex::new(current) })
    }

    /// What it says now.
    pub fn get(&self) -> Identity {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes and syncs, then returns. Blocks on the disk; callers take turns (see `bootstrap`).
    pub fn set(&self, member: Option<Member>, promise: Option<Promise>) -> io::Result<()> {
        let identity = Identity { disk_id: self.get().disk_id, member, promise };
        write(&self.path, &identity)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        Ok(())
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let open = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = open.map_err(|error| Error::Io("the data directory's lock could not be opened", error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked(dir.to_owned())),
        Err(error) => Err(Error::Io("the data directory could not be locked", error.into())),
    }
}

fn write(path: &Path, identity: &Identity) -> io::Result<()> {
    let promise = identity.promise.as_ref().map(|promise| StoredPromise {
        cluster_id: promise.cluster_id.clone(),
        nodes: promise.nodes.iter().map(|(id, info)| StoredNode::new(*id, info)).collect(),
    });
    let stored = Stored {
        format: FORMAT,
        disk_id: identity.disk_id.to_string(),
        cluster_id: identity.member.as_ref().map(|member| member.cluster_id.clone()),
        node_id: identity.member.as_ref().map(|member| member.node_id),
        log_seen: identity.member.as_ref().is_some_and(|member| member.log_seen),
        promise,
    };
    let mut bytes = serde_json::to_vec_pretty(&stored).map_err(io::Error::other)?;
    bytes.push(b'\n');
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

fn parse(bytes: &[u8]) -> Result<Identity, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.format != FORMAT {
        return Err(format!("format {} is not known to this version", stored.format));
    }
    let member = match (stored.cluster_id, stored.node_id) {
        (Some(cluster_id), Some(node_id)) => Some(Member { cluster_id, node_id, log_seen: stored.log_seen }),
        (None, None) => None,
        _ => return Err("cluster_id and node_id belong together".to_owned()),
    };
    let promise = stored.promise.map(StoredPromise::parse).transpose()?;
    Ok(Identity { disk_id: parse_disk(&stored.disk_id)?, member, promise })
}

fn parse_disk(text: &str) -> Result<DiskId, String> {
    let bytes = hex::decode(text).ok();
    bytes.and_then(|bytes| DiskId::from_bytes(&bytes)).ok_or_else(|| format!("disk id {text:?}"))
}

impl StoredPromise {
    fn parse(self) -> Result<Promise, String> {
        let nodes = self.nodes.into_iter().map(|node| {
            let disk_id = parse_disk(&node.disk_id)?;
            Ok((node.node_id, NodeInfo { address: node.address, disk_id, name: node.name }))
        });
        Ok(Promise { cluster_id: self.cluster_id, nodes: nodes.collect::<Result<_, String>>()? })
    }
}

impl StoredNode {
    fn new(node_id: u64, info: &NodeInfo) -> Self {
        Self { node_id, address: info.address.clone(), disk_id: info.disk_id.to_string(), name: info.name.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_identity_and_refuses_a_second_process() {
        let dir = tempfile::tempdir().unwrap();
        let file = IdentityFile::open(dir.path()).unwrap();
        assert!(matches!(IdentityFile::open(dir.path()), Err(Error::Locked(_))));
        let disk_id = file.get().disk_id;
        let info = NodeInfo { address: "a:1".into(), disk_id, name: "a".into() };
        let promise = Promise { cluster_id: "c".into(), nodes: [(1, info)].into() };
        file.set(None, Some(promise)).unwrap();
        let before = file.get();
        drop(file);
        let again = IdentityFile::open(dir.path()).unwrap();
        assert_eq!(again.get(), before);
        assert_eq!(again.get().promise.unwrap().node_of(disk_id), Some(1));
    }
}
