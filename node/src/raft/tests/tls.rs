//! The cluster port under mutual TLS.

use super::cluster::{Cluster, config_of, write};
use crate::{
    config,
    lifecycle::Lifecycle,
    raft::{
        Error, RaftStore, bootstrap,
        peers::{Lane, Peers},
        tls::Tls,
    },
};
use flotilla_proto::wire::cluster::{OperatorRequest, operator_client::OperatorClient};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tonic::Code;

/// A CA and one certificate for 127.0.0.1, as files.
fn make_files(dir: &Path) -> config::ClusterTls {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let node = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let files =
        config::ClusterTls { certificate: dir.join("node.pem"), key: dir.join("node.key"), ca: dir.join("ca.pem") };
    fs::create_dir_all(dir).unwrap();
    fs::write(&files.certificate, node.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::write(&files.ca, authority.pem()).unwrap();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_over_mutual_tls_and_others_are_not_heard() {
    let mut cluster = Cluster::new(3);
    cluster.tls = Some(make_files(&cluster.dir.path().join("tls")));
    cluster.start_all().await;
    write(cluster.store(0), 1).await;
    cluster.assert_same_state().await;
    let asker = cluster.store(0).host.clone();
    assert!(bootstrap::ask(&asker, &cluster.addresses[1]).await.is_some());

    let mut plain = Cluster::new(1);
    plain.start(0).await;
    assert!(bootstrap::ask(&plain.store(0).host, &cluster.addresses[1]).await.is_none(), "plain text");

    let mut stranger = Cluster::new(1);
    stranger.tls = Some(make_files(&stranger.dir.path().join("tls")));
    stranger.start(0).await;
    assert!(bootstrap::ask(&stranger.store(0).host, &cluster.addresses[1]).await.is_none(), "another authority");
}

#[tokio::test]
async fn an_open_port_without_tls_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Cluster::new(1).config(0);
    for address in ["0.0.0.0:0", ":0", "10.1.2.3:5", "example.org:7"] {
        config.data_dir = dir.path().join(address.replace(':', "_"));
        config.cluster.as_mut().unwrap().addr = address.to_owned();
        let started = RaftStore::start(&config, &Lifecycle::new(), &mut Registry::default()).await;
        assert!(matches!(started, Err(Error::Plaintext(_))), "{address}");
    }
    let alone = config_of(dir.path().join("alone"), None);
    let store = RaftStore::start(&alone, &Lifecycle::new(), &mut Registry::default()).await.unwrap();
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_answered_under_mutual_tls_only() {
    let mut cluster = Cluster::new(1);
    cluster.tls = Some(make_files(&cluster.dir.path().join("tls")));
    let mut plain = Cluster::new(1);
    for cluster in [&mut cluster, &mut plain] {
        cluster.start(0).await;
    }
    let ask = async |tls: Option<&config::ClusterTls>, address: &str| {
        let tls = tls.map(|files| Tls::load(files).unwrap());
        let peers = Peers::new(tls, Duration::from_secs(5), tokio::runtime::Handle::current());
        let mut client = OperatorClient::new(peers.channel(address, Lane::Control).unwrap());
        client.call(OperatorRequest { method: "POST".into(), target: "/gc?mode=on".into() }).await
    };
    let early = ask(cluster.tls.as_ref(), &cluster.addresses[0]).await.unwrap_err();
    assert_eq!(early.code(), Code::Unavailable, "nobody answers yet: {early}");
    for cluster in [&cluster, &plain] {
        cluster.store(0).serve_operators(Arc::new(|call| {
            let heard = format!("{} {} {:?} {}", call.method, call.target, call.from, call.certificate.len());
            Box::pin(async move { (418, heard.into()) })
        }));
    }
    let answer = ask(cluster.tls.as_ref(), &cluster.addresses[0]).await.unwrap().into_inner();
    assert_eq!((answer.status, answer.json.as_ref()), (418, b"POST /gc?mode=on Some(127.0.0.1) 64".as_slice()));

    let refused = ask(None, &plain.addresses[0]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("cluster.tls"), "{refused}");
    assert!(ask(None, &cluster.addresses[0]).await.is_err(), "plain text");
    let stranger = make_files(&cluster.dir.path().join("stranger"));
    assert!(ask(Some(&stranger), &cluster.addresses[0]).await.is_err(), "another authority");
}
