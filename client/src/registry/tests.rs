//! The client beside Debian's docker-registry, where it is installed.

use super::*;
use crate::transport::Body;
use bytes::Bytes;
use flotilla_proto::oci::{Digest, Reference};
use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

struct Server {
    child: Child,
    directory: PathBuf,
    url: String,
}

impl Server {
    /// A fresh registry, or `None` (and a note) where docker-registry is not installed.
    async fn start(name: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
        let directory = std::env::temp_dir().join(format!("flotilla-client-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let config = directory.join("config.yml");
        let root = directory.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n",
            root.display()
        );
        fs::write(&config, text).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!("skipped: docker-registry is not installed");
            fs::remove_dir_all(&directory).expect("removed");
            return None;
        };
        let server = Self { child, directory, url: format!("http://127.0.0.1:{port}") };
        let patient = crate::retry::Policy {
            attempts: 200,
            pause: Duration::from_millis(20),
            pause_max: Duration::from_millis(50),
        };
        let registry = server.registry();
        patient.run(|| registry.ping()).await.expect("docker-registry answers");
        Some(server)
    }

    fn registry(&self) -> Registry {
        Registry::new(&self.url).expect("an address")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = fs::remove_dir_all(&self.directory);
    }
}

fn repository(name: &str) -> RepositoryName {
    name.parse().expect("a name")
}

#[tokio::test]
async fn blobs_go_and_come_back_in_every_style() {
    let Some(server) = Server::start("blobs").await else { return };
    let (registry, here) = (server.registry(), repository("a/b"));
    let bytes = |fill: u8| Bytes::from(vec![fill; 300_000]);
    let docker = digest_of(&bytes(1));
    assert_eq!(registry.head_blob(&here, &docker).await.expect("answered"), None);
    registry.push_blob_chunked(&here, &docker, Body::chunked(bytes(1), 32 << 10)).await.expect("docker-style");
    let containerd = digest_of(&bytes(2));
    registry.push_blob(&here, &containerd, bytes(2).into()).await.expect("monolithic");
    for (digest, fill) in [(docker, 1), (containerd, 2)] {
        assert_eq!(registry.head_blob(&here, &digest).await.expect("answered"), Some(300_000));
        let mut sink = Vec::new();
        assert_eq!(registry.pull_blob(&here, &digest, &mut sink).await.expect("pulled"), 300_000);
        assert_eq!(sink, bytes(fill));
    }
    // distribution 2.8 answers a single POST with 202: it wants the second request.
    assert!(!registry.push_blob_single(&here, &docker, bytes(1).into()).await.expect("answered"));
    assert!(registry.mount_blob(&repository("c"), &docker, &here).await.expect("mounted"));
    registry.delete_blob(&here, &docker).await.expect("deleted");
    let error = registry.pull_blob(&here, &docker, &mut Vec::new()).await.expect_err("deleted");
    assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));
    assert!(error.has_code("BLOB_UNKNOWN"), "{error}");
}

#[tokio::test]
async fn an_upload_can_be_driven_step_by_step() {
    let Some(server) = Server::start("upload").await else { return };
    let (registry, here) = (Registry::spread(&[&server.url, &server.url]).expect("addresses"), repository("steps"));
    let mut upload = registry.start_upload(&here).await.expect("begun");
    registry.patch_upload(&mut upload, Some("0-4"), Bytes::from_static(b"hello").into()).await.expect("first");
    assert_eq!(registry.upload_offset(&upload).await.expect("status"), 5);
    let error = registry.finish_upload(&upload, &digest_of(b"other"), Body::empty()).await.expect_err("wrong digest");
    assert!(error.has_code("DIGEST_INVALID"), "{error}");
    let mut upload = registry.start_upload(&here).await.expect("begun");
    registry.patch_upload(&mut upload, None, Bytes::from_static(b"hello").into()).await.expect("first");
    let last = Bytes::from_static(b" world").into();
    registry.finish_upload(&upload, &digest_of(b"hello world"), last).await.expect("finished");
    let given_up = registry.start_upload(&here).await.expect("begun");
    registry.cancel_upload(&given_up).await.expect("cancelled");
}

#[tokio::test]
async fn manifests_tags_and_the_catalog() {
    let Some(server) = Server::start("manifests").await else { return };
    let (registry, here) = (server.registry(), repository("library/app"));
    let config = Bytes::from_static(b"{}");
    let digest = digest_of(&config);
    registry.push_blob(&here, &digest, config.into()).await.expect("config");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let body = Bytes::from(format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[]}}"#
    ));
    let tag: Reference = "v1".parse().expect("a tag");
    let stored: Digest = registry.put_manifest(&here, &tag, media_type, body.clone()).await.expect("put");
    assert_eq!(stored, digest_of(&body));
    for reference in [tag.clone(), Reference::Digest(stored)] {
        let manifest = registry.get_manifest(&here, &reference).await.expect("got");
        assert_eq!((manifest.body, manifest.media_type.as_str()), (body.clone(), media_type));
        let head = registry.head_manifest(&here, &reference).await.expect("answered").expect("there");
        assert_eq!(head.digest, Some(stored));
    }
    assert_eq!(registry.tags(&here).await.expect("tags"), ["v1"]);
    assert_eq!(registry.catalog(10).await.expect("catalog"), ["library/app"]);
    registry.delete_manifest(&here, &Reference::Digest(stored)).await.expect("deleted");
    assert_eq!(registry.head_manifest(&here, &tag).await.expect("answered"), None);
}

#[tokio::test]
async fn connections_are_kept_and_raw_requests_return_any_status() {
    let Some(server) = Server::start("raw").await else { return };
    let registry = server.registry();
    for _ in 0..50 {
        let answer = registry.raw(Method::GET, "/v2/NOT/valid", &[], ()).await.expect("answered");
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        registry.ping().await.expect("pong");
    }
    assert_eq!(registry.0.endpoints[0].connections(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_an_error_of_its_own() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    let registry = Registry::new(&format!("http://127.0.0.1:{port}")).expect("an address");
    assert_eq!(registry.ping().await.expect_err("refused").kind(), "connect");
}

#[test]
fn bad_addresses_are_refused() {
    for base in ["", "127.0.0.1", "https://127.0.0.1", "http://"] {
        assert!(matches!(Registry::new(base), Err(Error::Address { .. })), "{base}");
    }
}
