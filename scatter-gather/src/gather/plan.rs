//! What one request sets out to do, with every bound.

use super::hedge::HedgePolicy;
use super::ids::ReplicaSet;
use super::policy::Policy;
use super::reason::Reason;
use quorate_core::types::Mono;
use std::sync::Arc;
use std::time::Duration;

/// Which shard map a plan was made from. Answers carry it, so that a parent can tell whether two
/// answers may be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapId {
    /// The map's name, unique in the tree.
    pub name: Arc<str>,
    /// Its version.
    pub version: u64,
}

/// One shard of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    /// How many replicas the balancer can choose from, at most [`ReplicaSet::REPLICAS_MAX`]. Zero is
    /// a shard that cannot be asked: it fails with [`Reason::NoReplica`].
    pub replicas: u8,
    /// How much of the whole it stands for (documents, say), for coverage. At least 1.
    pub weight: u32,
    /// Without it there is no answer.
    pub required: bool,
    /// Not asked, because it cannot match; counted as skipped.
    pub skip: bool,
}

impl ShardPlan {
    /// A shard of weight 1 that is asked and not required.
    pub const fn new(replicas: u8) -> Self {
        Self {
            replicas,
            weight: 1,
            required: false,
            skip: false,
        }
    }
}

/// What one request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Calls in flight at once. Further shards wait until one of those before them is through, so that
    /// large answers come in waves that memory can hold; hedges and retries wait for no room, they are
    /// not sent.
    pub calls: u32,
    /// Bytes of one leaf's body.
    pub reply_bytes: u64,
    /// Bytes of all bodies that are staged or arriving at one time.
    pub request_bytes: u64,
    /// Leaves that nested answers may list in all.
    pub covered: u32,
}

impl Default for Caps {
    /// 4,096 calls, 16 MiB a reply, 256 MiB a request, 100,000 leaves listed.
    fn default() -> Self {
        Self {
            calls: 4_096,
            reply_bytes: 16 << 20,
            request_bytes: 256 << 20,
            covered: 100_000,
        }
    }
}

/// Ask one or two shards first; only if they live through it, the rest. A request that kills its
/// leaf then kills one leaf and not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    /// How many shards, 1 or 2; the first ones of the plan that are not skipped. No more than may be asked at
    /// once ([`Caps::calls`]).
    pub shards: u8,
    /// How long they have together, from the start.
    pub timeout: Duration,
}

/// One request, as data.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The map it was made from.
    pub map: MapId,
    /// The shards, in the map's order. At least one.
    pub shards: Arc<[ShardPlan]>,
    /// When it ends.
    pub policy: Policy,
    /// By when the caller must have the answer.
    pub deadline: Mono,
    /// How long before the deadline waiting ends, so that merging and sending fit in.
    pub reserve: Duration,
    /// Hedging, if any. Inner nodes of a tree leave it out: only the level next to the leaves hedges.
    pub hedge: Option<HedgePolicy>,
    /// A call may be made twice. Without it nothing is hedged and nothing retried.
    pub idempotent: bool,
    /// Most calls for one shard, hedges and retries included; 1 to [`Plan::ATTEMPTS_MAX`].
    pub attempts_max: u8,
    /// An attempt that takes longer has failed, and may be retried on another replica.
    pub attempt_timeout: Option<Duration>,
    /// Ask a few first.
    pub canary: Option<Canary>,
    /// What it may use.
    pub caps: Caps,
}

/// A plan that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to ask.
    #[error("the plan has no shards: define at least one")]
    NoShards,
    /// No call may be made.
    #[error("a request may have no call in flight: allow one or more")]
    NoCalls,
    /// More replicas than a set can hold.
    #[error(
        "shard {shard} has {replicas} replicas, the most is {}: leave some out",
        ReplicaSet::REPLICAS_MAX
    )]
    TooManyReplicas {
        /// Which shard.
        shard: usize,
        /// How many it has.
        replicas: u8,
    },
    /// A weight of zero says nothing about coverage.
    #[error("shard {shard} has weight 0: use 1 or more")]
    NoWeight {
        /// Which shard.
        shard: usize,
    },
    /// The policy asks for more shards than there are.
    #[error(
        "the policy's {what} of {asked} is more than the {shards} shards of the plan, or zero: use 1 to {shards}"
    )]
    OutOfRange {
        /// `quorum` or `first`.
        what: &'static str,
        /// What it asks for.
        asked: u32,
        /// Shards of the plan.
        shards: usize,
    },
    /// A number of attempts out of range.
    #[error("attempts_max is {0}: use 1 to {max}", max = Plan::ATTEMPTS_MAX)]
    Attempts(u8),
    /// A canary of none or of many.
    #[error("a canary has {0} shards: use 1 or 2")]
    Canary(u8),
}

impl Plan {
    /// Most calls for one shard of one request, as in gRPC's retry design (A6).
    pub const ATTEMPTS_MAX: u8 = 5;
    /// Calls for one shard if nothing else is said: the first, a hedge and a retry.
    pub const ATTEMPTS_DEFAULT: u8 = 3;

    /// A plan with these shards that waits for all of them, neither hedged nor retried.
    pub fn new(map: MapId, shards: impl Into<Arc<[ShardPlan]>>, deadline: Mono) -> Self {
        Self {
            map,
            shards: shards.into(),
            policy: Policy::ALL,
            deadline,
            reserve: Duration::ZERO,
            hedge: None,
            idempotent: false,
            attempts_max: Self::ATTEMPTS_DEFAULT,
            attempt_timeout: None,
            canary: None,
            caps: Caps::default(),
        }
    }

    /// When waiting ends: the deadline less the merge reserve.
    pub fn cutoff(&self) -> Mono {
        let reserve = u64::try_from(self.reserve.as_nanos()).unwrap_or(u64::MAX);
        Mono(self.deadline.0.saturating_sub(reserve))
    }

    /// Refuses what cannot be carried out.
    pub fn check(&self) -> Result<(), PlanError> {
        let shards = self.shards.len();
        if shards == 0 {
            return Err(PlanError::NoShards);
        }
        if self.caps.calls == 0 {
            return Err(PlanError::NoCalls);
        }
        for (shard, plan) in self.shards.iter().enumerate() {
            if plan.replicas > ReplicaSet::REPLICAS_MAX {
                return Err(PlanError::TooManyReplicas {
                    shard,
                    replicas: plan.replicas,
                });
            }
            if plan.weight == 0 {
                return Err(PlanError::NoWeight { shard });
            }
        }
        for (what, asked) in [("quorum", self.policy.quorum), ("first", self.policy.first)] {
            if let Some(asked) = asked
                && (asked == 0 || asked as usize > shards)
            {
                return Err(PlanError::OutOfRange {
                    what,
                    asked,
                    shards,
                });
            }
        }
        if !(1..=Self::ATTEMPTS_MAX).contains(&self.attempts_max) {
            return Err(PlanError::Attempts(self.attempts_max));
        }
        match self.canary {
            Some(canary) if !(1..=2).contains(&canary.shards) => {
                Err(PlanError::Canary(canary.shards))
            }
            _ => Ok(()),
        }
    }

    /// Why a shard is not asked at all, if so.
    pub(super) fn skipped(shard: &ShardPlan) -> Option<Reason> {
        shard.skip.then_some(Reason::NoMatch)
    }
}
