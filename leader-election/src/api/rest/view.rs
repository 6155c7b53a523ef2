//! What is shown of elections.

use crate::api::answer::{Bounded, Role};
use crate::convert::within;
use crate::machine::{
    CandidateView, ElectionSummary, ElectionView, Leadership, Phase, SessionId, Settings,
};
use quorate_core::error::Error;
use quorate_core::types::{LogTime, Name};
use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};
use utoipa::ToSchema;

/// RFC 3339 in UTC with milliseconds.
pub(super) fn instant(time: LogTime) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(time.0));
    time.map(|time| humantime::format_rfc3339_millis(time).to_string())
        .unwrap_or_default()
}

pub(super) fn name(field: &str, text: &str) -> Result<Name, Error> {
    Name::new(text).map_err(|error| within(field, error.into()))
}

pub(super) fn session(text: &str) -> Result<SessionId, Error> {
    text.parse().map_err(|error| within("session", error))
}

/// Who leads.
#[derive(Serialize, ToSchema)]
pub(super) struct Leader {
    /// The candidate.
    id: String,
    /// What it says of itself.
    metadata: String,
}

impl From<&Leadership> for Leader {
    fn from(leader: &Leadership) -> Self {
        Self {
            id: leader.candidate.to_string(),
            metadata: leader.metadata.to_string(),
        }
    }
}

/// How a leadership stands.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PhaseName {
    /// It leads.
    Leading,
    /// Asked to finish and to resign; the lease is still renewed.
    Draining,
    /// No acknowledgement covers the lease any more.
    Revoking,
}

pub(super) fn phase(leader: &Leadership) -> (PhaseName, Option<HandOver>) {
    match &leader.phase {
        Phase::Leading => (PhaseName::Leading, None),
        Phase::Draining { to, until } => (
            PhaseName::Draining,
            Some(HandOver {
                to: to.to_string(),
                until: Some(instant(*until)),
            }),
        ),
        Phase::Revoking { to, .. } => (
            PhaseName::Revoking,
            to.as_ref().map(|to| HandOver {
                to: to.to_string(),
                until: None,
            }),
        ),
    }
}

/// A hand-over under way.
#[derive(Serialize, ToSchema)]
pub(super) struct HandOver {
    /// Who follows.
    to: String,
    /// The leader may drain so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// A candidate.
#[derive(Serialize, ToSchema)]
pub(super) struct Candidate {
    id: String,
    metadata: String,
    priority: u32,
    since: String,
    /// It resigned or was revoked, and is passed over until somebody else has led or it campaigns again.
    passed_over: bool,
}

impl From<&CandidateView> for Candidate {
    fn from(candidate: &CandidateView) -> Self {
        Self {
            id: candidate.candidate.to_string(),
            metadata: candidate.metadata.to_string(),
            priority: candidate.priority,
            since: instant(candidate.since),
            passed_over: candidate.passed_over,
        }
    }
}

/// Whether somebody leads.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Held,
    Vacant,
    /// Nothing is known within the time: never a stale name.
    Unknown,
}

/// What the candidate in question is.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Self_)]
pub(super) enum Own {
    Leader,
    Follower,
    Observer,
    /// No candidate was named, or nothing is known of it within the time.
    Unknown,
}

/// The election answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Election {
    election: String,
    state: State,
    leader: Option<Leader>,
    /// What the candidate of the request is.
    #[serde(rename = "self")]
    own: Own,
    /// Of the present leadership.
    fencing_token: Option<u64>,
    /// The candidate may act as leader for so long, counted from before the request was sent; 0 when it
    /// may not. Absent in answers that were waited for without a renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_for_ms: Option<u64>,
    phase: Option<PhaseName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hand_over: Option<HandOver>,
    /// Nobody is elected before.
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<String>,
    /// In the order in which they would be elected, the leader among them.
    candidates: Vec<Candidate>,
    /// Pass it as `after_revision` to be told of what comes next.
    revision: Option<u64>,
    as_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<SettingsOut>,
}

impl From<Bounded> for Election {
    fn from(answer: Bounded) -> Self {
        let own = match answer.role {
            Role::Leader => Own::Leader,
            Role::Follower => Own::Follower,
            Role::Observer => Own::Observer,
            Role::Unknown => Own::Unknown,
        };
        let valid_for_ms = answer
            .valid_for
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let Some(view) = answer.view else {
            return Self {
                election: answer.election.to_string(),
                state: State::Unknown,
                leader: None,
                own,
                // What the ambassador holds is known though the cluster cannot be reached.
                fencing_token: answer.token.map(|token| token.0),
                valid_for_ms,
                phase: None,
                hand_over: None,
                locked_until: None,
                candidates: Vec::new(),
                revision: None,
                as_of: None,
                settings: None,
            };
        };
        let leader = view.leader.as_deref();
        let (phase, hand_over) = leader.map(phase).unzip();
        Self {
            election: view.election.to_string(),
            state: if leader.is_some() {
                State::Held
            } else {
                State::Vacant
            },
            leader: leader.map(Leader::from),
            own,
            fencing_token: leader.map(|leader| leader.token.0),
            valid_for_ms,
            phase,
            hand_over: hand_over.flatten(),
            locked_until: view.locked_until.map(instant),
            candidates: view.candidates.iter().map(Candidate::from).collect(),
            revision: Some(view.revision),
            as_of: Some(instant(view.as_of)),
            settings: view.configured.then(|| (&view.settings).into()),
        }
    }
}

/// A full state, for events.
pub(super) fn state(view: ElectionView) -> Election {
    Bounded::looked_at(view, None).without_validity().into()
}

/// Nothing is known any more, for events.
pub(super) fn unknown(election: Name) -> Election {
    Bounded::unknown(election).without_validity().into()
}

/// Settings as they are in force.
#[derive(Serialize, ToSchema)]
pub(super) struct SettingsOut {
    lock_delay_ms: u64,
    preferred: Option<String>,
    preempt: bool,
    stable_ms: u64,
    drain_ms: u64,
}

impl From<&Settings> for SettingsOut {
    fn from(settings: &Settings) -> Self {
        Self {
            lock_delay_ms: settings.lock_delay_ms,
            preferred: settings.preferred.as_ref().map(ToString::to_string),
            preempt: settings.preempt,
            stable_ms: settings.stable_ms,
            drain_ms: settings.drain_ms,
        }
    }
}

/// An election in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Summary {
    election: String,
    state: State,
    leader: Option<Leader>,
    fencing_token: Option<u64>,
    phase: Option<PhaseName>,
    /// Number of candidates.
    candidates: u32,
    /// Of its last change.
    revision: u64,
}

impl From<ElectionSummary> for Summary {
    fn from(summary: ElectionSummary) -> Self {
        let leader = summary.leader.as_deref();
        Self {
            election: summary.election.to_string(),
            state: if leader.is_some() {
                State::Held
            } else {
                State::Vacant
            },
            leader: leader.map(Leader::from),
            fencing_token: leader.map(|leader| leader.token.0),
            phase: leader.map(|leader| phase(leader).0),
            candidates: summary.candidates,
            revision: summary.changed,
        }
    }
}

/// The answer of the old Kubernetes leader-elector sidecar, on `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Named {
    /// Who leads; empty when that is not known.
    pub name: String,
    /// The token it leads with.
    pub fencing_token: Option<u64>,
    /// How long this sidecar's own candidate may act as leader; 0 when it may not.
    pub valid_for_ms: u64,
}
