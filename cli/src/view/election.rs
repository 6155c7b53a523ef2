//! Elections.

use super::common::instant;
use crate::output::Render;
use crate::table::Table;
use quorate_core::clock;
use quorate_core::types::{LogTime, Name};
use quorate_leader_election::machine::{Change, ElectionSummary, ElectionView, Leadership, Phase};
use serde::Serialize;

/// Who leads.
#[derive(Debug, Serialize)]
struct Leader {
    id: String,
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

fn phase(leader: &Leadership) -> &'static str {
    match leader.phase {
        Phase::Leading => "leading",
        Phase::Draining { .. } => "draining",
        Phase::Revoking { .. } => "revoking",
    }
}

fn state(leader: Option<&Leadership>) -> &'static str {
    leader.map_or("vacant", |_| "held")
}

/// One election.
#[derive(Debug, Serialize)]
pub(crate) struct ElectionDocument {
    election: String,
    state: &'static str,
    leader: Option<Leader>,
    fencing_token: Option<u64>,
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<String>,
    candidates: Vec<CandidateDocument>,
    revision: u64,
    as_of: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<SettingsDocument>,
}

#[derive(Debug, Serialize)]
struct CandidateDocument {
    id: String,
    metadata: String,
    priority: u32,
    since: String,
    passed_over: bool,
}

#[derive(Debug, Serialize)]
struct SettingsDocument {
    lock_delay_ms: u64,
    preferred: Option<String>,
    preempt: bool,
    stable_ms: u64,
    drain_ms: u64,
}

impl From<ElectionView> for ElectionDocument {
    fn from(view: ElectionView) -> Self {
        let leader = view.leader.as_deref();
        Self {
            election: view.election.to_string(),
            state: state(leader),
            leader: leader.map(Leader::from),
            fencing_token: leader.map(|leader| leader.token.0),
            phase: leader.map(phase),
            locked_until: view.locked_until.map(instant),
            candidates: view
                .candidates
                .iter()
                .map(|candidate| CandidateDocument {
                    id: candidate.candidate.to_string(),
                    metadata: candidate.metadata.to_string(),
                    priority: candidate.priority,
                    since: instant(candidate.since),
                    passed_over: candidate.passed_over,
                })
                .collect(),
            revision: view.revision,
            as_of: instant(view.as_of),
            settings: view.configured.then(|| SettingsDocument {
                lock_delay_ms: view.settings.lock_delay_ms,
                preferred: view.settings.preferred.as_ref().map(ToString::to_string),
                preempt: view.settings.preempt,
                stable_ms: view.settings.stable_ms,
                drain_ms: view.settings.drain_ms,
            }),
        }
    }
}

impl Render for ElectionDocument {
    fn table(&self) -> Table {
        let mut table = Table::fields();
        table
            .field("election", &self.election)
            .field("state", &self.phase.unwrap_or(self.state));
        if let Some(leader) = &self.leader {
            table.field("leader", &leader.id);
            if !leader.metadata.is_empty() {
                table.field("metadata", &leader.metadata);
            }
        }
        if let Some(token) = &self.fencing_token {
            table.field("token", token);
        }
        if let Some(until) = &self.locked_until {
            table.field("locked until", until);
        }
        table
            .field("revision", &self.revision)
            .field("as of", &self.as_of);
        let mut candidates = Table::new(&["CANDIDATE", ">PRIORITY", "SINCE", "METADATA"]);
        for candidate in &self.candidates {
            candidates.row([
                &candidate.id,
                &candidate.priority,
                &candidate.since,
                &candidate.metadata,
            ]);
        }
        table.then(&candidates);
        table
    }
}

/// A list of elections.
#[derive(Debug, Serialize)]
pub(crate) struct Elections {
    pub(crate) items: Vec<SummaryDocument>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(crate) struct SummaryDocument {
    election: String,
    state: &'static str,
    leader: Option<Leader>,
    fencing_token: Option<u64>,
    phase: Option<&'static str>,
    candidates: u32,
    revision: u64,
}

impl From<ElectionSummary> for SummaryDocument {
    fn from(summary: ElectionSummary) -> Self {
        let leader = summary.leader.as_deref();
        Self {
            election: summary.election.to_string(),
            state: state(leader),
            leader: leader.map(Leader::from),
            fencing_token: leader.map(|leader| leader.token.0),
            phase: leader.map(phase),
            candidates: summary.candidates,
            revision: summary.changed,
        }
    }
}

impl Render for Elections {
    fn table(&self) -> Table {
        let mut table = Table::new(&["ELECTION", "LEADER", ">TOKEN", ">CANDIDATES", "STATE"]);
        for election in &self.items {
            let leader = election.leader.as_ref().map_or("-", |leader| &leader.id);
            let token = election.fencing_token.map(|token| token.to_string());
            table.row([
                &election.election,
                &leader,
                &token.unwrap_or_default(),
                &election.candidates,
                &election.phase.unwrap_or(election.state),
            ]);
        }
        table
    }
}

/// One change.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeDocument {
    revision: u64,
    time: String,
    election: String,
    what: &'static str,
    candidate: Option<String>,
    cause: Option<&'static str>,
    leader: Option<Leader>,
    fencing_token: Option<u64>,
    phase: Option<&'static str>,
}

impl From<&Change> for ChangeDocument {
    fn from(change: &Change) -> Self {
        let leader = change.leader.as_deref();
        Self {
            revision: change.revision,
            time: instant(change.time),
            election: change.election.to_string(),
            what: change.what.as_str(),
            candidate: change.what.candidate().map(ToString::to_string),
            cause: change.what.cause(),
            leader: leader.map(Leader::from),
            fencing_token: leader.map(|leader| leader.token.0),
            phase: leader.map(phase),
        }
    }
}

/// That what was told last may not stand any longer.
#[derive(Debug, Serialize)]
pub(crate) struct UnknownDocument {
    /// By the clock of this machine.
    time: String,
    election: String,
    state: &'static str,
    leader: Option<Leader>,
    fencing_token: Option<u64>,
}

impl UnknownDocument {
    pub(crate) fn now(election: &Name) -> Self {
        Self {
            time: instant(LogTime(clock::wall_ms())),
            election: election.to_string(),
            state: "unknown",
            leader: None,
            fencing_token: None,
        }
    }
}

impl Render for UnknownDocument {
    fn table(&self) -> Table {
        let mut table = Table::fields();
        let why = "the cluster is out of reach: what was told last may not stand any longer";
        table.row([&self.time, &self.state, &why]);
        table
    }
}

impl Render for ChangeDocument {
    fn table(&self) -> Table {
        let mut table = Table::fields();
        let who = self.candidate.as_deref().unwrap_or_default();
        let why = self.cause.unwrap_or_default();
        let leader = match (&self.leader, self.fencing_token) {
            (Some(leader), Some(token)) => format!("leader {} token {token}", leader.id),
            _ => "vacant".to_owned(),
        };
        table.row([&self.time, &self.what, &who, &why, &leader]);
        table
    }
}
