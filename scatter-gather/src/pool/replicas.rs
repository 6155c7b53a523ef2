//! The replicas of one shard: which one a call goes to.

use super::call::Call;
use super::ejection::Verdict;
use super::target::{Condition, Target};
use crate::gather::{Kind, Replica, ReplicaSet, Share};
use quorate_core::clock::monotonic;
use quorate_core::types::Mono;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Share of the other's cost below which a replica is preferred.
const CLEARLY_BETTER: f64 = 0.95;

/// Longest a shadow call may take.
const SHADOW_MAX: Duration = Duration::from_secs(10);

/// A choice.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// By its place.
    pub replica: Replica,
    /// The replica.
    pub target: &'a Arc<Target>,
}

/// The replicas of one shard.
#[derive(Debug)]
pub struct Replicas {
    targets: Vec<Arc<Target>>,
    draws: AtomicU64,
}

impl Replicas {
    /// Of these targets; `seed` keeps shards from drawing alike.
    pub fn new(targets: Vec<Arc<Target>>, seed: u64) -> Self {
        Self {
            targets,
            draws: AtomicU64::new(seed),
        }
    }

    /// All of them.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// One of those not excluded: the cheaper of two drawn (Mitzenmacher 2001, "The power of two choices").
    /// Ejected ones are offered when no other is left, and never for a hedge, which is no emergency.
    pub fn choose(&self, excluded: ReplicaSet, kind: Kind, now: Mono) -> Option<Chosen<'_>> {
        let candidates = |healthy: bool| {
            self.targets
                .iter()
                .zip(0_u8..)
                .filter(move |(target, place)| {
                    !excluded.contains(Replica(*place))
                        && (target.condition() == Condition::Healthy) == healthy
                })
        };
        let pick = |healthy: bool| {
            let count = candidates(healthy).count();
            if count == 0 {
                return None;
            }
            let (a, b) = self.draw(count);
            let first = candidates(healthy).nth(a)?;
            let second = candidates(healthy).nth(b)?;
            // Averages fade with time, so that no two are ever equal: what is about as good as the other
            // is left to chance.
            let better = || second.0.cost(now) < CLEARLY_BETTER * first.0.cost(now);
            let best = if count > 1 && better() { second } else { first };
            Some(Chosen {
                replica: Replica(best.1),
                target: best.0,
            })
        };
        pick(true).or_else(|| {
            if kind == Kind::Hedge {
                None
            } else {
                pick(false)
            }
        })
    }

    /// Two different places below `count`, or the same twice if there is only one.
    fn draw(&self, count: usize) -> (usize, usize) {
        // splitmix64 over a counter: no lock, and no two requests draw the same.
        let mut x = self
            .draws
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        let (high, low) = (x >> 32, x & 0xffff_ffff);
        let place = |word: u64, below: usize| {
            usize::try_from((word * below as u64) >> 32)
                .unwrap_or(0)
                .min(below - 1)
        };
        let first = place(low, count);
        if count == 1 {
            return (first, first);
        }
        let second = place(high, count - 1);
        (first, if second >= first { second + 1 } else { second })
    }

    /// Copies a call to a replica in probation, if there is one that has no copy under way. Only for
    /// calls that may be made twice.
    pub fn shadow(&self, call: &Call, within: Duration) {
        for target in &self.targets {
            if target.condition() != Condition::Probation
                || target.shadowed.swap(true, Ordering::AcqRel)
            {
                continue;
            }
            let (target, call) = (Arc::clone(target), call.clone());
            tokio::spawn(async move {
                target.shadow(&call, within.min(SHADOW_MAX)).await;
                target.shadowed.store(false, Ordering::Release);
            });
        }
    }

    /// See `Target::upkeep`; ejects what fails as long as another replica is healthy. Without shadows
    /// (`shadows` false) an ejection ends by itself.
    pub fn upkeep(&self, late: Share, shadows: bool) {
        self.upkeep_at(late, shadows, monotonic());
    }

    pub(super) fn upkeep_at(&self, late: Share, shadows: bool, now: Mono) {
        for target in &self.targets {
            if target.upkeep(late, now) == Verdict::Eject && self.can_spare(target) {
                tracing::warn!(url = %target.url(), "ejected: it failed too often in a row");
                metrics::counter!("quorate_scatter_ejections_total").increment(1);
                target.health.eject(now);
            }
            if !shadows && target.condition() == Condition::Probation {
                target.health.readmit();
            }
        }
    }

    fn can_spare(&self, target: &Arc<Target>) -> bool {
        self.targets.iter().any(|other| {
            !Arc::ptr_eq(other, target)
                && other.condition() == Condition::Healthy
                && !other.health.failing()
        })
    }
}
