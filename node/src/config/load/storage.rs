//! Section `storage`.

use super::Reader;
use crate::config::{Driver, Filesystem, GENERAL_STORAGE_KEYS, S3, Storage};
use serde_json::{Map, Value};
use std::time::Duration;

impl Reader {
    pub(super) fn storage(&self) -> Storage {
        let none = Map::new();
        let section = self.get("storage").and_then(Value::as_object).unwrap_or(&none);
        let drivers: Vec<&String> =
            section.keys().filter(|key| !GENERAL_STORAGE_KEYS.contains(&key.as_str())).collect();
        let count = drivers.len();
        if count == 0 {
            self.mistake("storage", "no storage driver is named", "name one: `storage.filesystem` or `storage.s3`");
        } else if count > 1 {
            let names = drivers.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let fix = "keep one; with variables, REGISTRY_STORAGE=<driver> replaces the driver of the file";
            self.mistake("storage", format!("{count} storage drivers are named: {names}"), fix);
        }
        let root = self.text_or("storage.filesystem.rootdirectory", "/var/lib/registry");
        let s3 = section.contains_key("s3");
        let driver = match self.s3(s3) {
            Some(settings) => Driver::S3(Box::new(settings)),
            None => Driver::Filesystem(Filesystem { root_directory: root.into() }),
        };
        let week = Duration::from_secs(7 * 24 * 3600);
        let upload_age = self.duration("storage.maintenance.uploadpurging.age", week);
        if upload_age.is_zero() {
            self.mistake("storage.maintenance.uploadpurging.age", "no upload could ever finish", "write `168h`");
        }
        let (delete, redirect) =
            (self.boolean("storage.delete.enabled", false), !self.boolean("storage.redirect.disable", false));
        let read_only = self.boolean("storage.maintenance.readonly.enabled", false);
        Storage { driver, delete, read_only, redirect, upload_age }
    }

    /// Reads all keys; checks them only if the driver is chosen.
    fn s3(&self, chosen: bool) -> Option<S3> {
        let (region, endpoint) = (self.text("storage.s3.region"), self.text("storage.s3.regionendpoint"));
        let root = self.text("storage.s3.rootdirectory").unwrap_or_default().trim_matches('/').to_owned();
        if !root.is_empty() {
            self.uses("storage.s3.rootdirectory", root.as_str(), Some("storage.s3.rootdirectory"));
        }
        let s3 = S3 {
            bucket: self.text("storage.s3.bucket").unwrap_or_default(),
            region: region.clone().unwrap_or_else(|| self.default("storage.s3.region", "us-east-1")),
            access_key: self.text("storage.s3.accesskey"),
            secret_key: self.text("storage.s3.secretkey"),
            session_token: self.text("storage.s3.sessiontoken"),
            root_directory: root,
            secure: self.boolean("storage.s3.secure", true),
            skip_verify: self.boolean("storage.s3.skipverify", false),
            force_path_style: self.boolean("storage.s3.forcepathstyle", endpoint.is_some()),
            encrypt: self.boolean("storage.s3.encrypt", false),
            key_id: self.text("storage.s3.keyid"),
            storage_class: self.text("storage.s3.storageclass").filter(|class| !class.eq_ignore_ascii_case("none")),
            object_acl: self.text("storage.s3.objectacl"),
            redirect_endpoint: self.text("storage.s3.redirectendpoint"),
            region_endpoint: endpoint,
        };
        if !chosen {
            return None;
        }
        if s3.bucket.is_empty() {
            self.mistake("storage.s3.bucket", "the s3 driver needs a bucket", "name an existing bucket");
        }
        if region.is_none() && s3.region_endpoint.is_none() {
            self.mistake("storage.s3.region", "AWS needs a region", "name the bucket's region, or a `regionendpoint`");
        }
        if s3.access_key.is_some() != s3.secret_key.is_some() {
            let missing = if s3.access_key.is_some() { "storage.s3.secretkey" } else { "storage.s3.accesskey" };
            self.mistake(missing, "accesskey and secretkey go together", "set both, or neither for the AWS chain");
        }
        Some(s3)
    }
}
