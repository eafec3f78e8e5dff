//! `/readyz` of the nodes' ops addresses, by hand: one request a connection.

use super::{files::Node, front::Backends};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

const FIRST_POLL: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_millis(250);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Waits until every node answers ready.
pub(super) async fn all_ready(nodes: &[Node]) {
    let each = nodes.iter().map(|node| async move {
        let mut poll = interval(FIRST_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            poll.tick().await;
            if ready(node.ops).await {
                return;
            }
        }
    });
    futures_util::future::join_all(each).await;
}

/// Keeps the front's view of who is ready; never ends.
pub(super) async fn watch(backends: Arc<Backends>) {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        futures_util::future::join_all(backends.iter().map(|backend| async { backend.mark(ready(backend.ops).await) }))
            .await;
    }
}

async fn ready(ops: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(ops).await?;
        stream
            .write_all(format!("GET /readyz HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head.ends_with(b" 200"))
    };
    timeout(ANSWER_MAX, ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}
