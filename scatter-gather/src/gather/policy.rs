//! When an answer is good enough, and when it can no longer become so.
//!
//! Two questions are kept apart. The **floors** say what an answer must have, or it is an error:
//! `quorum`, `coverage`, the required shards. The **stops** say when waiting ends early although
//! shards are missing, once every floor is met: `first`, the sloped wait of `coverage`, a bare
//! `quorum`. Nothing waits past the cutoff.
//!
//! | policy | floor | stops |
//! | --- | --- | --- |
//! | all (nothing set) | every shard | – |
//! | `quorum` | that many shards | as soon as it is met |
//! | `coverage` | that share of the weight | when the sloped wait is over |
//! | `first` alone | that many shards | as soon as it is met |
//! | `first` with floors | those | when that many are merged |
//! | `until_deadline` | one shard, or the other floors | never early |
//! | required shards | those, besides the above | – |

use std::time::Duration;

/// A part of a whole in parts per million, so that the engine needs no floating point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const ONE: Self = Self(1_000_000);

    /// From parts per million; more than all is all.
    pub const fn ppm(ppm: u32) -> Self {
        if ppm > Self::ONE.0 {
            Self::ONE
        } else {
            Self(ppm)
        }
    }

    /// From a fraction; `None` unless it is within 0 and 1.
    pub fn of(fraction: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&fraction) {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 and 1, so the product is within 0 and 1,000,000"
        )]
        let ppm = (fraction * 1e6).round() as u32;
        Some(Self(ppm))
    }

    /// Parts per million.
    pub const fn as_ppm(self) -> u32 {
        self.0
    }

    /// As a fraction within 0 and 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    /// This share of `whole`, rounded down.
    pub fn part(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / 1_000_000;
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// This share of `whole`, rounded up.
    pub fn part_up(self, whole: u64) -> u64 {
        let part = (u128::from(whole) * u128::from(self.0)).div_ceil(1_000_000);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// This share of a time.
    pub fn of_time(self, time: Duration) -> Duration {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.part(nanos))
    }
}

/// A minimum of the whole, and how long to wait for the rest once it is reached.
///
/// As in Vespa's adaptive timeout, the wait is a part of the time left when all floors were first
/// met, and the fewer shards are missing the shorter it is: `wait_min` of it when hardly anything is
/// missing, `wait_max` when as much is missing as the minimum allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The least share of the plan's weight that must be merged.
    pub min: Share,
    /// Part of the time left to wait when (almost) nothing is missing.
    pub wait_min: Share,
    /// Part of the time left to wait when as much is missing as may be.
    pub wait_max: Share,
}

impl Coverage {
    /// At least `min`, with the whole slope: nothing missing, no wait; all missing, until the cutoff.
    pub const fn at_least(min: Share) -> Self {
        Self {
            min,
            wait_min: Share::ZERO,
            wait_max: Share::ONE,
        }
    }
}

/// When a request ends. The parts combine; see the table in this module. Required shards are marked
/// in [`super::ShardPlan::required`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// At least so many shards.
    pub quorum: Option<u32>,
    /// At least this share of the weight.
    pub coverage: Option<Coverage>,
    /// Stop at so many shards.
    pub first: Option<u32>,
    /// Take what has come by the cutoff; never stop before unless all are in or `first` is.
    pub until_deadline: bool,
}

impl Policy {
    /// Every shard, or an error.
    pub const ALL: Self = Self {
        quorum: None,
        coverage: None,
        first: None,
        until_deadline: false,
    };
    /// Whatever has come by the cutoff, at least one shard.
    pub const DEADLINE: Self = Self {
        until_deadline: true,
        ..Self::ALL
    };

    /// At least `shards` shards, and done as soon as they are in.
    pub const fn quorum(shards: u32) -> Self {
        Self {
            quorum: Some(shards),
            ..Self::ALL
        }
    }

    /// The first `shards` shards.
    pub const fn first(shards: u32) -> Self {
        Self {
            first: Some(shards),
            ..Self::ALL
        }
    }

    /// At least this share, then the sloped wait.
    pub const fn coverage(min: Share) -> Self {
        Self {
            coverage: Some(Coverage::at_least(min)),
            ..Self::ALL
        }
    }

    /// Whether nothing is set: every shard is asked for.
    pub(super) const fn is_all(&self) -> bool {
        self.quorum.is_none()
            && self.coverage.is_none()
            && self.first.is_none()
            && !self.until_deadline
    }
}
