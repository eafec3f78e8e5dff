//! What one operation is.

use crate::content::{Blob, Pattern, Recipe};
use bytes::Bytes;
use flotilla_client::{Error, Registry};
use flotilla_proto::oci::{Digest, Reference, RepositoryName};
use futures_util::{StreamExt, TryStreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;

/// docker copies a layer into its PATCH in pieces of this size.
const PATCH_PIECE: usize = 32 << 10;
/// Layers of one image in flight at once: docker's default for downloads.
const LAYERS_AT_ONCE: usize = 3;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// GET a manifest by tag.
    ManifestTag,
    /// GET a manifest by digest.
    ManifestDigest,
    /// GET a blob of `--size`.
    BlobGet,
    /// Push a fresh blob of `--size` as docker does: HEAD, POST, one chunked PATCH, PUT, HEAD.
    Push,
    /// Push a fresh image of `--layers` layers of `--size`, then pull it.
    Image,
    /// 60 % manifest GETs by tag, 25 % blob GETs, 10 % pushes, 5 % HEADs.
    Mixed,
}

/// Sizes and numbers.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blob or layer size in bytes.
    pub size: usize,
    /// Layers of an image.
    pub layers: usize,
    /// Blobs and manifests that reads choose from.
    pub objects: usize,
}

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client's error.
    #[error(transparent)]
    Client(#[from] Error),
    /// Other bytes than were pushed, or fewer, or more.
    #[error("{what} came back other than it was pushed")]
    BytesDiffer {
        /// Digest or tag.
        what: String,
    },
    /// A blob that was just pushed is not there.
    #[error("{what} is missing")]
    Missing {
        /// The digest.
        what: String,
    },
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

impl Failure {
    /// A word for counting.
    pub fn kind(&self) -> String {
        match self {
            Self::Client(error) => error.kind(),
            Self::BytesDiffer { .. } => "bytes_differ".to_owned(),
            Self::Missing { .. } => "missing".to_owned(),
            Self::Timeout => "timeout".to_owned(),
        }
    }
}

struct Stored {
    tag: Reference,
    digest: Reference,
    body: Bytes,
}

/// A scenario ready to run: what its reads need has been pushed.
pub struct Scenario {
    kind: Kind,
    registry: Registry,
    repository: RepositoryName,
    pattern: Pattern,
    recipe: Recipe,
    config: Recipe,
    layers: usize,
    blobs: Vec<Blob>,
    manifests: Vec<Stored>,
}

impl Scenario {
    /// Pushes what the reads of `kind` need.
    pub async fn prepare(
        kind: Kind,
        shape: Shape,
        registry: Registry,
        repository: RepositoryName,
        seed: u64,
    ) -> Result<Self, Failure> {
        let pattern = Pattern::new(seed);
        let (recipe, config) = (pattern.recipe(shape.size), pattern.recipe(1024));
        let (blobs, manifests) = (Vec::new(), Vec::new());
        let layers = shape.layers;
        let mut this = Self { kind, registry, repository, pattern, recipe, config, layers, blobs, manifests };
        let mut rng = StdRng::seed_from_u64(seed ^ 1);
        if matches!(kind, Kind::BlobGet | Kind::Mixed) {
            for _ in 0..shape.objects {
                let blob = this.recipe.fresh(&mut rng);
                this.push(&blob).await?;
                this.blobs.push(blob);
            }
        }
        if matches!(kind, Kind::ManifestTag | Kind::ManifestDigest | Kind::Mixed) {
            let layers: Vec<Blob> = (0..shape.layers).map(|_| this.config.fresh(&mut rng)).collect();
            this.push_all(&layers).await?;
            for number in 0..shape.objects {
                let config = this.config.fresh(&mut rng);
                this.push(&config).await?;
                let body = manifest(&config, &layers);
                let tag = tag(&format!("v{number}"));
                let digest = this.registry.put_manifest(&this.repository, &tag, MANIFEST, body.clone()).await?;
                this.manifests.push(Stored { tag, digest: Reference::Digest(digest), body });
            }
        }
        Ok(this)
    }

    /// One operation; returns the content bytes it moved.
    pub async fn operation(&self, rng: &mut StdRng) -> Result<u64, Failure> {
        match self.kind {
            Kind::ManifestTag => self.get_manifest(rng, false).await,
            Kind::ManifestDigest => self.get_manifest(rng, true).await,
            Kind::BlobGet => self.get_blob(rng).await,
            Kind::Push => self.push(&self.recipe.fresh(rng)).await,
            Kind::Image => self.image(rng).await,
            Kind::Mixed => match rng.random_range(0..100) {
                0..60 => self.get_manifest(rng, false).await,
                60..85 => self.get_blob(rng).await,
                85..95 => self.push(&self.recipe.fresh(rng)).await,
                _ => self.head_blob(&choose(&self.blobs, rng).digest, true).await,
            },
        }
    }

    async fn get_manifest(&self, rng: &mut StdRng, by_digest: bool) -> Result<u64, Failure> {
        let stored = choose(&self.manifests, rng);
        let reference = if by_digest { &stored.digest } else { &stored.tag };
        self.pull_manifest(reference, &stored.body).await
    }

    async fn pull_manifest(&self, reference: &Reference, body: &Bytes) -> Result<u64, Failure> {
        let manifest = self.registry.get_manifest(&self.repository, reference).await?;
        if manifest.body != body {
            return Err(Failure::BytesDiffer { what: reference.to_string() });
        }
        Ok(body.len() as u64)
    }

    async fn get_blob(&self, rng: &mut StdRng) -> Result<u64, Failure> {
        self.pull(choose(&self.blobs, rng)).await
    }

    async fn pull(&self, blob: &Blob) -> Result<u64, Failure> {
        let mut reply = self.registry.open_blob(&self.repository, &blob.digest).await?;
        let mut at = 0;
        while let Some(bytes) = reply.chunk().await? {
            if at + bytes.len() > blob.size || !self.pattern.matches(blob, at, &bytes) {
                return Err(Failure::BytesDiffer { what: blob.digest.to_string() });
            }
            at += bytes.len();
        }
        if at != blob.size {
            return Err(Failure::BytesDiffer { what: blob.digest.to_string() });
        }
        Ok(at as u64)
    }

    async fn head_blob(&self, digest: &Digest, expected: bool) -> Result<u64, Failure> {
        match self.registry.head_blob(&self.repository, digest).await? {
            None if expected => Err(Failure::Missing { what: digest.to_string() }),
            _ => Ok(0),
        }
    }

    /// As docker does it.
    async fn push(&self, blob: &Blob) -> Result<u64, Failure> {
        self.head_blob(&blob.digest, false).await?;
        let body = self.pattern.chunked(blob, PATCH_PIECE);
        self.registry.push_blob_chunked(&self.repository, &blob.digest, body).await?;
        self.head_blob(&blob.digest, true).await?;
        Ok(blob.size as u64)
    }

    async fn push_all(&self, blobs: &[Blob]) -> Result<u64, Failure> {
        let pushes = stream::iter(blobs.to_vec()).map(|blob| async move { self.push(&blob).await });
        pushes.buffer_unordered(LAYERS_AT_ONCE).try_fold(0, |sum, bytes| async move { Ok(sum + bytes) }).await
    }

    async fn pull_all(&self, blobs: &[Blob]) -> Result<u64, Failure> {
        let pulls = stream::iter(blobs.to_vec()).map(|blob| async move { self.pull(&blob).await });
        pulls.buffer_unordered(LAYERS_AT_ONCE).try_fold(0, |sum, bytes| async move { Ok(sum + bytes) }).await
    }

    async fn image(&self, rng: &mut StdRng) -> Result<u64, Failure> {
        let mut blobs: Vec<Blob> = (0..self.layers).map(|_| self.recipe.fresh(rng)).collect();
        let config = self.config.fresh(rng);
        let body = manifest(&config, &blobs);
        blobs.push(config);
        let mut bytes = self.push_all(&blobs).await?;
        let tag = tag(&format!("image-{:016x}", rng.random::<u64>()));
        self.registry.put_manifest(&self.repository, &tag, MANIFEST, body.clone()).await?;
        bytes += self.pull_manifest(&tag, &body).await?;
        bytes += self.pull_all(&blobs).await?;
        Ok(bytes)
    }
}

fn choose<'a, T>(of: &'a [T], rng: &mut StdRng) -> &'a T {
    of.choose(rng).expect("prepare stored at least one object")
}

fn tag(text: &str) -> Reference {
    Reference::Tag(text.parse().expect("letters, digits and dashes"))
}

fn manifest(config: &Blob, layers: &[Blob]) -> Bytes {
    let descriptor = |media_type, blob: &Blob| json!({"mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.size});
    let layers: Vec<_> = layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
    let value = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers,
    });
    value.to_string().into()
}
