//! What happens to an election, as observers are told, gap-free and in order.

use super::ids::SessionId;
use super::settings::Settings;
use quorate_core::types::{FencingToken, LogTime, Name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One change of one election. Revisions count all changes of the cluster, without a gap; they start
/// from the counter of fencing tokens, so that a cluster that is set up anew goes on above those of the
/// old one. `previous` makes a gap within one election visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its revision.
    pub revision: u64,
    /// The revision of the change of the same election before it; 0 for the first one, also after the
    /// election was removed.
    pub previous: u64,
    /// When, in log time.
    pub time: LogTime,
    /// The election.
    pub election: Name,
    /// What happened.
    pub what: What,
    /// Who leads after it.
    pub leader: Option<Arc<Leadership>>,
}

/// A leadership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    /// The fencing token.
    pub token: FencingToken,
    /// Who.
    pub candidate: Name,
    /// Its session. Whoever knows it can act for the holder: never show it to others.
    pub session: SessionId,
    /// What the candidate said of itself when it was elected, or last since.
    pub metadata: Arc<str>,
    /// Its priority.
    pub priority: u32,
    /// Elected at, in log time.
    pub since: LogTime,
    /// How it stands.
    pub phase: Phase,
}

/// How a leadership stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It leads.
    Leading,
    /// It leads and is asked to finish and confirm with `Drained`; the lease is still renewed.
    Draining {
        /// Who follows.
        to: Name,
        /// After this log time the lease is revoked.
        until: LogTime,
    },
    /// No acknowledgement covers the lease any more. The holder stops, and confirms if it can.
    Revoking {
        /// Why.
        cause: RevokeCause,
        /// Who follows, in a hand-over.
        to: Option<Name>,
    },
}

/// Why a lease is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeCause {
    /// A hand-over whose drain time is over.
    HandOver,
    /// Somebody asked for it.
    Asked {
        /// Who.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
}

/// Why a leadership ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndCause {
    /// Its holder resigned.
    Resigned,
    /// Its holder confirmed a hand-over or revocation.
    Drained,
    /// Its holder left the election.
    Left,
    /// Its holder closed its session.
    Closed,
    /// Its session expired: silence.
    Expired,
    /// It was revoked and its time is over.
    Revoked,
    /// An operator released it by force: the exclusion is void.
    Forced {
        /// Who.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
}

impl EndCause {
    /// Whether the holder itself said so: then nothing of it is under way and no lock-delay follows.
    pub fn is_holders_word(&self) -> bool {
        matches!(
            self,
            Self::Resigned | Self::Drained | Self::Left | Self::Closed
        )
    }
}

/// Why a candidate is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaveCause {
    /// It left.
    Left,
    /// Its session was closed.
    Closed,
    /// Its session expired.
    Expired,
}

/// What happened to an election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A candidate came.
    Joined {
        /// Who.
        candidate: Name,
        /// Its priority.
        priority: u32,
        /// What it says of itself.
        metadata: Arc<str>,
    },
    /// A candidate changed what it says of itself, or takes its resignation back.
    Updated {
        /// Who.
        candidate: Name,
        /// Its priority.
        priority: u32,
        /// What it says of itself.
        metadata: Arc<str>,
    },
    /// A candidate is gone.
    Left {
        /// Who.
        candidate: Name,
        /// Why.
        cause: LeaveCause,
    },
    /// A leader was elected: [`Change::leader`].
    Elected,
    /// The leadership ended; `leader` is `None` until the next `Elected`, which follows at once
    /// unless nobody may be elected.
    Ended {
        /// The token that is void now.
        token: FencingToken,
        /// Who led.
        candidate: Name,
        /// Why.
        cause: EndCause,
        /// Nobody is elected before this log time.
        locked_until: Option<LogTime>,
    },
    /// The leader is asked to drain: [`Phase::Draining`].
    Draining,
    /// The hand-over was called off, because the successor went away while the leader drained.
    CalledOff {
        /// Who would have followed.
        to: Name,
    },
    /// The lease is revoked: [`Phase::Revoking`].
    Revoking,
    /// Settings changed; `None` when they were forgotten.
    Configured {
        /// The new settings.
        settings: Option<Settings>,
    },
    /// The election vanished: no candidates, no settings.
    Removed,
}

impl EndCause {
    /// As it is written in JSON and shown to people.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Resigned => "resigned",
            Self::Drained => "drained",
            Self::Left => "left",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Forced { .. } => "forced",
        }
    }
}

impl LeaveCause {
    /// As it is written in JSON and shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }
}

impl What {
    /// As it is written in JSON and shown to people.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Joined { .. } => "joined",
            Self::Updated { .. } => "updated",
            Self::Left { .. } => "left",
            Self::Elected => "elected",
            Self::Ended { .. } => "ended",
            Self::Draining => "draining",
            Self::CalledOff { .. } => "called_off",
            Self::Revoking => "revoking",
            Self::Configured { .. } => "configured",
            Self::Removed => "removed",
        }
    }

    /// Whom it is about, unless that is who leads after it.
    pub fn candidate(&self) -> Option<&Name> {
        match self {
            Self::Joined { candidate, .. }
            | Self::Updated { candidate, .. }
            | Self::Left { candidate, .. }
            | Self::Ended { candidate, .. }
            | Self::CalledOff { to: candidate } => Some(candidate),
            Self::Elected
            | Self::Draining
            | Self::Revoking
            | Self::Configured { .. }
            | Self::Removed => None,
        }
    }

    /// Why, where there is a cause.
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Left { cause, .. } => Some(cause.as_str()),
            Self::Ended { cause, .. } => Some(cause.as_str()),
            _ => None,
        }
    }
}
