//! Elections and the endpoint itself.

use super::{NO_SESSION, name, optional_name, required, text, token};
use crate::machine::{
    CandidateView, ElectionSummary, ElectionView, Leadership, Phase, RevokeCause, SessionId,
    Settings,
};
use crate::service::ClusterInfo;
use pb::leadership::Phase as PbPhase;
use quorate_core::error::Error;
use quorate_core::types::LogTime;
use quorate_proto::election as pb;
use std::sync::Arc;

/// To protobuf.
pub fn settings_into(settings: &Settings) -> pb::Settings {
    pb::Settings {
        lock_delay_ms: settings.lock_delay_ms,
        preferred: settings.preferred.as_ref().map(ToString::to_string),
        preempt: settings.preempt,
        stable_ms: Some(settings.stable_ms),
        drain_ms: Some(settings.drain_ms),
    }
}

/// From protobuf; absent fields are the default.
pub fn settings_from(settings: pb::Settings) -> Result<Settings, Error> {
    let default = Settings::default();
    Ok(Settings {
        lock_delay_ms: settings.lock_delay_ms,
        preferred: optional_name("settings.preferred", settings.preferred.as_deref())?,
        preempt: settings.preempt,
        stable_ms: settings.stable_ms.unwrap_or(default.stable_ms),
        drain_ms: settings.drain_ms.unwrap_or(default.drain_ms),
    })
}

/// A session as `known`'s owner may see it.
fn shown(session: SessionId, known: &[SessionId]) -> u64 {
    if known.contains(&session) {
        session.0
    } else {
        NO_SESSION.0
    }
}

/// To protobuf, with the session if it is one of `known`.
pub fn leadership_into(leader: &Leadership, known: &[SessionId]) -> pb::Leadership {
    let phase = match &leader.phase {
        Phase::Leading => PbPhase::Leading(pb::Leading {}),
        Phase::Draining { to, until } => PbPhase::Draining(pb::Draining {
            to: to.to_string(),
            until_ms: until.0,
        }),
        Phase::Revoking { cause, to } => PbPhase::Revoking(pb::Revoking {
            to: to.as_ref().map(ToString::to_string),
            cause: Some(match cause {
                RevokeCause::HandOver => pb::revoking::Cause::HandOver(pb::HandOver {}),
                RevokeCause::Asked { by, reason } => pb::revoking::Cause::Asked(pb::Asked {
                    by: by.to_string(),
                    reason: reason.to_string(),
                }),
            }),
        }),
    };
    pb::Leadership {
        token: leader.token.0,
        candidate: leader.candidate.to_string(),
        metadata: leader.metadata.to_string(),
        priority: leader.priority,
        since_ms: leader.since.0,
        phase: Some(phase),
        session: shown(leader.session, known),
    }
}

/// From protobuf.
pub fn leadership_from(leader: pb::Leadership) -> Result<Leadership, Error> {
    let phase = match required("leader.phase", leader.phase)? {
        PbPhase::Leading(pb::Leading {}) => Phase::Leading,
        PbPhase::Draining(draining) => Phase::Draining {
            to: name("leader.draining.to", &draining.to)?,
            until: LogTime(draining.until_ms),
        },
        PbPhase::Revoking(revoking) => Phase::Revoking {
            cause: match required("leader.revoking.cause", revoking.cause)? {
                pb::revoking::Cause::HandOver(pb::HandOver {}) => RevokeCause::HandOver,
                pb::revoking::Cause::Asked(asked) => RevokeCause::Asked {
                    by: text(asked.by),
                    reason: text(asked.reason),
                },
            },
            to: optional_name("leader.revoking.to", revoking.to.as_deref())?,
        },
    };
    Ok(Leadership {
        token: token("leader.token", leader.token)?,
        candidate: name("leader.candidate", &leader.candidate)?,
        session: SessionId(leader.session),
        metadata: text(leader.metadata),
        priority: leader.priority,
        since: LogTime(leader.since_ms),
        phase,
    })
}

pub(super) fn leader_from(
    leader: Option<pb::Leadership>,
) -> Result<Option<Arc<Leadership>>, Error> {
    leader
        .map(|leader| leadership_from(leader).map(Arc::new))
        .transpose()
}

/// To protobuf, with those sessions that are `known`.
pub fn election_into(view: ElectionView, known: &[SessionId]) -> pb::Election {
    let candidate = |candidate: CandidateView| pb::Candidate {
        id: candidate.candidate.to_string(),
        priority: candidate.priority,
        metadata: candidate.metadata.to_string(),
        since_ms: candidate.since.0,
        passed_over: candidate.passed_over,
        session: shown(candidate.session, known),
    };
    pb::Election {
        name: view.election.to_string(),
        changed: view.changed,
        revision: view.revision,
        as_of_ms: view.as_of.0,
        leader: view
            .leader
            .as_deref()
            .map(|leader| leadership_into(leader, known)),
        locked_until_ms: view.locked_until.map(|time| time.0),
        settings: Some(settings_into(&view.settings)),
        configured: view.configured,
        candidates: view.candidates.into_iter().map(candidate).collect(),
    }
}

/// From protobuf.
pub fn election_from(election: pb::Election) -> Result<ElectionView, Error> {
    let candidate = |candidate: pb::Candidate| {
        Ok(CandidateView {
            candidate: name("candidates.id", &candidate.id)?,
            session: SessionId(candidate.session),
            priority: candidate.priority,
            metadata: text(candidate.metadata),
            since: LogTime(candidate.since_ms),
            passed_over: candidate.passed_over,
        })
    };
    Ok(ElectionView {
        election: name("name", &election.name)?,
        changed: election.changed,
        revision: election.revision,
        as_of: LogTime(election.as_of_ms),
        leader: leader_from(election.leader)?,
        locked_until: election.locked_until_ms.map(LogTime),
        settings: settings_from(election.settings.unwrap_or_default())?,
        configured: election.configured,
        candidates: election
            .candidates
            .into_iter()
            .map(candidate)
            .collect::<Result<_, Error>>()?,
    })
}

/// To protobuf.
pub fn summary_into(summary: ElectionSummary) -> pb::Summary {
    pb::Summary {
        name: summary.election.to_string(),
        changed: summary.changed,
        leader: summary
            .leader
            .as_deref()
            .map(|leader| leadership_into(leader, &[])),
        locked_until_ms: summary.locked_until.map(|time| time.0),
        candidates: summary.candidates,
    }
}

/// From protobuf.
pub fn summary_from(summary: pb::Summary) -> Result<ElectionSummary, Error> {
    Ok(ElectionSummary {
        election: name("name", &summary.name)?,
        changed: summary.changed,
        leader: leader_from(summary.leader)?,
        locked_until: summary.locked_until_ms.map(LogTime),
        candidates: summary.candidates,
    })
}

/// To protobuf.
pub fn info_into(info: ClusterInfo, version: &str, role: &str) -> pb::Info {
    pb::Info {
        version: version.to_owned(),
        role: role.to_owned(),
        cluster_id: info.cluster_id,
        // What a sidecar knows is what one of its servers said of itself.
        node_id: if role == "sidecar" { 0 } else { info.node_id },
        leader: info.leader,
        ready: info.ready,
        reason: info.reason,
        term: info.term,
        commit: info.commit,
        applied: info.applied,
    }
}

/// From protobuf.
pub fn info_from(info: pb::Info) -> ClusterInfo {
    ClusterInfo {
        cluster_id: info.cluster_id,
        node_id: info.node_id,
        leader: info.leader,
        ready: info.ready,
        reason: info.reason,
        term: info.term,
        commit: info.commit,
        applied: info.applied,
    }
}
