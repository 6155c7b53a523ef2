//! Answers to commands.

use super::ids::SessionId;
use quorate_core::lease::Terms;
use quorate_core::types::{FencingToken, Name};
use serde::{Deserialize, Serialize};

/// A session that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Its length and clock-rate bound: trust it for [`Terms::trust`] from before the request was
    /// sent; not at all if the answer is a replayed one.
    pub terms: Terms,
}

/// A candidacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaigned {
    /// The session it hangs off.
    pub session: SessionId,
    /// The session's terms.
    pub terms: Terms,
    /// The session was opened by this command, so that the answer renews it: trust it for
    /// [`Terms::trust`] from before the request was sent, unless the answer is a replayed one. A
    /// campaign under an existing session renews nothing.
    pub opened: bool,
    /// The candidate leads, under this token, and its lease is not being revoked.
    pub token: Option<FencingToken>,
    /// Observe the election after this revision to miss nothing that comes.
    pub revision: u64,
}

/// A hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferring {
    /// The token of the leadership that shall end; that of `to` itself if it leads already.
    pub token: FencingToken,
    /// Who leads at the moment.
    pub from: Name,
    /// Who shall lead.
    pub to: Name,
    /// `to` leads already: nothing was to be done.
    pub done: bool,
    /// Observe the election after this revision to see the end.
    pub revision: u64,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `OpenSession`.
    Session(Opened),
    /// To `Campaign`.
    Campaigned(Campaigned),
    /// To `Resign`, `Leave`, `Drained` and `ForceRelease`.
    Ended {
        /// A leadership was ended by it. False: the token was not current (somebody else's word or an
        /// expiry came first), or the candidate that left did not lead.
        leadership: bool,
        /// The election's last revision.
        revision: u64,
    },
    /// To `Transfer`.
    Transferring(Transferring),
    /// To `Revoke` and `Configure`: done as of this revision.
    Done {
        /// The election's last revision.
        revision: u64,
    },
    /// To `CloseSession`, `Expire` and `EndRevoked`: so many sessions or leaderships ended.
    Count(u32),
}
