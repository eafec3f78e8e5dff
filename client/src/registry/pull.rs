//! Reads: blobs and manifests.

use super::{ANSWER_BYTES_MAX, Registry, parse_uri, refused, required};
use crate::{
    Error,
    transport::{Body, Endpoint, Reply},
};
use bytes::Bytes;
use flotilla_proto::oci::{Algorithm, Digest, Reference, RepositoryName};
use http::{Method, Request, StatusCode, header};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What we accept as a manifest; docker and containers/image send the same.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, */*";

/// A manifest as the registry returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `Content-Type`.
    pub media_type: String,
    /// `Docker-Content-Digest`, if the registry sent it.
    pub digest: Option<Digest>,
    /// The bytes.
    pub body: Bytes,
}

/// The sha256 digest of `bytes`.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        let digest = match self {
            Self::Sha256(hasher) => Digest::new(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::new(Algorithm::Sha512, &hasher.finalize()),
        };
        digest.expect("a hash has its algorithm's length")
    }
}

impl Registry {
    /// The blob's size in bytes; `None` if this repository has no such blob. end-2
    pub async fn head_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let answer = self.raw(Method::HEAD, &path, &[], ()).await?;
        match answer.status {
            StatusCode::OK => {
                let length = required(&answer.headers, "content-length", &path)?.parse();
                length.map(Some).map_err(|_| Error::Header { request: path, name: "content-length" })
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refused(Method::HEAD, &path, &answer)),
        }
    }

    /// Opens a blob for reading; follows one redirect to a store. The bytes are **not** verified: see
    /// [`Registry::pull_blob`]. end-2
    pub async fn open_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Reply, Error> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let mut reply = self.open(Method::GET, &path, &[], ()).await?;
        if reply.status.is_redirection() {
            let target = required(&reply.headers, "location", &path)?.to_owned();
            reply.read(ANSWER_BYTES_MAX).await?;
            reply = follow(&target).await?;
        }
        if reply.status == StatusCode::OK {
            return Ok(reply);
        }
        Err(refused(Method::GET, &path, &reply.read(ANSWER_BYTES_MAX).await?))
    }

    /// Streams a blob into `sink` and returns its size in bytes. [`Error::DigestMismatch`] comes after the last byte: the
    /// caller discards what was written. end-2
    pub async fn pull_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, Error> {
        let mut reply = self.open_blob(repository, digest).await?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut size = 0;
        while let Some(bytes) = reply.chunk().await? {
            hasher.update(&bytes);
            size += bytes.len() as u64;
            sink.write_all(&bytes).await.map_err(Error::Sink)?;
        }
        sink.flush().await.map_err(Error::Sink)?;
        check(digest, hasher.finish())?;
        Ok(size)
    }

    /// A manifest; verified if asked for by digest, and against the registry's own digest header otherwise. end-3
    pub async fn get_manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Manifest, Error> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.expect(Method::GET, &path, &[(header::ACCEPT, ACCEPT)], ().into(), StatusCode::OK).await?;
        let manifest = manifest(&answer.headers, answer.body, &path)?;
        let wanted = match reference {
            Reference::Digest(digest) => Some(digest),
            Reference::Tag(_) => manifest.digest.as_ref(),
        };
        if let Some(digest) = wanted {
            let mut hasher = Hasher::new(digest.algorithm());
            hasher.update(&manifest.body);
            check(digest, hasher.finish())?;
        }
        Ok(manifest)
    }

    /// A manifest without its body; `None` if there is none. end-3
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Manifest>, Error> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.raw(Method::HEAD, &path, &[(header::ACCEPT, ACCEPT)], ()).await?;
        match answer.status {
            StatusCode::OK => manifest(&answer.headers, Bytes::new(), &path).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refused(Method::HEAD, &path, &answer)),
        }
    }
}

fn manifest(headers: &http::HeaderMap, body: Bytes, path: &str) -> Result<Manifest, Error> {
    let media_type = required(headers, "content-type", path)?.to_owned();
    let digest = headers.get("docker-content-digest").and_then(|digest| digest.to_str().ok()?.parse().ok());
    Ok(Manifest { media_type, digest, body })
}

fn check(expected: &Digest, actual: Digest) -> Result<(), Error> {
    if *expected == actual {
        return Ok(());
    }
    Err(Error::DigestMismatch { expected: Box::new(*expected), actual: Box::new(actual) })
}

/// Reads a presigned address of a store, on a connection of its own.
async fn follow(target: &str) -> Result<Reply, Error> {
    let uri = parse_uri(target)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).body(Body::empty()).map_err(Error::Request)?;
    Endpoint::new(&uri)?.send(request).await
}
