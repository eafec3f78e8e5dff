//! Manifests apart from the data sets: what is refused, and what must be kept as it came.

use super::{
    Suite,
    data::{
        ARTIFACT, Algorithm, Blob, CONFIG, INDEX, MANIFEST, Manifest, Set, Shape, artifact, described, image,
        random_text,
    },
    uploads::Way,
    wire::{blob_path, manifest_path, refused, status, streamed},
};
use crate::http::{empty, full};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const BAD_DIGEST: &str = "sha256:baddigeststring";

impl Suite {
    pub(super) async fn manifests(&self) {
        let missing = Blob::random(Algorithm::Sha256, 100).digest;
        for (name, reference) in [("tag", format!("missing-{}", random_text())), ("digest", missing)] {
            let path = manifest_path(&self.repository, &reference);
            self.check(format!("manifests/a missing {name} is unknown"), self.gone(&path)).await;
        }
        self.check("manifests/a malformed digest is refused", self.malformed_digest()).await;
        for body in ["", "{", "[]", "\"text\"", "{\"schemaVersion\": 2, \"mediaType\": 7}"] {
            self.check(format!("manifests/the body {body:?} is refused"), self.malformed_body(body)).await;
        }
        self.check("manifests/references to missing content", self.missing_content()).await;
        self.check("manifests/bytes are kept as they came", self.bytes_are_kept()).await;
        self.check("manifests/parameters of a media type are ignored", self.parameters()).await;
        self.check("manifests/the media type may be told by the header alone", self.told_by_header()).await;
        self.check("manifests/no Accept header is needed", self.without_accept()).await;
        self.check("manifests/a namespace in the query may be ignored", self.namespace()).await;
        self.check("manifests/HEAD sends no body", self.manifest_head()).await;
        self.check("manifests/tags at the limits of their grammar", self.tags_at_the_limits()).await;
        self.check("manifests/tags beyond their grammar are refused", self.tags_beyond()).await;
        self.check("manifests/names at the limits of their grammar", self.names_at_the_limits()).await;
        self.check("manifests/other repositories do not know a manifest", self.other_repositories()).await;
        self.check("manifests/what was deleted can be pushed again", self.again()).await;
        self.check("manifests/a body of known length", self.known_length()).await;
        self.check("manifests/two algorithms name one manifest", self.two_algorithms()).await;
        self.check("manifests/far too large ones are refused or kept", self.too_large()).await;
        self.check("manifests/those of docker", self.docker()).await;
    }

    async fn malformed_digest(&self) -> Result<()> {
        let mut set = Set::new("malformed");
        set.image(&Shape { layers: 1, ..image() }, "amd64");
        for blob in &set.blobs {
            self.push(&self.repository, Way::PostPut, blob).await?;
        }
        let answer = self.put(&self.repository, BAD_DIGEST, &set.manifests[0], &[]).await?;
        refused(&answer, &[400], &["DIGEST_INVALID", "MANIFEST_INVALID", "TAG_INVALID"])?;
        status(&self.get(&manifest_path(&self.repository, BAD_DIGEST)).await?, &[400, 404])?;
        status(&self.head(&manifest_path(&self.repository, BAD_DIGEST)).await?, &[400, 404])?;
        status(&self.delete(&manifest_path(&self.repository, BAD_DIGEST)).await?, &[400, 404])?;
        self.gone(&manifest_path(&self.repository, &set.manifests[0].blob.digest)).await?;
        for blob in &set.blobs {
            self.delete_for_good(&blob_path(&self.repository, &blob.digest)).await?;
        }
        Ok(())
    }

    async fn malformed_body(&self, body: &str) -> Result<()> {
        let path = manifest_path(&self.repository, "malformed");
        let body = full(body.to_owned().into());
        let answer = self.send(Method::PUT, &path, &[("content-type", MANIFEST)], body).await?;
        refused(&answer, &[400], &["MANIFEST_INVALID"])?;
        self.gone(&path).await
    }

