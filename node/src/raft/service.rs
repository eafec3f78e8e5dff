//! The cluster port: what other nodes may ask. Every call of a member carries who sends it and whom it is for; a mistaken
//! address, a foreign cluster and a wiped or removed node's old id are refused before openraft hears of them.

mod snapshot;

use super::{
    barrier, bootstrap,
    host::Host,
    peers::{Envelope, MESSAGE_BYTES_MAX},
    propose,
    replica::Replica,
    types::{LogId, TypeConfig, entry_from_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire},
};
use flotilla_proto::wire::cluster::{
    self as wire,
    forward_server::{Forward, ForwardServer},
    join_server::{Join, JoinServer},
    operator_server::OperatorServer,
    raft_server::{Raft, RaftServer},
};
use futures_util::{
    Stream, StreamExt as _,
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use openraft::{
    async_runtime::watch::WatchReceiver as _,
    raft::{
        AppendEntriesRequest, StreamAppendError, TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
    },
};
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{
    Request, Response, Status, Streaming, body::Body, codegen::Service, metadata::MetadataMap, server::NamedService,
};

type AppendRequest = AppendEntriesRequest<TypeConfig>;

/// Node ids of joined nodes are above this; below are the first voters.
const FIRST_JOINED: u64 = 65_536;

/// All services of the cluster port, by the first part of the path.
#[derive(Clone)]
pub struct Port {
    raft: RaftServer<Peer>,
    forward: ForwardServer<Peer>,
    join: JoinServer<Peer>,
    operator: OperatorServer<Peer>,
}

impl Port {
    /// The port of a node.
    pub fn new(host: &Arc<Host>) -> Self {
        let raft = RaftServer::new(Peer(host.clone()));
        let forward = ForwardServer::new(Peer(host.clone()));
        Self {
            raft: raft.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX),
            forward: forward.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX),
            join: JoinServer::new(Peer(host.clone())),
            operator: OperatorServer::new(Peer(host.clone())).max_encoding_message_size(MESSAGE_BYTES_MAX),
        }
    }
}

impl Service<http::Request<Body>> for Port {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path().split('/').nth(1) {
            Some(<RaftServer<Peer> as NamedService>::NAME) => self.raft.call(request),
            Some(<ForwardServer<Peer> as NamedService>::NAME) => self.forward.call(request),
            Some(<JoinServer<Peer> as NamedService>::NAME) => self.join.call(request),
            Some(<OperatorServer<Peer> as NamedService>::NAME) => self.operator.call(request),
            Some(_) | None => Box::pin(ready(Ok(Status::unimplemented("no such service").into_http()))),
        }
    }
}

/// The services' side of a node.
#[derive(Clone)]
pub struct Peer(pub(super) Arc<Host>);

/// Whether a sender that the membership does not name may be a node it does not name yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strangers {
    /// A leader elected by members this node has not heard of: it will send the entry that names it.
    Welcome,
    /// An id that was in use before the membership this node knows was decided is one that was removed.
    IfNew,
}

impl Peer {
    fn admit(&self, metadata: &MetadataMap, strangers: Strangers) -> Result<Arc<Replica>, Status> {
        let parts = self.0.parts().ok_or_else(|| Status::unavailable("not part of a cluster yet"))?;
        let replica = &parts.replica;
        let refuse = |reason: String| {
            tracing::debug!(reason, "refused a call of a peer");
            Err(Status::failed_precondition(reason))
        };
        let Some(envelope) = Envelope::read(metadata) else {
            return refuse("the call does not say who sends it".to_owned());
        };
        let me = &replica.me;
        if envelope.cluster_id != me.cluster_id {
            return refuse(format!("this node belongs to cluster {}, not {}", me.cluster_id, envelope.cluster_id));
        }
        if (envelope.to_node, envelope.to_disk) != (me.node_id, me.info.disk_id) {
            return refuse(format!("this is node {} with disk {}", me.node_id, me.info.disk_id));
        }
        let server = replica.raft.server_metrics();
        let server = server.borrow_watched();
        let members = &server.committed_membership_config;
        let from = envelope.from_node;
        match members.membership().get_node(&from) {
            Some(info) if info.disk_id == envelope.from_disk => {}
            Some(info) => return refuse(format!("node {from} votes with disk {}", info.disk_id)),
            None if strangers == Strangers::Welcome => {}
            None => {
                let decided = members.log_id().map(|id| id.index);
                if decided.is_some_and(|decided| from <= FIRST_JOINED.saturating_add(decided)) {
                    return refuse(format!("node {from} was removed from the cluster"));
                }
            }
        }
        drop(server);
        Ok(replica.clone())
    }
}

