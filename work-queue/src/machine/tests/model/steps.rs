//! What a random sequence is made of.

use super::super::*;
use proptest::prelude::*;

/// Queues that steps name.
pub(super) const QUEUES: usize = 2;

/// One step; numbers pick among what exists.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Enqueue(usize, Vec<Spec>),
    Lease(usize, u32, Option<usize>),
    Settle(Vec<(usize, u8)>, Option<usize>),
    SettleByOther(usize),
    Again,
    Extend(usize),
    Checkpoint(usize, u8),
    Expire(usize, u8, bool),
    Stall(usize),
    Cancel(usize),
    Retry(usize),
    Skip(usize),
    Create(usize, Option<(usize, Spec)>, OnDead, Option<u8>),
    Seal(usize, Option<u32>),
    CancelBatch(usize),
    Pause(usize, bool),
    Purge(usize),
    Redrive(usize, u32),
    Delete(usize),
    Configure(usize, u8),
    CloseSession(usize),
    Forget(usize),
    Pass(u64),
    Restore(usize),
    SnapshotBegin,
    SnapshotSlice,
}

#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) priority: u8,
    pub(super) delay: Option<u64>,
    pub(super) key: Option<u8>,
    pub(super) place: Option<(usize, u32)>,
    pub(super) max_attempts: Option<u32>,
}

pub(super) fn spec() -> impl Strategy<Value = Spec> {
    (
        7..10_u8,
        prop::option::weighted(0.15, 0..3_000_u64),
        prop::option::weighted(0.2, 0..4_u8),
        prop::option::weighted(0.5, (0..4_usize, 0..4_u32)),
        prop::option::weighted(0.5, 1..4_u32),
    )
        .prop_map(|(priority, delay, key, place, max_attempts)| Spec {
            priority,
            delay,
            key: key.filter(|_| place.is_none()),
            place,
            max_attempts,
        })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let queue = 0..QUEUES;
    let any = 0..64_usize;
    let on_dead = prop_oneof![Just(OnDead::Hold), Just(OnDead::Join), Just(OnDead::Cancel)];
    prop_oneof![
        12 => (queue.clone(), prop::collection::vec(spec(), 1..4)).prop_map(|(q, s)| Step::Enqueue(q, s)),
        14 => (queue.clone(), 0..4_u32, prop::option::of(any.clone())).prop_map(|(q, n, s)| Step::Lease(q, n, s)),
        16 => (prop::collection::vec((any.clone(), 0..8_u8), 1..3), prop::option::of(queue.clone()))
            .prop_map(|(s, q)| Step::Settle(s, q)),
        1 => any.clone().prop_map(Step::SettleByOther),
        2 => Just(Step::Again),
        2 => any.clone().prop_map(Step::Extend),
        2 => (any.clone(), 0..9_u8).prop_map(|(l, d)| Step::Checkpoint(l, d)),
        6 => (any.clone(), 0..3_u8, prop::bool::weighted(0.8)).prop_map(|(l, c, e)| Step::Expire(l, c, e)),
        2 => any.clone().prop_map(Step::Stall),
        3 => any.clone().prop_map(Step::Cancel),
        3 => any.clone().prop_map(Step::Retry),
        2 => any.clone().prop_map(Step::Skip),
        3 => (queue.clone(), prop::option::of((queue.clone(), spec())), on_dead, prop::option::of(0..2_u8))
            .prop_map(|(q, j, o, k)| Step::Create(q, j, o, k)),
        5 => (any.clone(), prop::option::weighted(0.2, 0..5_u32)).prop_map(|(b, n)| Step::Seal(b, n)),
        1 => any.clone().prop_map(Step::CancelBatch),
        1 => (queue.clone(), prop::bool::weighted(0.3)).prop_map(|(q, p)| Step::Pause(q, p)),
        1 => queue.clone().prop_map(Step::Purge),
        1 => (queue.clone(), 0..4_u32).prop_map(|(q, n)| Step::Redrive(q, n)),
        1 => queue.clone().prop_map(Step::Delete),
        1 => (queue.clone(), 0..3_u8).prop_map(|(q, s)| Step::Configure(q, s)),
        1 => any.clone().prop_map(Step::CloseSession),
        1 => any.clone().prop_map(Step::Forget),
        6 => prop_oneof![Just(1_u64), Just(400), Just(2_000), Just(9_000), Just(70_000)].prop_map(Step::Pass),
        2 => (1..2_000_usize).prop_map(Step::Restore),
        1 => Just(Step::SnapshotBegin),
        3 => Just(Step::SnapshotSlice),
    ]
}

pub(super) fn settlement(kind: u8) -> Settlement {
    match kind {
        0..=3 => complete(if kind == 3 { "other" } else { "done" }),
        4 => fail("again"),
        5 => Settlement::Fail {
            error: text("later"),
            retry: true,
            delay_ms: None,
            exit_code: None,
            signal: None,
            log_tail: text(""),
        },
        6 => Settlement::Fail {
            error: text("never"),
            retry: false,
            delay_ms: Some(5),
            exit_code: Some(65),
            signal: None,
            log_tail: text(""),
        },
        _ => Settlement::Release,
    }
}
