//! Latency of one endpoint, as a histogram that forgets.
//!
//! Kept off the hot path: a shell records what ended and asks for quantiles now and then. Attempts
//! that were cancelled count as *censored*: they took at least so long. Leaving them out, as is
//! usual, makes a hedged endpoint look faster the more it is hedged, because its slow answers are
//! the ones that are cancelled. The quantile is that of the Kaplan–Meier estimator, which takes
//! both kinds.

use quorate_core::types::Mono;
use std::ops::Range;
use std::time::Duration;

// 32 buckets an octave of microseconds: a bucket is at most 3.1 % wide.
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
// Up to 2^32 µs, 71 minutes; more is counted in the last bucket.
const VALUE_BITS: u32 = 32;
const BUCKETS: usize = (VALUE_BITS - SUB_BITS + 1) as usize * SUB;

/// A histogram of latencies over the last one to two half-windows, with censored ones.
#[derive(Debug)]
pub struct Sketch {
    half: Duration,
    turned: Mono,
    now: Half,
    before: Half,
}

#[derive(Debug, Default)]
struct Half {
    ended: Cells,
    censored: Cells,
    count: u64,
    /// Buckets outside of this are empty.
    used: Range<usize>,
}

/// Counts by bucket. They take no room before the first: endpoints are many, and most see few calls, or none
/// that is cancelled.
#[derive(Debug, Default)]
struct Cells(Box<[u32]>);

impl Cells {
    fn get(&self, bucket: usize) -> f64 {
        self.0.get(bucket).copied().map_or(0.0, f64::from)
    }

    fn add(&mut self, bucket: usize) {
        if self.0.is_empty() {
            self.0 = vec![0; BUCKETS].into_boxed_slice();
        }
        self.0[bucket] = self.0[bucket].saturating_add(1);
    }

    fn clear(&mut self, used: Range<usize>) {
        if let Some(cells) = self.0.get_mut(used) {
            cells.fill(0);
        }
    }
}

impl Half {
    fn clear(&mut self) {
        let used = std::mem::replace(&mut self.used, 0..0);
        self.ended.clear(used.clone());
        self.censored.clear(used);
        self.count = 0;
    }

    /// One more in a bucket.
    fn add(&mut self, bucket: usize, censored: bool) {
        if censored {
            self.censored.add(bucket);
        } else {
            self.ended.add(bucket);
        }
        self.count += 1;
        self.used = if self.used.is_empty() {
            bucket..bucket + 1
        } else {
            self.used.start.min(bucket)..self.used.end.max(bucket + 1)
        };
    }
}

impl Sketch {
    /// Fewer observations than this give no quantile: one would be a guess.
    pub const COUNT_MIN: u64 = 30;
    /// The usual window.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// An empty sketch that forgets after `window`, at the latest.
    pub fn new(window: Duration, now: Mono) -> Self {
        Self {
            half: window / 2,
            turned: now,
            now: Half::default(),
            before: Half::default(),
        }
    }

    /// An answer took this long.
    pub fn record(&mut self, took: Duration, now: Mono) {
        self.turn(now);
        self.now.add(bucket(took), false);
    }

    /// An attempt was given up after this long; its answer would have taken longer.
    pub fn record_censored(&mut self, lasted: Duration, now: Mono) {
        self.turn(now);
        self.now.add(bucket(lasted), true);
    }

    /// Observations in the window.
    pub fn count(&self) -> u64 {
        self.now.count + self.before.count
    }

    /// The latency that this share of answers does not exceed, rounded up to its bucket. When so much
    /// was cancelled that the data do not reach so far, the longest time that was seen: with no
    /// threshold at all nothing would be hedged just where much is, and one that is too high lets
    /// slower answers come and corrects itself. `None` when too little is known.
    pub fn quantile(&self, quantile: super::Share) -> Option<Duration> {
        self.quantiles([quantile])[0]
    }