#[tonic::async_trait]
impl Raft for Peer {
    type AppendStream = BoxStream<'static, Result<wire::AppendResponse, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let replica = self.admit(request.metadata(), Strangers::Welcome)?;
        let requests = append_requests(request.into_inner());
        let answers = replica.raft.stream_append(requests).map(move |answer| {
            let answer = answer.map_err(|fatal| Status::unavailable(fatal.to_string()))?;
            // Whoever is told of a higher vote is not the leader.
            if !matches!(answer, Err(StreamAppendError::HigherVote(_))) {
                replica.hear();
            }
            Ok(append_response(answer))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn request_vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        let replica = self.admit(request.metadata(), Strangers::IfNew)?;
        let answer = replica.raft.vote(vote_request(&request.into_inner())?).await;
        vote_response(&answer.map_err(|error| Status::unavailable(error.to_string()))?)
    }

    async fn pre_vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        let replica = self.admit(request.metadata(), Strangers::IfNew)?;
        let answer = replica.raft.pre_vote(vote_request(&request.into_inner())?).await;
        vote_response(&answer.map_err(|error| Status::unavailable(error.to_string()))?)
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        use wire::transfer_leader_response::Refused;
        let replica = self.admit(request.metadata(), Strangers::Welcome)?;
        let request = request.into_inner();
        let request = TransferLeaderRequest::new(
            vote_from_wire(request.from_leader.as_ref()).map_err(malformed)?,
            request.to_node,
            request.last_log_id.as_ref().map(log_id_from_wire),
        );
        let answer = replica.raft.handle_transfer_leader(request).await;
        let refused = match answer.map_err(|fatal| Status::unavailable(fatal.to_string()))? {
            Ok(()) => None,
            Err(TransferLeaderError::VoteChanged { actual, .. }) => Some(Refused::VoteChanged(vote_to_wire(&actual))),
            Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
                Some(Refused::LogNotFlushed(wire::FlushedLogId { log_id: actual.as_ref().map(log_id_to_wire) }))
            }
        };
        Ok(Response::new(wire::TransferLeaderResponse { refused }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let replica = self.admit(request.metadata(), Strangers::Welcome)?;
        snapshot::receive(&replica, request.into_inner()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Forward for Peer {
    async fn propose(&self, request: Request<wire::ProposeRequest>) -> Result<Response<wire::ProposeResponse>, Status> {
        let replica = self.admit(request.metadata(), Strangers::IfNew)?;
        propose::answer(&replica, request.into_inner()).await.map(Response::new)
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        let replica = self.admit(request.metadata(), Strangers::IfNew)?;
        barrier::answer(&replica).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Join for Peer {
    async fn discover(
        &self,
        request: Request<wire::DiscoverRequest>,
    ) -> Result<Response<wire::DiscoverResponse>, Status> {
        if request.get_ref().cluster_name != self.0.cluster_name() {
            return Err(Status::failed_precondition(format!("this cluster is called {:?}", self.0.cluster_name())));
        }
        Ok(Response::new(bootstrap::describe(&self.0)))
    }

    async fn promise(&self, request: Request<wire::PromiseRequest>) -> Result<Response<wire::PromiseResponse>, Status> {
        let answer = bootstrap::promise(&self.0, request.into_inner()).await;
        let (promised, reason) = match answer {
            Ok(()) => (true, String::new()),
            Err(reason) => (false, reason),
        };
        Ok(Response::new(wire::PromiseResponse { promised, reason }))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        let request = request.into_inner();
        if request.cluster_name != self.0.cluster_name() {
            return Err(Status::failed_precondition(format!("this cluster is called {:?}", self.0.cluster_name())));
        }
        let parts = self.0.parts().ok_or_else(|| Status::unavailable("not part of a cluster yet"))?;
        parts.membership.join(request).await.map(Response::new)
    }
}

/// Ends at the first message that cannot be read: the leader sees the stream end and starts over.
fn append_requests(stream: Streaming<wire::AppendRequest>) -> impl Stream<Item = AppendRequest> + Send + 'static {
    stream
        .map(|request| append_request(request.ok()?).ok())
        .take_while(|request| ready(request.is_some()))
        .filter_map(ready)
}

fn append_request(request: wire::AppendRequest) -> Result<AppendRequest, super::types::Malformed> {
    Ok(AppendRequest {
        vote: vote_from_wire(request.vote.as_ref())?,
        prev_log_id: request.prev_log_id.as_ref().map(log_id_from_wire),
        entries: request.entries.into_iter().map(entry_from_wire).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.as_ref().map(log_id_from_wire),
    })
}

fn append_response(answer: Result<Option<LogId>, StreamAppendError<TypeConfig>>) -> wire::AppendResponse {
    use wire::append_response::Result as Answer;
    let result = match answer {
        Ok(Some(id)) => Answer::Matching(log_id_to_wire(&id)),
        Ok(None) => Answer::MatchingNothing(true),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(log_id_to_wire(&id)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote_to_wire(&vote)),
    };
    wire::AppendResponse { result: Some(result) }
}

fn vote_request(request: &wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    let vote = vote_from_wire(request.vote.as_ref()).map_err(malformed)?;
    let mut result = VoteRequest::new(vote, request.last_log_id.as_ref().map(log_id_from_wire));
    result.leadership_transfer = request.leader_transfer;
    Ok(result)
}

fn vote_response(answer: &VoteResponse<TypeConfig>) -> Result<Response<wire::VoteResponse>, Status> {
    Ok(Response::new(wire::VoteResponse {
        vote: Some(vote_to_wire(&answer.vote)),
        granted: answer.vote_granted,
        last_log_id: answer.last_log_id.as_ref().map(log_id_to_wire),
    }))
}

fn malformed(error: super::types::Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}
