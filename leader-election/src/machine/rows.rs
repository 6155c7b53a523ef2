//! Rows of the tables, as they are kept in snapshots.

use super::types::{Leadership, Settings};
use quorate_core::lease::Terms;
use quorate_core::types::{LogTime, Name, Principal};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An election, under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Election {
    /// `None`: never configured, the defaults hold.
    pub(super) settings: Option<Settings>,
    /// Revision of its last change.
    pub(super) changed: u64,
    /// Who leads. Shared with the changes that tell of it.
    pub(super) leader: Option<Arc<Leadership>>,
    /// Nobody is elected before.
    pub(super) locked_until: Option<LogTime>,
    /// Who follows when the lock is over, after a hand-over that was not confirmed.
    pub(super) successor: Option<Name>,
}

/// A candidate, under its election and its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub(super) session: super::types::SessionId,
    pub(super) priority: u32,
    pub(super) metadata: Arc<str>,
    pub(super) since: LogTime,
    /// The revision at which it came: its place among those of equal priority.
    pub(super) place: u64,
    /// It resigned or was revoked, and nobody else has led since.
    pub(super) passed_over: bool,
}

/// A session, under its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) terms: Terms,
    pub(super) label: Arc<str>,
    /// Who opened it, for audit.
    pub(super) principal: Principal,
    pub(super) opened: LogTime,
    /// Revision of the last loss, see `Kept::lost`.
    pub(super) lost: u64,
    /// Revision of the last request to drain.
    pub(super) draining: u64,
}

/// What is kept besides the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The last revision; 0 before the first change.
    pub(super) revision: u64,
    /// A digest of all changes so far.
    pub(super) mix: u64,
}
