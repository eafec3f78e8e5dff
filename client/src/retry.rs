//! Which failures are worth another try, and when. For calls whose repetition is harmless: reads, blob uploads begun anew,
//! manifest PUTs (the same bytes under the same reference).

use crate::Error;
use http::StatusCode;
use std::{future::Future, time::Duration};

/// How often and how patiently to try.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Tries in all, at least one.
    pub attempts: u32,
    /// The pause after the first failure; it doubles after each further one.
    pub pause: Duration,
    /// The longest pause, also for a registry's `Retry-After`.
    pub pause_max: Duration,
}

impl Default for Policy {
    /// Five tries within about four seconds: what docker and oras do.
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_millis(250), pause_max: Duration::from_secs(10) }
    }
}

impl Policy {
    /// Calls `call` until it succeeds, fails for good, or the tries are spent; returns the last result. Dropping the future
    /// stops it.
    pub async fn run<T, F, Fut>(&self, mut call: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let mut failures = 0;
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failures += 1;
            if failures >= self.attempts || !is_transient(&error) {
                return Err(error);
            }
            tokio::time::sleep(self.pause_after(failures, &error)).await;
        }
    }

    /// The pause after the `failures`-th failure.
    fn pause_after(&self, failures: u32, error: &Error) -> Duration {
        let asked = match error {
            Error::Refused(refusal) => refusal.retry_after,
            _ => None,
        };
        let doubled = self.pause.saturating_mul(1 << (failures - 1).min(16));
        asked.unwrap_or(doubled).min(self.pause_max)
    }
}

/// Whether the same request may succeed a little later.
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::Exchange { .. } => true,
        Error::Refused(refusal) => matches!(
            refusal.status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;
    use http::Method;

    fn refused(status: StatusCode, retry_after: Option<Duration>) -> Error {
        let path = "/v2/".to_owned();
        Error::Refused(Box::new(Refusal { method: Method::GET, path, status, errors: Vec::new(), retry_after }))
    }

    const QUICK: Policy = Policy { attempts: 3, pause: Duration::ZERO, pause_max: Duration::ZERO };

    #[tokio::test]
    async fn transient_failures_are_retried_until_the_tries_are_spent() {
        let mut calls = 0;
        let result: Result<(), Error> = QUICK
            .run(|| {
                calls += 1;
                async { Err(refused(StatusCode::SERVICE_UNAVAILABLE, None)) }
            })
            .await;
        assert!(result.is_err());
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    async fn a_final_refusal_is_not_retried() {
        let mut calls = 0;
        let result: Result<(), Error> = QUICK
            .run(|| {
                calls += 1;
                async { Err(refused(StatusCode::NOT_FOUND, None)) }
            })
            .await;
        assert_eq!(result.expect_err("refused").status(), Some(StatusCode::NOT_FOUND));
        assert_eq!(calls, 1);
    }

    #[test]
    fn pauses_double_and_retry_after_goes_first() {
        let policy = Policy::default();
        let plain = refused(StatusCode::SERVICE_UNAVAILABLE, None);
        assert_eq!(policy.pause_after(3, &plain), Duration::from_secs(1));
        assert_eq!(policy.pause_after(30, &plain), policy.pause_max);
        let asked = refused(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(2)));
        assert_eq!(policy.pause_after(1, &asked), Duration::from_secs(2));
    }
}
