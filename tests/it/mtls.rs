//! Mutual TLS on the cluster port, by files.

use anyhow::Result;
use flotilla_tests::{
    cluster::{Cluster, operator},
    process::output,
    wait_for,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::{path::Path, process::Command, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, pem::PemObject},
    },
};

/// A client's connection preface of HTTP/2, and its empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Writes `ca.pem`; `node.pem` and `node.key` for 127.0.0.1; and `operator.pem` and `operator.key`, which name no host.
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
    let key = KeyPair::generate()?;
    let person = CertificateParams::new(vec!["ann".into()])?.signed_by(&key, &issuer)?;
    std::fs::write(dir.join("operator.pem"), person.pem())?;
    std::fs::write(dir.join("operator.key"), key.serialize_pem())?;
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
    stream.write_all(PREFACE).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer[0] == 0x15, "an answer without TLS: {answer:?}");
}

/// `flotillactl` at a cluster port, with the files of `dir`: exit code, standard output and standard error.
async fn operate(address: &str, dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(operator());
    command.args(arguments).args(["--address", address]);
    for (flag, file) in [("--ca", "ca.pem"), ("--cert", "operator.pem"), ("--key", "operator.key")] {
        command.arg(flag).arg(dir.join(file));
    }
    let ended = output(&mut command, Duration::from_secs(60)).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

/// What a client that trusts the authority, and shows no certificate, gets from a cluster port.
async fn without_certificate(address: &str, dir: &Path) -> std::io::Result<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = "127.0.0.1".try_into().unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(PREFACE).await?;
    let mut answer = vec![0; 9];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn operators_with_a_certificate_are_answered_at_the_cluster_port_and_others_are_not() {
    let (dir, foreign) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    certificates(dir.path()).unwrap();
    certificates(foreign.path()).unwrap();
    let audit = dir.path().join("audit.json");
    let sections = format!("audit:\n  enabled: true\n  path: {}\n", audit.display());
    let cluster = section(dir.path());
    let cluster = Cluster::builder().nodes(1).cluster_section(&cluster).sections(&sections).start().await.unwrap();
    let (node, address) = (&cluster.nodes[0], cluster.nodes[0].cluster.as_str());

    let (code, out, err) = operate(address, dir.path(), &["gc", "status"]).await;
    assert!(code == Some(0) && out.starts_with("collection is on\n"), "{out}{err}");
    let (code, out, err) = operate(address, dir.path(), &["gc", "pause", "from afar"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "collection is paused: from afar\n"), "{err}");
    let near = node.operate(&["gc", "status"], Duration::from_secs(30)).await.unwrap();
    assert!(String::from_utf8_lossy(&near.stdout).starts_with("collection is paused: from afar\n"), "{near:?}");
    let (code, _, err) = operate(address, dir.path(), &["gc", "run"]).await;
    assert!(code == Some(1) && err.contains("409") && err.contains("from afar"), "{err}");
    let (code, out, err) = operate(address, dir.path(), &["verify", "--hash"]).await;
    assert!(code == Some(0) && out.contains("0 differences"), "{out}{err}");

    // The certificate of another authority: neither do we trust the node, nor it us.
    let (code, _, err) = operate(address, foreign.path(), &["gc", "resume"]).await;
    assert!(code == Some(1) && err.contains(address), "{err}");
    std::fs::copy(dir.path().join("ca.pem"), foreign.path().join("ca.pem")).unwrap();
    let (code, _, err) = operate(address, foreign.path(), &["gc", "resume"]).await;
    assert!(code == Some(1) && err.contains(address), "{err}");
    // No certificate at all: the handshake fails, or what follows it.
    let answer = without_certificate(address, dir.path()).await;
    assert!(answer.is_err(), "{answer:?}");
    let mut no_key = Command::new(operator());
    no_key.args(["gc", "resume", "--address", address, "--ca"]).arg(dir.path().join("ca.pem"));
    assert_eq!(output(&mut no_key, Duration::from_secs(30)).await.unwrap().status.code(), Some(2));
    let (_, out, _) = operate(address, dir.path(), &["gc", "status"]).await;
    assert!(out.starts_with("collection is paused: from afar\n"), "{out}");

    // Lines are written after the answer, in order.
    let lines = wait_for("the audit's lines", Duration::from_secs(30), || async {
        let text = std::fs::read_to_string(&audit).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() >= 3).then_some(lines)
    })
    .await;
    let told: Vec<_> =
        lines.iter().map(|line| (line["event"].as_str().unwrap(), line["outcome"].as_str().unwrap())).collect();
    assert_eq!(told, [("collection", "ok"), ("collect", "refused"), ("verify", "ok")]);
    for line in &lines {
        assert_eq!((&line["auth"], &line["from"]), (&"certificate".into(), &"127.0.0.1".into()), "{line}");
        assert!(line["certificate"].as_str().unwrap().starts_with("sha256:"), "{line}");
    }
}
