//! openraft's way out: appends as one pipelined stream per peer, votes, snapshots and the handing over of leadership.
//! openraft leaves deadlines to us; a peer that is down is `Unreachable`, so that openraft backs off.

mod snapshot;

use super::{
    peers::{Envelope, Lane, Peers, Seal},
    snapshot::{Snapshot, SnapshotData},
    types::{
        self, DiskId, LogId, NodeInfo, TypeConfig, Vote, entry_to_wire, log_id_from_wire, log_id_to_wire,
        vote_from_wire, vote_to_wire,
    },
};
use flotilla_proto::wire::cluster as wire;
use futures_util::{
    Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use openraft::{
    OptionalSend,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{
        Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RPCTypes,
        RaftNetworkFactory,
    },
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tonic::{Code, Status};

type RpcError = RPCError<TypeConfig>;

/// Makes the clients openraft asks for.
pub struct Network {
    /// The cluster of this node.
    pub cluster_id: String,
    /// This node.
    pub node_id: u64,
    /// Its disk.
    pub disk_id: DiskId,
    /// Its connections.
    pub peers: Arc<Peers>,
    /// How long a peer may take to answer appends that are under way.
    pub append_timeout: Duration,
}

impl Network {
    fn client(&self, target: u64, node: &NodeInfo, lane: Lane) -> Client {
        let envelope = Envelope {
            cluster_id: self.cluster_id.clone(),
            from_node: self.node_id,
            from_disk: self.disk_id,
            to_node: target,
            to_disk: node.disk_id,
        };
        self.peers.place(target, &node.address);
        Client {
            from: self.node_id,
            target,
            node: node.clone(),
            seal: envelope.sealed(),
            peers: self.peers.clone(),
            lane,
            append_timeout: self.append_timeout,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &NodeInfo) -> Client {
        self.client(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &NodeInfo) -> Client {
        self.client(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &NodeInfo) -> Client {
        self.client(target, node, Lane::Snapshot)
    }
}

/// Speaks to one peer.
pub struct Client {
    from: u64,
    target: u64,
    node: NodeInfo,
    seal: Option<Seal>,
    peers: Arc<Peers>,
    lane: Lane,
    append_timeout: Duration,
}

impl Client {
    fn raft(&self, lane: Lane) -> Result<wire::raft_client::RaftClient<super::peers::Sealed>, Status> {
        let seal = self.seal.as_ref().ok_or_else(|| Status::internal("the cluster id cannot be sent"))?;
        let address = self.peers.address_of(self.target);
        self.peers.raft(address.as_deref().unwrap_or(&self.node.address), seal, lane)
    }

    fn error(&self, action: RPCTypes, limit: Duration, status: &Status) -> RpcError {
        match status.code() {
            Code::DeadlineExceeded => RPCError::Timeout(self.timeout(action, limit)),
            _ => RPCError::Unreachable(Unreachable::from_string(format!(
                "node {} at {}: {}",
                self.target,
                self.node.address,
                status.message()
            ))),
        }
    }

    fn timeout(&self, action: RPCTypes, limit: Duration) -> Timeout<TypeConfig> {
        Timeout { action, id: self.from, target: self.target, timeout: limit }
    }

    /// One call that must be answered within `limit`.
    async fn call<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.error(action, limit, &status)),
            Err(_) => Err(RPCError::Timeout(self.timeout(action, limit))),
        }
    }

    fn malformed(&self, error: &types::Malformed) -> RpcError {
        RPCError::Network(NetworkError::new(error))
    }
}

impl NetBackoff<TypeConfig> for Client {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetStreamAppend<TypeConfig> for Client {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // Before anything is tried: the pause between two tries is in this stream.
            let mut input = input;
            let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
            let input = stream::iter([first]).chain(input);
            const ACTION: RPCTypes = RPCTypes::AppendEntries;
            // Entries may wait for a disk; a heartbeat never does.
            let limit = match self.lane {
                Lane::Control => option.soft_ttl(),
                Lane::Append | Lane::Snapshot | Lane::Forward => self.append_timeout.max(option.soft_ttl()),
            };
            let sent = Arc::new(AtomicU64::new(0));
            let counter = sent.clone();
            let requests = input.map(move |request| {
                counter.fetch_add(1, Ordering::Relaxed);
                append_to_wire(&request)
            });
            let mut client = self.raft(self.lane).map_err(|status| self.error(ACTION, limit, &status))?;
            let answers = self.call(ACTION, limit, client.append(requests)).await?;
            let this = &*self;
            let answers = stream::unfold(Some((answers, 0)), move |state| {
                let sent = sent.clone();
                async move {
                    let (mut answers, answered) = state?;
                    let answer = loop {
                        let awaited = sent.load(Ordering::Relaxed);
                        match tokio::time::timeout(limit, answers.message()).await {
                            Ok(answer) => break answer,
                            // Nothing was under way for this long: nothing is late.
                            Err(_) if awaited <= answered => {}
                            Err(_) => return Some((Err(RPCError::Timeout(this.timeout(ACTION, limit))), None)),
                        }
                    };
                    let answer = match answer {
                        Ok(answer) => answer?,
                        Err(status) => return Some((Err(this.error(ACTION, limit, &status)), None)),
                    };
                    match append_answer(&answer) {
                        Ok(Ok(matching)) => Some((Ok(Ok(matching)), Some((answers, answered + 1)))),
                        Ok(Err(refused)) => Some((Ok(Err(refused)), None)),
                        Err(error) => Some((Err(this.malformed(&error)), None)),
                    }
                }
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }
}

impl NetVote<TypeConfig> for Client {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let limit = option.soft_ttl();
        let mut client = self.raft(Lane::Control).map_err(|status| self.error(RPCTypes::Vote, limit, &status))?;
        let answer = self.call(RPCTypes::Vote, limit, client.request_vote(vote_request_to_wire(&rpc))).await?;
        vote_answer(&answer).map_err(|error| self.malformed(&error))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let limit = option.soft_ttl();
        let mut client = self.raft(Lane::Control).map_err(|status| self.error(RPCTypes::Vote, limit, &status))?;
        let answer = self.call(RPCTypes::Vote, limit, client.pre_vote(vote_request_to_wire(&rpc))).await?;
        vote_answer(&answer).map_err(|error| self.malformed(&error))
    }
}

impl NetTransferLeader<TypeConfig> for Client {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        const ACTION: RPCTypes = RPCTypes::TransferLeader;
        let limit = option.soft_ttl();
        let mut client = self.raft(Lane::Control).map_err(|status| self.error(ACTION, limit, &status))?;
        let request = wire::TransferLeaderRequest {
            from_leader: Some(vote_to_wire(req.from_leader())),
            to_node: *req.to_node_id(),
            last_log_id: req.last_log_id().map(log_id_to_wire),
        };
        let answer = self.call(ACTION, limit, client.transfer_leader(request)).await?;
        Ok(match answer.refused {
            None => Ok(()),
            Some(wire::transfer_leader_response::Refused::VoteChanged(vote)) => Err(TransferLeaderError::VoteChanged {
                expected: *req.from_leader(),
                actual: vote_from_wire(Some(&vote)).map_err(|error| self.malformed(&error))?,
            }),
            Some(wire::transfer_leader_response::Refused::LogNotFlushed(flushed)) => {
                Err(TransferLeaderError::LogNotFlushed {
                    expected: req.last_log_id().copied(),
                    actual: flushed.log_id.as_ref().map(log_id_from_wire),
                })
            }
        })
    }
}

impl NetSnapshot<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let limit = option.soft_ttl();
        let client =
            self.raft(Lane::Snapshot).map_err(|status| self.error(RPCTypes::InstallSnapshot, limit, &status))?;
        tokio::select! {
            sent = snapshot::send(client, vote, snapshot, limit) => match sent {
                Ok(answer) => {
                    let vote = vote_from_wire(answer.vote.as_ref()).map_err(|error| self.malformed(&error))?;
                    Ok(SnapshotResponse::new(vote))
                }
                Err(status) => Err(self.error(RPCTypes::InstallSnapshot, limit, &status).into()),
            },
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }
}

fn append_to_wire(request: &AppendEntriesRequest<TypeConfig>) -> wire::AppendRequest {
    wire::AppendRequest {
        vote: Some(vote_to_wire(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
    }
}

fn append_answer(
    answer: &wire::AppendResponse,
) -> Result<Result<Option<LogId>, StreamAppendError<TypeConfig>>, types::Malformed> {
    use wire::append_response::Result as Answer;
    Ok(match answer.result.as_ref().ok_or(types::Malformed("answer to an append"))? {
        Answer::Matching(id) => Ok(Some(log_id_from_wire(id))),
        Answer::MatchingNothing(_) => Ok(None),
        Answer::Conflict(id) => Err(StreamAppendError::Conflict(log_id_from_wire(id))),
        Answer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from_wire(Some(vote))?)),
    })
}

fn vote_request_to_wire(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(vote_to_wire(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_wire),
        leader_transfer: request.leadership_transfer,
    }
}

fn vote_answer(answer: &wire::VoteResponse) -> Result<VoteResponse<TypeConfig>, types::Malformed> {
    let vote = vote_from_wire(answer.vote.as_ref())?;
    Ok(VoteResponse::new(vote, answer.last_log_id.as_ref().map(log_id_from_wire), answer.granted))
}
