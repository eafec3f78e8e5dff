//! Sending a snapshot: a blocking thread reads and compresses, the stream carries it, and a peer that takes nothing for
//! too long ends it.

use crate::raft::{
    peers::Sealed,
    snapshot::{Snapshot, SnapshotData},
    types::Vote,
};
use flotilla_proto::wire::cluster::{self as wire, raft_client::RaftClient};
use futures_util::StreamExt as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Chunks read ahead of the connection.
const CHUNKS_AHEAD: usize = 2;
/// A peer may take this many idle periods to install what it has received.
const INSTALL_PERIODS: u32 = 6;

/// Streams `snapshot`; `idle` is how long the peer may take for one chunk.
pub(super) async fn send(
    mut client: RaftClient<Sealed>,
    vote: Vote,
    snapshot: Snapshot,
    idle: Duration,
) -> Result<wire::SnapshotResponse, Status> {
    let SnapshotData::View(view) = snapshot.snapshot else {
        return Err(Status::internal("a received snapshot is installed, not sent"));
    };
    let (chunks, queue) = mpsc::channel(CHUNKS_AHEAD);
    let reader = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        for chunk in view.chunks(&vote)? {
            // The receiver is gone when the transfer ended early.
            if chunks.blocking_send(chunk?).is_err() {
                break;
            }
        }
        Ok(())
    });
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    let stream = ReceiverStream::new(queue).inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let call = client.install_snapshot(stream);
    tokio::pin!(call);
    let (mut before, mut quiet) = (0, 0);
    let answer = loop {
        match tokio::time::timeout(idle, &mut call).await {
            Ok(answer) => break answer?.into_inner(),
            Err(_) => {
                let now = taken.load(Ordering::Relaxed);
                quiet = if now == before { quiet + 1 } else { 0 };
                before = now;
                if quiet >= INSTALL_PERIODS {
                    return Err(Status::deadline_exceeded("the snapshot makes no progress"));
                }
            }
        }
    };
    match reader.await {
        Ok(Ok(())) => Ok(answer),
        Ok(Err(error)) => Err(Status::internal(error.to_string())),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}
