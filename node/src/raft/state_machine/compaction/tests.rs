use super::*;
use crate::raft::{
    log::{Config, LogStore},
    snapshot::SnapshotData,
    state_machine::Options,
    types::{LogId, NodeInfo, Proposal, Vote},
};
use futures_util::Future;
use openraft::{
    OptionalSend, RaftNetworkFactory, SnapshotPolicy,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, RaftNetworkV2},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
    storage::RaftLogStorage as _,
    type_config::alias::SnapshotOf,
};
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

/// A network without peers.
struct Nobody;

fn nobody() -> Unreachable<TypeConfig> {
    Unreachable::new(&std::io::Error::other("nobody there"))
}

impl RaftNetworkFactory<TypeConfig> for Nobody {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &NodeInfo) -> Self {
        Self
    }
}

impl RaftNetworkV2<TypeConfig> for Nobody {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(nobody().into())
    }
}

type Raft = openraft::Raft<TypeConfig, StateMachine>;

async fn start(dir: &Path, keep_entries: u64) -> (Raft, LogStore, StateHandle) {
    let log = LogStore::open(&dir.join("log"), Config { keep_entries, ..Config::default() }).unwrap();
    let options = Options { checkpoint_every: Duration::from_secs(3600), ..Options::new(dir.join("state"), "cluster") };
    let (machine, state) = StateMachine::open(options).unwrap();
    let config = openraft::Config {
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: keep_entries,
        ..openraft::Config::default()
    };
    let raft = Raft::new(1, Arc::new(config.validate().unwrap()), Nobody, log.clone(), machine).await.unwrap();
    (raft, log, state)
}

async fn purged(log: &mut LogStore) -> Option<u64> {
    log.get_log_state().await.unwrap().last_purged_log_id.map(|id| id.index)
}

async fn lead_and_write(raft: &Raft, writes: u64) -> LogId {
    raft.wait(Some(Duration::from_secs(10))).state(openraft::ServerState::Leader, "alone").await.unwrap();
    let mut last = None;
    for _ in 0..writes {
        let written = raft.client_write(Proposal::default()).await.unwrap();
        last = Some(written.log_id);
    }
    last.unwrap()
}

#[tokio::test]
async fn the_log_is_purged_behind_a_durable_state_only_and_keeps_its_tail() {
    let dir = TempDir::new().unwrap();
    let (raft, mut log, state) = start(dir.path(), 10).await;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(run(raft.clone(), log.clone(), state.clone()));
    raft.initialize(std::collections::BTreeMap::from([(1, NodeInfo::default())])).await.unwrap();
    let last = lead_and_write(&raft, 50).await;
    assert_eq!((*state.durable().borrow(), purged(&mut log).await), (None, None), "nothing is durable yet");

    assert_eq!(state.checkpoint().await.unwrap(), Some(last));
    let metrics = raft.wait(Some(Duration::from_secs(10)));
    metrics.metrics(|metrics| metrics.purged.is_some(), "purged").await.unwrap();
    let target = last.index - 10;
    let done = raft.wait(Some(Duration::from_secs(10)));
    done.metrics(|metrics| metrics.purged.is_some_and(|id| id.index == target), "kept its tail").await.unwrap();
    lead_and_write(&raft, 30).await;
    let (_, hash) = state.hash().await.unwrap();
    raft.shutdown().await.unwrap();
    state.shutdown().await.unwrap();
    drop((raft, state));
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(purged(&mut log).await, Some(target));
    drop(log);

    let (raft, _log, state) = start(dir.path(), 10).await;
    assert!(lead_and_write(&raft, 1).await.index > last.index + 30);
    assert_eq!(state.hash().await.unwrap().1, hash);
    raft.shutdown().await.unwrap();
}
