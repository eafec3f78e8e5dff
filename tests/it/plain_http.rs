//! What a client learns that speaks TLS to a port of plain HTTP.

use flotilla_tests::cluster::Cluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Go's clients (docker, podman, skopeo) fall back to plain HTTP only when the answer to their TLS hello is HTTP.
#[tokio::test]
async fn a_tls_hello_is_answered_in_plain_http() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    let mut stream = TcpStream::connect(&cluster.nodes[0].http).await.unwrap();
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.resize(517, b'x');
    stream.write_all(&hello).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}
