//! The type configuration of openraft and its translation to and from our own protobuf: neither disk nor wire ever carries
//! an openraft encoding, so a new openraft release never changes either.

use bytes::Bytes;
use flotilla_proto::wire::cluster as wire;
use std::{collections::BTreeMap, fmt};

/// What a log entry carries: an encoded `wire::metadata::Batch`, kept as received so that unknown fields survive.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answers: one encoded `wire::metadata::Outcome` per operation; empty for other entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply(pub Vec<Bytes>);

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} outcomes)", self.0.len())
    }
}

/// Identifies a data directory: random, made with the directory, never copied.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskId(pub [u8; 16]);

impl DiskId {
    /// From stored bytes; `None` unless there are 16.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As stored bytes.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member, as the membership knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Cluster address, `host:port`.
    pub address: String,
    /// The data directory that votes under this id.
    pub disk_id: DiskId,
    /// For people.
    pub name: String,
}

openraft::declare_raft_types!(
    /// openraft's view of our types.
    pub TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = u64,
        Node = NodeInfo,
);

/// Term and node of a leader.
pub type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
/// Index and leader of an entry.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A log entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// A membership.
pub type Membership = openraft::Membership<u64, NodeInfo>;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;

/// A message from a peer or the disk that lacks a required part or holds an impossible one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for std::io::Error {
    fn from(error: Malformed) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// To the wire.
pub fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, node_id: id.leader_id.node_id, index: id.index }
}

/// From the wire.
pub fn log_id_from_wire(id: &wire::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.node_id }, index: id.index }
}

/// To the wire.
pub fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, node_id: vote.leader_id.node_id, committed: vote.committed }
}

/// From the wire.
pub fn vote_from_wire(vote: Option<&wire::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("vote"))?;
    Ok(Vote { leader_id: LeaderId { term: vote.term, node_id: vote.node_id }, committed: vote.committed })
}

/// To the wire.
pub fn membership_to_wire(membership: &Membership) -> wire::Membership {
    let configs = membership.get_joint_config().iter().map(|ids| wire::NodeIds { ids: ids.iter().copied().collect() });
    let nodes = membership.nodes().map(|(id, info)| node_info_to_wire(*id, info));
    wire::Membership { configs: configs.collect(), nodes: nodes.collect() }
}

/// From the wire.
pub fn membership_from_wire(membership: &wire::Membership) -> Result<Membership, Malformed> {
    let configs = membership.configs.iter().map(|config| config.ids.iter().copied().collect()).collect();
    let nodes = membership.nodes.iter().map(node_info_from_wire).collect::<Result<BTreeMap<_, _>, _>>()?;
    Membership::new(configs, nodes).map_err(|_| Malformed("membership"))
}

/// To the wire.
pub fn node_info_to_wire(node_id: u64, info: &NodeInfo) -> wire::NodeInfo {
    wire::NodeInfo { node_id, address: info.address.clone(), disk_id: info.disk_id.to_bytes(), name: info.name.clone() }
}

/// From the wire.
pub fn node_info_from_wire(info: &wire::NodeInfo) -> Result<(u64, NodeInfo), Malformed> {
    let disk_id = DiskId::from_bytes(&info.disk_id).ok_or(Malformed("disk id"))?;
    Ok((info.node_id, NodeInfo { address: info.address.clone(), disk_id, name: info.name.clone() }))
}

/// To the wire.
pub fn stored_membership_to_wire(membership: &StoredMembership) -> wire::StoredMembership {
    wire::StoredMembership {
        log_id: membership.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(membership.membership())),
    }
}

/// From the wire.
pub fn stored_membership_from_wire(membership: &wire::StoredMembership) -> Result<StoredMembership, Malformed> {
    let log_id = membership.log_id.as_ref().map(log_id_from_wire);
    let members = membership.membership.as_ref().map(membership_from_wire).transpose()?.unwrap_or_default();
    Ok(StoredMembership::new(log_id, members))
}

/// To the wire and to disk.
pub fn entry_to_wire(entry: &Entry) -> wire::Entry {
    use wire::entry::Payload;
    let payload = match &entry.payload {
        openraft::EntryPayload::Blank => Payload::Blank(true),
        openraft::EntryPayload::Normal(proposal) => Payload::Normal(proposal.0.clone()),
        openraft::EntryPayload::Membership(membership) => Payload::Membership(membership_to_wire(membership)),
    };
    wire::Entry { log_id: Some(log_id_to_wire(&entry.log_id)), payload: Some(payload) }
}

/// From the wire and from disk. An unknown payload is refused: skipping it would make this node's state differ.
pub fn entry_from_wire(entry: wire::Entry) -> Result<Entry, Malformed> {
    use wire::entry::Payload;
    let log_id = entry.log_id.as_ref().map(log_id_from_wire).ok_or(Malformed("entry without a log id"))?;
    let payload = match entry.payload.ok_or(Malformed("entry of an unknown kind"))? {
        Payload::Blank(_) => openraft::EntryPayload::Blank,
        Payload::Normal(bytes) => openraft::EntryPayload::Normal(Proposal(bytes)),
        Payload::Membership(membership) => openraft::EntryPayload::Membership(membership_from_wire(&membership)?),
    };
    Ok(Entry { log_id, payload })
}
