//! The engine's books: a slot for each shard, a row for each attempt, and the alarms.

use crate::gather::accounting::Fate;
use crate::gather::ids::{AttemptId, Replica, ReplicaSet};
use crate::gather::output::Kind;
use crate::gather::reason::Reason;
use quorate_core::types::Mono;
use std::time::Duration;

/// Where a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not asked yet: the canary is out.
    Idle,
    /// Asked; no answer accepted.
    Open,
    /// An answer is with the merger.
    Accepting,
    /// Its fate is known.
    Final(Fate),
}

/// One planned shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) stage: Stage,
    pub(super) tried: ReplicaSet,
    pub(super) reason: Option<Reason>,
    pub(super) replica: Option<Replica>,
    /// Calls sent.
    pub(super) attempts: u8,
    /// Hedges among them.
    pub(super) hedges: u8,
    /// Attempts being chosen or under way.
    pub(super) open: u8,
    /// It was late once.
    pub(super) late: bool,
    pub(super) partial: bool,
    /// The newest of its attempts, from which the others are found.
    pub(super) newest: Option<AttemptId>,
    pub(super) elapsed: Duration,
}

impl Slot {
    pub(super) const IDLE: Self = Self {
        stage: Stage::Idle,
        tried: ReplicaSet::EMPTY,
        reason: None,
        replica: None,
        attempts: 0,
        hedges: 0,
        open: 0,
        late: false,
        partial: false,
        newest: None,
        elapsed: Duration::ZERO,
    };
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The balancer was asked for a replica.
    Choosing,
    /// Sent, no end yet.
    Flying,
    /// Its answer is with the merger.
    Staged,
    /// It counts no more.
    Gone,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) shard: u32,
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) replica: Replica,
    /// The attempt at the same shard before it.
    pub(super) older: Option<AttemptId>,
    pub(super) sent: Mono,
    /// Bytes that have come or are staged.
    pub(super) bytes: u64,
}

/// What to look at when its time has come. Ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alarm {
    pub(super) at: Mono,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// This attempt has become late.
    Late(AttemptId),
    /// This attempt has had its time.
    Over(AttemptId),
    /// The canary has had its time.
    Canary,
}
