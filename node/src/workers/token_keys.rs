//! Makes the cluster's first key for tokens and replaces it when its time has come. Apply decides whether it has.

use super::{Report, Scope, Worker};
use crate::auth::token::own::Issuer;
use anyhow::Context;
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Between two looks: so soon after the start there is a key. A look costs two reads of the local state.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The worker. Run it only where the token service is switched on: versions before it do not know the command.
pub struct TokenKeys {
    issuer: Arc<Issuer>,
}

impl TokenKeys {
    /// A worker for the keys of an issuer.
    pub fn new(issuer: Arc<Issuer>) -> Self {
        Self { issuer }
    }
}

#[async_trait]
impl Worker for TokenKeys {
    const NAME: &'static str = "token_keys";
    const SCOPE: Scope = Scope::Leader;

    async fn pass(&mut self, stop: &CancellationToken) -> anyhow::Result<Report> {
        let Some(rotated) = stop.run_until_cancelled(self.issuer.rotate()).await else { return Ok(Report::default()) };
        let done = u64::from(rotated.context("key for tokens")?);
        if done > 0 {
            info!("a new key signs tokens; the one before it verifies until its tokens have ended");
        }
        Ok(Report { done, more: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::token::own::Settings,
        metadata::{MetadataStore, local::LocalStore},
    };

    #[tokio::test]
    async fn there_is_a_key_after_the_first_pass_and_another_one_a_day_later() {
        let metadata = Arc::new(LocalStore::new());
        let issuer = Arc::new(Issuer::new(metadata.clone(), Settings::new("c", "registry")));
        let (mut worker, stop) = (TokenKeys::new(issuer), CancellationToken::new());
        let keys = || metadata.view().unwrap().token_keys().unwrap().len();
        for (hours, done, expected) in [(0, 1, 1), (0, 0, 1), (23, 0, 1), (1, 1, 2), (24, 1, 3), (24, 1, 3), (24, 1, 3)]
        {
            metadata.advance(Duration::from_secs(hours * 3600)).unwrap();
            assert_eq!(worker.pass(&stop).await.unwrap(), Report { done, more: false });
            assert_eq!(keys(), expected);
        }
    }
}
