//! Effects of applied entries.

use super::change::Change;
use super::ids::SessionId;
use quorate_core::lease::Terms;
use std::sync::Arc;

/// Effects of applied entries, for the leader's counts and for observers. Renewals make none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session began: its count starts.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Its terms.
        terms: Terms,
    },
    /// A session ended.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// An election changed.
    Change(Arc<Change>),
}