    /// A registry may take a manifest without its content; one that does not must say why.
    async fn missing_content(&self) -> Result<()> {
        let mut image_alone = Set::new("image");
        image_alone.image(&image(), "amd64");
        let mut index = Set::new("index");
        index.index(&image(), vec![described(&image_alone.manifests[0].blob, MANIFEST, &image())]);
        for manifest in [&image_alone.manifests[0], &index.manifests[0]] {
            let answer = self.put(&self.repository, &manifest.blob.digest, manifest, &[]).await?;
            let path = manifest_path(&self.repository, &manifest.blob.digest);
            if answer.status == 201 {
                self.stored(&answer, manifest).await?;
                self.delete_for_good(&path).await?;
                continue;
            }
            refused(&answer, &[400, 404], &["MANIFEST_BLOB_UNKNOWN"])?;
            ensure!(!answer.body.is_empty(), "the refusal names no MANIFEST_BLOB_UNKNOWN");
            self.gone(&path).await?;
        }
        Ok(())
    }

    async fn bytes_are_kept(&self) -> Result<()> {
        let text = random_text();
        let odd = format!(
            "\n {{\t\"mediaType\" :\"{INDEX}\",\r\n\"schemaVersion\":2 , \"manifests\":[ ],\
             \"annotations\":{{\"\\u006bey\":\"\\u00fc\u{fc} {text}\"}} }}\n\n"
        );
        let manifest = of_text(odd, INDEX);
        self.keeps(&self.repository, &manifest, "odd").await
    }

    async fn parameters(&self) -> Result<()> {
        let manifest = lone();
        let path = manifest_path(&self.repository, "parameters");
        let headers = [("content-type", "application/vnd.oci.image.index.v1+json; charset=utf-8")];
        let answer = self.send(Method::PUT, &path, &headers, streamed(&manifest.blob.bytes)).await?;
        self.stored(&answer, &manifest).await?;
        self.delete_for_good(&manifest_path(&self.repository, &manifest.blob.digest)).await
    }

    async fn told_by_header(&self) -> Result<()> {
        let text = json!({"schemaVersion": 2, "manifests": [], "annotations": {"key": random_text()}});
        self.keeps(&self.repository, &of_text(text.to_string(), INDEX), "told").await
    }

    async fn without_accept(&self) -> Result<()> {
        let manifest = lone();
        let path = manifest_path(&self.repository, "plain");
        let answer = self.put(&self.repository, "plain", &manifest, &[]).await?;
        self.stored(&answer, &manifest).await?;
        for headers in [&[][..], &[("accept", "*/*")], &[("accept", "application/json, */*;q=0.1")]] {
            let answer = self.send(Method::GET, &path, headers, empty()).await?;
            status(&answer, &[200])?;
            ensure!(answer.header("content-type") == INDEX && answer.body == manifest.blob.bytes, "{headers:?}");
        }
        self.delete_for_good(&manifest_path(&self.repository, &manifest.blob.digest)).await
    }

    /// Proxies are told the registry that a client means; others need not care.
    async fn namespace(&self) -> Result<()> {
        let manifest = lone();
        let answer = self.put(&self.repository, "namespace", &manifest, &[]).await?;
        self.stored(&answer, &manifest).await?;
        let path = format!("{}?ns=registry.example.com", manifest_path(&self.repository, "namespace"));
        self.manifest_pulls(&path, &manifest).await?;
        self.manifest_exists(&path, &manifest).await?;
        self.delete_for_good(&manifest_path(&self.repository, &manifest.blob.digest)).await
    }

    async fn manifest_head(&self) -> Result<()> {
        let manifest = lone();
        let answer = self.put(&self.repository, "head", &manifest, &[]).await?;
        self.stored(&answer, &manifest).await?;
        self.head_has_no_body(&manifest_path(&self.repository, "head")).await?;
        self.head_has_no_body(&manifest_path(&self.repository, &manifest.blob.digest)).await?;
        self.delete_for_good(&manifest_path(&self.repository, &manifest.blob.digest)).await
    }

