//! What a random request is made of.

use crate::gather::{
    Canary, Caps, Coverage, Covered, HedgePolicy, MapId, Nested, Plan, Policy, Reason, ShardPlan,
    Share,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quorate_core::types::Mono;
use std::sync::Arc;
use std::time::Duration;

/// How one attempt goes. Attempts take them from the script in the order they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) after_us: u64,
    pub(crate) end: End,
    /// The reply of a cancelled attempt comes all the same, late.
    pub(crate) stubborn: bool,
    /// The merger refuses this answer.
    pub(crate) refused: bool,
    /// Bytes that come halfway.
    pub(crate) drip: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum End {
    Whole,
    Partial,
    /// An inner node that covers these leaves of a shared map of this version.
    Nested {
        leaves: Vec<u8>,
        missing: u8,
        version: u64,
    },
    Failed(Reason, bool),
    Hang,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) plan: Plan,
    pub(crate) burst: u32,
    pub(crate) ratio: Share,
    /// Latency that the balancer claims to know, by replica.
    pub(crate) late_after_us: Vec<Option<u64>>,
    pub(crate) p50_us: u64,
    pub(crate) script: Vec<Act>,
    /// Whoever asked leaves at this time.
    pub(crate) cancel_us: Option<u64>,
    /// Timers ring so much later than asked.
    pub(crate) timer_lag_us: u64,
}

fn shard() -> impl Strategy<Value = ShardPlan> {
    (
        0..4_u8,
        1..5_u32,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(replicas, weight, required, skip)| ShardPlan {
            replicas,
            weight,
            required,
            skip,
        })
}

fn share() -> impl Strategy<Value = Share> {
    (0..=1_000_000_u32).prop_map(Share::ppm)
}

fn policy(shards: u32) -> impl Strategy<Value = Policy> {
    (
        option::weighted(0.3, 1..=shards),
        option::weighted(0.3, (share(), share(), share())),
        option::weighted(0.3, 1..=shards),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(quorum, coverage, first, until_deadline)| Policy {
            quorum,
            coverage: coverage.map(|(min, a, b)| Coverage {
                min,
                wait_min: a.min(b),
                wait_max: a.max(b),
            }),
            first,
            until_deadline,
        })
}

fn hedge() -> impl Strategy<Value = HedgePolicy> {
    (
        any::<bool>(),
        1..20_000_u64,
        1..=2_u8,
        0..3_000_u64,
        0..=1_u8,
    )
        .prop_map(
            |(quantile, delay_us, hedges_max, min_us, all)| HedgePolicy {
                hedges_max,
                delay_min: Duration::from_micros(min_us),
                late_together_max: Share::ppm(if all == 1 { 1_000_000 } else { 200_000 }),
                ..if quantile {
                    HedgePolicy::quantile(Share::ppm(950_000))
                } else {
                    HedgePolicy::delay(Duration::from_micros(delay_us))
                }
            },
        )
}

fn end() -> impl Strategy<Value = End> {
    let reason = prop::sample::select(vec![
        Reason::Connect,
        Reason::Reset,
        Reason::Truncated,
        Reason::Truncated,
        Reason::Status(404),
        Reason::Status(500),
        Reason::Pushback,
        Reason::ContentType,
    ]);
    prop_oneof![
        6 => Just(End::Whole),
        1 => Just(End::Partial),
        1 => (vec(0..6_u8, 0..3), 0..2_u8, prop::sample::select(vec![1_u64, 1, 1, 2]))
            .prop_map(|(leaves, missing, version)| End::Nested { leaves, missing, version }),
        3 => (reason, prop::bool::weighted(0.1)).prop_map(|(r, p)| End::Failed(r, p)),
        1 => Just(End::Hang),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    (
        prop_oneof![4 => 1..10_000_u64, 1 => 1..80_000_u64],
        end(),
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop_oneof![9 => 0..1_000_u64, 1 => 0..5_000_u64],
    )
        .prop_map(|(after_us, end, stubborn, refused, drip)| Act {
            after_us,
            end,
            stubborn,
            refused,
            drip,
        })
}

pub(crate) fn scenario() -> impl Strategy<Value = Scenario> {
    vec(shard(), 1..12)
        .prop_flat_map(|shards| {
            let count = u32::try_from(shards.len()).unwrap();
            (Just(shards), policy(count))
        })
        .prop_flat_map(|(shards, policy)| {
            let plan = (
                1..60_000_u64,
                0..5_000_u64,
                option::weighted(0.7, hedge()),
                prop::bool::weighted(0.8),
                1..=Plan::ATTEMPTS_MAX,
                option::weighted(0.2, 1..20_000_u64),
                option::weighted(0.2, (1..=2_u8, 1..20_000_u64)),
                prop_oneof![Just(16_u32), 1..8_u32],
            )
                .prop_map(
                    move |(
                        deadline,
                        reserve,
                        hedge,
                        idempotent,
                        attempts,
                        timeout,
                        canary,
                        calls,
                    )| Plan {
                        policy,
                        reserve: Duration::from_micros(reserve),
                        hedge,
                        idempotent,
                        attempts_max: attempts,
                        attempt_timeout: timeout.map(Duration::from_micros),
                        canary: canary.map(|(shards, us)| Canary {
                            shards,
                            timeout: Duration::from_micros(us),
                        }),
                        caps: Caps {
                            calls,
                            reply_bytes: 4_000,
                            request_bytes: 12_000,
                            covered: 8,
                        },
                        ..Plan::new(
                            map("top", 7),
                            shards.clone(),
                            Mono((START_US + deadline) * 1_000),
                        )
                    },
                );
            (
                plan,
                0..4_u32,
                (0..200_000_u32).prop_map(Share::ppm),
                vec(option::weighted(0.8, 1..20_000_u64), 4),
                0..5_000_u64,
                vec(act(), 1..40),
                option::weighted(0.1, 0..60_000_u64),
                prop_oneof![2 => Just(0_u64), 1 => 0..2_000_u64],
            )
        })
        .prop_map(
            |(plan, burst, ratio, late_after_us, p50_us, script, cancel_us, timer_lag_us)| {
                Scenario {
                    plan,
                    burst,
                    ratio,
                    late_after_us,
                    p50_us,
                    script,
                    cancel_us,
                    timer_lag_us,
                }
            },
        )
}

/// When random requests start.
pub(crate) const START_US: u64 = 1_000_000;

pub(super) fn map(name: &str, version: u64) -> MapId {
    MapId {
        name: Arc::from(name),
        version,
    }
}

/// What an inner node with these leaves says.
pub(super) fn nested(leaves: &[u8], missing: u8, version: u64) -> Nested {
    let mut told = Nested {
        covered: vec![Covered {
            map: map("inner", version),
            shards: leaves.iter().map(|l| Arc::from(l.to_string())).collect(),
        }],
        ..Nested::default()
    };
    told.leaves.merged = leaves.len() as u64;
    told.leaves.failed = u64::from(missing);
    told.leaves.planned = told.leaves.merged + told.leaves.failed;
    told
}
