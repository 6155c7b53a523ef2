//! How many requests a leaf does at once without queueing them.
//!
//! After TCP Vegas (Brakmo and Peterson 1994) as Netflix's concurrency-limits applies it: if `n` requests
//! under way take `rtt`, and one alone took `rtt0`, then about n(1 − rtt0/rtt) of them stood in a queue.
//! Few: try one more. Many: one less. A failure of the overloaded kind: a tenth less at once. A pure
//! machine, so that it can be tested without a leaf.

use std::time::Duration;

/// Where it begins.
const BEGIN: f64 = 16.0;
/// Where it ends.
const MIN: f64 = 1.0;
const MAX: f64 = 4_096.0;
/// After so many answers the time of an unloaded leaf is measured anew: leaves change.
const PROBE_EVERY: u32 = 1_000;
/// Times below this are noise of the clock.
const RTT_MIN: Duration = Duration::from_micros(50);

/// See the module.
#[derive(Clone, Debug)]
pub struct Limit {
    limit: f64,
    unloaded: Option<Duration>,
    since_probe: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            limit: BEGIN,
            unloaded: None,
            since_probe: 0,
        }
    }
}

impl Limit {
    /// Requests that may be under way.
    pub fn get(&self) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "kept between 1 and 4,096"
        )]
        let limit = self.limit as usize;
        limit.max(1)
    }

    /// An answer took this long while so many were under way, itself included.
    pub fn answered(&mut self, took: Duration, under_way: usize) {
        let took = took.max(RTT_MIN);
        #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
        let under_way = under_way as f64;
        // A limit that is not used says nothing about more.
        let used = under_way * 2.0 >= self.limit;
        self.since_probe += 1;
        if self.since_probe >= PROBE_EVERY {
            // A leaf at its limit shows its unloaded time only when it gets less for a moment.
            self.since_probe = 0;
            self.unloaded = None;
            if used {
                self.limit = (self.limit / 2.0).max(MIN);
            }
        }
        let unloaded = self.unloaded.map_or(took, |unloaded| unloaded.min(took));
        self.unloaded = Some(unloaded);
        let queued = self.limit * (1.0 - unloaded.as_secs_f64() / took.as_secs_f64());
        let step = self.limit.log10().max(0.5);
        if queued <= 3.0 * step {
            if used {
                self.limit = (self.limit + step).min(MAX);
            }
        } else if queued > 6.0 * step {
            self.limit = (self.limit - step).max(MIN);
        }
    }

    /// The leaf said that it has too much, or did not answer in time.
    pub fn overloaded(&mut self) {
        self.limit = (self.limit * 0.9).max(MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf that does so many at once in 10 ms, and queues what is more. Ends well after a probe.
    fn settle(limit: &mut Limit, slots: f64) {
        for _ in 0..3_300 {
            let n = limit.get();
            let took = Duration::from_secs_f64(0.01 * (n as f64 / slots).max(1.0));
            limit.answered(took, n);
        }
    }

    /// The limit settles a little above what the leaf can do, follows it up and down, and stays in bounds.
    #[test]
    fn it_finds_what_the_leaf_can_do() {
        let mut limit = Limit::default();
        settle(&mut limit, 8.0);
        assert!((8..=24).contains(&limit.get()), "{}", limit.get());
        settle(&mut limit, 100.0);
        assert!((80..=160).contains(&limit.get()), "{}", limit.get());
        for _ in 0..1_000 {
            limit.overloaded();
        }
        assert_eq!(limit.get(), 1);
        for _ in 0..100_200 {
            limit.answered(Duration::from_millis(1), 100_000);
        }
        assert_eq!(limit.get(), 4_096);
        let mut idle = Limit::default();
        for _ in 0..10_000 {
            idle.answered(Duration::from_millis(1), 1);
        }
        assert_eq!(idle.get(), 16, "what is not used does not grow");
    }
}
