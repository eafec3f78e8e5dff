//! Blobs: every way to push one, what is then found, and what is refused.

use super::{
    Suite, Version,
    data::{Algorithm, Blob},
    uploads::{Way, with_digest},
    wire::{blob_path, encoded, refused, status},
};
use anyhow::{Context, Result, ensure};
use http::Method;
use std::sync::PoisonError;

impl Suite {
    pub(super) async fn blobs(&self, algorithm: Algorithm) {
        let area = format!("blobs/{}", algorithm.name());
        let blob = Blob::random(algorithm, 512);
        let path = blob_path(&self.repository, &blob.digest);
        self.check(format!("{area}/a blob nobody pushed is unknown"), self.gone(&path)).await;
        for way in Way::ALL {
            self.pushed_this_way(&area, algorithm, way).await;
        }
        self.mounts(&area, algorithm).await;
        self.known_contents(&area, algorithm).await;
        for way in Way::ALL {
            let blob = Blob::random(algorithm, self.chunk * 3 - 5).corrupted();
            let name = format!("{area}/{}/other bytes than the digest says are refused", way.name());
            self.check(name, self.push_wrong(&self.repository, way, &blob)).await;
        }
        self.malformed_digests(&area, algorithm).await;
        self.scopes(&area, algorithm).await;
    }

