//! What the log's records hold on disk: our own protobuf messages, each preceded by its length as a big-endian u32.

use crate::raft::types::{LeaderId, LogId, Vote};
use bytes::Bytes;
use flotilla_proto::wire::cluster as wire;
use openraft::storage::IOFlushed;
use prost::Message as _;
use raft_log::codeq::{Decode, Encode};
use std::{fmt, io};

/// Longest message a record may hold, in bytes; a longer length is damage.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;

/// The types of our raft-log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Types;

impl raft_log::Types for Types {
    type LogId = StoredLogId;
    type LogPayload = Payload;
    type Vote = StoredVote;
    type Callback = Flushed;
    type UserData = Payload;

    fn log_index(log_id: &StoredLogId) -> u64 {
        log_id.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

/// A log id with the order of openraft's: term, node, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredLogId {
    pub(super) term: u64,
    pub(super) node_id: u64,
    pub(super) index: u64,
}

impl From<LogId> for StoredLogId {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, node_id: id.leader_id.node_id, index: id.index }
    }
}

impl From<StoredLogId> for LogId {
    fn from(id: StoredLogId) -> Self {
        Self { leader_id: LeaderId { term: id.term, node_id: id.node_id }, index: id.index }
    }
}

impl Encode for StoredLogId {
    fn encode<W: io::Write>(&self, writer: W) -> io::Result<usize> {
        let id = wire::LogId { term: self.term, node_id: self.node_id, index: self.index };
        write_message(writer, &id.encode_to_vec())
    }
}

impl Decode for StoredLogId {
    fn decode<R: io::Read>(reader: R) -> io::Result<Self> {
        let id = wire::LogId::decode(read_message(reader)?).map_err(damaged)?;
        Ok(Self { term: id.term, node_id: id.node_id, index: id.index })
    }
}

/// A vote with the order of openraft's: term, node, then committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredVote {
    term: u64,
    node_id: u64,
    committed: bool,
}

impl From<Vote> for StoredVote {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node_id: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<StoredVote> for Vote {
    fn from(vote: StoredVote) -> Self {
        Self { leader_id: LeaderId { term: vote.term, node_id: vote.node_id }, committed: vote.committed }
    }
}

impl Encode for StoredVote {
    fn encode<W: io::Write>(&self, writer: W) -> io::Result<usize> {
        let vote = wire::Vote { term: self.term, node_id: self.node_id, committed: self.committed };
        write_message(writer, &vote.encode_to_vec())
    }
}

impl Decode for StoredVote {
    fn decode<R: io::Read>(reader: R) -> io::Result<Self> {
        let vote = wire::Vote::decode(read_message(reader)?).map_err(damaged)?;
        Ok(Self { term: vote.term, node_id: vote.node_id, committed: vote.committed })
    }
}

/// An encoded `wire::cluster::Entry`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Payload(pub(super) Bytes);

/// Entries may hold secrets.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Encode for Payload {
    fn encode<W: io::Write>(&self, writer: W) -> io::Result<usize> {
        write_message(writer, &self.0)
    }
}

impl Decode for Payload {
    fn decode<R: io::Read>(reader: R) -> io::Result<Self> {
        read_message(reader).map(Self)
    }
}

/// Who is told when a flush is done. raft-log calls it after the fsync, in the order of the writes.
pub(super) enum Flushed {
    /// openraft waits for appended entries.
    Append(IOFlushed<crate::raft::types::TypeConfig>),
    /// One of our own calls waits.
    Call(tokio::sync::oneshot::Sender<io::Result<()>>),
}

impl raft_log::Callback for Flushed {
    fn send(self, result: io::Result<()>) {
        match self {
            Self::Append(callback) => callback.io_completed(result),
            // The caller may have gone; the record is flushed all the same.
            Self::Call(sender) => drop(sender.send(result)),
        }
    }
}

fn write_message<W: io::Write>(mut writer: W, message: &[u8]) -> io::Result<usize> {
    let length = u32::try_from(message.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "log record too large"))?;
    writer.write_all(&length.to_be_bytes())?;
    writer.write_all(message)?;
    Ok(4 + message.len())
}

fn read_message<R: io::Read>(mut reader: R) -> io::Result<Bytes> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "log record with an impossible length"));
    }
    let mut message = vec![0; length as usize];
    reader.read_exact(&mut message)?;
    Ok(Bytes::from(message))
}

fn damaged(error: prost::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
