//! What the bucket holds under a prefix, and what its own rules would do to it.

use super::{
    SHORT, Shared,
    error::{self, map},
};
use crate::blobstore::{Error, Listed, Operation, Page, Upload};
use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    types::{BucketVersioningStatus, ExpirationStatus, LifecycleRule},
};

/// Objects of one listing, and uploads.
const PAGE: i32 = 1_000;
/// Pages of uploads that are looked at; what is behind them comes into sight as uploads end.
const UPLOAD_PAGES: usize = 32;

impl Shared {
    pub(super) async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        let under = format!("{}{prefix}", self.prefix);
        let request = self.client.list_objects_v2().bucket(&self.config.bucket).prefix(&under).max_keys(PAGE);
        let request = request.set_start_after(after.map(|after| format!("{}{after}", self.prefix))).send();
        let answer = async { request.await.map_err(|error| map(error, "LIST", &under)) };
        let answer = self.send(Operation::List, SHORT, answer).await.map_err(bucket_is_missing)?;
        let mut objects: Vec<Listed> = Vec::with_capacity(answer.contents().len());
        for object in answer.contents() {
            let key = object.key().and_then(|path| path.strip_prefix(&self.prefix)).unwrap_or_default().to_owned();
            let before = objects.last().map(|last| last.key.as_str()).or(after);
            // What comes out of order would be skipped by whoever goes on after the last key.
            if before.is_some_and(|before| key.as_str() <= before) || !key.starts_with(prefix) {
                return Err(error::refused(format!("LIST {under}: the store names {key} out of order")));
            }
            let length = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            objects.push(Listed { key, length });
        }
        let more = answer.is_truncated().unwrap_or(false);
        if more && objects.is_empty() {
            let source = None; // the next page is asked for by the last key of this one
            return Err(Error::Unavailable { context: format!("LIST {under}: an empty page is not the last"), source });
        }
        Ok(Page { objects, more })
    }

    /// Some stores list only the uploads of one whole key (MinIO), or none at all; these forget uploads after a time.
    pub(super) async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Error> {
        let under = format!("{}{prefix}", self.prefix);
        let (mut uploads, mut after): (Vec<Upload>, (Option<String>, Option<String>)) = Default::default();
        for _ in 0..UPLOAD_PAGES {
            let request = self.client.list_multipart_uploads().bucket(&self.config.bucket).prefix(&under);
            let request = request.set_key_marker(after.0.clone()).set_upload_id_marker(after.1.clone());
            let request = request.max_uploads(PAGE).send();
            let answer = async {
                match request.await {
                    Ok(answer) => Ok(Some(answer)),
                    Err(error) if error.code() == Some("NotImplemented") => Ok(None),
                    Err(error) => Err(map(error, "ListMultipartUploads", &under)),
                }
            };
            let answer = self.send(Operation::List, SHORT, answer).await.map_err(bucket_is_missing)?;
            let Some(answer) = answer else { break };
            uploads.extend(answer.uploads().iter().filter_map(|upload| {
                let key = upload.key()?.strip_prefix(&self.prefix).filter(|key| key.starts_with(prefix))?;
                Some(Upload { key: key.parse().ok()?, id: upload.upload_id()?.to_owned() })
            }));
            let next = (answer.next_key_marker().map(str::to_owned), answer.next_upload_id_marker().map(str::to_owned));
            // Whoever says that there is more and not where, or the same place again, has told all that can be had.
            if !answer.is_truncated().unwrap_or(false) || next.0.is_none() || next == after {
                break;
            }
            after = next;
        }
        Ok(uploads)
    }

    pub(super) async fn has_no_parts(&self, upload: &Upload) -> Result<bool, Error> {
        let path = self.path(&upload.key);
        let request = self.client.list_parts().bucket(&self.config.bucket).key(&path).upload_id(&upload.id).send();
        let answer = async {
            match request.await {
                Ok(answer) => Ok(answer.parts().is_empty()),
                // It was aborted meanwhile, or finished: nothing is left to abort.
                Err(error) if error.code() == Some("NoSuchUpload") => Ok(false),
                Err(error) => Err(map(error, "ListParts", &path)),
            }
        };
        self.send(Operation::List, SHORT, answer).await
    }

    pub(super) async fn abort(&self, upload: &Upload) -> Result<(), Error> {
        let path = self.path(&upload.key);
        let request = self.client.abort_multipart_upload().bucket(&self.config.bucket).key(&path);
        let request = request.upload_id(&upload.id).send();
        let answer = async {
            match request.await {
                Ok(_) => Ok(()),
                Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
                Err(error) => Err(map(error, "AbortMultipartUpload", &path)),
            }
        };
        self.send(Operation::Abort, SHORT, answer).await
    }

    /// Rules of the bucket's life cycle that delete our objects, and versions that keep what we delete.
    pub(super) async fn hazards(&self) -> Result<Vec<String>, Error> {
        // Many a store tells one and not the other.
        let (expiring, versions) = (self.expiring().await, self.versions().await);
        let mut told = match (expiring, &versions) {
            (Err(error), Err(_)) => return Err(error),
            (expiring, _) => expiring.unwrap_or_default(),
        };
        told.extend(versions.ok().flatten());
        Ok(told)
    }

    async fn versions(&self) -> Result<Option<String>, Error> {
        let bucket = &self.config.bucket;
        let request = self.client.get_bucket_versioning().bucket(bucket).send();
        let answer = async { request.await.map_err(|error| map(error, "GetBucketVersioning of", bucket)) };
        let answer = self.send(Operation::Read, SHORT, answer).await?;
        let keeps = answer.status() == Some(&BucketVersioningStatus::Enabled);
        Ok(keeps.then(|| {
            format!("bucket {bucket} keeps old versions: what is deleted stays until a rule (NoncurrentVersionExpiration) ends it")
        }))
    }

    async fn expiring(&self) -> Result<Vec<String>, Error> {
        let request = self.client.get_bucket_lifecycle_configuration().bucket(&self.config.bucket).send();
        let answer = async {
            match request.await {
                Ok(answer) => Ok(Some(answer)),
                Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Ok(None),
                Err(error) => Err(map(error, "GetBucketLifecycleConfiguration of", &self.config.bucket)),
            }
        };
        let Some(answer) = self.send(Operation::Read, SHORT, answer).await? else { return Ok(Vec::new()) };
        let expiring = answer.rules().iter().filter(|rule| expires(rule, &self.prefix));
        let told = expiring.map(|rule| {
            let (id, bucket) = (rule.id().unwrap_or("without a name"), &self.config.bucket);
            format!(
                "life cycle rule {id} of bucket {bucket} deletes objects under /{} after a time: blobs will be lost",
                self.prefix
            )
        });
        Ok(told.collect())
    }
}

