//! What observers are told.

use super::view::{leader_from, leadership_into, settings_from, settings_into};
use super::{election_from, election_into, name, required, text, token};
use crate::machine::{Change, EndCause, LeaveCause, What};
use crate::service::Observed;
use pb::change::What as PbWhat;
use quorate_core::error::Error;
use quorate_core::types::{LogTime, Name};
use quorate_proto::election as pb;
use std::sync::Arc;

/// To protobuf, without sessions.
pub fn observed_into(observed: Observed) -> pb::Observed {
    let what = match observed {
        Observed::State(view) => pb::observed::What::State(election_into(view, &[])),
        Observed::Change(change) => pb::observed::What::Change(change_into(&change)),
        Observed::Unknown => pb::observed::What::Unknown(pb::Unknown {}),
    };
    pb::Observed { what: Some(what) }
}

/// From protobuf. `None`: something that only newer builds say.
pub fn observed_from(observed: pb::Observed) -> Result<Option<Observed>, Error> {
    Ok(match observed.what {
        Some(pb::observed::What::State(election)) => {
            Some(Observed::State(election_from(election)?))
        }
        Some(pb::observed::What::Change(change)) => {
            Some(Observed::Change(Arc::new(change_from(change)?)))
        }
        Some(pb::observed::What::Unknown(pb::Unknown {})) => Some(Observed::Unknown),
        None => None,
    })
}

/// To protobuf, without the session of the leader.
pub fn change_into(change: &Change) -> pb::Change {
    let said = |candidate: &Name, priority: &u32, metadata: &Arc<str>| pb::Joined {
        candidate: candidate.to_string(),
        priority: *priority,
        metadata: metadata.to_string(),
    };
    let what = match &change.what {
        What::Joined {
            candidate,
            priority,
            metadata,
        } => PbWhat::Joined(said(candidate, priority, metadata)),
        What::Updated {
            candidate,
            priority,
            metadata,
        } => PbWhat::Updated(said(candidate, priority, metadata)),
        What::Left { candidate, cause } => PbWhat::Left(pb::Left {
            candidate: candidate.to_string(),
            cause: gone_into(*cause).into(),
        }),
        What::Elected => PbWhat::Elected(pb::Elected {}),
        What::Ended {
            token,
            candidate,
            cause,
            locked_until,
        } => {
            let (end, by, reason) = end_into(cause);
            PbWhat::Ended(pb::Ended {
                token: token.0,
                candidate: candidate.to_string(),
                cause: end.into(),
                by,
                reason,
                locked_until_ms: locked_until.map(|time| time.0),
            })
        }
        What::Draining => PbWhat::Draining(pb::DrainingBegan {}),
        What::CalledOff { to } => PbWhat::CalledOff(pb::CalledOff { to: to.to_string() }),
        What::Revoking => PbWhat::Revoking(pb::RevokingBegan {}),
        What::Configured { settings } => PbWhat::Configured(pb::Configured {
            settings: settings.as_ref().map(settings_into),
        }),
        What::Removed => PbWhat::Removed(pb::Removed {}),
    };
    pb::Change {
        revision: change.revision,
        previous: change.previous,
        time_ms: change.time.0,
        election: change.election.to_string(),
        leader: change
            .leader
            .as_deref()
            .map(|leader| leadership_into(leader, &[])),
        what: Some(what),
    }
}

/// From protobuf.
pub fn change_from(change: pb::Change) -> Result<Change, Error> {
    let what = match required("what", change.what)? {
        PbWhat::Joined(said) => What::Joined {
            candidate: name("joined.candidate", &said.candidate)?,
            priority: said.priority,
            metadata: text(said.metadata),
        },
        PbWhat::Updated(said) => What::Updated {
            candidate: name("updated.candidate", &said.candidate)?,
            priority: said.priority,
            metadata: text(said.metadata),
        },
        PbWhat::Left(left) => What::Left {
            candidate: name("left.candidate", &left.candidate)?,
            cause: gone_from(left.cause())?,
        },
        PbWhat::Elected(pb::Elected {}) => What::Elected,
        PbWhat::Ended(ended) => What::Ended {
            token: token("ended.token", ended.token)?,
            candidate: name("ended.candidate", &ended.candidate)?,
            locked_until: ended.locked_until_ms.map(LogTime),
            cause: end_from(ended.cause(), ended.by.clone(), ended.reason.clone())?,
        },
        PbWhat::Draining(pb::DrainingBegan {}) => What::Draining,
        PbWhat::CalledOff(off) => What::CalledOff {
            to: name("called_off.to", &off.to)?,
        },
        PbWhat::Revoking(pb::RevokingBegan {}) => What::Revoking,
        PbWhat::Configured(configured) => What::Configured {
            settings: configured.settings.map(settings_from).transpose()?,
        },
        PbWhat::Removed(pb::Removed {}) => What::Removed,
    };
    Ok(Change {
        revision: change.revision,
        previous: change.previous,
        time: LogTime(change.time_ms),
        election: name("election", &change.election)?,
        what,
        leader: leader_from(change.leader)?,
    })
}

fn gone_into(cause: LeaveCause) -> pb::Gone {
    match cause {
        LeaveCause::Left => pb::Gone::Left,
        LeaveCause::Closed => pb::Gone::Closed,
        LeaveCause::Expired => pb::Gone::Expired,
    }
}

fn gone_from(cause: pb::Gone) -> Result<LeaveCause, Error> {
    match cause {
        pb::Gone::Left => Ok(LeaveCause::Left),
        pb::Gone::Closed => Ok(LeaveCause::Closed),
        pb::Gone::Expired => Ok(LeaveCause::Expired),
        pb::Gone::Unspecified => Err(Error::invalid("left.cause: missing; it is required")),
    }
}

fn end_into(cause: &EndCause) -> (pb::End, String, String) {
    let end = match cause {
        EndCause::Resigned => pb::End::Resigned,
        EndCause::Drained => pb::End::Drained,
        EndCause::Left => pb::End::Left,
        EndCause::Closed => pb::End::Closed,
        EndCause::Expired => pb::End::Expired,
        EndCause::Revoked => pb::End::Revoked,
        EndCause::Forced { by, reason } => {
            return (pb::End::Forced, by.to_string(), reason.to_string());
        }
    };
    (end, String::new(), String::new())
}

fn end_from(end: pb::End, by: String, reason: String) -> Result<EndCause, Error> {
    Ok(match end {
        pb::End::Resigned => EndCause::Resigned,
        pb::End::Drained => EndCause::Drained,
        pb::End::Left => EndCause::Left,
        pb::End::Closed => EndCause::Closed,
        pb::End::Expired => EndCause::Expired,
        pb::End::Revoked => EndCause::Revoked,
        pb::End::Forced => EndCause::Forced {
            by: text(by),
            reason: text(reason),
        },
        pb::End::Unspecified => {
            return Err(Error::invalid("ended.cause: missing; it is required"));
        }
    })
}
