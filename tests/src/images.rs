//! Images to push: OCI layouts made here, and a Debian root file system.

use crate::{
    cache_dir,
    http::{Noise, OCI_MANIFEST, digest_of},
    is_root, missing,
    process::run,
};
use anyhow::{Context, Result};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(900);
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What a digest stands for, in a manifest or index.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<serde_json::Value>,
}

/// An OCI layout on disk with one tag, `latest`.
#[derive(Debug)]
pub struct Layout {
    /// Its folder.
    pub dir: PathBuf,
    /// The digest that `latest` stands for.
    pub digest: String,
    /// The digests of every manifest and index in it.
    pub manifests: Vec<String>,
    /// The digests and sizes of every config and layer in it.
    pub blobs: Vec<(String, u64)>,
}

impl Layout {
    /// `oci:<dir>:latest`, as skopeo, podman and buildah want it.
    pub fn source(&self) -> String {
        format!("oci:{}:latest", self.dir.display())
    }

    /// The bytes that a digest stands for.
    pub fn read(&self, digest: &str) -> Result<Bytes> {
        Ok(std::fs::read(self.path(digest))?.into())
    }

    /// Packs it into a tar, as `ctr images import` wants it.
    pub async fn archive(&self, tar: &Path) -> Result<PathBuf> {
        run(Command::new("tar").arg("-C").arg(&self.dir).arg("-cf").arg(tar).arg("."), LIMIT).await?;
        Ok(tar.to_owned())
    }

    /// An image with layers of incompressible bytes of these sizes; each layer is a tar with one file.
    pub fn image(dir: &Path, seed: u64, layers: &[u64]) -> Result<Self> {
        let mut layout = Self::empty(dir)?;
        let image = layout.add_image(seed, layers, "amd64")?;
        layout.finish(image)
    }

    /// An image whose only layer is this tar.
    pub fn of_tar(dir: &Path, tar: &Path) -> Result<Self> {
        let mut layout = Self::empty(dir)?;
        let mut out = layout.part()?;
        std::io::copy(&mut std::fs::File::open(tar)?, &mut out)?;
        let layer = layout.keep(out)?;
        let image = layout.image_of(&[layer], "amd64")?;
        layout.finish(image)
    }

    /// An index of two platforms, each with two layers.
    pub fn two_platforms(dir: &Path, seed: u64) -> Result<Self> {
        let mut layout = Self::empty(dir)?;
        let mut children = Vec::new();
        for (number, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
            let mut child = layout.add_image(seed + number as u64, &[100_000, 2_000_000], architecture)?;
            child.platform = Some(serde_json::json!({"architecture": architecture, "os": "linux"}));
            children.push(child);
        }
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
        let mut index = layout.add_bytes(OCI_INDEX, index.to_string().as_bytes())?;
        index.platform = None;
        layout.manifests.push(index.digest.clone());
        layout.finish(index)
    }