    /// One way, from the push to what is left after the deletion.
    async fn pushed_this_way(&self, area: &str, algorithm: Algorithm, way: Way) {
        let length = if way.in_pieces() { self.chunk * 3 - 5 } else { 512 };
        let blob = Blob::random(algorithm, length);
        let path = blob_path(&self.repository, &blob.digest);
        let area = format!("{area}/{}", way.name());
        let works = self.check(format!("{area}/push"), self.push(&self.repository, way, &blob)).await;
        if works {
            let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        self.found(&area, &path, &blob).await;
        if !way.in_pieces() {
            self.check(format!("{area}/push what is there already"), self.push(&self.repository, way, &blob)).await;
        }
        self.check(format!("{area}/delete"), self.delete_for_good(&path)).await;
        if !way.in_pieces() {
            self.check(format!("{area}/push what was deleted"), async {
                self.push(&self.repository, way, &blob).await?;
                self.delete_for_good(&path).await
            })
            .await;
        }
    }

    async fn found(&self, area: &str, path: &str, blob: &Blob) {
        self.check(format!("{area}/HEAD"), self.exists(path, blob)).await;
        self.check(format!("{area}/HEAD sends no body"), self.head_has_no_body(path)).await;
        self.check(format!("{area}/GET"), self.pulls(path, blob)).await;
    }

    async fn mounts(&self, area: &str, algorithm: Algorithm) {
        for (name, named) in [("mount", true), ("mount from anywhere", false)] {
            let area = format!("{area}/{name}");
            let blob = Blob::random(algorithm, 512);
            let path = blob_path(&self.repository, &blob.digest);
            let source = blob_path(&self.other, &blob.digest);
            let push = self.push(&self.other, Way::PostPut, &blob);
            self.check(format!("{area}/push to the other repository"), push).await;
            self.check(format!("{area}/mount"), async {
                let from = named.then_some(self.other.as_str());
                let answer = self.mount(&blob, from).await?;
                self.created(&answer, &blob).await
            })
            .await;
            self.found(&area, &path, &blob).await;
            self.check(format!("{area}/the deletion in one repository spares the other"), async {
                self.delete_for_good(&source).await?;
                self.pulls(&path, &blob).await
            })
            .await;
            self.check(format!("{area}/delete"), self.delete_for_good(&path)).await;
        }
        for (name, from) in [("of a missing blob", self.other.as_str()), ("from an unknown repository", "not/there")] {
            let blob = Blob::random(algorithm, 512);
            self.check(format!("{area}/mount {name} opens an upload"), async {
                let answer = self.mount(&blob, Some(from)).await?;
                status(&answer, &[202])?;
                let location = self.location(&answer)?;
                self.gone(&blob_path(&self.repository, &blob.digest)).await?;
                let answer = self.bytes(Method::PUT, &with_digest(&location, &blob.digest), &blob).await?;
                self.created(&answer, &blob).await?;
                self.delete_for_good(&blob_path(&self.repository, &blob.digest)).await
            })
            .await;
        }
    }

    async fn mount(&self, blob: &Blob, from: Option<&str>) -> Result<crate::http::Response> {
        let mut path = format!("/v2/{}/blobs/uploads/?mount={}", self.repository, encoded(&blob.digest));
        if let Some(from) = from {
            path += &format!("&from={}", encoded(from));
        }
        self.send_nothing(Method::POST, &path).await
    }

    /// The two blobs that every registry has: nothing at all, and an empty JSON object.
    async fn known_contents(&self, area: &str, algorithm: Algorithm) {
        for (name, bytes) in [("empty blob", &b""[..]), ("empty JSON", b"{}")] {
            let blob = Blob::of(algorithm, bytes);
            let path = blob_path(&self.repository, &blob.digest);
            for way in Way::ALL.into_iter().filter(|way| !way.in_pieces()) {
                let area = format!("{area}/{name}/{}", way.name());
                self.check(format!("{area}/push"), self.push(&self.repository, way, &blob)).await;
                self.found(&area, &path, &blob).await;
                self.check(format!("{area}/delete"), self.delete_for_good(&path)).await;
            }
        }
    }

    async fn malformed_digests(&self, area: &str, algorithm: Algorithm) {
        let blob = Blob::random(algorithm, 64);
        let hex = blob.digest.split_once(':').map_or("", |(_, hex)| hex);
        let malformed = [
            ("letters", format!("{}:baddigeststring", algorithm.name())),
            ("an unknown algorithm", format!("sha1024:{hex}")),
            ("upper case", format!("{}:{}", algorithm.name(), hex.to_uppercase().replace(char::is_numeric, "A"))),
            ("a digit too few", blob.digest[..blob.digest.len() - 1].to_owned()),
        ];
        for (name, digest) in malformed {
            let codes = ["DIGEST_INVALID", "BLOB_UNKNOWN", "UNSUPPORTED"];
            self.check(format!("{area}/malformed digest/{name}: pull"), async {
                refused(&self.get(&blob_path(&self.repository, &digest)).await?, &[400, 404], &codes)
            })
            .await;
            self.check(format!("{area}/malformed digest/{name}: push"), async {
                let location = self.open(&self.repository).await?;
                let answer = self.bytes(Method::PUT, &with_digest(&location, &digest), &blob).await?;
                refused(&answer, &[400], &codes)
            })
            .await;
            self.check(format!("{area}/malformed digest/{name}: POST only"), async {
                let url = with_digest(&format!("/v2/{}/blobs/uploads/", self.repository), &digest);
                refused(&self.bytes(Method::POST, &url, &blob).await?, &[400], &codes)
            })
            .await;
        }
    }

    /// A blob is in the repositories it was pushed to, and nowhere else.
    async fn scopes(&self, area: &str, algorithm: Algorithm) {
        let blob = Blob::random(algorithm, 512);
        let (here, there) = (blob_path(&self.repository, &blob.digest), blob_path(&self.other, &blob.digest));
        self.check(format!("{area}/a blob of another repository is unknown"), async {
            self.push(&self.other, Way::PostPut, &blob).await?;
            self.gone(&here).await?;
            self.pulls(&there, &blob).await.context("a deletion elsewhere reached it")?;
            self.delete_for_good(&there).await
        })
        .await;
        self.check(format!("{area}/two clients may push the same blob at once"), async {
            let first = self.open(&self.repository).await?;
            let second = self.open(&self.repository).await?;
            ensure!(first != second, "two uploads share the location {first}");
            let (first, second) = (with_digest(&first, &blob.digest), with_digest(&second, &blob.digest));
            let (first, second) =
                tokio::join!(self.bytes(Method::PUT, &first, &blob), self.bytes(Method::PUT, &second, &blob));
            self.created(&first?, &blob).await?;
            self.created(&second?, &blob).await?;
            self.delete_for_good(&here).await
        })
        .await;
        if self.version >= Version::Dev {
            self.check(format!("{area}/every answer about a blob names its digest"), async {
                self.push(&self.repository, Way::PostPut, &blob).await?;
                for answer in [self.get(&here).await?, self.head(&here).await?] {
                    let named = answer.header("docker-content-digest");
                    ensure!(named == blob.digest, "Docker-Content-Digest is {named:?}");
                }
                self.delete_for_good(&here).await
            })
            .await;
        }
    }
}
