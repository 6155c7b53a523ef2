//! What a gather wants done.

use super::accounting::Outcome;
use super::ids::{AttemptId, Replica, ReplicaSet, ShardIndex};
use quorate_core::types::Mono;
use std::time::Duration;

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first for its shard.
    Primary,
    /// After a failure.
    Retry,
    /// Besides one that is late. Marked as of low priority on the wire.
    Hedge,
}

/// One output. The closed list. Outputs are carried out in order.
#[derive(Debug)]
pub enum Output {
    /// Offer a replica of this shard that is not in `excluded`; answered at once by
    /// [`super::Input::Chosen`] or [`super::Input::NoReplica`]. Ejected replicas are offered when no
    /// other is left.
    Choose {
        /// The attempt it is for.
        attempt: AttemptId,
        /// The shard.
        shard: ShardIndex,
        /// Tried by this request.
        excluded: ReplicaSet,
        /// What it is for.
        kind: Kind,
    },
    /// Call this replica. Ends with [`super::Input::Reply`] or [`super::Input::Failed`], unless
    /// cancelled.
    Send {
        /// The attempt.
        attempt: AttemptId,
        /// The shard.
        shard: ShardIndex,
        /// The replica.
        replica: Replica,
        /// What it is for.
        kind: Kind,
        /// What the leaf is told it has left: until the cutoff, at the time of this output.
        remaining: Duration,
    },
    /// The attempt no longer counts: signal the leaf, drop what is staged, record the time so far as
    /// a lower bound of its latency. No input is needed.
    Cancel {
        /// The attempt.
        attempt: AttemptId,
        /// Its shard.
        shard: ShardIndex,
    },
    /// Call [`super::Input::Timer`] at this time (or later), instead of any time asked for before.
    SetTimer {
        /// When.
        at: Mono,
    },
    /// Hand the staged answer of this attempt to the merger; answered by [`super::Input::Merged`] or
    /// [`super::Input::Refused`] before the next wait. Comes at most once for a shard that merges.
    Accept {
        /// The attempt.
        attempt: AttemptId,
        /// Its shard.
        shard: ShardIndex,
    },
    /// The end: let the merger finish and answer. Exactly once; nothing follows.
    Finish(Box<Outcome>),
}
