//! Waiting between tries: exponential, jittered, bounded.

use crate::error::{Error, Kind};
use rand::RngExt;
use std::future::Future;
use std::time::{Duration, Instant};

/// First delay after a failed call.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// Longest delay: a cluster that comes back is noticed within it.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// A server's hint is followed up to here.
const HINT_MAX: Duration = Duration::from_secs(30);

/// Delays that double from 50 ms to 2 s, each drawn between half and the whole, so that clients that
/// failed together do not come back together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Calls succeed again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The delay after one more failure; not below the server's hint, if it gave one.
    pub fn next(&mut self, hint_ms: Option<u64>) -> Duration {
        let whole = DELAY_MIN
            .saturating_mul(1 << self.failures.min(10))
            .min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        let drawn = whole.mul_f64(rand::rng().random_range(0.5..=1.0));
        let hint = Duration::from_millis(hint_ms.unwrap_or(0)).min(HINT_MAX);
        drawn.max(hint)
    }
}

/// Repeats an operation that is safe to repeat until it succeeds, is refused, or `within` is over;
/// then the last failure stands.
///
/// # Errors
/// The refusal, or the last failure.
pub async fn idempotent<T, F>(within: Duration, mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + within;
    let mut backoff = Backoff::default();
    loop {
        match call().await {
            Err(error) if error.code.kind() != Kind::Rejected => {
                let delay = backoff.next(error.retry_after_ms);
                if Instant::now() + delay >= end {
                    return Err(error);
                }
                tokio::time::sleep(delay).await;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_stay_jittered_and_follow_the_hint() {
        let mut backoff = Backoff::default();
        for round in 0..20 {
            let whole = DELAY_MIN.saturating_mul(1 << round.min(10)).min(DELAY_MAX);
            let delay = backoff.next(None);
            assert!(
                delay >= whole / 2 && delay <= whole,
                "round {round}: {delay:?}"
            );
        }
        assert!(backoff.next(Some(5_000)) >= Duration::from_secs(5));
        assert!(backoff.next(Some(u64::MAX)) <= HINT_MAX);
        backoff.reset();
        assert!(backoff.next(None) <= DELAY_MIN);
    }
}
