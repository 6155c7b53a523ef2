//! Bugs on purpose, to see that the checkers see them.
//!
//! Only with the cargo feature `planted-bugs`, which no release has: the simulator turns one on for
//! its thread and must then report a broken promise. Without the feature the question is a constant
//! `false`, and nothing of this is left in the program.

/// One bug. Each breaks a promise of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// P6: a settlement under a superseded or expired lease is recorded.
    StaleTokenAccepted,
    /// P8: a batch fires its join again when the first one is completed.
    JoinFiredTwice,
    /// P4: an expiry that was proposed before an extension ends the extended lease.
    ExpiryIgnoresExtension,
    /// P4: the leader counts half of each lease.
    ExpiryTooEarly,
    /// A dedupe key is forgotten.
    DedupeLost,
    /// P4: a job that is out is handed out again when nothing else is ready.
    LeasedToTwo,
    /// A failed attempt is not charged.
    AttemptUncharged,
    /// P8: final children go by their retention while their batch still needs them.
    UnjoinedChildrenRemoved,
    /// P5: a completed job whose lease is released afterwards is handed out again.
    ReleaseRevivesCompleted,
    /// P8: a batch with gaps can be sealed, and joins without the missing jobs.
    SealIgnoresGaps,
    /// P5: an enqueue of many acknowledges its last job and forgets it.
    LastJobDropped,
}

impl Bug {
    /// Every bug, for the simulator to go through.
    pub const ALL: &[Self] = &[
        Self::StaleTokenAccepted,
        Self::JoinFiredTwice,
        Self::ExpiryIgnoresExtension,
        Self::ExpiryTooEarly,
        Self::DedupeLost,
        Self::LeasedToTwo,
        Self::AttemptUncharged,
        Self::UnjoinedChildrenRemoved,
        Self::ReleaseRevivesCompleted,
        Self::SealIgnoresGaps,
        Self::LastJobDropped,
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
