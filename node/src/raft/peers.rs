//! Connections to other nodes. Each peer has four, so that a heartbeat never queues behind a megabyte of entries: appends,
//! control (heartbeats, votes), snapshots, and forwarded proposals and reads.

use super::{
    tls::Tls,
    types::{DiskId, NodeInfo},
};
use flotilla_proto::wire::cluster::{forward_client::ForwardClient, join_client::JoinClient, raft_client::RaftClient};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Bytes of one message at most, on both sides.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
const CHANNELS_MAX: usize = 256;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Log entries.
    Append,
    /// Heartbeats, votes, handing over leadership.
    Control,
    /// Snapshots.
    Snapshot,
    /// Proposals and read indexes for the leader; discovery.
    Forward,
}

/// The sender and the receiver of a call, checked by the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The cluster both belong to.
    pub cluster_id: String,
    /// The sender.
    pub from_node: u64,
    /// Its disk.
    pub from_disk: DiskId,
    /// The receiver.
    pub to_node: u64,
    /// Its disk.
    pub to_disk: DiskId,
}

const CLUSTER: &str = "flotilla-cluster";
const FROM_NODE: &str = "flotilla-from-node";
const FROM_DISK: &str = "flotilla-from-disk";
const TO_NODE: &str = "flotilla-to-node";
const TO_DISK: &str = "flotilla-to-disk";

impl Envelope {
    /// Reads it off a call.
    pub fn read(metadata: &MetadataMap) -> Option<Self> {
        let text = |key| metadata.get(key)?.to_str().ok();
        let disk = |key| DiskId::from_bytes(&hex::decode(text(key)?).ok()?);
        Some(Self {
            cluster_id: text(CLUSTER)?.to_owned(),
            from_node: text(FROM_NODE)?.parse().ok()?,
            from_disk: disk(FROM_DISK)?,
            to_node: text(TO_NODE)?.parse().ok()?,
            to_disk: disk(TO_DISK)?,
        })
    }

    /// Made ready to be put on every call; `None` if the cluster id cannot be sent.
    pub fn sealed(&self) -> Option<Seal> {
        let value = |text: String| MetadataValue::try_from(text).ok();
        Some(Seal([
            (CLUSTER, value(self.cluster_id.clone())?),
            (FROM_NODE, value(self.from_node.to_string())?),
            (FROM_DISK, value(self.from_disk.to_string())?),
            (TO_NODE, value(self.to_node.to_string())?),
            (TO_DISK, value(self.to_disk.to_string())?),
        ]))
    }
}

/// Puts an [`Envelope`] on every call.
#[derive(Clone)]
pub struct Seal([(&'static str, MetadataValue<Ascii>); 5]);

impl Interceptor for Seal {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (key, value) in &self.0 {
            request.metadata_mut().insert(*key, value.clone());
        }
        Ok(request)
    }
}

/// A channel whose calls carry an [`Envelope`].
pub type Sealed = InterceptedService<Channel, Seal>;

/// All connections of this node.
pub struct Peers {
    tls: Option<Tls>,
    connect_timeout: Duration,
    runtime: tokio::runtime::Handle,
    channels: Mutex<HashMap<(String, Lane), Channel>>,
    /// Where members are now: openraft's clients keep the address they were made with.
    addresses: Mutex<HashMap<u64, String>>,
}

impl Peers {
    /// No connections yet; they will live on `runtime`, whoever uses them.
    pub fn new(tls: Option<Tls>, connect_timeout: Duration, runtime: tokio::runtime::Handle) -> Self {
        Self { tls, connect_timeout, runtime, channels: Mutex::default(), addresses: Mutex::default() }
    }

    /// The connection to `address` for `lane`; it dials when used and again after a loss.
    pub fn channel(&self, address: &str, lane: Lane) -> Result<Channel, Status> {
        let key = (address.to_owned(), lane);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let _runtime = self.runtime.enter();
        let channel = self.endpoint(address).map_err(|error| Status::unavailable(error.to_string()))?.connect_lazy();
        channels.insert(key, channel.clone());
        Ok(channel)
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(4))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        match &self.tls {
            Some(tls) => endpoint.tls_config(tls.client(address)),
            None => Ok(endpoint),
        }
    }

    /// Notes where a member is.
    pub fn place(&self, node_id: u64, address: &str) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.get(&node_id).is_none_or(|known| known != address) {
            addresses.insert(node_id, address.to_owned());
        }
    }

    /// Where a member is, if it was noted.
    pub fn address_of(&self, node_id: u64) -> Option<String> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&node_id).cloned()
    }

    /// Client of the Raft service of a member.
    pub fn raft(&self, address: &str, seal: &Seal, lane: Lane) -> Result<RaftClient<Sealed>, Status> {
        let client = RaftClient::with_interceptor(self.channel(address, lane)?, seal.clone());
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Client of the Forward service of a member.
    pub fn forward(&self, node: &NodeInfo, seal: &Seal) -> Result<ForwardClient<Sealed>, Status> {
        let client = ForwardClient::with_interceptor(self.channel(&node.address, Lane::Forward)?, seal.clone());
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Client of the Join service of whoever is at `address`.
    pub fn join(&self, address: &str) -> Result<JoinClient<Channel>, Status> {
        Ok(JoinClient::new(self.channel(address, Lane::Forward)?))
    }
}
