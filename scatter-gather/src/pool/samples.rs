//! What calls tell about their target, without a lock.
//!
//! A ring of atomic cells: a call writes one cell and goes on. From time to time an upkeep task folds
//! what is new into the histogram and publishes quantiles as plain numbers. When more calls end between
//! two upkeeps than the ring has cells, the oldest are overwritten: a sample of the calls is enough.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Cells. At four upkeeps a second, 512 calls a second to one target are seen in full, which is thousands in the
/// window of a quantile; and the targets of a large fan-out are many.
const CELLS: usize = 128;

/// The lowest bit says that the call was given up.
const CENSORED: u64 = 1;
/// Distinguishes a sample of 0 µs from a cell that was never written.
const WRITTEN: u64 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Samples {
    cells: Box<[AtomicU64]>,
    next: AtomicU64,
    /// How far the last upkeep came, so that the next one looks at what is new and no further.
    drained: AtomicU64,
}

/// One call's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) took: Duration,
    pub(super) censored: bool,
}

impl Samples {
    pub(super) fn new() -> Self {
        Self {
            cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicU64::new(0),
            drained: AtomicU64::new(0),
        }
    }

    /// Leaves a sample.
    pub(super) fn put(&self, sample: Sample) {
        let micros = u64::try_from(sample.took.as_micros())
            .unwrap_or(u64::MAX)
            .min(u64::MAX >> 2);
        let word = (micros << 2) | WRITTEN | u64::from(sample.censored);
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.cells[usize::try_from(at).unwrap_or(0) % CELLS].store(word, Ordering::Relaxed);
    }

    /// Whether samples were left since the last drain.
    pub(super) fn has_news(&self) -> bool {
        self.next.load(Ordering::Relaxed) != self.drained.load(Ordering::Relaxed)
    }

    /// Takes what is there. Only one caller at a time; a sample that is being written in this moment may be lost.
    pub(super) fn drain(&self, mut take: impl FnMut(Sample)) {
        let next = self.next.load(Ordering::Relaxed);
        let new = next.wrapping_sub(self.drained.swap(next, Ordering::Relaxed));
        let new = usize::try_from(new).unwrap_or(CELLS).min(CELLS);
        let end = usize::try_from(next).unwrap_or(0);
        for back in 1..=new {
            let cell = &self.cells[end.wrapping_sub(back) % CELLS];
            let word = cell.swap(0, Ordering::Relaxed);
            if word != 0 {
                take(Sample {
                    took: Duration::from_micros(word >> 2),
                    censored: word & CENSORED != 0,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each sample comes out once, with what it said; the ring never grows.
    #[test]
    fn samples_come_out_once() {
        let samples = Samples::new();
        for i in 0..10_u64 {
            samples.put(Sample {
                took: Duration::from_micros(i),
                censored: i % 2 == 1,
            });
        }
        let mut seen = Vec::new();
        samples.drain(|sample| seen.push(sample));
        assert_eq!(seen.len(), 10);
        assert!(
            seen.iter()
                .all(|s| s.censored == (s.took.as_micros() % 2 == 1))
        );
        samples.drain(|_| panic!("nothing is new"));
        for _ in 0..10_000 {
            samples.put(Sample {
                took: Duration::ZERO,
                censored: false,
            });
        }
        let mut count = 0;
        samples.drain(|_| count += 1);
        assert_eq!(count, CELLS);
    }
}
