//! How much a gather may add to the load, over all requests.
//!
//! A token bucket that only primaries fill: `ratio` of a token each, up to `burst`. A hedge or retry
//! takes one. Hedges fill nothing, so the extra load is at most `ratio` of the primaries plus
//! `burst`, however slow the leaves are. Lock-free, because every request of a process shares it;
//! used from one thread it is deterministic.
//!
//! It also remembers whether slowness has lately been common to the shards of most requests. Then it
//! pays for no hedges for [`Budget::PAUSE`]: the thresholds, which follow the latency, would soon call
//! the new latency usual and hedge again, while whatever slows all leaves needs less load and not more.

use super::policy::Share;
use quorate_core::types::Mono;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const TOKEN: u64 = 1_000_000;

/// A shared allowance for extra calls.
#[derive(Debug)]
pub struct Budget {
    ratio: Share,
    burst: u64,
    // Millionths of a token.
    level: AtomicU64,
    /// How common slowness has been of late: up by [`COMMON_UP`] for a request whose shards were late
    /// together, down by one for any other.
    common: AtomicU32,
    /// Nanoseconds of the caller's clock.
    paused_until: AtomicU64,
}

/// One request in three that is late together holds the balance; single ones, which chance brings, are
/// soon forgotten.
const COMMON_UP: u32 = 2;
/// So common that hedging pauses: four requests late together in a row.
const COMMON_PAUSE: u32 = 8;
/// Never more, so that it is forgotten after as many good requests.
const COMMON_MAX: u32 = 16;

impl Budget {
    /// Most tokens that can be saved up.
    pub const BURST_MAX: u32 = 1_000_000;
    /// How long it pays nothing after slowness was last found to be common.
    pub const PAUSE: Duration = Duration::from_secs(10);

    /// A full budget of `ratio` tokens for each primary call, with at most `burst` saved up.
    pub fn new(ratio: Share, burst: u32) -> Self {
        let burst = u64::from(burst.min(Self::BURST_MAX)) * TOKEN;
        Self {
            ratio,
            burst,
            level: AtomicU64::new(burst),
            common: AtomicU32::new(0),
            paused_until: AtomicU64::new(0),
        }
    }

    /// Of hedges: 5 % of the primaries, ten saved up.
    pub fn hedges() -> Self {
        Self::new(Share::ppm(50_000), 10)
    }

    /// Of retries: 20 % of the primaries, ten saved up.
    pub fn retries() -> Self {
        Self::new(Share::ppm(200_000), 10)
    }

    /// So many primary calls were made.
    pub fn deposit(&self, primaries: u32) {
        let more = u64::from(primaries) * u64::from(self.ratio.as_ppm());
        self.change(|level| Some(level.saturating_add(more).min(self.burst)));
    }

    /// Takes a token, if there is one and no pause.
    #[must_use]
    pub fn withdraw(&self, now: Mono) -> bool {
        !self.is_paused(now) && self.change(|level| level.checked_sub(TOKEN))
    }

    /// Whether it pays nothing at present, because slowness is common.
    pub fn is_paused(&self, now: Mono) -> bool {
        now.0 < self.paused_until.load(Ordering::Relaxed)
    }

    /// Many shards of a request were late together.
    pub(super) fn late_together(&self, now: Mono) {
        let up = |common: u32| Some((common + COMMON_UP).min(COMMON_MAX));
        let before = self
            .common
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, up);
        if before.unwrap_or_else(|same| same) + COMMON_UP >= COMMON_PAUSE {
            let until = now + Self::PAUSE;
            self.paused_until.fetch_max(until.0, Ordering::Relaxed);
        }
    }

    /// A request ended without that.
    pub(super) fn not_together(&self) {
        // The usual case writes nothing, so that it costs the other threads nothing.
        if self.common.load(Ordering::Relaxed) > 0 {
            let down = |common: u32| common.checked_sub(1);
            let _ = self
                .common
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, down);
        }
    }

    /// Whole tokens at present.
    pub fn tokens(&self) -> u64 {
        self.level.load(Ordering::Relaxed) / TOKEN
    }

    /// The share of primaries it allows.
    pub fn ratio(&self) -> Share {
        self.ratio
    }

    // Relaxed suffices: the number is all there is, it guards no other memory.
    fn change(&self, f: impl Fn(u64) -> Option<u64>) -> bool {
        self.level
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, f)
            .is_ok()
    }
}

/// The budgets a gather draws on, shared by all requests of a fan-out.
#[derive(Clone, Copy, Debug)]
pub struct Budgets<'a> {
    /// For hedges.
    pub hedges: &'a Budget,
    /// For retries.
    pub retries: &'a Budget,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few requests late together by chance change nothing; many in a row pause, and the pause ends.
    #[test]
    fn common_slowness_pauses_and_passes() {
        let budget = Budget::new(Share::ppm(50_000), 1_000);
        let at = |s: u64| Mono(s * 1_000_000_000);
        for _ in 0..100 {
            budget.late_together(at(1));
            (0..10).for_each(|_| budget.not_together());
            assert!(budget.withdraw(at(1)));
        }
        (0..4).for_each(|_| budget.late_together(at(2)));
        assert!(!budget.withdraw(at(2)) && !budget.withdraw(at(11)));
        assert!(budget.withdraw(at(12)));
    }

    /// Deposits fill up to the burst, by the ratio.
    #[test]
    fn primaries_pay() {
        let budget = Budget::new(Share::ppm(50_000), 2);
        assert!(budget.withdraw(Mono(0)) && budget.withdraw(Mono(0)) && !budget.withdraw(Mono(0)));
        budget.deposit(19);
        assert!(!budget.withdraw(Mono(0)));
        budget.deposit(1);
        assert!(budget.withdraw(Mono(0)));
        budget.deposit(1_000_000);
        assert_eq!(budget.tokens(), 2);
    }
}
