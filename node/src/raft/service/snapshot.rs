//! Receiving a snapshot: the stream feeds a blocking thread that checks and stages it; openraft then installs it.

use crate::raft::{replica::Replica, snapshot::Error, snapshot::Snapshot, types::vote_from_wire, types::vote_to_wire};
use flotilla_proto::wire::cluster::{self as wire, snapshot_chunk::Part};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Chunks received ahead of the disk.
const CHUNKS_AHEAD: usize = 2;
/// The sender may take this long for one chunk.
const IDLE: Duration = Duration::from_secs(20);

pub(super) async fn receive(
    replica: &Arc<Replica>,
    mut stream: Streaming<wire::SnapshotChunk>,
) -> Result<wire::SnapshotResponse, Status> {
    let Some(Part::Header(header)) = next(&mut stream).await? else {
        return Err(Status::invalid_argument("a snapshot begins with its header"));
    };
    let vote = vote_from_wire(header.vote.as_ref()).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let (parts, queue) = mpsc::channel(CHUNKS_AHEAD);
    let state = replica.state.clone();
    let staging = tokio::task::spawn_blocking(move || stage(&state, &header, queue));
    while let Some(part) = next(&mut stream).await? {
        replica.hear();
        let last = matches!(part, Part::Footer(_));
        // The thread ends early when it refuses a part.
        if parts.send(part).await.is_err() || last {
            break;
        }
    }
    drop(parts);
    let staged = staging.await.map_err(|error| Status::internal(error.to_string()))?;
    let snapshot = staged.map_err(|error| match error {
        Error::Busy => Status::unavailable(error.to_string()),
        Error::Io(_) => Status::internal(error.to_string()),
        error => Status::invalid_argument(error.to_string()),
    })?;
    let installed = replica.raft.install_full_snapshot(vote, snapshot).await;
    let installed = installed.map_err(|fatal| Status::unavailable(fatal.to_string()))?;
    Ok(wire::SnapshotResponse { vote: Some(vote_to_wire(&installed.vote)) })
}

async fn next(stream: &mut Streaming<wire::SnapshotChunk>) -> Result<Option<Part>, Status> {
    match tokio::time::timeout(IDLE, stream.message()).await {
        Ok(message) => Ok(message?.and_then(|chunk| chunk.part)),
        Err(_) => Err(Status::deadline_exceeded("the snapshot makes no progress")),
    }
}

fn stage(
    state: &crate::raft::state_machine::StateHandle,
    header: &wire::SnapshotHeader,
    mut queue: mpsc::Receiver<Part>,
) -> Result<Snapshot, Error> {
    let mut staging = state.stage(header)?;
    while let Some(part) = queue.blocking_recv() {
        match part {
            Part::Frame(frame) => staging.frame(&frame)?,
            Part::Footer(footer) => return staging.finish(&footer),
            Part::Header(_) => return Err(Error::Damaged("a second header")),
        }
    }
    Err(Error::Damaged("no footer"))
}
