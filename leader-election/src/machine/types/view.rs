//! What is shown of elections and sessions.

use super::change::Leadership;
use super::ids::SessionId;
use super::settings::Settings;
use quorate_core::lease::Terms;
use quorate_core::types::{FencingToken, LogTime, Name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateView {
    /// Its id.
    pub candidate: Name,
    /// Its session. Never show it to others.
    pub session: SessionId,
    /// Its priority.
    pub priority: u32,
    /// What it says of itself.
    pub metadata: Arc<str>,
    /// Candidate since, in log time.
    pub since: LogTime,
    /// It resigned or was revoked, and is passed over until somebody else has led or it campaigns
    /// again.
    pub passed_over: bool,
}

/// Everything about one election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionView {
    /// Its name.
    pub election: Name,
    /// The revision of its last change; 0 when there is no such election.
    pub changed: u64,
    /// The cluster's last revision when this was read: observe after it to miss nothing.
    pub revision: u64,
    /// Log time when this was read. In the acknowledgement of a renewal, that of the cluster's last
    /// change; 0 for an election that does not exist.
    pub as_of: LogTime,
    /// Who leads; `None` when it is vacant.
    pub leader: Option<Arc<Leadership>>,
    /// Nobody is elected before this log time.
    pub locked_until: Option<LogTime>,
    /// Its settings; the defaults when it was never configured.
    pub settings: Settings,
    /// It was configured, and stays without candidates.
    pub configured: bool,
    /// Candidates in the order in which they would be elected, the leader among them.
    pub candidates: Vec<CandidateView>,
}

/// An election in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionSummary {
    /// Its name.
    pub election: Name,
    /// The revision of its last change.
    pub changed: u64,
    /// Who leads; `None` when it is vacant.
    pub leader: Option<Arc<Leadership>>,
    /// Nobody is elected before this log time.
    pub locked_until: Option<LogTime>,
    /// Number of candidates.
    pub candidates: u32,
}

/// A session, and a page of what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The session.
    pub session: SessionId,
    /// Its terms.
    pub terms: Terms,
    /// For people: whose it is.
    pub label: Arc<str>,
    /// Opened at, in log time.
    pub opened: LogTime,
    /// The revision of the last loss, see [`super::Kept::lost`].
    pub lost: u64,
    /// The cluster's last revision when this was read: what stands in `leads` was held as of it.
    pub revision: u64,
    /// Number of its candidacies.
    pub candidacies: u32,
    /// The page: each election it stands for with its candidate and, when that candidate leads, the
    /// leadership.
    pub items: Vec<(Name, Name, Option<Arc<Leadership>>)>,
    /// There are more after the last one.
    pub more: bool,
}

impl ElectionView {
    /// An election that does not exist, as observers are shown it.
    pub fn absent(election: &Name, revision: u64, as_of: LogTime) -> Self {
        Self {
            election: election.clone(),
            changed: 0,
            revision,
            as_of,
            leader: None,
            locked_until: None,
            settings: Settings::default(),
            configured: false,
            candidates: Vec::new(),
        }
    }

    /// The leadership, if `candidate` holds it under `token`.
    pub fn held_under(&self, token: FencingToken) -> Option<&Leadership> {
        self.leader
            .as_deref()
            .filter(|leader| leader.token == token)
    }
}
