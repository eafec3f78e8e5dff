//! Writes: uploads in each style clients use, mounts, manifests, deletes.

use super::{Registry, parse_uri, refused, required};
use crate::{
    Error,
    transport::{Answer, Body},
};
use bytes::Bytes;
use flotilla_proto::oci::{Digest, Reference, RepositoryName};
use http::{Method, StatusCode, header};

const OCTETS: &str = "application/octet-stream";

/// An upload session: where its next request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Path and query of the registry's last `Location`.
    pub location: String,
}

impl Upload {
    fn of(answer: &Answer, request: &str) -> Result<Self, Error> {
        let location = parse_uri(required(&answer.headers, "location", request)?)?;
        let path = location.path_and_query().ok_or_else(|| header_error(request, "location"))?;
        Ok(Self { location: path.as_str().to_owned() })
    }

    /// The location with `digest` added to its query.
    pub fn finish_path(&self, digest: &Digest) -> String {
        let separator = if self.location.contains('?') { '&' } else { '?' };
        format!("{}{separator}digest={digest}", self.location)
    }
}

fn header_error(request: &str, name: &'static str) -> Error {
    Error::Header { request: request.to_owned(), name }
}

impl Registry {
    /// Begins an upload. end-4a
    pub async fn start_upload(&self, repository: &RepositoryName) -> Result<Upload, Error> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.expect(Method::POST, &path, &[], ().into(), StatusCode::ACCEPTED).await?;
        Upload::of(&answer, &path)
    }

    /// Sends one chunk; `range` is the `Content-Range` (`<first>-<last>`), which docker leaves out. end-5
    pub async fn patch_upload(&self, upload: &mut Upload, range: Option<&str>, body: Body) -> Result<(), Error> {
        let mut headers = vec![(header::CONTENT_TYPE, OCTETS)];
        headers.extend(range.map(|range| (header::CONTENT_RANGE, range)));
        let answer = self.expect(Method::PATCH, &upload.location, &headers, body, StatusCode::ACCEPTED).await?;
        *upload = Upload::of(&answer, &upload.location)?;
        Ok(())
    }

    /// Ends an upload with an empty body or the last chunk. end-6
    pub async fn finish_upload(&self, upload: &Upload, digest: &Digest, body: Body) -> Result<(), Error> {
        let headers = [(header::CONTENT_TYPE, OCTETS)];
        self.expect(Method::PUT, &upload.finish_path(digest), &headers, body, StatusCode::CREATED).await.map(drop)
    }

    /// How many bytes the registry has, from its `Range: 0-<last>` (an empty upload reads as one byte: the header cannot
    /// tell). end-13
    pub async fn upload_offset(&self, upload: &Upload) -> Result<u64, Error> {
        let path = &upload.location;
        let answer = self.expect(Method::GET, path, &[], ().into(), StatusCode::NO_CONTENT).await?;
        let last =
            required(&answer.headers, "range", path)?.rsplit('-').next().and_then(|last| last.parse::<u64>().ok());
        last.map(|last| last + 1).ok_or_else(|| header_error(path, "range"))
    }

    /// Gives an upload up. end-14
    pub async fn cancel_upload(&self, upload: &Upload) -> Result<(), Error> {
        self.expect(Method::DELETE, &upload.location, &[], ().into(), StatusCode::NO_CONTENT).await.map(drop)
    }

    /// Pushes a blob as docker does: POST, one PATCH in chunked encoding, an empty PUT. `body` should be of unknown length.
    pub async fn push_blob_chunked(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        body: Body,
    ) -> Result<(), Error> {
        let mut upload = self.start_upload(repository).await?;
        self.patch_upload(&mut upload, None, body).await?;
        self.finish_upload(&upload, digest, Body::empty()).await
    }

    /// Pushes a blob as containerd does: POST, then one PUT with all bytes and `Content-Length`. end-4a, end-6
    pub async fn push_blob(&self, repository: &RepositoryName, digest: &Digest, body: Body) -> Result<(), Error> {
        let upload = self.start_upload(repository).await?;
        self.finish_upload(&upload, digest, body).await
    }

    /// Pushes a blob in one POST; `false` if the registry answered 202 instead (it may ignore this style), which leaves
    /// an open session behind. end-4b
    pub async fn push_blob_single(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        body: Body,
    ) -> Result<bool, Error> {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.raw(Method::POST, &path, &[(header::CONTENT_TYPE, OCTETS)], body).await?;
        created_or_accepted(&path, &answer)
    }

    /// Asks to link a blob of `from`; `false` if the registry wants an upload instead, which it has opened. end-11
    pub async fn mount_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool, Error> {
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let answer = self.raw(Method::POST, &path, &[], ()).await?;
        created_or_accepted(&path, &answer)
    }

    /// Stores a manifest and returns the digest the registry gave it. end-7
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        media_type: &str,
        body: Bytes,
    ) -> Result<Digest, Error> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let headers = [(header::CONTENT_TYPE, media_type)];
        let answer = self.expect(Method::PUT, &path, &headers, body.into(), StatusCode::CREATED).await?;
        let digest = required(&answer.headers, "docker-content-digest", &path)?;
        digest.parse().map_err(|_| header_error(&path, "docker-content-digest"))
    }

    /// Deletes a manifest or a tag. end-9
    pub async fn delete_manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<(), Error> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.expect(Method::DELETE, &path, &[], ().into(), StatusCode::ACCEPTED).await.map(drop)
    }

    /// Unlinks a blob from the repository. end-10
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.expect(Method::DELETE, &path, &[], ().into(), StatusCode::ACCEPTED).await.map(drop)
    }
}

fn created_or_accepted(path: &str, answer: &Answer) -> Result<bool, Error> {
    match answer.status {
        StatusCode::CREATED => Ok(true),
        StatusCode::ACCEPTED => Ok(false),
        _ => Err(refused(Method::POST, path, answer)),
    }
}
