//! `flotilla garbage-collect`: asks the node that runs on a configuration, so that nothing has to stop.

use crate::{config::Config, node::SOCKET};
use flotilla_client::admin;
use flotilla_proto::admin::{Collect, Collected};
use std::{fmt::Write as _, io::ErrorKind};

/// Asks the running node of this configuration to collect garbage in its cluster.
///
/// # Errors
/// No node runs, it may not be asked, or it refused: then nothing was deleted.
pub async fn garbage_collect(config: &Config, collect: Collect) -> anyhow::Result<Collected> {
    let socket = config.data_dir.join(SOCKET);
    admin::collect(&admin::Node::Socket(socket), collect).await.map_err(|error| match error {
        admin::Error::Unreachable { path, source } => {
            let path = path.display();
            match source.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow::anyhow!(
                    "no node runs on this configuration (nothing listens at {path}): nothing was deleted; start one with \
                     `flotilla serve`, or ask where one runs"
                ),
                _ => anyhow::anyhow!("cannot ask the node at {path} ({source}): run this as the node's user or as root"),
            }
        }
        admin::Error::Refused { text, .. } => anyhow::anyhow!(text),
        other => other.into(),
    })
}

/// The lines that registry:2 prints, which scripts read.
pub fn report(collected: &Collected) -> String {
    let Collected { marked, blobs, manifests, .. } = collected;
    let mut page = String::new();
    // Writing to a text cannot fail.
    for manifest in manifests {
        let _ = writeln!(page, "manifest eligible for deletion: {manifest}");
    }
    let _ = writeln!(
        page,
        "\n{marked} blobs marked, {} blobs and {} manifests eligible for deletion",
        blobs.len(),
        manifests.len()
    );
    for blob in blobs {
        let _ = writeln!(page, "blob eligible for deletion: {blob}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::{Operations, Operators, Undelete};
    use crate::{config, lifecycle::Lifecycle, operator::Refused};
    use flotilla_proto::admin;
    use std::sync::{Arc, Mutex};

    /// A node that notes what it is asked.
    struct Node(Mutex<Vec<Collect>>);

    #[async_trait::async_trait]
    impl Operations for Node {
        async fn status(&self, _: bool) -> anyhow::Result<serde_json::Value> {
            unreachable!("not asked for")
        }

        async fn collect(&self, collect: Collect) -> anyhow::Result<Collected> {
            self.0.lock().unwrap().push(collect);
            anyhow::ensure!(collect.dry_run, Refused("not today: nothing was deleted".to_owned()));
            let (blobs, manifests) = (vec!["sha256:b".into()], vec!["sha256:m".into()]);
            Ok(Collected { marked: 3, blobs, manifests, ..Collected::default() })
        }

        async fn collection(&self) -> anyhow::Result<admin::Collection> {
            unreachable!("not asked for")
        }

        async fn set_mode(&self, _: &str, _: &str) -> anyhow::Result<admin::Collection> {
            unreachable!("not asked for")
        }

        async fn why(&self, _: Option<&str>, _: &str) -> anyhow::Result<admin::Why> {
            unreachable!("not asked for")
        }

        async fn trash(&self, _: &str) -> anyhow::Result<admin::Deleted> {
            unreachable!("not asked for")
        }

        async fn undelete(&self, _: &str, _: Undelete<'_>) -> anyhow::Result<admin::Undeleted> {
            unreachable!("not asked for")
        }

        async fn delete_repository(&self, _: &str) -> anyhow::Result<()> {
            unreachable!("not asked for")
        }

        async fn verify(&self, _: Option<admin::Verify>) -> anyhow::Result<admin::Verification> {
            unreachable!("not asked for")
        }
    }

    #[tokio::test]
    async fn the_running_node_is_asked_and_its_answer_is_what_scripts_read() {
        let dir = tempfile::tempdir().unwrap();
        let env = [("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY".to_owned(), dir.path().display().to_string())];
        let config = config::from_yaml("", env).unwrap().config;
        let collect = Collect { dry_run: true, delete_untagged: true };
        let nobody = garbage_collect(&config, collect).await.unwrap_err().to_string();
        assert!(nobody.contains("no node runs") && nobody.contains("nothing was deleted"), "{nobody}");

        std::fs::create_dir_all(&config.data_dir).unwrap();
        let listener = crate::http::admin::bind(&config.data_dir.join(SOCKET)).unwrap();
        let (lifecycle, node) = (Lifecycle::new(), Arc::new(Node(Mutex::default())));
        let operators = Arc::new(Operators::new(node.clone(), None, lifecycle.clone()));
        lifecycle.spawn(crate::http::admin::serve(listener, operators));
        let collected = garbage_collect(&config, collect).await.unwrap();
        let lines = "manifest eligible for deletion: sha256:m\n\n3 blobs marked, 1 blobs and 1 manifests eligible for \
                     deletion\nblob eligible for deletion: sha256:b\n";
        assert_eq!(report(&collected), lines);
        let refused = garbage_collect(&config, Collect::default()).await.unwrap_err().to_string();
        assert_eq!(refused, "not today: nothing was deleted");
        assert_eq!(*node.0.lock().unwrap(), [collect, Collect::default()]);
        lifecycle.stop();
    }
}
