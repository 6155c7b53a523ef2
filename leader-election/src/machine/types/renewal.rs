//! Renewals: what keeps sessions alive and is never logged.

use super::ids::SessionId;
use super::view::ElectionView;
use quorate_core::lease::Terms;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};

/// A renewal of sessions. Who sends it reads its clock **before** sending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The sessions, at most `limits::SESSIONS_PER_RENEWAL_MAX`: a node may pass many callers' renewals
    /// on in one.
    pub sessions: Vec<SessionId>,
    /// Elections whose full answer shall come with the acknowledgement, as of the same instant, at
    /// most `limits::ELECTIONS_PER_RENEWAL_MAX`.
    pub elections: Vec<Name>,
}

/// The acknowledgement of a renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Sessions that are renewed.
    pub live: Vec<Kept>,
    /// Sessions that have ended, or whose end is proposed: trust nothing of them.
    pub ended: Vec<SessionId>,
    /// The elections asked for; one that does not exist is missing.
    pub elections: Vec<ElectionView>,
}

/// A session that is renewed.
///
/// **What the acknowledgement covers.** The session, for its terms from before the renewal was sent. A
/// leadership of the session is covered only if the holder knows that it was still whole: either it is
/// in [`Renewed::elections`] with this session, its token and a phase other than `Revoking`; or the
/// holder has confirmed it at a revision c ≥ [`Kept::lost`], where c is the revision of its `Elected`
/// or the `revision` of a [`super::SessionView`] (or [`ElectionView`]) that showed it held and not
/// revoking. If c < `lost`, this acknowledgement does not cover it: ask `Query::Session` what is left,
/// and renew again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The session.
    pub session: SessionId,
    /// Its terms.
    pub terms: Terms,
    /// The revision at which a leadership of this session last began to be revoked or was ended
    /// without its holder's word; 0 when none ever was.
    pub lost: u64,
    /// The revision at which a leader of this session was last asked to drain; 0 when none ever was.
    /// A holder that does not observe its elections looks at them when this grows.
    pub draining: u64,
    /// The cluster's last revision.
    pub revision: u64,
}
