//! The one door to the wall clock. Deadlines use `tokio::time::Instant`; decisions of the state machine use replicated
//! monotonic time and never this.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds, for display only.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
