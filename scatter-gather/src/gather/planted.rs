//! Bugs on purpose, to see that the tests see them.
//!
//! Only with the cargo feature `planted-bugs`, which no release has: a test turns one on for its
//! thread and must then find a broken promise. Without the feature the question is a constant
//! `false`, and nothing of this is left in the program.

/// One bug. Each breaks a promise of the gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The loser of a hedge is merged too.
    DoubleMerge,
    /// A reply that comes after the answer is merged.
    LateMerged,
    /// An answer claims to be complete although a shard failed.
    HoleIsComplete,
    /// The first attempt to end decides the shard, even if it failed and another is under way.
    FirstErrorWins,
    /// Hedges and retries are sent with the budget empty.
    BudgetIgnored,
    /// A body that ended early is taken for an answer.
    TruncatedMerged,
    /// An inner node's partial answer leaves its parent whole.
    PartialIsWhole,
    /// The request ends only when nothing is under way, whatever the deadline says.
    DeadlineSlips,
    /// Answers that cover the same leaf are added.
    OverlapMerged,
    /// Hedges go on although many shards are late together.
    GuardIgnored,
    /// A hedge may go to the replica that is late.
    SameReplica,
    /// Calls that must not be made twice are.
    NotIdempotent,
    /// Losers go on.
    LoserNotCancelled,
    /// A shard that the merger refused counts as merged.
    RefusedCounted,
    /// A failed canary does not stop the others.
    CanaryIgnored,
}

impl Bug {
    /// Every bug, for the tests to go through.
    pub const ALL: &[Self] = &[
        Self::DoubleMerge,
        Self::LateMerged,
        Self::HoleIsComplete,
        Self::FirstErrorWins,
        Self::BudgetIgnored,
        Self::TruncatedMerged,
        Self::PartialIsWhole,
        Self::DeadlineSlips,
        Self::OverlapMerged,
        Self::GuardIgnored,
        Self::SameReplica,
        Self::NotIdempotent,
        Self::LoserNotCancelled,
        Self::RefusedCounted,
        Self::CanaryIgnored,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static ON: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Turns one bug on in this thread, or all off.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    ON.set(bug);
}

/// Whether this bug is on in this thread.
#[cfg(feature = "planted-bugs")]
pub(super) fn on(bug: Bug) -> bool {
    ON.get() == Some(bug)
}

/// Never, in this build.
#[cfg(not(feature = "planted-bugs"))]
pub(super) const fn on(_: Bug) -> bool {
    false
}
