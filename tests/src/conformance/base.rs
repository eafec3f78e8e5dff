//! The registry itself, and repositories nobody pushed to. Runs first: afterwards there are none.

use super::{
    Suite,
    data::{ALGORITHMS, ARTIFACT, Algorithm, Blob},
    wire::{blob_path, encoded, header_is, manifest_path, refused, status},
};
use anyhow::{Context, ensure};
use http::Method;
use serde_json::Value;

impl Suite {
    pub(super) async fn base(&self) {
        self.check("base/the registry says that it implements the specification", async {
            status(&self.get("/v2/").await?, &[200])
        })
        .await;
        let list = format!("/v2/{}/tags/list", self.repository);
        self.check("base/an unknown repository has no tags", async {
            let answer = self.get(&list).await?;
            status(&answer, &[200, 404])?;
            if answer.status == 200 {
                let body: Value = serde_json::from_slice(&answer.body)?;
                ensure!(body["name"] == self.repository.as_str(), "{body}");
                let tags = body.get("tags").context("no tags")?;
                ensure!(tags.is_null() || tags.as_array().is_some_and(Vec::is_empty), "{body}");
            }
            Ok(())
        })
        .await;
        for algorithm in ALGORITHMS {
            let subject = Blob::random(algorithm, 100).digest;
            let name = algorithm.name();
            self.check(format!("base/an unknown repository has no referrers ({name})"), async {
                let listed = self.list_referrers(&self.repository, &subject, None).await?;
                ensure!(listed.is_empty(), "{listed:?}");
                Ok(())
            })
            .await;
        }
        self.check("base/an unknown repository has no referrers of a type", async {
            let subject = Blob::random(Algorithm::Sha256, 100).digest;
            let listed = self.list_referrers(&self.repository, &subject, Some(ARTIFACT)).await?;
            ensure!(listed.is_empty(), "{listed:?}");
            Ok(())
        })
        .await;
        let digest = Blob::random(Algorithm::Sha256, 100).digest;
        for (name, path) in [
            ("tag", manifest_path(&self.repository, "latest")),
            ("manifest", manifest_path(&self.repository, &digest)),
            ("blob", blob_path(&self.repository, &digest)),
        ] {
            self.check(format!("base/an unknown repository has no {name}"), self.gone(&path)).await;
        }
        self.check("base/a name outside the grammar is refused", async {
            for name in ["Upper/case", "-dash", "a..b", "under___score", "trailing-"] {
                let path = manifest_path(&encoded(name).replace("%2F", "/"), "latest");
                let answer = self.get(&path).await?;
                refused(&answer, &[400, 404], &["NAME_INVALID", "NAME_UNKNOWN", "MANIFEST_UNKNOWN"])
                    .with_context(|| name.to_owned())?;
            }
            Ok(())
        })
        .await;
        self.check("base/a method that does not fit is refused with those that do", async {
            for (method, path) in [
                (Method::DELETE, "/v2/".to_owned()),
                (Method::PUT, list.clone()),
                (Method::POST, manifest_path(&self.repository, "latest")),
            ] {
                let answer = self.send_nothing(method, &path).await?;
                status(&answer, &[404, 405]).with_context(|| path.clone())?;
                ensure!(answer.status == 404 || !answer.header("allow").is_empty(), "405 without Allow at {path}");
            }
            Ok(())
        })
        .await;
        self.check("base/an error says what it is in JSON", async {
            let answer = self.get(&manifest_path(&self.repository, "latest")).await?;
            // Any format is allowed, but clients show this one.
            header_is(&answer, "content-type", "application/json")
                .or_else(|_| header_is(&answer, "content-type", "application/json; charset=utf-8"))?;
            ensure!(!answer.body.is_empty(), "no body");
            Ok(())
        })
        .await;
    }
}
