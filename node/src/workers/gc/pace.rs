use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Longest wait, for any rate that makes sense.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// Keeps work at a rate, whatever the size of its steps: full steps cost fewest log entries.
pub(super) struct Pace {
    per_second: u64,
    next: Instant,
}

impl Pace {
    pub(super) fn new(per_second: usize) -> Self {
        Self { per_second: u64::try_from(per_second).unwrap_or(u64::MAX).max(1), next: Instant::now() }
    }

    /// Waits until the last step is paid for; false if `stop` came first.
    pub(super) async fn wait(&self, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(sleep_until(self.next)).await.is_some()
    }

    /// `items` were handled.
    pub(super) fn spend(&mut self, items: u64) {
        let millis = items.saturating_mul(1_000) / self.per_second;
        self.next = Instant::now() + Duration::from_millis(millis).min(WAIT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn steps_of_any_size_keep_the_rate() {
        let (stop, began) = (CancellationToken::new(), Instant::now());
        let mut pace = Pace::new(100);
        for items in [50, 200, 1, 0] {
            assert!(pace.wait(&stop).await);
            pace.spend(items);
        }
        assert!(pace.wait(&stop).await);
        assert!((2_510..2_530).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        let mut slow = Pace::new(1);
        slow.spend(2_000);
        assert!(slow.wait(&stop).await);
        assert!(began.elapsed().as_secs() >= 2_002, "however slow: {:?}", began.elapsed());
        pace.spend(1_000_000);
        stop.cancel();
        assert!(!pace.wait(&stop).await);
    }
}