    async fn tags_at_the_limits(&self) -> Result<()> {
        for tag in ["_", "0", "Z", "_.-", "a..b--c__d", &"x".repeat(128), "v1.2.3-rc.1_build"] {
            self.keeps(&self.repository, &lone(), tag).await.with_context(|| tag.to_owned())?;
        }
        Ok(())
    }

    async fn tags_beyond(&self) -> Result<()> {
        let manifest = lone();
        let codes = ["TAG_INVALID", "MANIFEST_INVALID", "NAME_INVALID", "DIGEST_INVALID", "MANIFEST_UNKNOWN"];
        for tag in [".dot", "-dash", "sp%20ace", "pl%2Bus", &"x".repeat(129)] {
            let answer = self.put(&self.repository, tag, &manifest, &[]).await?;
            refused(&answer, &[400, 404], &codes).with_context(|| format!("PUT {tag}"))?;
            let answer = self.get(&manifest_path(&self.repository, tag)).await?;
            refused(&answer, &[400, 404], &codes).with_context(|| format!("GET {tag}"))?;
        }
        self.gone(&manifest_path(&self.repository, &manifest.blob.digest)).await
    }

    async fn names_at_the_limits(&self) -> Result<()> {
        for name in ["a", "0/1/2/3/4/5", "a__b/c---d/e.f/g_h", "manifests/blobs/tags/list/uploads", &"x/".repeat(100)] {
            let repository = format!("{}/{}", self.repository, name.trim_end_matches('/'));
            self.keeps(&repository, &lone(), "latest").await.with_context(|| repository.clone())?;
        }
        Ok(())
    }

    async fn other_repositories(&self) -> Result<()> {
        let manifest = lone();
        let answer = self.put(&self.other, "here", &manifest, &[]).await?;
        self.stored(&answer, &manifest).await?;
        for reference in ["here", &manifest.blob.digest] {
            self.gone(&manifest_path(&self.repository, reference)).await?;
        }
        self.manifest_pulls(&manifest_path(&self.other, "here"), &manifest).await?;
        self.delete_for_good(&manifest_path(&self.other, &manifest.blob.digest)).await
    }

    async fn again(&self) -> Result<()> {
        let manifest = lone();
        for _ in 0..3 {
            self.keeps(&self.repository, &manifest, "again").await?;
        }
        Ok(())
    }

    async fn known_length(&self) -> Result<()> {
        let manifest = lone();
        let path = manifest_path(&self.repository, &manifest.blob.digest);
        let body = full(manifest.blob.bytes.clone());
        let answer = self.send(Method::PUT, &path, &[("content-type", INDEX)], body).await?;
        self.stored(&answer, &manifest).await?;
        self.delete_for_good(&path).await
    }

    async fn two_algorithms(&self) -> Result<()> {
        let manifest = lone();
        let twin = Manifest { blob: Blob::of(Algorithm::Sha512, manifest.blob.bytes.clone()), ..manifest.clone() };
        for manifest in [&manifest, &twin] {
            let answer = self.put(&self.repository, &manifest.blob.digest, manifest, &[]).await?;
            self.stored(&answer, manifest).await?;
        }
        for manifest in [&manifest, &twin] {
            self.manifest_pulls(&manifest_path(&self.repository, &manifest.blob.digest), manifest).await?;
        }
        // Whether one deletion takes both is not said; none may stay in the end.
        for manifest in [&manifest, &twin] {
            let path = manifest_path(&self.repository, &manifest.blob.digest);
            status(&self.delete(&path).await?, &[202, 404])?;
        }
        self.gone(&manifest_path(&self.repository, &manifest.blob.digest)).await?;
        self.gone(&manifest_path(&self.repository, &twin.blob.digest)).await
    }

