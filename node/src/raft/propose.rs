//! Changes, from any node. What is ready goes into one batch, a batch becomes one log entry on the leader, and a batch whose
//! answer was lost is sent again with the same request ids until its changes' deadlines: applying them twice does nothing.

use super::{
    replica::Replica,
    types::{Proposal, TypeConfig},
};
use crate::{
    clock,
    metadata::{Command, Error, Outcome},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use flotilla_proto::wire::{cluster as wire, metadata as words};
use openraft::errors::{ClientWriteError, RaftError};
use prost::Message as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::task::TaskTracker;

/// Changes in one batch at most.
const BATCH_OPERATIONS_MAX: usize = 256;
/// Bytes of a batch at most, unless a single change is larger.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Bytes of one change at most (a manifest has 4 MiB).
const OPERATION_BYTES_MAX: usize = 8 << 20;
/// Bytes of changes under way on this node at most.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// Changes waiting for those bytes at most.
const WAITING_MAX: usize = 1024;
/// Batches under way on this node at most; what comes meanwhile makes larger ones.
const BATCHES_IN_FLIGHT_MAX: usize = 8;
/// A forwarded batch is waited for so long at most, then sent again.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Proposes this node's changes.
pub struct Proposer {
    queue: mpsc::Sender<Change>,
    bytes: Arc<Semaphore>,
    waiting: AtomicUsize,
    replica: Arc<Replica>,
}

struct Change {
    /// Encoded `Operation`.
    operation: Bytes,
    deadline: Instant,
    answer: oneshot::Sender<Result<Outcome, Error>>,
    _bytes: OwnedSemaphorePermit,
}

impl Proposer {
    /// Starts its task on the calling runtime.
    pub fn start(replica: Arc<Replica>, tasks: &TaskTracker, runtime: &tokio::runtime::Handle) -> Self {
        let (queue, changes) = mpsc::channel(4096);
        tasks.spawn_on(drive(replica.clone(), changes, tasks.clone(), runtime.clone()), runtime);
        Self { queue, bytes: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX)), waiting: AtomicUsize::new(0), replica }
    }

    /// See `MetadataStore::propose`.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, Error> {
        let operation = words::Operation {
            request_id: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
            proposed_wall: clock::wall_ms(),
            command: Some(words::Command { kind: Some(command) }),
        };
        let operation = Bytes::from(operation.encode_to_vec());
        if operation.len() > OPERATION_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        if self.replica.stopping.is_cancelled() {
            return Err(Error::Stopping);
        }
        let bytes = self.reserve(operation.len(), deadline).await?;
        let (answer, answered) = oneshot::channel();
        self.replica.metrics.proposals.inc();
        let change = Change { operation, deadline, answer, _bytes: bytes };
        self.queue.try_send(change).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })?;
        let result = match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => Err(out_of_time()),
        };
        if result.is_err() {
            self.replica.metrics.proposals_failed.inc();
        }
        result
    }

    async fn reserve(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = u32::try_from(bytes.max(1)).map_err(|_| Error::TooLarge)?;
        if let Ok(permit) = self.bytes.clone().try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting).ok_or(Error::Overloaded)?;
        match tokio::time::timeout_at(deadline, self.bytes.clone().acquire_many_owned(bytes)).await {
            Ok(permit) => permit.map_err(|_| Error::Stopping),
            Err(_) => Err(Error::Overloaded),
        }
    }
}

/// A place among the waiting.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes batches of what is ready and submits them, several at a time.
async fn drive(
    replica: Arc<Replica>,
    mut changes: mpsc::Receiver<Change>,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
) {
    let under_way = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT_MAX));
    let mut next: Option<Change> = None;
    loop {
        let first = match next.take() {
            Some(change) => change,
            None => tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => change,
                    None => return,
                },
                () = replica.stopping.cancelled() => return,
            },
        };
        let Ok(turn) = under_way.clone().acquire_owned().await else { return };
        let mut bytes = first.operation.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_OPERATIONS_MAX {
            let Ok(change) = changes.try_recv() else { break };
            if bytes + change.operation.len() > BATCH_BYTES_MAX {
                next = Some(change);
                break;
            }
            bytes += change.operation.len();
            batch.push(change);
        }
        replica.metrics.batch_operations.observe(batch.len() as f64);
        let replica = replica.clone();
        let submit = async move {
            submit(&replica, batch).await;
            drop(turn);
        };
        tasks.spawn_on(submit, &runtime);
    }
}

