use super::{BlobStore, Budget, Error, Metrics, budget, fs, s3};
use crate::{config, lifecycle::Lifecycle};
use std::{path::PathBuf, sync::Arc};

/// The store that the configuration names. Upload buffers that memory has no room for go to `spill_dir`, which is local.
pub async fn open(
    config: &config::Storage,
    lifecycle: Lifecycle,
    metrics: Metrics,
    spill_dir: PathBuf,
) -> Result<Arc<dyn BlobStore>, Error> {
    match &config.driver {
        config::Driver::Filesystem(driver) => {
            Ok(Arc::new(fs::Filesystem::open(driver.root_directory.clone(), lifecycle, metrics).await?))
        }
        config::Driver::S3(driver) => {
            let budget = Budget::new(budget::MEMORY_DEFAULT, budget::SPILL_DEFAULT, spill_dir, metrics.clone());
            Ok(Arc::new(s3::S3::open(config::S3::clone(driver), budget, lifecycle, metrics).await?))
        }
    }
}
