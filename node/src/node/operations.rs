//! What operators may ask of this node.

use crate::{
    http::{
        admin::{Operations, Operators, Undelete},
        audit,
    },
    lifecycle::Readiness,
    metadata::MetadataStore,
    operator::{Desk, Verifier},
    raft::{Answerer, Call, RaftStore},
};
use async_trait::async_trait;
use flotilla_proto::admin;
use std::sync::Arc;
use tokio::sync::watch;

/// Answers from Raft's and the state's own view, and hands the rest on.
pub(super) struct Operator {
    pub(super) raft: Arc<RaftStore>,
    pub(super) desk: Desk,
    pub(super) verifier: Verifier,
    pub(super) readiness: watch::Receiver<Readiness>,
}

#[async_trait]
impl Operations for Operator {
    async fn status(&self, hash: bool) -> anyhow::Result<serde_json::Value> {
        let state_hash = match hash {
            true => {
                let (index, sha256) = self.raft.state_hash().await?;
                Some(admin::StateHash { index, sha256: hex::encode(sha256) })
            }
            false => None,
        };
        let cluster = self.raft.view().and_then(|view| view.cluster()).unwrap_or_default();
        let raft = self.raft.status();
        let members = raft.nodes.into_iter().map(|node| admin::Member {
            id: node.id,
            name: node.name,
            address: node.address,
            disk_id: node.disk_id.to_string(),
            voter: node.voter,
        });
        let status = admin::Status {
            node_id: raft.node_id,
            name: raft.name,
            cluster_id: raft.cluster_id,
            disk_id: raft.disk_id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: raft.role.to_owned(),
            leader: raft.leader,
            term: raft.term,
            last_log: raft.last_log_index,
            committed: raft.committed_index,
            applied_index: raft.applied_index,
            purged: raft.purged_index,
            members: members.collect(),
            readiness: describe(&self.readiness.borrow()),
            repositories: cluster.repositories,
            blobs: cluster.blobs,
            blob_bytes: cluster.blob_bytes,
            sessions: cluster.sessions,
            state_hash,
        };
        Ok(serde_json::to_value(status)?)
    }

    async fn collect(&self, collect: admin::Collect) -> anyhow::Result<admin::Collected> {
        self.desk.collect(collect).await
    }

    async fn collection(&self) -> anyhow::Result<admin::Collection> {
        self.desk.collection()
    }

    async fn set_mode(&self, mode: &str, reason: &str) -> anyhow::Result<admin::Collection> {
        self.desk.set_mode(mode, reason).await
    }

    async fn why(&self, repository: Option<&str>, what: &str) -> anyhow::Result<admin::Why> {
        self.desk.why(repository, what).await
    }

    async fn trash(&self, repository: &str) -> anyhow::Result<admin::Deleted> {
        self.desk.trash(repository).await
    }

    async fn undelete(&self, repository: &str, what: Undelete<'_>) -> anyhow::Result<admin::Undeleted> {
        match what {
            Undelete::Tag(tag) => self.desk.undelete_tag(repository, tag).await,
            Undelete::Manifest(digest) => self.desk.undelete_manifest(repository, digest).await,
        }
    }

    async fn delete_repository(&self, name: &str) -> anyhow::Result<()> {
        self.desk.delete_repository(name).await
    }

    async fn verify(&self, start: Option<admin::Verify>) -> anyhow::Result<admin::Verification> {
        match start {
            Some(verify) => Ok(self.verifier.start(verify)?),
            None => Ok(self.verifier.look()),
        }
    }
}

/// Hands on what operators ask at the cluster port. Does not keep alive who answers: that holds the port.
pub(super) fn at_port(operators: &Arc<Operators>) -> Answerer {
    let operators = Arc::downgrade(operators);
    Arc::new(move |call| {
        let operators = operators.upgrade();
        Box::pin(async move {
            let Some(operators) = operators else { return (503, r#"{"error":"the node stops"}"#.into()) };
            let Call { method, target, from, certificate } = call;
            let (Ok(method), Ok(uri)) = (method.parse(), target.parse()) else {
                return (400, r#"{"error":"no method, or no path"}"#.into());
            };
            let (status, json) = operators.answer(audit::Operator::Port { from, certificate }, method, uri).await;
            (status.as_u16(), json)
        })
    })
}

fn describe(readiness: &Readiness) -> String {
    match readiness {
        Readiness::Starting(why) => format!("starting: {why}"),
        Readiness::Ready => "ready".to_owned(),
        Readiness::Degraded => "degraded".to_owned(),
        Readiness::Unready(why) => format!("unready: {why}"),
    }
}
