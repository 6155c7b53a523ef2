//! Bugs of a client, on purpose, to see that the checkers see them. The simulator is the only user of
//! these clients, so there is no feature around them.

use std::cell::Cell;

/// One bug of a holder or of its use of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// P4: the holder reads its clock after the acknowledgement instead of before sending.
    TimeReadAfterAck,
    /// P4: a resignation does not zero the holder's deadline.
    ResignKeepsTrust,
    /// P4: an acknowledgement extends a leadership though the session lost one since.
    LossIgnored,
    /// Fenced register: a new leader reads before it has sealed its token.
    NoSeal,
}

impl Bug {
    /// Every bug, for the simulator to go through.
    pub const ALL: &[Self] = &[
        Self::TimeReadAfterAck,
        Self::ResignKeepsTrust,
        Self::LossIgnored,
        Self::NoSeal,
    ];
}

thread_local! {
    static ON: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Turns one bug on in this thread, or all off.
pub fn plant(bug: Option<Bug>) {
    ON.set(bug);
}

/// Whether this bug is on in this thread.
pub(super) fn on(bug: Bug) -> bool {
    ON.get() == Some(bug)
}
