//! As registry:2 keeps it in a directory.

use super::set::{Set, digest};
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// Writes `set`, and `dead` blobs that are linked in a repository and named by no manifest.
pub fn write(root: &Path, set: Set, dead: u64) -> Result<()> {
    let root = root.join("docker/registry/v2");
    for image in set.images() {
        let repository = root.join("repositories").join(&image.repository);
        for blob in image.blobs {
            let hex = hex::encode(digest(blob));
            sparse(&data(&root, &hex), set.size)?;
            link(&repository.join("_layers"), &hex)?;
        }
        let hex = hex::encode(Sha256::digest(&image.body));
        file(&data(&root, &hex), image.body.as_bytes())?;
        let manifests = repository.join("_manifests");
        link(&manifests.join("revisions"), &hex)?;
        let tag = manifests.join("tags").join(&image.tag);
        link(&tag.join("index"), &hex)?;
        file(&tag.join("current/link"), format!("sha256:{hex}").as_bytes())?;
    }
    for blob in (0..dead).map(|number| u64::MAX - number) {
        let hex = hex::encode(digest(blob));
        sparse(&data(&root, &hex), set.size)?;
        link(&root.join("repositories/seed/dead/_layers"), &hex)?;
    }
    Ok(())
}

fn data(root: &Path, hex: &str) -> std::path::PathBuf {
    root.join("blobs/sha256").join(&hex[..2]).join(hex).join("data")
}

fn link(parent: &Path, hex: &str) -> Result<()> {
    file(&parent.join("sha256").join(hex).join("link"), format!("sha256:{hex}").as_bytes())
}

/// Zeros, without blocks on disk.
fn sparse(path: &Path, size: u64) -> Result<()> {
    file(path, &[])?;
    Ok(fs::File::options().write(true).open(path)?.set_len(size)?)
}

fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_found_by_its_tag() {
        let dir = tempfile::TempDir::new().expect("a folder");
        write(dir.path(), Set { live: 3, size: 5 }, 2).expect("written");
        let root = dir.path().join("docker/registry/v2");
        let link =
            fs::read_to_string(root.join("repositories/seed/r0/_manifests/tags/t0/current/link")).expect("a link");
        let hex = link.strip_prefix("sha256:").expect("a digest");
        let manifest = fs::read(data(&root, hex)).expect("a manifest");
        assert_eq!(hex::encode(Sha256::digest(&manifest)), hex);
        let dead = fs::read_dir(root.join("repositories/seed/dead/_layers/sha256")).expect("dead ones").count();
        assert_eq!(dead, 2);
    }
}