    fn empty(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir.join("blobs/sha256"))?;
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self { dir: dir.to_owned(), digest: String::new(), manifests: Vec::new(), blobs: Vec::new() })
    }

    fn finish(mut self, mut top: Descriptor) -> Result<Self> {
        self.digest.clone_from(&top.digest);
        top.annotations = Some(serde_json::json!({"org.opencontainers.image.ref.name": "latest"}));
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [top]});
        std::fs::write(self.dir.join("index.json"), index.to_string())?;
        Ok(self)
    }

    fn add_image(&mut self, seed: u64, layers: &[u64], architecture: &str) -> Result<Descriptor> {
        let mut descriptors = Vec::new();
        for (number, size) in layers.iter().enumerate() {
            descriptors.push(self.add_layer(seed.wrapping_mul(1000) + number as u64, number, *size)?);
        }
        self.image_of(&descriptors, architecture)
    }

    fn image_of(&mut self, descriptors: &[Descriptor], architecture: &str) -> Result<Descriptor> {
        let diff_ids: Vec<_> = descriptors.iter().map(|layer| layer.digest.clone()).collect();
        let config = serde_json::json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = self.add_bytes("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
        self.blobs.push((config.digest.clone(), config.size));
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
            "layers": descriptors});
        let manifest = self.add_bytes(OCI_MANIFEST, manifest.to_string().as_bytes())?;
        self.manifests.push(manifest.digest.clone());
        Ok(manifest)
    }

    fn add_bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = digest_of(bytes);
        std::fs::write(self.path(&digest), bytes)?;
        Ok(descriptor(media_type, digest, bytes.len() as u64))
    }

    /// A tar with one file of noise.
    fn add_layer(&mut self, seed: u64, number: usize, size: u64) -> Result<Descriptor> {
        let mut out = self.part()?;
        out.write_all(&tar_header(&format!("layer-{number}-{seed}"), size))?;
        let mut noise = Noise::new(seed, size);
        while let Some(bytes) = noise.take() {
            out.write_all(&bytes)?;
        }
        // Padding to a block, then two empty blocks.
        let padding = usize::try_from((512 - size % 512) % 512)? + 1024;
        out.write_all(&vec![0; padding])?;
        self.keep(out)
    }

    /// A layer to be written.
    fn part(&self) -> Result<Hashing> {
        let file = BufWriter::new(std::fs::File::create(self.dir.join("part"))?);
        Ok(Hashing { file, hash: Sha256::new(), length: 0 })
    }

    /// Puts a written layer in its place.
    fn keep(&mut self, mut out: Hashing) -> Result<Descriptor> {
        out.flush()?;
        let (digest, length) = (format!("sha256:{}", hex::encode(out.hash.finalize())), out.length);
        std::fs::rename(self.dir.join("part"), self.path(&digest))?;
        self.blobs.push((digest.clone(), length));
        Ok(descriptor("application/vnd.oci.image.layer.v1.tar", digest, length))
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }
}

fn descriptor(media_type: &str, digest: String, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: None }
}

struct Hashing {
    file: BufWriter<std::fs::File>,
    hash: Sha256,
    length: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A ustar header of a plain file.
fn tar_header(name: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A tar of a Debian root file system (over 100 MB), made once by debootstrap and kept in the cache; or why there is none.
pub async fn debian_rootfs() -> Result<std::result::Result<PathBuf, String>> {
    let tar = cache_dir().join("debian-rootfs.tar");
    if tar.is_file() {
        return Ok(Ok(tar));
    }
    let lacking = missing(&["debootstrap", "tar"]);
    if !lacking.is_empty() || !is_root() {
        return Ok(Err(format!("a Debian root file system needs root and {lacking:?}")));
    }
    let dir = tempfile::TempDir::new()?;
    let root = dir.path().join("root");
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "stable"]).arg(&root);
    if let Some(mirror) = debian_mirror() {
        command.arg(mirror);
    }
    if let Err(error) = run(&mut command, LIMIT).await {
        return Ok(Err(format!("debootstrap: {error:#}").lines().take(3).collect::<Vec<_>>().join(" ")));
    }
    let part = cache_dir().join(format!("debian-rootfs.{}", std::process::id()));
    // The package archives stay: with them the layer exceeds 100 MB whatever the release strips.
    run(Command::new("tar").arg("-C").arg(&root).args(["--numeric-owner", "-cf"]).arg(&part).arg("."), LIMIT).await?;
    std::fs::rename(&part, &tar).context("keep the root file system")?;
    Ok(Ok(tar))
}

/// The mirror that apt uses here.
fn debian_mirror() -> Option<String> {
    let sources =
        std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let texts =
        sources.chain([PathBuf::from("/etc/apt/sources.list")]).filter_map(|path| std::fs::read_to_string(path).ok());
    for text in texts {
        for word in text.split_whitespace() {
            if word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian") {
                return Some(word.to_owned());
            }
        }
    }
    None
}
