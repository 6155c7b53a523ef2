//! Sessions and their renewals.

use super::view::leader_from;
use super::{
    election_from, election_into, error_from, leadership_into, name, page_token, required, session,
    text,
};
use crate::machine::{Kept, Renewal, Renewed, SessionId, SessionView};
use quorate_core::error::Error;
use quorate_core::lease::Terms;
use quorate_core::types::LogTime;
use quorate_proto::election as pb;

/// To protobuf.
pub fn terms_into(terms: Terms) -> pb::Terms {
    pb::Terms {
        ttl_ms: terms.lease_ms,
        drift_permille: u32::from(terms.drift_permille),
    }
}

/// From protobuf. Terms without a bound of clock rates would be trusted for too long.
pub fn terms_from(terms: Option<pb::Terms>) -> Result<Terms, Error> {
    let terms = required("terms", terms)?;
    Ok(Terms {
        lease_ms: terms.ttl_ms,
        drift_permille: u16::try_from(terms.drift_permille)
            .map_err(|_| Error::invalid("terms.drift_permille: out of range"))?,
    })
}

/// To protobuf.
pub fn keep_alive_into(number: u64, renewal: Renewal) -> pb::KeepAliveRequest {
    pb::KeepAliveRequest {
        number,
        sessions: renewal.sessions.into_iter().map(|id| id.0).collect(),
        elections: renewal.elections.iter().map(ToString::to_string).collect(),
    }
}

/// From protobuf.
pub fn keep_alive_from(request: pb::KeepAliveRequest) -> Result<Renewal, Error> {
    Ok(Renewal {
        sessions: request
            .sessions
            .into_iter()
            .map(|number| session("sessions", number))
            .collect::<Result<_, _>>()?,
        elections: request
            .elections
            .iter()
            .map(|text| name("elections", text))
            .collect::<Result<_, _>>()?,
    })
}

/// To protobuf, with those sessions in it that the renewal named.
pub fn renewed_into(
    number: u64,
    known: &[SessionId],
    result: Result<Renewed, Error>,
) -> pb::KeepAliveResponse {
    match result {
        Ok(renewed) => pb::KeepAliveResponse {
            number,
            live: renewed.live.into_iter().map(kept_into).collect(),
            ended: renewed.ended.into_iter().map(|id| id.0).collect(),
            elections: renewed
                .elections
                .into_iter()
                .map(|view| election_into(view, known))
                .collect(),
            error: None,
        },
        Err(error) => pb::KeepAliveResponse {
            number,
            error: Some(super::error_into(error)),
            ..pb::KeepAliveResponse::default()
        },
    }
}

/// From protobuf: the number and what it answers.
pub fn renewed_from(response: pb::KeepAliveResponse) -> (u64, Result<Renewed, Error>) {
    let number = response.number;
    let result = match response.error {
        Some(error) => Err(error_from(error)),
        None => renewed(response),
    };
    (number, result)
}

fn renewed(response: pb::KeepAliveResponse) -> Result<Renewed, Error> {
    Ok(Renewed {
        live: response
            .live
            .into_iter()
            .map(kept_from)
            .collect::<Result<_, _>>()?,
        ended: response
            .ended
            .into_iter()
            .map(|number| session("ended", number))
            .collect::<Result<_, _>>()?,
        elections: response
            .elections
            .into_iter()
            .map(election_from)
            .collect::<Result<_, _>>()?,
    })
}

fn kept_into(kept: Kept) -> pb::Kept {
    pb::Kept {
        session: kept.session.0,
        terms: Some(terms_into(kept.terms)),
        lost: kept.lost,
        draining: kept.draining,
        revision: kept.revision,
    }
}

fn kept_from(kept: pb::Kept) -> Result<Kept, Error> {
    Ok(Kept {
        session: session("live.session", kept.session)?,
        terms: terms_from(kept.terms)?,
        lost: kept.lost,
        draining: kept.draining,
        revision: kept.revision,
    })
}

/// To protobuf.
pub fn session_view_into(view: SessionView) -> pb::Session {
    let next_page_token = match view.items.last() {
        Some((election, _, _)) if view.more => election.to_string(),
        _ => String::new(),
    };
    pb::Session {
        session: view.session.0,
        terms: Some(terms_into(view.terms)),
        label: view.label.to_string(),
        opened_ms: view.opened.0,
        lost: view.lost,
        revision: view.revision,
        candidacies: view.candidacies,
        items: view
            .items
            .into_iter()
            .map(|(election, candidate, leader)| pb::Candidacy {
                election: election.to_string(),
                candidate: candidate.to_string(),
                leadership: leader
                    .as_deref()
                    .map(|leader| leadership_into(leader, &[view.session])),
            })
            .collect(),
        next_page_token,
    }
}

/// From protobuf.
pub fn session_view_from(view: pb::Session) -> Result<SessionView, Error> {
    Ok(SessionView {
        session: session("session", view.session)?,
        terms: terms_from(view.terms)?,
        label: text(view.label),
        opened: LogTime(view.opened_ms),
        lost: view.lost,
        revision: view.revision,
        candidacies: view.candidacies,
        items: view
            .items
            .into_iter()
            .map(|item| {
                Ok((
                    name("items.election", &item.election)?,
                    name("items.candidate", &item.candidate)?,
                    leader_from(item.leadership)?,
                ))
            })
            .collect::<Result<_, Error>>()?,
        more: page_token(&view.next_page_token)?.is_some(),
    })
}
