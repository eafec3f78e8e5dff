//! Moving whole states between nodes: a read view is sent as checksummed frames ([`SnapshotView`]) and received into a
//! new file ([`Staging`]) that openraft then installs. Frames hold raw pairs in key order, so a frame's bytes, the footer's
//! sha256 and the state hash are the same on every node and version.

mod receive;
mod send;

pub(super) use receive::StagingRoom;
pub use receive::{Staged, Staging};
pub use send::{Chunks, SnapshotView};

use super::types::{Malformed, TypeConfig};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use std::io;

/// Version of the stream; a newer one is refused.
pub const FORMAT: u32 = 1;
/// Raw bytes of a frame at most, unless a single pair is larger.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Raw bytes of a received frame at most: no pair comes near it.
const FRAME_BYTES_LIMIT: usize = 32 << 20;

/// A snapshot as openraft passes it around.
pub type Snapshot = SnapshotOf<TypeConfig, SnapshotData>;
/// What a snapshot covers.
pub type SnapshotMeta = SnapshotMetaOf<TypeConfig>;

/// The bytes of a snapshot: ours to send, or a peer's to install.
pub enum SnapshotData {
    /// A durable state of this node.
    View(Box<SnapshotView>),
    /// A complete, durable file from a peer.
    Staged(Box<Staged>),
}

/// Why a received snapshot was refused. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A frame or the footer does not hold what it promises.
    #[error("damaged snapshot: {0}")]
    Damaged(&'static str),
    /// The sender is newer than this node understands.
    #[error("snapshot format {0} is newer than this node knows")]
    Format(u32),
    /// It is of another cluster.
    #[error("snapshot of cluster {0:?}")]
    Cluster(String),
    /// Another snapshot is being received or installed.
    #[error("another snapshot is being received")]
    Busy,
    /// A message lacks a part.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The local disk failed.
    #[error("snapshot could not be written")]
    Io(#[from] io::Error),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Appends a pair as it is framed and hashed: u32 key length, key, u32 value length, value; big-endian.
fn push_pair(raw: &mut Vec<u8>, key: &[u8], value: &[u8]) -> io::Result<()> {
    for part in [key, value] {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        raw.extend_from_slice(&length.to_be_bytes());
        raw.extend_from_slice(part);
    }
    Ok(())
}

/// Takes one length-prefixed part off the front.
fn take_part<'a>(raw: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = raw.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *raw = rest;
    Some(part)
}
