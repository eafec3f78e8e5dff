//! Which state a read may use. Everything a client may rely on is linearizable; reads by digest go on without a leader.

use super::{Error, Inner, Registry};
use crate::metadata::{self, View};
use std::time::Duration;
use tokio::time::Instant;

/// Something read by digest.
#[derive(Clone, Debug)]
pub struct Served<T> {
    /// What was read.
    pub value: T,
    /// Present if no leader could be reached: the age of the local state that was read.
    pub degraded: Option<Duration>,
}

impl Registry {
    /// A view that contains every change acknowledged before the call, anywhere.
    pub(super) async fn view(&self) -> Result<View, Error> {
        self.0.metadata.barrier(Instant::now() + self.0.settings.patience).await?;
        Ok(self.0.metadata.view()?)
    }

    /// Finds something immutable, named by its digest. Without a leader the local state answers, if it is young enough and
    /// has it; what it lacks may exist, so its absence is never answered from there. `find` is told how old the state may be.
    pub(super) async fn find<T>(
        &self,
        find: impl Fn(&View, Duration) -> Result<Option<T>, metadata::Error> + Send + Sync,
    ) -> Result<Option<Served<T>>, Error> {
        let Inner { metadata, settings, .. } = &*self.0;
        let began = Instant::now();
        match metadata.barrier(began + settings.degraded_patience).await {
            Ok(()) => {
                let found = find(&metadata.view()?, Duration::ZERO)?;
                return Ok(found.map(|value| Served { value, degraded: None }));
            }
            Err(metadata::Error::NoQuorum(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(age) = metadata.fresh_age().filter(|age| *age < settings.degraded_age)
            && let Some(value) = find(&metadata.view()?, age)?
        {
            return Ok(Some(Served { value, degraded: Some(age) }));
        }
        metadata.barrier(began + settings.patience).await?;
        Ok(find(&metadata.view()?, Duration::ZERO)?.map(|value| Served { value, degraded: None }))
    }
}
