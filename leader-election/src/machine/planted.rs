//! Bugs on purpose, to see that the checkers see them.
//!
//! Only with the cargo feature `planted-bugs`, which no release has: the simulator turns one on for
//! its thread and must then report a broken promise. Without the feature the question is a constant
//! `false`, and nothing of this is left in the program. Bugs of the lease rule below the machine are
//! in `quorate_core::planted`; those of a holder or a resource, which are clients, in the simulator.

/// One bug. Each breaks a promise of leader election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// P4: a new leader counts sessions from before it took office.
    NewLeaderKeepsOldCount,
    /// P4: the leader counts half of each session.
    CountTooShort,
    /// P4: a revoked leadership ends at once.
    RevokedEndsAtOnce,
    /// P4: a holder is not told that a leadership of its session was lost.
    LossUntold,
    /// P3: a hand-over passes the old token on.
    TokenPassedOn,
    /// Observers: a change is numbered and not told.
    ChangeDropped,
}

impl Bug {
    /// Every bug, for the simulator to go through.
    pub const ALL: &[Self] = &[
        Self::NewLeaderKeepsOldCount,
        Self::CountTooShort,
        Self::RevokedEndsAtOnce,
        Self::LossUntold,
        Self::TokenPassedOn,
        Self::ChangeDropped,
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