    /// The same for several shares at once.
    pub fn quantiles<const N: usize>(&self, shares: [super::Share; N]) -> [Option<Duration>; N] {
        let mut found = [None; N];
        let total = self.count();
        if total < Self::COUNT_MIN {
            return found;
        }
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let mut at_risk = total as f64;
        let mut surviving = 1.0_f64;
        let mut longest = None;
        for i in self.used() {
            let ended = self.now.ended.get(i) + self.before.ended.get(i);
            if ended > 0.0 {
                surviving *= 1.0 - ended / at_risk;
                for (found, share) in found.iter_mut().zip(shares) {
                    // A hair of rounding must not push a quantile into the next bucket.
                    if found.is_none() && surviving <= 1.0 - share.fraction() + 1e-12 {
                        *found = Some(upper(i));
                    }
                }
            }
            // Censored within a bucket counts as censored at its end.
            let censored = self.now.censored.get(i) + self.before.censored.get(i);
            if ended + censored > 0.0 {
                longest = Some(i);
            }
            at_risk -= ended + censored;
            if at_risk < 0.5 {
                break;
            }
        }
        found.map(|found| found.or(longest.map(upper)))
    }

    fn used(&self) -> Range<usize> {
        let (a, b) = (&self.now.used, &self.before.used);
        if a.is_empty() {
            return b.clone();
        }
        if b.is_empty() {
            return a.clone();
        }
        a.start.min(b.start)..a.end.max(b.end)
    }

    fn turn(&mut self, now: Mono) {
        let age = now.since(self.turned);
        if age < self.half {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        if age >= self.half * 2 {
            self.before.clear();
        }
        self.turned = now;
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros())
        .unwrap_or(u64::MAX)
        .min((1 << VALUE_BITS) - 1);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "capped at 32 bits just above"
    )]
    let micros = micros as usize;
    if micros < SUB {
        return micros;
    }
    let octave = micros.ilog2() - SUB_BITS;
    (octave as usize) * SUB + (micros >> octave)
}

/// The first value past the bucket.
fn upper(bucket: usize) -> Duration {
    let micros = if bucket < 2 * SUB {
        bucket as u64 + 1
    } else {
        let octave = bucket / SUB - 1;
        ((bucket - octave * SUB) as u64 + 1) << octave
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::super::Share;
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Every duration falls into a bucket whose upper end is above it by at most 3.2 %.
    #[test]
    fn buckets_are_narrow() {
        for micros in (0..200_000_u64).chain((1..4_000).map(|i| i * 1_000_003)) {
            let took = Duration::from_micros(micros);
            let up = upper(bucket(took)).as_micros();
            let (micros, up) = (micros as f64, up as f64);
            assert!(up > micros && up <= micros * 1.0321 + 1.0, "{micros} {up}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    /// Quantiles without censoring are those of the data, within a bucket.
    #[test]
    fn plain_quantiles() {
        let mut sketch = Sketch::new(Sketch::WINDOW, Mono(0));
        assert_eq!(sketch.quantile(Share::ppm(500_000)), None);
        for i in 1..=1000 {
            sketch.record(ms(i), Mono(0));
        }
        for (ppm, true_ms) in [(500_000, 500.0), (950_000, 950.0), (990_000, 990.0)] {
            let q = sketch.quantile(Share::ppm(ppm)).unwrap().as_secs_f64() * 1e3;
            assert!((q / true_ms - 1.0).abs() < 0.035, "{ppm} {q}");
        }
    }

    /// Cancelling the slow half at its threshold does not make the endpoint look faster.
    #[test]
    fn censored_answers_keep_the_quantile_up() {
        let mut sketch = Sketch::new(Sketch::WINDOW, Mono(0));
        // True latencies 1..=1000 ms, but whatever is above 900 is cancelled at 905.
        for i in 1..=900 {
            sketch.record(ms(i), Mono(0));
        }
        for _ in 901..=1000 {
            sketch.record_censored(ms(905), Mono(0));
        }
        let p85 = sketch.quantile(Share::ppm(850_000)).unwrap();
        assert!((830..=880).contains(&p85.as_millis()), "{p85:?}");
        // The data end at 905; they do not say more than that.
        let p95 = sketch.quantile(Share::ppm(950_000)).unwrap();
        assert!((905..=935).contains(&p95.as_millis()), "{p95:?}");
    }

    /// What is older than the window is gone.
    #[test]
    fn forgets() {
        let mut sketch = Sketch::new(Duration::from_secs(10), Mono(0));
        let at = |s: u64| Mono(s * 1_000_000_000);
        for _ in 0..100 {
            sketch.record(ms(1), at(0));
        }
        for s in 1..=14 {
            for _ in 0..10 {
                sketch.record(ms(100), at(s));
            }
        }
        assert!(sketch.quantile(Share::ppm(100_000)).unwrap() > ms(99));
        sketch.record(ms(7), at(1000));
        assert_eq!(sketch.count(), 1);
    }
}