/// What one attempt came to.
enum Attempt {
    /// The outcomes and the entry's index.
    Done(Vec<Bytes>, u64),
    /// Not now, or nobody knows.
    Again(String),
    /// Never on this node.
    Fatal(Error),
}

/// Tries until every change is answered or out of time.
async fn submit(replica: &Replica, mut batch: Vec<Change>) {
    let mut pause = Duration::from_millis(5);
    loop {
        // Whoever gave up while the change was queued may have done something else since: it must not come after that.
        let now = Instant::now();
        batch.retain(|change| change.deadline > now);
        let Some(deadline) = batch.iter().map(|change| change.deadline).max() else { return };
        let attempt = tokio::select! {
            attempt = tokio::time::timeout_at(deadline, attempt(replica, &batch)) => attempt,
            () = replica.stopping.cancelled() => return answer_all(batch, &Error::Stopping),
        };
        let reason = match attempt {
            Ok(Attempt::Done(outcomes, index)) => {
                return match tokio::time::timeout_at(deadline, replica.applied(index)).await {
                    Ok(true) => answer_each(batch, outcomes),
                    Ok(false) => answer_all(batch, &Error::Stopping),
                    Err(_) => answer_all(batch, &out_of_time()),
                };
            }
            Ok(Attempt::Fatal(error)) => return answer_all(batch, &error),
            Ok(Attempt::Again(reason)) => reason,
            Err(_) => return answer_all(batch, &out_of_time()),
        };
        if replica.leaderless() >= replica.options.give_up_after {
            return answer_all(batch, &Error::NoQuorum(reason));
        }
        replica.metrics.proposal_retries.inc();
        tracing::debug!(reason, operations = batch.len(), "proposing again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

async fn attempt(replica: &Replica, batch: &[Change]) -> Attempt {
    let Some((leader, node)) = replica.leader() else { return Attempt::Again("no leader is known".to_owned()) };
    let operations = batch.iter().map(|change| change.operation.clone()).collect::<Vec<_>>();
    if leader == replica.me.node_id {
        return match write(replica, &operations).await {
            Ok(Some((outcomes, index))) => Attempt::Done(outcomes, index),
            Ok(None) => Attempt::Again("this node leads no longer".to_owned()),
            Err(error) => Attempt::Fatal(error),
        };
    }
    let again = |status: tonic::Status| Attempt::Again(format!("leader {leader}: {}", status.message()));
    let Some(seal) = replica.seal(leader, &node) else { return Attempt::Again("unusable cluster id".to_owned()) };
    let mut client = match replica.peers.forward(&node, &seal) {
        Ok(client) => client,
        Err(status) => return again(status),
    };
    let request = wire::ProposeRequest { operations };
    let answer = tokio::select! {
        answer = tokio::time::timeout(FORWARD_TIMEOUT, client.propose(request)) => answer,
        () = replica.leader_is_not(leader) => return Attempt::Again(format!("node {leader} was deposed")),
    };
    match answer {
        Ok(Ok(answer)) => match answer.into_inner().result {
            Some(wire::propose_response::Result::Outcomes(outcomes)) => {
                Attempt::Done(outcomes.outcomes, outcomes.index)
            }
            Some(wire::propose_response::Result::NotLeader(_)) | None => {
                Attempt::Again(format!("node {leader} leads no longer"))
            }
        },
        Ok(Err(status)) => again(status),
        Err(_) => Attempt::Again(format!("leader {leader} did not answer")),
    }
}

/// Appends one entry as the leader and waits until it is applied; `None` if this node does not lead.
async fn write(replica: &Replica, operations: &[Bytes]) -> Result<Option<(Vec<Bytes>, u64)>, Error> {
    match replica.raft.client_write(Proposal(batch_of(operations))).await {
        Ok(written) => Ok(Some((written.data.0, written.log_id.index))),
        Err(RaftError::APIError(ClientWriteError::<TypeConfig>::ForwardToLeader(_))) => Ok(None),
        Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Ok(None),
        Err(RaftError::APIError(error)) => {
            tracing::warn!(%error, "openraft refused a write");
            Ok(None)
        }
        Err(RaftError::Fatal(_)) if replica.stopping.is_cancelled() => Err(Error::Stopping),
        Err(RaftError::Fatal(fatal)) => Err(super::storage_error(fatal.to_string())),
    }
}

/// Proposes `command` as this node, which must lead; `None` if it does not.
pub(super) async fn write_command(replica: &Replica, command: Command) -> Result<Option<Outcome>, Error> {
    let operation = words::Operation {
        request_id: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
        proposed_wall: clock::wall_ms(),
        command: Some(words::Command { kind: Some(command) }),
    };
    let Some((outcomes, _)) = write(replica, &[operation.encode_to_vec().into()]).await? else { return Ok(None) };
    outcomes.first().map(decode).transpose()
}

/// A leader's answer to a forwarded batch.
pub(super) async fn answer(
    replica: &Replica,
    request: wire::ProposeRequest,
) -> Result<wire::ProposeResponse, tonic::Status> {
    use wire::propose_response::Result as Answer;
    let bytes = request.operations.iter().map(Bytes::len).sum::<usize>();
    if request.operations.len() > BATCH_OPERATIONS_MAX || bytes > OPERATION_BYTES_MAX + BATCH_BYTES_MAX {
        return Err(tonic::Status::invalid_argument("the batch is too large"));
    }
    let result = match write(replica, &request.operations).await {
        Ok(Some((outcomes, index))) => Answer::Outcomes(wire::Outcomes { outcomes, index }),
        Ok(None) => Answer::NotLeader(not_leader(replica)),
        Err(error) => return Err(tonic::Status::unavailable(error.to_string())),
    };
    Ok(wire::ProposeResponse { result: Some(result) })
}

/// Whom to ask instead.
pub(super) fn not_leader(replica: &Replica) -> wire::NotLeader {
    match replica.leader() {
        Some((leader, node)) if leader != replica.me.node_id => {
            wire::NotLeader { leader: Some(leader), address: node.address }
        }
        _ => wire::NotLeader { leader: None, address: String::new() },
    }
}

/// An encoded `Batch` of encoded `Operation`s: field 1, length-delimited, repeated.
fn batch_of(operations: &[Bytes]) -> Bytes {
    let bytes = operations.iter().map(|operation| operation.len() + 11).sum();
    let mut batch = BytesMut::with_capacity(bytes);
    for operation in operations {
        prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, &mut batch);
        prost::encoding::encode_varint(operation.len() as u64, &mut batch);
        batch.put_slice(operation);
    }
    batch.freeze()
}

fn decode(outcome: &Bytes) -> Result<Outcome, Error> {
    match words::Outcome::decode(outcome.clone()) {
        Ok(words::Outcome { kind: Some(outcome) }) => Ok(outcome),
        Ok(words::Outcome { kind: None }) => {
            Err(super::storage_error("an outcome this version does not know".to_owned()))
        }
        Err(error) => Err(super::storage_error(error.to_string())),
    }
}

fn answer_each(batch: Vec<Change>, outcomes: Vec<Bytes>) {
    let mut outcomes = outcomes.into_iter();
    for change in batch {
        let result = match outcomes.next() {
            Some(outcome) => decode(&outcome),
            None => Err(super::storage_error("the leader answered too few outcomes".to_owned())),
        };
        // A proposer that has given up is gone.
        let _ = change.answer.send(result);
    }
}

fn answer_all(batch: Vec<Change>, error: &Error) {
    for change in batch {
        let _ = change.answer.send(Err(error.clone()));
    }
}

fn out_of_time() -> Error {
    Error::NoQuorum("the change was not confirmed in time".to_owned())
}

/// The entry of a command that is idempotent by itself.
pub(super) fn bare_batch(command: Command) -> Proposal {
    let operation = words::Operation {
        request_id: Bytes::new(),
        proposed_wall: clock::wall_ms(),
        command: Some(words::Command { kind: Some(command) }),
    };
    Proposal(batch_of(&[operation.encode_to_vec().into()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_concatenation_of_its_encoded_operations() {
        let operation = |id: u8| words::Operation {
            request_id: Bytes::copy_from_slice(&[id; 16]),
            proposed_wall: 7,
            command: Some(words::Command { kind: Some(Command::Tick(words::Tick { elapsed_ms: 1, term: 2 })) }),
        };
        let encoded = [operation(1), operation(2)].map(|operation| Bytes::from(operation.encode_to_vec()));
        let batch = words::Batch { operations: vec![operation(1), operation(2)] };
        assert_eq!(batch_of(&encoded), batch.encode_to_vec());
    }
}
