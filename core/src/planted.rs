//! Bugs on purpose below the machines, to see that the simulator's checkers see them.
//!
//! Only with the cargo feature `planted-bugs`, which no release has: the simulator turns one on for
//! its thread and must then report a broken promise. Without the feature the question is a constant
//! `false`, and nothing of this is left in the program.

/// One bug of the lease rule or of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// P4: a renewal is acknowledged without a quorum round.
    AckWithoutRound,
    /// P4: a renewal joins a quorum round that was under way when it arrived.
    AckByOlderRound,
    /// P4: a renewal is acknowledged after the end of its lease was proposed.
    AckAfterExpiryProposed,
    /// P4: an expiry of one term is proposed again, and counts, in another.
    ExpiryCrossesTerm,
    /// P2: a leader answers questions from what it has, because it takes itself for the leader.
    LeaseBasedReads,
}

impl Bug {
    /// Every bug, for the simulator to go through.
    pub const ALL: &[Self] = &[
        Self::AckWithoutRound,
        Self::AckByOlderRound,
        Self::AckAfterExpiryProposed,
        Self::ExpiryCrossesTerm,
        Self::LeaseBasedReads,
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
pub(crate) fn on(bug: Bug) -> bool {
    ON.get() == Some(bug)
}

/// Never, in this build.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn on(_: Bug) -> bool {
    false
}
