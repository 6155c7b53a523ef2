//! How much a gather may add to the load, over all requests.
//!
//! A token bucket that only primaries fill: `ratio` of a token each, up to `burst`. A hedge or retry
//! takes one. Hedges fill nothing, so the extra load is at most `ratio` of the primaries plus
//! `burst`, however slow the leaves are. Lock-free, because every request of a process shares it;
//! used from one thread it is deterministic.

use super::policy::Share;
use std::sync::atomic::{AtomicU64, Ordering};

const TOKEN: u64 = 1_000_000;

/// A shared allowance for extra calls.
#[derive(Debug)]
pub struct Budget {
    ratio: Share,
    burst: u64,
    // Millionths of a token.
    level: AtomicU64,
}

impl Budget {
    /// Most tokens that can be saved up.
    pub const BURST_MAX: u32 = 1_000_000;

    /// A full budget of `ratio` tokens for each primary call, with at most `burst` saved up.
    pub fn new(ratio: Share, burst: u32) -> Self {
        let burst = u64::from(burst.min(Self::BURST_MAX)) * TOKEN;
        Self {
            ratio,
            burst,
            level: AtomicU64::new(burst),
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

    /// Takes a token, if there is one.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.change(|level| level.checked_sub(TOKEN))
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
