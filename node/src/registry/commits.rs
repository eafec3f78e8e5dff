//! Which uploads this process commits right now, so that a repeated request waits for the first one's result.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The running commits; as many as there are commit tasks.
#[derive(Clone, Default)]
pub(super) struct Commits(Arc<Mutex<HashMap<Uuid, CancellationToken>>>);

/// A running commit; dropping it wakes those who wait.
pub(super) struct Running {
    commits: Commits,
    id: Uuid,
    done: CancellationToken,
}

impl Commits {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        self.0.lock().expect("no holder panics")
    }

    /// Announces a commit; `None` if one of this upload runs already.
    pub(super) fn begin(&self, id: Uuid) -> Option<Running> {
        let mut running = self.lock();
        if running.contains_key(&id) {
            return None;
        }
        let done = CancellationToken::new();
        running.insert(id, done.clone());
        Some(Running { commits: self.clone(), id, done })
    }

    /// Cancelled when the running commit of this upload has ended.
    pub(super) fn running(&self, id: Uuid) -> Option<CancellationToken> {
        self.lock().get(&id).cloned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.commits.lock().remove(&self.id);
        self.done.cancel();
    }
}