/// A listing finds no objects or finds no bucket: a missing key is never the answer.
fn bucket_is_missing(error: Error) -> Error {
    match error {
        Error::NotFound { key } => error::refused(format!("LIST {key}: no such bucket")),
        other => other,
    }
}

/// Whether a rule deletes current objects, some of which may be under `root`.
fn expires(rule: &LifecycleRule, root: &str) -> bool {
    let deletes = rule.expiration().is_some_and(|when| when.days().is_some() || when.date().is_some());
    let filter = rule.filter();
    #[expect(deprecated, reason = "old rules have their prefix there")]
    let of_rule = rule.prefix();
    let prefix = filter
        .and_then(|filter| filter.prefix().or_else(|| filter.and().and_then(|and| and.prefix())))
        .or(of_rule)
        .unwrap_or_default();
    *rule.status() == ExpirationStatus::Enabled && deletes && (root.starts_with(prefix) || prefix.starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{LifecycleExpiration, LifecycleRuleFilter};

    #[test]
    fn only_rules_that_delete_what_is_ours_are_hazards() {
        let rule = |prefix: &str, status: ExpirationStatus, days: Option<i32>| {
            let expiration = LifecycleExpiration::builder().set_days(days).build();
            let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
            LifecycleRule::builder().status(status).filter(filter).expiration(expiration).build().expect("a rule")
        };
        let (enabled, disabled) = (ExpirationStatus::Enabled, ExpirationStatus::Disabled);
        for prefix in ["", "root/", "ro", "root/c/i/"] {
            assert!(expires(&rule(prefix, enabled.clone(), Some(30)), "root/"), "{prefix}");
            assert!(!expires(&rule(prefix, disabled.clone(), Some(30)), "root/"), "{prefix}");
            assert!(!expires(&rule(prefix, enabled.clone(), None), "root/"), "{prefix}");
        }
        assert!(!expires(&rule("logs/", enabled, Some(30)), "root/"));
    }
}
