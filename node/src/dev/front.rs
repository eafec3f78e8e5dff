//! A round-robin TCP front: connections go to ready nodes in turn; a node that refuses is skipped until it is ready again.

use super::files::Node;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

const CONNECT_MAX: Duration = Duration::from_secs(1);
const CONNECTIONS_MAX: usize = 4096;
const BUFFER_BYTES: usize = 128 << 10;

/// A node, seen from the front.
pub(super) struct Backend {
    http: SocketAddr,
    pub(super) ops: SocketAddr,
    ready: AtomicBool,
}

impl Backend {
    /// Records the last answer of `/readyz`.
    pub(super) fn mark(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }
}

/// All nodes and whose turn it is.
pub(super) struct Backends {
    all: Vec<Backend>,
    turn: AtomicUsize,
}

impl Backends {
    /// All ready.
    pub(super) fn new(nodes: &[Node]) -> Self {
        let backend = |node: &Node| Backend { http: node.http, ops: node.ops, ready: AtomicBool::new(true) };
        Self { all: nodes.iter().map(backend).collect(), turn: AtomicUsize::new(0) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Backend> {
        self.all.iter()
    }

    /// A connection to the next ready node, else to any that accepts.
    async fn connect(&self) -> Option<TcpStream> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let in_turn = || (0..self.all.len()).map(|step| &self.all[turn.wrapping_add(step) % self.all.len()]);
        let (ready, rest): (Vec<_>, Vec<_>) = in_turn().partition(|backend| backend.ready.load(Relaxed));
        for backend in ready.into_iter().chain(rest) {
            match timeout(CONNECT_MAX, TcpStream::connect(backend.http)).await {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(_)) | Err(_) => backend.mark(false),
            }
        }
        None
    }
}

/// Accepts until the listener fails for good. Dropping the future ends all connections.
pub(super) async fn serve(listener: TcpListener, backends: Arc<Backends>) -> io::Error {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("never closed");
        let client = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => continue,
                // Out of descriptors: they come back when connections end.
                Err(error) if error.raw_os_error().is_some() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(error) => return error,
            },
            Some(_) = connections.join_next() => continue,
        };
        let backends = backends.clone();
        connections.spawn(async move {
            // A broken connection is for its two ends to report.
            let _ = join(client, &backends).await;
            drop(place);
        });
    }
}

async fn join(mut client: TcpStream, backends: &Backends) -> io::Result<()> {
    let Some(mut node) = backends.connect().await else { return Ok(()) };
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut node, BUFFER_BYTES, BUFFER_BYTES).await?;
    Ok(())
}
