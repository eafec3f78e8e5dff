//! Linearizable reads. A round asks the leader for its commit index once a quorum has confirmed it, then waits until this
//! node has applied it. One round is under way at a time; readers that come meanwhile share the next one, for the running
//! one may have got its index before a change they know of.

use super::replica::Replica;
use crate::metadata::Error;
use flotilla_proto::wire::cluster as wire;
use openraft::{ReadPolicy, errors::LinearizableReadError, errors::RaftError};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;

/// One attempt lasts so long at most; then it is tried again, perhaps with another leader.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Readers waiting for the next round at most.
const WAITING_MAX: usize = 65_536;

/// The barrier of a node.
pub struct Barrier {
    replica: Arc<Replica>,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
    queue: Mutex<Queue>,
    opened: Instant,
    /// Start of the last successful round, in microseconds after `opened`, plus one; 0 before the first.
    fresh: AtomicU64,
}

#[derive(Default)]
struct Queue {
    running: bool,
    waiting: Vec<oneshot::Sender<Result<(), Failure>>>,
}

/// Why one attempt failed.
#[derive(Clone, Debug)]
enum Failure {
    /// Another attempt may succeed.
    Again(String),
    /// The node stops.
    Stopping,
    /// openraft stopped.
    Fatal(String),
}

/// The right to run the round. On drop the next round is handed to a task, or the place is free.
struct Turn<'a>(&'a Arc<Barrier>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.is_empty() {
            queue.running = false;
            return;
        }
        drop(queue);
        let barrier = self.0.clone();
        self.0.tasks.spawn_on(async move { barrier.serve_waiting().await }, &self.0.runtime);
    }
}

impl Barrier {
    /// A barrier that has not been passed yet. Later rounds run on `runtime`.
    pub fn new(replica: Arc<Replica>, tasks: TaskTracker, runtime: tokio::runtime::Handle) -> Arc<Self> {
        let (queue, opened, fresh) = (Mutex::default(), Instant::now(), AtomicU64::new(0));
        Arc::new(Self { replica, tasks, runtime, queue, opened, fresh })
    }

    /// Waits until the local state contains everything acknowledged anywhere before the call.
    pub async fn pass(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        if self.replica.is_alone() {
            self.note(Instant::now());
            return Ok(());
        }
        let begun = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            let passed = tokio::time::timeout_at(deadline, self.join_round()).await;
            let reason = match passed {
                Ok(Ok(())) => {
                    self.replica.metrics.barrier_seconds.observe(begun.elapsed().as_secs_f64());
                    return Ok(());
                }
                Ok(Err(Failure::Again(reason))) => reason,
                Ok(Err(Failure::Stopping)) => return Err(Error::Stopping),
                Ok(Err(Failure::Fatal(reason))) => return Err(super::storage_error(reason)),
                Err(_) => return Err(Error::NoQuorum("no leader confirmed the read in time".to_owned())),
            };
            if self.replica.leaderless() >= self.replica.options.give_up_after || Instant::now() + pause >= deadline {
                return Err(Error::NoQuorum(reason));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// How long ago the last round that succeeded began.
    pub fn fresh_age(&self) -> Option<Duration> {
        let fresh = self.fresh.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.opened.elapsed().saturating_sub(Duration::from_micros(fresh)))
    }

    fn note(&self, began: Instant) {
        let micros = u64::try_from((began - self.opened).as_micros()).unwrap_or(u64::MAX - 1);
        self.fresh.fetch_max(micros + 1, Ordering::Relaxed);
    }

    /// Runs a round here and now, or shares the next one.
    async fn join_round(self: &Arc<Self>) -> Result<(), Failure> {
        let waiting = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.running {
                if queue.waiting.len() >= WAITING_MAX {
                    return Err(Failure::Again("too many reads are waiting".to_owned()));
                }
                let (sender, receiver) = oneshot::channel();
                queue.waiting.push(sender);
                Some(receiver)
            } else {
                queue.running = true;
                None
            }
        };
        match waiting {
            Some(round) => round.await.unwrap_or(Err(Failure::Stopping)),
            None => {
                let _turn = Turn(self);
                self.round().await
            }
        }
    }

    /// Runs rounds until nobody waits.
    async fn serve_waiting(self: &Arc<Self>) {
        let _turn = Turn(self);
        let waiting = std::mem::take(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner).waiting);
        let result = self.round().await;
        for reader in waiting {
            // A reader that has given up is gone.
            let _ = reader.send(result.clone());
        }
    }

    /// One attempt.
    async fn round(&self) -> Result<(), Failure> {
        let began = Instant::now();
        self.replica.metrics.barrier_rounds.inc();
        let attempt = async {
            let index = self.read_index().await?;
            if self.replica.applied(index).await { Ok(()) } else { Err(Failure::Stopping) }
        };
        match tokio::time::timeout(ATTEMPT, attempt).await {
            Ok(result) => {
                result?;
                self.note(began);
                Ok(())
            }
            Err(_) => Err(Failure::Again("the leader did not confirm the read in time".to_owned())),
        }
    }

    async fn read_index(&self) -> Result<u64, Failure> {
        let (leader, node) = self.replica.leader().ok_or_else(|| Failure::Again("no leader is known".to_owned()))?;
        if leader == self.replica.me.node_id {
            return match leader_read_index(&self.replica).await? {
                Some(index) => Ok(index),
                None => Err(Failure::Again("this node leads no longer".to_owned())),
            };
        }
        let again = |status: tonic::Status| Failure::Again(format!("leader {leader}: {}", status.message()));
        let seal = self.replica.seal(leader, &node).ok_or_else(|| Failure::Again("unusable cluster id".to_owned()))?;
        let mut client = self.replica.peers.forward(&node, &seal).map_err(again)?;
        let answer = tokio::select! {
            answer = client.read_index(wire::ReadIndexRequest {}) => answer.map_err(again)?,
            () = self.replica.leader_is_not(leader) => {
                return Err(Failure::Again(format!("node {leader} was deposed")));
            }
        };
        match answer.into_inner().result {
            Some(wire::read_index_response::Result::Index(index)) => Ok(index),
            Some(wire::read_index_response::Result::NotLeader(_)) | None => {
                Err(Failure::Again(format!("node {leader} leads no longer")))
            }
        }
    }
}

/// The commit index, once a quorum has confirmed that this node leads; `None` if it does not.
async fn leader_read_index(replica: &Replica) -> Result<Option<u64>, Failure> {
    match replica.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => Ok(Some(linearizer.read_log_id().index())),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => Ok(None),
        Err(RaftError::APIError(error @ LinearizableReadError::QuorumNotEnough(_))) => {
            Err(Failure::Again(error.to_string()))
        }
        Err(RaftError::Fatal(_)) if replica.stopping.is_cancelled() => Err(Failure::Stopping),
        Err(RaftError::Fatal(fatal)) => Err(Failure::Fatal(fatal.to_string())),
    }
}

/// Answers a follower's question.
pub(super) async fn answer(replica: &Replica) -> Result<wire::ReadIndexResponse, tonic::Status> {
    use wire::read_index_response::Result as Answer;
    let result = match leader_read_index(replica).await {
        Ok(Some(index)) => Answer::Index(index),
        Ok(None) => Answer::NotLeader(super::propose::not_leader(replica)),
        Err(failure) => return Err(tonic::Status::unavailable(format!("{failure:?}"))),
    };
    Ok(wire::ReadIndexResponse { result: Some(result) })
}