    async fn too_large(&self) -> Result<()> {
        let long = "A".repeat(9 << 20);
        let text = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"long": long}});
        let manifest = of_text(text.to_string(), INDEX);
        let path = manifest_path(&self.repository, &manifest.blob.digest);
        let length = manifest.blob.bytes.len();
        let ended = [format!("{length:x}\r\n").as_bytes(), &manifest.blob.bytes, b"\r\n0\r\n\r\n"].concat();
        for (framing, body) in [
            (format!("Content-Length: {length}"), &manifest.blob.bytes[..]),
            ("Transfer-Encoding: chunked".to_owned(), &ended),
        ] {
            let answer = self.raw("PUT", &path, &format!("Content-Type: {INDEX}\r\n{framing}\r\n"), body).await?;
            let line = answer.lines().next().unwrap_or_default();
            if line.starts_with("HTTP/1.1 201 ") {
                self.delete_for_good(&path).await?;
            }
            ensure!(line.starts_with("HTTP/1.1 201 ") || line.starts_with("HTTP/1.1 413 "), "{framing}: {line:?}");
            self.gone(&path).await?;
        }
        Ok(())
    }

    async fn docker(&self) -> Result<()> {
        let config = Blob::of(Algorithm::Sha256, json!({"author": random_text()}).to_string());
        let layer = Blob::random(Algorithm::Sha256, 300);
        for blob in [&config, &layer] {
            self.push(&self.repository, Way::PostPut, blob).await?;
        }
        let of = |media_type: &str, body: Value| {
            let mut body = body;
            body["schemaVersion"] = 2.into();
            body["mediaType"] = media_type.into();
            body.to_string()
        };
        let layers = [described(&layer, "application/vnd.docker.image.rootfs.diff.tar.gzip", &image())];
        let body = json!({"config": described(&config, DOCKER_CONFIG, &image()), "layers": layers});
        let manifest = of_text(of(DOCKER_MANIFEST, body), DOCKER_MANIFEST);
        let mut child = described(&manifest.blob, DOCKER_MANIFEST, &image());
        child["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let list = of_text(of(DOCKER_LIST, json!({"manifests": [child]})), DOCKER_LIST);
        for manifest in [&manifest, &list] {
            let answer = self.put(&self.repository, "docker", manifest, &[]).await?;
            status(&answer, &[201])?;
        }
        for (reference, manifest) in [(manifest.blob.digest.as_str(), &manifest), ("docker", &list)] {
            let path = manifest_path(&self.repository, reference);
            let accept = [("accept", DOCKER_MANIFEST), ("accept", DOCKER_LIST), ("accept", CONFIG)];
            let answer = self.send(Method::GET, &path, &accept, empty()).await?;
            status(&answer, &[200])?;
            ensure!(answer.header("content-type") == manifest.media_type, "{:?}", answer.headers);
            ensure!(answer.body == manifest.blob.bytes, "the body differs");
        }
        for digest in [&list.blob.digest, &manifest.blob.digest] {
            self.delete_for_good(&manifest_path(&self.repository, digest)).await?;
        }
        for blob in [&config, &layer] {
            self.delete_for_good(&blob_path(&self.repository, &blob.digest)).await?;
        }
        Ok(())
    }

    /// Pushes a manifest by tag, pulls it by both references, deletes it.
    async fn keeps(&self, repository: &str, manifest: &Manifest, tag: &str) -> Result<()> {
        let answer = self.put(repository, tag, manifest, &[]).await?;
        self.stored(&answer, manifest).await?;
        for reference in [tag, &manifest.blob.digest] {
            self.manifest_pulls(&manifest_path(repository, reference), manifest).await?;
            self.manifest_exists(&manifest_path(repository, reference), manifest).await?;
        }
        self.delete_for_good(&manifest_path(repository, tag)).await?;
        self.delete_for_good(&manifest_path(repository, &manifest.blob.digest)).await
    }
}

fn of_text(text: String, media_type: &'static str) -> Manifest {
    let blob = Blob::of(Algorithm::Sha256, text);
    Manifest { blob, media_type, tags: Vec::new(), subject: None, entry: Value::Null }
}

/// An index that needs nothing else.
fn lone() -> Manifest {
    let mut set = Set::new("lone");
    set.index(&artifact(ARTIFACT), Vec::new());
    set.manifests.remove(0)
}
