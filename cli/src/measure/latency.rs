//! Latencies as a histogram with three significant digits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest latency that is told apart, in microseconds: ten minutes, the bound of a whole run.
const LONGEST_US: u64 = 600_000_000;

/// A histogram of latencies. Each driver task fills its own; they are merged at the end.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, LONGEST_US, 3)
                .expect("1 ≤ LONGEST_US / 2 and 3 significant digits are valid bounds"),
        )
    }
}

impl Latency {
    /// Counts one latency; what is longer than the longest counts as the longest.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        self.0.saturating_record(us.max(1));
    }

    /// Adds all of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("both histograms were made with the same bounds");
    }

    /// The figures that are printed.
    pub fn summary(&self) -> Summary {
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        Summary {
            count: self.0.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: if self.0.is_empty() {
                0.0
            } else {
                ms(self.0.max())
            },
        }
    }
}

/// The figures of a distribution of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many were counted.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Longest.
    pub max_ms: f64,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "microseconds of at most ten minutes are exact in an f64"
)]
fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_the_promised_three_digits_and_nothing_is_dropped() {
        let mut a = Latency::default();
        let mut b = Latency::default();
        for i in 1..=50 {
            a.record(Duration::from_millis(i));
            b.record(Duration::from_millis(i + 50));
        }
        b.record(Duration::from_secs(86_400));
        a.merge(&b);
        let summary = a.summary();
        assert_eq!(summary.count, 101);
        assert!((summary.p50_ms - 51.0).abs() < 0.1, "{summary:?}");
        assert!(summary.max_ms >= 600_000.0 * 0.999, "{summary:?}");
        assert_eq!(Latency::default().summary(), Summary::default());
    }
}
