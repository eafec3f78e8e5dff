//! Mutual TLS on the cluster port, by files.

use anyhow::Result;
use flotilla_tests::cluster::Cluster;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::Path;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Writes `ca.pem`, `node.pem` and `node.key` for 127.0.0.1.
fn certificates(dir: &Path) -> Result<()> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key)?;
    std::fs::write(dir.join("ca.pem"), certificate.pem())?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let node = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()])?.signed_by(&key, &issuer)?;
    std::fs::write(dir.join("node.pem"), node.pem())?;
    std::fs::write(dir.join("node.key"), key.serialize_pem())?;
    Ok(())
}

fn section(dir: &Path) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    format!(
        "  tls:\n    certificate: {}\n    key: {}\n    ca: {}\n",
        file("node.pem"),
        file("node.key"),
        file("ca.pem")
    )
}

#[tokio::test]
async fn three_nodes_agree_under_mutual_tls_and_strangers_are_cut_off() {
    let dir = TempDir::new().unwrap();
    certificates(dir.path()).unwrap();
    let cluster = Cluster::builder().cluster_section(&section(dir.path())).start().await.unwrap();
    cluster.client().push_image("team/app", "v1", "tls").await.unwrap();
    cluster.wait_equal_hash().await;
    // A stranger without TLS gets no HTTP/2 settings, only the end of the connection (or an alert before it).
    let mut stream = TcpStream::connect(&cluster.nodes[0].cluster).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer[0] == 0x15, "an answer without TLS: {answer:?}");
}
