//! Questions about the state, answered linearizably, and their answers.

use super::change::Change;
use super::ids::SessionId;
use super::view::{ElectionSummary, ElectionView, SessionView};
use quorate_core::types::{FencingToken, LogTime, Name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Everything about one election. Unknown: `not_found`. Answer: `Election`.
    Election {
        /// Its name.
        election: Name,
    },
    /// Elections by name. Answer: `Elections`.
    Elections {
        /// Those after this name.
        after: Option<Name>,
        /// Only names that begin so; empty for all.
        prefix: Arc<str>,
        /// At most so many, up to `limits::PAGE_MAX`.
        max: u32,
    },
    /// Whether this is the token of the election's present leadership, one that is being drained or
    /// revoked included. Unknown election: `not_found`. Answer: `Current`.
    Check {
        /// The election.
        election: Name,
        /// The token.
        token: FencingToken,
    },
    /// A session, and a page of what it stands for. Unknown or ended: `session_expired`. Answer:
    /// `Session`. How a holder finds out what of its own was lost (see [`super::Kept::lost`]).
    Session {
        /// The session.
        session: SessionId,
        /// Elections after this name.
        after: Option<Name>,
        /// At most so many elections, up to `limits::PAGE_MAX`.
        max: u32,
    },
    /// What happened after a revision. Answer: `History`.
    History {
        /// Only of this election; all when absent.
        election: Option<Name>,
        /// After this revision.
        after: u64,
        /// At most so many, up to `limits::HISTORY_PAGE_MAX`.
        max: u32,
    },
    /// Where the machine is. Answer: `Position`.
    Position,
}

/// The past, or that it is no longer known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum History {
    /// All that happened after the revision asked for, up to and including `through`.
    Changes {
        /// In order.
        changes: Vec<Arc<Change>>,
        /// Nothing that was asked for is missing up to here. Ask again after it while it is below
        /// `last`.
        through: u64,
        /// The cluster's last revision.
        last: u64,
    },
    /// The revision is older than what is kept, or of another cluster: here is the full state (`None`
    /// when there is no such election now, or all elections were asked for).
    Reset {
        /// The state of the election asked for.
        state: Option<ElectionView>,
        /// The revision it is of; go on after it.
        revision: u64,
    },
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Election`.
    Election(ElectionView),
    /// To `Elections`.
    Elections {
        /// The page.
        items: Vec<ElectionSummary>,
        /// There are more after the last one.
        more: bool,
        /// The cluster's last revision.
        revision: u64,
    },
    /// To `Check`.
    Current {
        /// The token is current.
        current: bool,
        /// The cluster's last revision.
        revision: u64,
    },
    /// To `Session`.
    Session(SessionView),
    /// To `History`.
    History(History),
    /// To `Position`.
    Position {
        /// The cluster's last revision.
        revision: u64,
        /// Log time.
        time: LogTime,
        /// Elections.
        elections: u64,
        /// Sessions.
        sessions: u64,
        /// Candidacies.
        candidacies: u64,
    },
}
