//! The lease rule, both sides, as pure data structures: [`Holder`] is what a client may trust and
//! [`Keeper`] what the leader counts. "Expire before grant": the holder's trust ends before the
//! keeper proposes the end, as long as clock *rates* differ by at most ρ. No clock is synchronised.
//!
//! The argument: the holder reads its clock at t0 *before sending* a renewal and trusts it for
//! d(1−ρ) of its own time, at most d(1−ρ)/(1−ρ) = d of true time. The leader counts d(1+ρ) of its
//! own time, at least d of true time, from the *receipt* of the last renewal it acknowledged, which
//! is after t0. So the end is proposed only after the trust is over.

mod holder;
mod keeper;

pub use holder::Holder;
pub use keeper::Keeper;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Length of a lease and the clock-rate bound it was granted with; fixed for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// d, in milliseconds.
    pub lease_ms: u64,
    /// ρ in parts per thousand: the rate of any clock is within 1 ± ρ of true time.
    pub drift_permille: u16,
}

impl Terms {
    /// The default clock-rate bound: 1 %.
    pub const DRIFT_PERMILLE: u16 = 10;

    /// A lease of this length with the default bound.
    pub const fn new(lease_ms: u64) -> Self {
        Self {
            lease_ms,
            drift_permille: Self::DRIFT_PERMILLE,
        }
    }

    /// d(1−ρ), rounded down: how long the holder trusts a renewal, from before it was sent.
    pub fn trust(self) -> Duration {
        let micros =
            u128::from(self.lease_ms) * u128::from(1000_u16.saturating_sub(self.drift_permille));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// d(1+ρ), rounded up: how long the leader waits after the receipt of the last renewal it
    /// acknowledged before it proposes the end.
    pub fn patience(self) -> Duration {
        let micros = u128::from(self.lease_ms) * u128::from(1000 + u32::from(self.drift_permille));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
