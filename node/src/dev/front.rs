//! A round-robin TCP front without health checks: a node that does not accept is passed over.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 10_000;
/// Longest wait for a node to accept; on loopback the answer is at once.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Bytes buffered per direction.
const BUFFER: usize = 128 << 10;

/// Accepts until `stop`; then lets the connections go.
pub(super) async fn run(listener: TcpListener, nodes: Vec<SocketAddr>, stop: CancellationToken) {
    let nodes: Arc<[SocketAddr]> = nodes.into();
    let next = Arc::new(AtomicUsize::new(0));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("never closed");
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    debug!("accept failed: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await; // out of file descriptors, most likely
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let (nodes, first) = (nodes.clone(), next.fetch_add(1, Ordering::Relaxed));
            connections.spawn(async move {
                forward(client, &nodes, first).await;
                drop(place);
            });
        }
    };
    stop.run_until_cancelled(accept).await;
}

async fn forward(mut client: TcpStream, nodes: &[SocketAddr], first: usize) {
    let _ = client.set_nodelay(true);
    for step in 0..nodes.len() {
        let node = nodes[first.wrapping_add(step) % nodes.len()];
        let Ok(Ok(mut server)) = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(node)).await else { continue };
        let _ = server.set_nodelay(true);
        if let Err(error) = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await {
            debug!("connection to {node} broke: {error}");
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A node that tells who it is, then echoes.
    async fn node(name: u8) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                stream.write_all(&[name]).await.expect("written");
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.expect("half-closed");
                stream.write_all(&bytes).await.expect("echoed");
            }
        });
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        let task = tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
        (address, task)
    }

    #[tokio::test]
    async fn connections_go_round_and_dead_nodes_are_passed_over() {
        let (one, _one) = node(1).await;
        let (two, _two) = node(2).await;
        let dead = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
            listener.local_addr().expect("address")
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let front = listener.local_addr().expect("address");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(run(listener, vec![one, dead, two], stop.clone()));

        let mut seen = Vec::new();
        for _ in 0..6 {
            let mut client = TcpStream::connect(front).await.expect("front accepts");
            let payload = vec![7; 300_000];
            let name = client.read_u8().await.expect("a node answers");
            client.write_all(&payload).await.expect("sent");
            client.shutdown().await.expect("half-closed");
            let mut echo = Vec::new();
            client.read_to_end(&mut echo).await.expect("echoed after the half-close");
            assert_eq!(echo, payload);
            seen.push(name);
        }
        assert_eq!(seen, [1, 2, 2, 1, 2, 2]);
        stop.cancel();
        tasks.join_next().await;
    }
}
