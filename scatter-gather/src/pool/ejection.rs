//! When a replica gets no more calls, and how it comes back.
//!
//! ```text
//! healthy ──5 failures in a row──▶ ejected ──5 s, then 10, …──▶ probation ──3 good shadows──▶ healthy
//!                                     ▲                            │
//!                                     └────────a bad shadow────────┘
//! ```
//!
//! In probation a replica gets copies of real calls, and no answer of it is used: it proves itself on
//! the real load at nobody's risk (Dean and Barroso 2013, "latency-induced probation"). Only calls that
//! may be made twice are copied; where there are none, a replica comes back after its time, one failure
//! from the next ejection. That the last replica of a shard is never ejected is for [`super::Replicas`]
//! to see to.

use super::target::Condition;
use quorate_core::types::Mono;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Failures in a row after which a replica is ejected, as Envoy's outlier detection.
const FAILURES_MAX: u32 = 5;
/// The first ejection; each further one is twice as long.
const EJECTED_FOR: Duration = Duration::from_secs(5);
const EJECTED_FOR_MAX: Duration = Duration::from_secs(60);
/// Good shadows in a row that end a probation.
const SHADOWS_GOOD: u32 = 3;
/// A call that was given up counts as a failure if it hung so long, and so much longer than usual.
const HUNG_MIN: Duration = Duration::from_millis(100);
const HUNG_FACTOR: u32 = 10;

const HEALTHY: u8 = 0;
const EJECTED: u8 = 1;
const PROBATION: u8 = 2;

/// What the upkeep found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do.
    Fine,
    /// It should be ejected, if its shard can spare it.
    Eject,
}

/// A replica's health, in atomic numbers.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: AtomicU8,
    failures: AtomicU32,
    shadows: AtomicU32,
    /// Ejections without a good time in between.
    streak: AtomicU32,
    ejections: AtomicU64,
    /// When an ejection ends, in nanoseconds of the monotonic clock.
    until: AtomicU64,
}

impl Health {
    pub(super) fn condition(&self) -> Condition {
        match self.state.load(Ordering::Relaxed) {
            EJECTED => Condition::Ejected,
            PROBATION => Condition::Probation,
            _ => Condition::Healthy,
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self) {
        // Most calls succeed after one that did: look before writing to a line that others read.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A call was given up after this long, where half of them take `p50`.
    pub(super) fn hung(&self, lasted: Duration, p50: Duration) {
        if lasted >= HUNG_MIN && lasted >= p50 * HUNG_FACTOR {
            self.failed();
        }
    }

    /// Whether it has failed often enough.
    pub(super) fn failing(&self) -> bool {
        self.state.load(Ordering::Relaxed) == HEALTHY && self.failures() >= FAILURES_MAX
    }

    /// Ejects it.
    pub(super) fn eject(&self, now: Mono) {
        let streak = self.streak.fetch_add(1, Ordering::Relaxed).min(8);
        let time = (EJECTED_FOR * 2_u32.pow(streak)).min(EJECTED_FOR_MAX);
        self.until.store((now + time).0, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.shadows.store(0, Ordering::Relaxed);
        self.state.store(EJECTED, Ordering::Relaxed);
    }

    /// Takes it back without a proof, one failure from the next ejection.
    pub(super) fn readmit(&self) {
        self.failures.store(FAILURES_MAX - 1, Ordering::Relaxed);
        self.state.store(HEALTHY, Ordering::Relaxed);
    }

    /// A shadow has ended.
    pub(super) fn shadow(&self, good: bool, now: Mono) {
        if self.state.load(Ordering::Relaxed) != PROBATION {
            return;
        }
        if !good {
            self.eject(now);
        } else if self.shadows.fetch_add(1, Ordering::Relaxed) + 1 >= SHADOWS_GOOD {
            self.failures.store(0, Ordering::Relaxed);
            self.streak.store(0, Ordering::Relaxed);
            self.state.store(HEALTHY, Ordering::Relaxed);
        }
    }

    pub(super) fn upkeep(&self, now: Mono) -> Verdict {
        if self.failing() {
            return Verdict::Eject;
        }
        let over = now.0 >= self.until.load(Ordering::Relaxed);
        if over && self.state.load(Ordering::Relaxed) == EJECTED {
            self.shadows.store(0, Ordering::Relaxed);
            self.state.store(PROBATION, Ordering::Relaxed);
        }
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    /// The way out and back: five failures, a growing time, three good shadows, and a bad one starts over.
    #[test]
    fn out_and_back() {
        let health = Health::default();
        for _ in 0..4 {
            health.failed();
        }
        assert_eq!(health.upkeep(at(0)), Verdict::Fine);
        health.succeeded();
        for _ in 0..5 {
            health.failed();
        }
        assert_eq!(health.upkeep(at(0)), Verdict::Eject);
        health.eject(at(0));
        health.shadow(true, at(1));
        assert_eq!(health.upkeep(at(4)), Verdict::Fine);
        assert_eq!(health.condition(), Condition::Ejected);
        health.upkeep(at(5));
        assert_eq!(health.condition(), Condition::Probation);
        health.shadow(true, at(5));
        health.shadow(false, at(6));
        health.upkeep(at(15));
        assert_eq!(
            health.condition(),
            Condition::Ejected,
            "the second time is longer"
        );
        health.upkeep(at(16));
        for _ in 0..3 {
            assert_eq!(health.condition(), Condition::Probation);
            health.shadow(true, at(17));
        }
        assert_eq!(health.condition(), Condition::Healthy);
        assert_eq!(health.failures(), 0);
        assert_eq!(health.ejections(), 2);
    }

    /// A call that hung speaks against a replica; one that lost a race does not.
    #[test]
    fn hanging_is_failing() {
        let health = Health::default();
        health.hung(Duration::from_millis(99), Duration::ZERO);
        health.hung(Duration::from_millis(500), Duration::from_millis(60));
        assert_eq!(health.failures(), 0);
        health.hung(Duration::from_millis(600), Duration::from_millis(60));
        assert_eq!(health.failures(), 1);
    }
}
