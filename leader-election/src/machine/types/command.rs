//! Everything that can be asked of leader election through the log.

use super::ids::SessionId;
use super::settings::Settings;
use quorate_core::types::{FencingToken, Name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a candidacy hangs off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Liveness {
    /// An open session. Unknown or ended: `session_expired`.
    Session(SessionId),
    /// A new session of this length in milliseconds, opened in the same step.
    Ttl(u64),
}

/// A request to become a candidate, or to change what a candidate says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// The election; comes into being with its first candidate.
    pub election: Name,
    /// Who stands for it; unique within the election.
    pub candidate: Name,
    /// What tells that it lives.
    pub liveness: Liveness,
    /// Higher is elected first; among equals who came first. At most `limits::PRIORITY_MAX`.
    pub priority: u32,
    /// Opaque text shown with the candidate (an address, say), at most `limits::METADATA_BYTES_MAX`.
    pub metadata: Arc<str>,
}

/// Everything that can be asked of leader election through the log.
///
/// A leadership ends **at once** only on its holder's own word (`Resign`, `Leave`, `Drained`,
/// `CloseSession`; each names the session) or by the expiry of its session. Every other reason logs
/// `Revoking` first. Whoever speaks for a holder must have zeroed its trust **before it sends** such a
/// command (see `quorate_core::lease::Holder::release`), whatever becomes of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Opens a session: one liveness record for many candidacies. Answer [`super::Reply::Session`];
    /// the session may be trusted for its terms from before the request was sent, unless the answer
    /// is a replayed one.
    OpenSession {
        /// d, within `limits::TTL_MS`; fixed for the session's life.
        ttl_ms: u64,
        /// For people: whose session it is.
        label: Arc<str>,
    },
    /// The process stops: its candidacies end, its leaderships pass on at once without lock-delay.
    /// Unknown or ended: `session_expired`, which a caller that repeats itself takes for success.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// Becomes a candidate; the same session again with the same id changes priority and metadata and
    /// takes back an earlier resignation. Answer [`super::Reply::Campaigned`], at once: waiting for
    /// leadership is observing the election after the answer's revision
    /// ([`crate::service::ElectionService::observe`]), not a held request, so that it survives a lost
    /// connection and a change of leader. The id belongs to another live session: `candidate_taken`.
    Campaign(Campaign),
    /// The holder gives up leadership and stays a candidate. It is passed over until somebody else
    /// has led or it campaigns again. A token that is not current is a no-op ([`super::Reply::Ended`]
    /// with false). During a hand-over the designated successor follows, as with `Drained`.
    Resign {
        /// The election.
        election: Name,
        /// The holder's session.
        session: SessionId,
        /// The token of the leadership to end.
        token: FencingToken,
    },
    /// A candidate leaves; if it leads, its leadership ends at once. The election vanishes with its
    /// last candidate unless it was configured. Unknown candidate: `not_found`; one of another
    /// session: `candidate_taken`.
    Leave {
        /// The election.
        election: Name,
        /// The candidate.
        candidate: Name,
        /// Its session.
        session: SessionId,
    },
    /// Orders a hand-over: the leader is told to drain ([`super::Phase::Draining`]) and keeps its lease
    /// meanwhile; it confirms with `Drained` and `to` follows in the same step. If it does not within
    /// `drain_ms` of log time, its lease is revoked (`Revoking`), and `to` follows at the holder's
    /// confirmation or d(1+ρ) later. With `drain_ms` 0 it is revoked at once. A second order replaces
    /// the first one's target and never lengthens its time. `to` is not a candidate:
    /// `not_a_candidate`; it leads already: a hand-over that is
    /// still draining is called off. If `to` goes away while the leader drains,
    /// the hand-over is called off; later the best candidate follows instead.
    Transfer {
        /// The election.
        election: Name,
        /// The candidate that shall lead.
        to: Name,
        /// How long the leader may drain, at most `limits::DELAY_MS_MAX`.
        drain_ms: u64,
        /// Only if this is the current token; another one is `stale_fencing_token`.
        token: Option<FencingToken>,
    },
    /// The holder confirms that it has drained, or that it has heard of its revocation: its leadership
    /// ends at once and the successor is elected. It stays a candidate in good standing (unless somebody
    /// asked for the revocation): when nothing is draining any more, it may follow itself under a new
    /// token. A token that is not current is a no-op.
    Drained {
        /// The election.
        election: Name,
        /// The holder's session.
        session: SessionId,
        /// The token.
        token: FencingToken,
    },
    /// Ends a leadership in good order for a reason of its own (a hung application, a failed health
    /// check, an operator): logs `Revoking`; no acknowledgement covers the lease any more, and it
    /// ends at its holder's confirmation or d(1+ρ) later. The candidate stays, passed over like one
    /// that resigned.
    Revoke {
        /// The election.
        election: Name,
        /// Only if this is the current token; another one is `stale_fencing_token`.
        token: Option<FencingToken>,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// Ends a leadership now, though its holder may still believe in it. **Voids the exclusion, never
    /// the token.** The API demands an explicit flag. Logged with the principal. No lock-delay.
    ForceRelease {
        /// The election.
        election: Name,
        /// Only if this is the current token; another one is `stale_fencing_token`.
        token: Option<FencingToken>,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// Sets an election up, or changes its settings; `None` forgets them. A configured election stays
    /// without candidates.
    Configure {
        /// The election.
        election: Name,
        /// The new settings, all of them.
        settings: Option<Settings>,
    },
    /// Leader: the counts of these sessions are over. One entry ends them and passes everything they
    /// led on. Void in another term (`Origin::Leader`).
    Expire {
        /// The sessions.
        sessions: Vec<SessionId>,
    },
    /// Leader: these revoked leaderships are over, d(1+ρ) after `Revoking`.
    EndRevoked {
        /// Which; a token that is not current is passed over.
        ends: Vec<(Name, FencingToken)>,
    },
}

impl Command {
    /// Whether only a replica's leader may log this, on its own account. A service refuses it from
    /// callers.
    pub fn is_leaders_own(&self) -> bool {
        matches!(self, Self::Expire { .. } | Self::EndRevoked { .. })
    }
}
